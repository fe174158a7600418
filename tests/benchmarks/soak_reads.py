"""Read random schedules of a hostile Binance; nothing may be lost, doubled or altered without an error.

    uv run python -m tests.benchmarks.soak_reads [--schedules 2000] [--first 0]

The suite tries the first two hundred. It exits with 1 when anything is wrong, and prints how the reads ended.
"""

from __future__ import annotations

import argparse
from collections import Counter

from tests.support.hostile import Hostile


def main(first: int, schedules: int) -> None:
    ends: Counter[str] = Counter()
    wrong = []
    for seed in range(first, first + schedules):
        try:
            ends[Hostile(seed).check()] += 1
        except AssertionError as error:
            wrong.append(f"seed {seed}: {error}")
    print(", ".join(f"{end}: {count}" for end, count in ends.most_common()))
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--schedules", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    main(given.first, given.schedules)
