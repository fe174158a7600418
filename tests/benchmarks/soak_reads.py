"""Read random schedules of a hostile Binance; nothing may be lost, doubled or altered without an error.

    uv run python -m tests.benchmarks.soak_reads [DATASET …] [--schedules 2000] [--first 0]

It reads each windowed dataset, or those that are named. The suite tries the first forty of each, of the
liquidations two hundred. It exits with 1 when anything is wrong, and prints how the reads ended.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence

from tests.support.descriptions import WINDOWED, Windowed
from tests.support.hostile import Hostile


def read(described: Windowed, seeds: Sequence[int]) -> list[str]:
    """Read the schedules of some seeds, print how that ended, and return what was wrong."""
    ends: Counter[str] = Counter()
    wrong = []
    for seed in seeds:
        try:
            ends[Hostile(seed, described).check()] += 1
        except AssertionError as error:
            wrong.append(f"{described}, seed {seed}: {error}")
    print(f"{described}: " + ", ".join(f"{end}: {count}" for end, count in ends.most_common()), flush=True)
    return wrong


if __name__ == "__main__":
    by_name = {str(described): described for described in WINDOWED}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("datasets", nargs="*", metavar="DATASET", default=list(by_name))
    parser.add_argument("--schedules", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    if unknown := set(given.datasets) - by_name.keys():
        parser.error(f"no dataset {', '.join(sorted(unknown))}: give some of {', '.join(by_name)}")
    seeds = range(given.first, given.first + given.schedules)
    if found := [line for name in given.datasets for line in read(by_name[name], seeds)]:
        raise SystemExit("\n".join(found))
