"""The condition for LTVs: one at or above its level, or all below."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.snapshots import Sample
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.ltv_condition import parse_ltv_condition, write_levels

NOW_MS = 1_772_366_400_000


def sample(**ltvs: str | None) -> Sample:
    """A sample of risk units, by names such as `u6`."""
    records = [
        {
            "groupId": int(name[1:]),
            "ltv": ltv,
            "totalLiability": "1",
            "totalNetEquity": "2",
            "totalMaintenanceMargin": "0",
            "maxAllowedBorrowLimit": "0",
        }
        for name, ltv in ltvs.items()
    ]
    return Sample(NOW_MS, records)


@pytest.mark.parametrize(
    ("arguments", "ltvs", "found"),
    [
        ({"at_or_above": 0.8}, {"u6": "0.79", "u7": "0.5"}, None),
        ({"at_or_above": 0.8}, {"u6": "0.8", "u7": "0.5"}, [6]),
        ({"at_or_above": "0.80"}, {"u6": "0.8", "u7": "0.9"}, [6, 7]),
        ({"at_or_above": 0.8}, {"u6": None, "u7": "0.9"}, [7]),
        ({"at_or_above": 0.8}, {"u6": None}, None),
        ({"at_or_above": 0.8}, {}, None),
        ({"at_or_above": {6: 0.8}}, {"u6": "0.7", "u7": "0.9"}, None),
        ({"at_or_above": {6: 0.8, "7": "0.6"}}, {"u6": "0.7", "u7": "0.6"}, [7]),
        ({"below": 0.8}, {"u6": "0.8", "u7": "0.5"}, None),
        ({"below": 0.8}, {"u6": "0.79", "u7": "0.5"}, [6, 7]),
        ({"below": 0.8}, {"u6": "0.79", "u7": None}, None),
        ({"below": 0.8}, {"u6": "0.79", "u7": "0"}, None),
        ({"below": 0.8}, {}, None),
        ({"below": {6: 0.8}}, {"u6": "0.79", "u7": "0.9"}, [6]),
        ({"below": {6: 0.8}}, {"u6": "0.79", "u7": None}, [6]),
        ({"below": {6: 0.8, 8: 0.8}}, {"u6": "0.79"}, [6]),
        ({"below": {8: 0.8}}, {"u6": "0.79"}, None),
    ],
)
def test_ends_the_wait(
    arguments: dict[str, Any], ltvs: dict[str, str | None], found: list[int] | None
) -> None:
    """An unknown LTV crosses nothing and holds `below` back; one that is gone counts for neither."""
    event, _ = parse_ltv_condition(**{"at_or_above": None, "below": None, **arguments}).evaluate(
        sample(**ltvs)
    )
    assert (event and event["group_ids"]) == found


def test_names_what_is_unknown_and_gone() -> None:
    """The event, and the line in the log of a wait that goes on, name risk units without an LTV."""
    condition = parse_ltv_condition({6: 0.8, 7: 0.8, 8: 0.8}, None)
    event, _ = condition.evaluate(sample(u6="0.81", u7=None))
    assert event
    assert (event["unknown"], event["gone"], event["count"]) == ([7], [8], 1)
    assert event["asked_at"] == "2026-03-01T12:00:00+00:00"
    assert json.loads(json.dumps(event)) == event
    assert event["units"][0]["distance"] == "0.01"
    _, reason = condition.evaluate(sample(u6="0.70", u7=None))
    assert reason == ("highest for its level is risk unit 6, LTV 0.70, level 0.8; unknown: 7; gone: 8.")
    _, reason = condition.evaluate(sample(u7=None))
    assert reason == "no risk unit has an LTV to watch; unknown: 7; gone: 6, 8."


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"at_or_above": 0.80}, "an LTV at or above 0.8 for all risk units"),
        ({"below": {6: "0.7", 7: 1}}, "all LTVs below 0.7 for risk unit 6, 1 for risk unit 7"),
    ],
)
def test_survives_its_row(arguments: dict[str, Any], text: str) -> None:
    """Written as a trigger's arguments, and read again, it is the same; its text completes "Waiting for"."""
    condition = parse_ltv_condition(**{"at_or_above": None, "below": None, **arguments})
    stored = json.loads(json.dumps(write_levels(condition)))
    assert parse_ltv_condition(**{"at_or_above": None, "below": None, **stored}) == condition
    assert str(condition) == text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "one of the two: neither is set"),
        ({"at_or_above": 0.8, "below": 0.7}, "one of the two: both are set"),
        ({"at_or_above": {6: 0.7, "6": 0.8}}, "Give at_or_above one level for risk unit 6: it has two"),
        ({"at_or_above": {}}, "Give at_or_above as a level, or as levels by risk unit: it is empty"),
        ({"below": {"six": 0.7}}, "Give below as levels by id of a risk unit: it has 'six'"),
        ({"below": {True: 0.7}}, "by id of a risk unit: it has True"),
        ({"below": {6: 70}}, r"Give below\[6\] as a ratio"),
        ({"below": 0}, "Give below as a ratio"),
        ({"at_or_above": [0.7]}, "Give at_or_above as a ratio"),
        ({"at_or_above": ""}, "Give at_or_above as a ratio .*: it is empty"),
    ],
)
def test_refuses_wrong_arguments(arguments: dict[str, Any], text: str) -> None:
    """The error names the argument, and says what to give."""
    with pytest.raises(ConfigurationError, match=text):
        parse_ltv_condition(**{"at_or_above": None, "below": None, **arguments})
