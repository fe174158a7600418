"""Parts of a window: as much as fits into memory, and no longer than Binance accepts."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_binance_loan.binance.messages import SPAN_CODES
from airflow_provider_binance_loan.binance.risk_units import RiskUnits
from airflow_provider_binance_loan.binance.time_range import DAY_MS as DAY
from airflow_provider_binance_loan.exceptions import RequestRefusedError
from tests.support.ledger import NOW, Ledger, evenly

YEAR = 365 * DAY
UNITS = range(1, 21)
MEMORY = 200  # rows
# The same rows for the plain query, for units that are named, and for units that are closed.
PATHS: dict[str, tuple[RiskUnits, dict[int, Any]]] = {
    "active": ("active", {}),
    "named": (tuple(UNITS), {}),
    "closed": ("all", dict.fromkeys(UNITS, (0, 0))),
    "half closed": ("all", dict.fromkeys(UNITS[::2], (0, 0))),
}
SPREADS = {
    "evenly": [row for unit in UNITS for row in evenly(150, NOW - 90 * DAY + unit, NOW, unit)],
    "oldest": [row for unit in UNITS for row in evenly(150, NOW - 90 * DAY + unit, NOW - 89 * DAY, unit)],
    "newest": [row for unit in UNITS for row in evenly(150, NOW - DAY + unit, NOW, unit)],
    "one unit": [*evenly(3000, NOW - 90 * DAY, NOW, 5), (NOW - 50 * DAY, 6)],
}


@pytest.mark.parametrize("max_concurrency", [1, 16])
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("path", PATHS)
def test_a_part_fits_into_memory(path: str, spread: str, max_concurrency: int) -> None:
    """However the records are spread over time and units, a part has about as many as it may."""
    risk_units, closed = PATHS[path]
    ledger = Ledger(SPREADS[spread], closed, max_concurrency=max_concurrency)
    parts = ledger.read_parts(NOW - 90 * DAY, NOW, risk_units, rows_in_memory=MEMORY)
    assert [key for part in parts for key in part] == sorted(SPREADS[spread])
    assert max(map(len, parts)) <= 2 * MEMORY
    assert len(parts) <= 4 * len(SPREADS[spread]) // MEMORY


def test_more_records_in_a_millisecond_than_fit_are_one_part() -> None:
    """What cannot be divided is read all the same."""
    rows = [(NOW + 5, unit) for unit in range(1, 500)]
    assert Ledger(rows).read(NOW, NOW + DAY, rows_in_memory=MEMORY) == rows


@pytest.mark.parametrize("limit", [60 * DAY, 7 * DAY, DAY])
@pytest.mark.parametrize("path", PATHS)
def test_a_span_that_is_refused_is_halved(path: str, limit: int) -> None:
    """A true limit that is shorter than documented is found, and every record comes, once."""
    risk_units, closed = PATHS[path]
    rows = [(NOW - number * 9 * DAY, 1 + number % 20) for number in range(1, 40)]
    ledger = Ledger(rows, closed, max_span_ms=limit)
    known: dict[str, int] = {}
    assert ledger.read(NOW - YEAR, NOW, risk_units, span_limits_ms=known) == sorted(rows)
    ledger.requests.clear()
    assert ledger.read(NOW - YEAR, NOW, risk_units, span_limits_ms=known) == sorted(rows)
    spans = [dict(request.params) for request in ledger.requests]
    assert max(asked["endTime"] - asked["startTime"] for asked in spans if "endTime" in asked) <= limit


@pytest.mark.parametrize("code", sorted(SPAN_CODES))
@pytest.mark.parametrize("path", PATHS)
def test_the_first_refusal_is_raised_when_a_day_is_refused_too(path: str, code: int) -> None:
    """A code that means something else than the span ends the read, with what Binance said at first."""
    risk_units, closed = PATHS[path]
    ledger = Ledger([(NOW - DAY, 1)], closed, max_span_ms=DAY - 1, refusal=code)
    with pytest.raises(RequestRefusedError, match="says answer 1") as caught:
        ledger.read(NOW - YEAR, NOW, risk_units)
    assert caught.value.code == code
    spans = [dict(request.params) for request in ledger.requests]
    assert spans[-1]["endTime"] - spans[-1]["startTime"] == DAY
