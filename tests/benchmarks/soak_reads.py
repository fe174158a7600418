"""Read random schedules of a hostile Binance; nothing may be lost, doubled or altered without an error.

    uv run python -m tests.benchmarks.soak_reads [DATASET …] [--schedules 2000] [--first 0]

It reads each windowed dataset, or those that are named. The suite tries the first forty of each, of the
liquidations two hundred. It exits with 1 when anything is wrong, and prints how the reads ended.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.benchmarks.seeds import soak
from tests.support.descriptions import WINDOWED, Windowed
from tests.support.hostile import Hostile


def reads(described: Windowed) -> Callable[[int], str]:
    """Return the function that reads the schedule of a seed."""
    return lambda seed: Hostile(seed, described).check()


if __name__ == "__main__":
    soak(__doc__, WINDOWED, reads, "--schedules", 2000)
