"""The condition of a wait: its arguments, the window that it reads, and the event for matching records."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_binance_loan.conditions import (
    LiquidationCondition,
    parse_liquidation_condition,
    require_poll_interval,
)
from airflow_provider_binance_loan.exceptions import ConfigurationError

SINCE_MS = int(datetime(2026, 3, 1, 9, tzinfo=UTC).timestamp() * 1000)
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
SINCE = "2026-03-01T09:00:00+00:00"


def parse(**arguments: Any) -> LiquidationCondition:
    return parse_liquidation_condition(
        **{
            "since_ms": SINCE_MS,
            "wait_for": "started",
            "lookback": timedelta(days=7),
            "risk_units": "all",
            **arguments,
        }
    )


def record(group_id: int, start_ms: int, end_ms: int | None = None) -> dict[str, Any]:
    """Return the fields that a condition reads, with an amount and an address that no event may hold."""
    return {
        "groupId": group_id,
        "liquidationStartTime": start_ms,
        "liquidationEndTime": end_ms,
        "startLtv": "0.91",
        "liquidationSnapshot": {"snapshots": [{"subEmail": "a@test.com"}], "liabilities": []},
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, LiquidationCondition(since_ms=SINCE_MS)),
        ({"risk_units": "7, 6"}, LiquidationCondition(since_ms=SINCE_MS, risk_units=(7, 6))),
        ({"risk_units": [6]}, LiquidationCondition(since_ms=SINCE_MS, risk_units=(6,))),
        ({"since_ms": 0}, LiquidationCondition(since_ms=0)),
        (
            {"wait_for": "finished"},
            LiquidationCondition(since_ms=SINCE_MS, wait_for="finished", lookback_ms=7 * DAY_MS),
        ),
        (
            {"wait_for": "finished", "lookback": timedelta()},
            LiquidationCondition(since_ms=SINCE_MS, wait_for="finished", lookback_ms=0),
        ),
        (
            {"wait_for": "finished", "since_ms": DAY_MS, "lookback": timedelta(days=1)},
            LiquidationCondition(since_ms=DAY_MS, wait_for="finished", lookback_ms=DAY_MS),
        ),
    ],
)
def test_parses_arguments(arguments: dict[str, Any], expected: LiquidationCondition) -> None:
    """The arguments become a condition, whose lookback serves liquidations that finish alone."""
    assert parse(**arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"wait_for": "ended"}, "wait_for"),
        ({"wait_for": None}, "wait_for"),
        ({"wait_for": []}, "wait_for"),
        ({"lookback": 7}, "lookback"),
        ({"lookback": timedelta(-1)}, "lookback"),
        ({"lookback": timedelta(days=800_000)}, "lookback"),
        ({"wait_for": "finished", "since_ms": DAY_MS}, "lookback"),
        ({"risk_units": "six"}, "risk_units"),
        ({"risk_units": []}, "risk_units"),
    ],
)
def test_refuses_wrong_arguments(arguments: dict[str, Any], named: str) -> None:
    """A wrong argument is an error that begins with what to give, and names it."""
    with pytest.raises(ConfigurationError, match=rf"^Give .*{named}"):
        parse(**arguments)


@pytest.mark.parametrize(
    ("arguments", "now_ms", "start_ms", "end_ms"),
    [
        ({}, SINCE_MS + DAY_MS, SINCE_MS, SINCE_MS + DAY_MS + MINUTE_MS),
        ({}, SINCE_MS - DAY_MS, SINCE_MS, SINCE_MS + MINUTE_MS),
        (
            {"wait_for": "finished"},
            SINCE_MS + DAY_MS,
            SINCE_MS - 7 * DAY_MS,
            SINCE_MS + DAY_MS + MINUTE_MS,
        ),
    ],
    ids=["started", "in the future", "finished"],
)
def test_reads_up_to_the_present(arguments: dict[str, Any], now_ms: int, start_ms: int, end_ms: int) -> None:
    """The window reaches a minute past the present, as Binance's clock may be ahead, and is never empty."""
    assert parse(**arguments).window(now_ms) == (start_ms, end_ms)


@pytest.mark.parametrize(
    ("wait_for", "records", "expected"),
    [
        ("started", [], None),
        ("started", [record(6, SINCE_MS - 1, SINCE_MS + 1)], None),
        (
            "started",
            [record(6, SINCE_MS)],
            {"count": 1, "group_ids": [6], "start": SINCE, "end": "2026-03-01T09:00:00.001000+00:00"},
        ),
        (
            "started",
            [record(7, SINCE_MS + 5, SINCE_MS + 9), record(6, SINCE_MS - 1), record(6, SINCE_MS)],
            {"count": 2, "group_ids": [6, 7], "start": SINCE, "end": "2026-03-01T09:00:00.006000+00:00"},
        ),
        (
            "started",
            [record(6, SINCE_MS), record(6, SINCE_MS + 1)],
            {"count": 2, "group_ids": [6], "start": SINCE, "end": "2026-03-01T09:00:00.002000+00:00"},
        ),
        ("finished", [record(6, SINCE_MS), record(6, SINCE_MS, 0)], None),
        ("finished", [record(6, SINCE_MS - 2, SINCE_MS - 1)], None),
        (
            "finished",
            [record(6, SINCE_MS - MINUTE_MS, SINCE_MS), record(7, SINCE_MS)],
            {
                "count": 1,
                "group_ids": [6],
                "start": "2026-03-01T08:59:00+00:00",
                "end": "2026-03-01T08:59:00.001000+00:00",
            },
        ),
    ],
)
def test_makes_an_event_of_the_records_that_match(
    wait_for: str, records: list[dict[str, Any]], expected: dict[str, Any] | None
) -> None:
    """The event counts the matching records, and its window holds each of them by its start."""
    event = parse(wait_for=wait_for).event(records)
    assert event == expected
    assert json.loads(json.dumps(event)) == event


@pytest.mark.parametrize("value", [1, 1.5, 60, 7 * 24 * 60 * 60])
def test_takes_a_poll_interval(value: float) -> None:
    """A poll interval is from one second to a week."""
    require_poll_interval(value, "poke_interval")
    with pytest.raises(ConfigurationError, match="poke_interval as a number of seconds from 1 to 604800"):
        require_poll_interval(-value, "poke_interval")


@pytest.mark.parametrize("value", [0, 0.9, 604_801, float("nan"), float("inf"), True, "60", None])
def test_refuses_a_poll_interval(value: Any) -> None:
    """Anything else is refused under the argument's own name."""
    with pytest.raises(ConfigurationError, match=r"^Give max_wait as a number of seconds"):
        require_poll_interval(value, "max_wait")
