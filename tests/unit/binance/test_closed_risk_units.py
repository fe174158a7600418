"""Closed risk units: whether one is asked for, by its times, and by times that cannot be right."""

from __future__ import annotations

import pytest

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import was_open_in
from airflow_provider_binance_loan.binance.time_range import DAY_MS, TimeRange

NOW_MS = 1_772_366_400_000
WINDOW = TimeRange(NOW_MS, NOW_MS + 3_600_000)


@pytest.mark.parametrize(
    ("created", "closed", "expected"),
    [
        (NOW_MS - 10 * DAY_MS, NOW_MS + 1, True),
        (NOW_MS - 10 * DAY_MS, NOW_MS - 2 * DAY_MS, False),
        (NOW_MS + 3 * DAY_MS, NOW_MS + 4 * DAY_MS, False),
        # within a day of the window
        (NOW_MS - 10 * DAY_MS, NOW_MS - DAY_MS, True),
        (NOW_MS + DAY_MS, NOW_MS + 2 * DAY_MS, True),
        # not stated
        (None, None, True),
        (0, NOW_MS - 2 * DAY_MS, False),
        (None, NOW_MS + 1, True),
        # in seconds, in microseconds, and the wrong way round: the unit is asked for all the same
        (NOW_MS // 1000, NOW_MS // 1000 + 1, True),
        (NOW_MS * 1000, NOW_MS * 1000 + 1, True),
        (None, NOW_MS // 1000, True),
        (NOW_MS * 1000, None, True),
        (NOW_MS - 2 * DAY_MS, NOW_MS - 10 * DAY_MS, True),
    ],
)
def test_asks_for_a_unit_that_may_have_been_open(
    created: int | None, closed: int | None, expected: bool
) -> None:
    """No record is lost to a time in another unit, or to one that makes no sense."""
    assert was_open_in({"createTime": created, "closeTime": closed}, WINDOW) is expected
