"""Random schedules of a hostile Binance: nothing is lost, doubled or altered, or there is an error."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.hostile import Hostile

# `tests/benchmarks/soak_reads.py` tries two thousand.
SCHEDULES, CHUNK = 200, 20


@pytest.mark.parametrize("first", range(0, SCHEDULES, CHUNK))
def test_a_hostile_server_is_read_exactly_or_refused(first: int) -> None:
    """Whatever a schedule does, and most of them can be read."""
    ends: Counter[str] = Counter()
    for seed in range(first, first + CHUNK):
        try:
            ends[Hostile(seed).check()] += 1
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert ends["records"] >= CHUNK // 3, ends
