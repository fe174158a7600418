"""Random schedules of a hostile Binance: nothing is lost, doubled or altered, or there is an error."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.descriptions import WINDOWED, Windowed
from tests.support.hostile import Hostile

# Of the liquidations; of the others fewer, as they are read by the same code.
# `tests/benchmarks/soak_reads.py` tries two thousand of each.
SCHEDULES, OF_OTHERS, CHUNK = 200, 40, 20
CHUNKS = [
    (described, first)
    for described in WINDOWED
    for first in range(0, SCHEDULES if described is WINDOWED[0] else OF_OTHERS, CHUNK)
]


@pytest.mark.parametrize(("described", "first"), CHUNKS, ids=str)
def test_a_hostile_server_is_read_exactly_or_refused(described: Windowed, first: int) -> None:
    """Whatever a schedule does, and most of them can be read."""
    ends: Counter[str] = Counter()
    for seed in range(first, first + CHUNK):
        try:
            ends[Hostile(seed, described).check()] += 1
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert ends["records"] >= CHUNK // 3, ends
