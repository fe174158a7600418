"""The pace of time slicing: how wide the slices are, and how many are under way at once."""

from __future__ import annotations

#: How many slices may be under way at once.
MAX_SLICES = 64


class Pace:
    """How wide to slice and how many slices to ask for at once, learnt from one answer to the next.

    To begin with many would waste requests past the end of a burst, so each good answer allows one more:
    their number doubles in the time of a round trip.

    :param max_width_ms: the width of a slice when nothing is known.
    :param slices: how many slices may be under way at first.
    """

    def __init__(self, max_width_ms: int, slices: int = 1) -> None:
        self.max_width_ms = max_width_ms
        self.width_ms = max_width_ms
        self.slices = slices
        self._rows = self._read_ms = 0.0

    def forget(self) -> None:
        """Forget how densely records lie."""
        self.width_ms = self.max_width_ms
        self.slices = 1
        self._rows = self._read_ms = 0.0

    def widen(self) -> None:
        """Make slices twice as wide."""
        self.width_ms = min(2 * self.width_ms, self.max_width_ms)

    def learn(self, rows: int, read_ms: int, rows_aimed_at: int, *, is_complete: bool) -> None:
        """Take an answer into account: about how many rows lie in how much time.

        :param rows_aimed_at: how many rows a slice should have.
        :param is_complete: whether the answer held all rows of its slice.
        """
        if rows == 0:  # past the end of a burst
            self.forget()
            return
        # As many answers count as are under way; what is older fades.
        kept = 1 - 1 / self.slices
        self._rows = self._rows * kept + rows
        self._read_ms = self._read_ms * kept + read_ms
        self.width_ms = max(1, int(rows_aimed_at * self._read_ms / self._rows))
        if not is_complete:
            self.slices = max(1, self.slices // 2)
        elif rows < rows_aimed_at // 2:
            self.slices = max(1, self.slices - 1)
        else:
            self.slices = min(self.slices + 1, MAX_SLICES)
