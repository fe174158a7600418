"""Parse random bodies with and without the typed parser; the records must be the same, or the error.

    uv run python -m tests.benchmarks.soak_parsers [DATASET …] [--bodies 150000] [--first 0]

It parses bodies of each dataset, or of those that are named. The suite tries some hundreds of each. It exits
with 1 when anything differs, and prints how many the typed parser took, and how many were refused.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.benchmarks.seeds import soak
from tests.support.descriptions import DESCRIBED, Described
from tests.support.mutations import Bodies, compare, requests_of


def parses(described: Described) -> Callable[[int], str]:
    """Return the function that parses the body of a seed with both parsers."""
    bodies, requests = Bodies(described), requests_of(described)

    def parse(seed: int) -> str:
        dice = random.Random(seed)
        body = bodies.draw(dice)
        content, was_typed = compare([dice.choice(requests)], body)
        return "typed" if was_typed else "error" if "Error: " in content[:40] else "careful or no row"

    return parse


if __name__ == "__main__":
    soak(__doc__, DESCRIBED, parses, "--bodies", 150_000)
