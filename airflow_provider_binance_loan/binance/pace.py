"""The pace of time slicing: how wide the slices of a round are, and how many it holds."""

from __future__ import annotations

#: How many slices one round may hold.
MAX_SLICES = 32
# After each good round the number of slices doubles: to begin with many would waste requests past the end of
# a burst.
_GROWTH = 2


class Pace:
    """How wide to slice and how many slices to request in a round, learnt from one round to the next.

    :param max_width_ms: the width of a slice when nothing is known.
    :param slices: how many slices the first round holds.
    """

    def __init__(self, max_width_ms: int, slices: int = 1) -> None:
        self.max_width_ms = max_width_ms
        self.width_ms = max_width_ms
        self.slices = slices

    def learn(self, rows: int, width_ms: int, fewest: int, target_rows: int) -> None:
        """Take a round into account: about how many rows in how much time, and the fewest in one answer."""
        self.width_ms = max(1, target_rows * width_ms // rows) if rows else self.max_width_ms
        if fewest == 0:  # past the end of a burst
            self.slices = 1
        elif fewest < target_rows // 2:
            self.slices = max(1, self.slices // 2)
        else:
            self.slices = min(self.slices * _GROWTH, MAX_SLICES)
