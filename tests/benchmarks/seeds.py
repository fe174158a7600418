"""What the soaks of seeds share: their arguments, the attempts of each dataset, and the report."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

# A fault that shows for one seed shows for many.
MOST_SHOWN = 50


def soak(
    doc: str | None,
    datasets: Sequence[Any],
    attempts: Callable[[Any], Callable[[int], str]],
    option: str,
    default: int,
) -> None:
    """Try the seeds that the command line asks for, and exit with 1 when anything is wrong.

    :param doc: the description for `--help`.
    :param datasets: the descriptions of the datasets, all or those that are named.
    :param attempts: returns, for a dataset, the function that tries a seed and returns how that ended. It
        raises an AssertionError for what is wrong.
    :param option: the option for the number of seeds.
    :param default: its default.
    """
    by_name = {str(described): described for described in datasets}
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", metavar="DATASET", default=list(by_name))
    parser.add_argument(option, dest="count", type=int, default=default)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    if unknown := set(given.datasets) - by_name.keys():
        parser.error(f"no dataset {', '.join(sorted(unknown))}: give some of {', '.join(by_name)}")
    wrong: list[str] = []
    for name in given.datasets:
        attempt = attempts(by_name[name])
        ends: Counter[str] = Counter()
        for seed in range(given.first, given.first + given.count):
            try:
                ends[attempt(seed)] += 1
            except AssertionError as error:
                wrong.append(f"{name}, seed {seed}: {error}")
        print(f"{name}: " + ", ".join(f"{end}: {count}" for end, count in ends.most_common()), flush=True)
    if wrong:
        raise SystemExit("\n".join([*wrong[:MOST_SHOWN], f"{len(wrong)} seeds are wrong."]))
