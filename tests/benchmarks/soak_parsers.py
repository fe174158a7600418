"""Parse random bodies with and without the typed parser; the records must be the same, or the error.

    uv run python -m tests.benchmarks.soak_parsers [DATASET …] [--bodies 150000] [--first 0]

It parses bodies of each dataset, or of those that are named. The suite tries some hundreds of each. It exits
with 1 when anything differs, and prints how many the typed parser took, and how many were refused.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Sequence

from tests.support.descriptions import DESCRIBED, Described
from tests.support.mutations import Bodies, compare, requests_of


def parse(described: Described, seeds: Sequence[int]) -> list[str]:
    """Parse the bodies of some seeds, print how that ended, and return what was wrong."""
    bodies, requests = Bodies(described), requests_of(described)
    ends: Counter[str] = Counter()
    wrong = []
    for seed in seeds:
        dice = random.Random(seed)
        body = bodies.draw(dice)
        try:
            content, was_typed = compare([dice.choice(requests)], body)
        except AssertionError as error:
            wrong.append(f"{described}, seed {seed}: {error}")
            continue
        ends["typed" if was_typed else "error" if "Error: " in content[:40] else "careful or no row"] += 1
    print(f"{described}: " + ", ".join(f"{end}: {count}" for end, count in ends.most_common()), flush=True)
    return wrong


if __name__ == "__main__":
    by_name = {str(described): described for described in DESCRIBED}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("datasets", nargs="*", metavar="DATASET", default=list(by_name))
    parser.add_argument("--bodies", type=int, default=150_000)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    if unknown := set(given.datasets) - by_name.keys():
        parser.error(f"no dataset {', '.join(sorted(unknown))}: give some of {', '.join(by_name)}")
    seeds = range(given.first, given.first + given.bodies)
    if found := [line for name in given.datasets for line in parse(by_name[name], seeds)]:
        raise SystemExit("\n".join(line[:2000] for line in found[:50]))
