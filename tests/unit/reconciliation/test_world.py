"""The datasets of the sandbox's world agree: over a year, in any window, and without one of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from airflow_provider_binance_loan.binance.time_range import TimeRange
from airflow_provider_binance_loan.reconciliation.check import Check, judge_roundings
from airflow_provider_binance_loan.reconciliation.datasets import Missing, Pulled, check_datasets
from airflow_provider_binance_loan.sandbox.exchange import HISTORY_START_MS, Exchange
from tests.support.clock import NOW
from tests.support.reconciled import records_of

DAY_MS = 86_400_000
NOW_MS = int(NOW.timestamp() * 1000)

# How many rows of each check are equal, at least. The others need a conversion, or are of a liquidation that
# left a part of the loans, or of one whose credit account may have paid a part itself.
EQUAL_SHARES = {
    "net_equity": 1,
    "maintenance_margin": 1,
    "ltv": 1,
    "liabilities": 0.78,
    "interest_rate": 0.95,  # the interest of 0.06 USDT has too few digits
    "repayment_parts": 1,
    "forced_principal": 0.24,
    "forced_interest": 0.24,
    "forced_repayment_time": 1,
    "ledger_principal": 0.99,
    "ledger_interest": 0.99,
    "charged_principal": 0.5,
    "transfer_time": 0.99,
    "transfers": 0.14,
    "net_equity_now": 1,
    "maintenance_margin_now": 1,
    "ltv_now": 1,
    "liabilities_now": 0.5,
}


def differences(table: list[Check]) -> list[Check]:
    return [row for row in table if row["outcome"] == "different"]


def test_a_year_agrees() -> None:
    """The first year of the world has no difference, and most of its rows are compared."""
    end = datetime.fromtimestamp(HISTORY_START_MS / 1000, UTC) + timedelta(days=365)
    exchange = Exchange(clock=end.timestamp)
    records = records_of(exchange, HISTORY_START_MS, HISTORY_START_MS + 365 * DAY_MS)
    assert len(records.liquidations) > 12_000
    table = records.table()
    assert differences(table) == []
    rows, equal = (
        Counter(row["check"] for row in table),
        Counter(row["check"] for row in table if row["outcome"] == "equal"),
    )
    assert rows.keys() == EQUAL_SHARES.keys()
    too_few = {
        check: equal[check] / rows[check]
        for check, share in EQUAL_SHARES.items()
        if equal[check] / rows[check] < share
    }
    assert too_few == {}
    assert equal.total() / rows.total() > 0.74


@pytest.mark.parametrize("seed", range(6))
def test_a_window_that_begins_and_ends_anywhere_agrees(seed: int) -> None:
    """Liquidations, loans and hours that a window cuts are no differences."""
    random, exchange = Random(seed), Exchange(seed=seed, clock=NOW.timestamp)
    for _ in range(8):
        start_ms = NOW_MS - random.randrange(30 * DAY_MS)
        end_ms = min(NOW_MS, start_ms + random.choice((3_600_000, 6 * 3_600_000, DAY_MS)))
        records = records_of(exchange, start_ms, end_ms)
        assert differences(records.table()) == []


@pytest.mark.parametrize("name", Pulled._fields)
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_equal_without_its_dataset(seed: int, name: str) -> None:
    """Without a dataset the rest of the table is as it was, and what needed it says why it is missing."""
    records = records_of(Exchange(seed=seed, clock=NOW.timestamp), NOW_MS - 2 * DAY_MS, NOW_MS)
    pulled = records.pulled()
    whole = {str(row) for row in records.table() if row["outcome"] == "equal"}
    table = judge_roundings(
        check_datasets(pulled._replace(**{name: Missing("it is not for this key")}), records.window, "all")
    )
    assert differences(table) == []
    equal = {str(row) for row in table if row["outcome"] == "equal"}
    assert equal <= whole
    assert (equal == whole) is (name == "closed_risk_units")  # not compared where all are asked for
    assert [row["check"] for row in table if row["note"] == f"{name}: it is not for this key"] != []


def test_nothing_is_equal_without_any_dataset() -> None:
    """A table of a key that may read nothing has a row for each check, and none is equal."""
    nothing = Pulled(*(Missing("no") for _ in Pulled._fields))
    table = check_datasets(nothing, TimeRange(0, DAY_MS), "all")
    assert {row["outcome"] for row in table} == {"not_compared"}
    assert {row["check"] for row in table} == {*EQUAL_SHARES, "closed_risk_unit", "repeated_transaction"}


@pytest.mark.parametrize(
    ("risk_units", "outcomes"),
    [
        ("all", []),  # nothing could be missing
        ("active", ["different", "different"]),
        ((3,), ["not_compared"]),
        ((1, 3, 8), ["equal"]),
    ],
)
def test_a_closed_risk_unit_must_be_asked_for(risk_units: object, outcomes: list[str]) -> None:
    """Units 3 and 8 were open in the window, and are closed by now, so the active ones are not enough."""
    close_ms = 1_757_840_000_000
    records = records_of(Exchange(clock=NOW.timestamp), close_ms - 3_600_000, close_ms)
    table = check_datasets(records.pulled(), records.window, risk_units)  # type: ignore[arg-type]
    about = [row for row in table if row["check"] == "closed_risk_unit"]
    assert [row["outcome"] for row in about] == outcomes


def test_unknown_risk_units_of_transactions_are_not_compared() -> None:
    """Where the key does not tell whose a transaction is, it may be of any unit."""
    records = records_of(Exchange(seed=1, clock=NOW.timestamp), NOW_MS - DAY_MS, NOW_MS)
    unknown = [row | {"asked_group_id": None} for row in records.transactions]
    table = replace(records, transactions=unknown).table()
    assert differences(table) == []
    needs = {"forced_principal", "ledger_principal", "transfers"}
    found = [row for row in table if row["check"] in needs]
    assert {row["check"] for row in found} == needs
    assert {row["outcome"] for row in found} == {"not_compared"}
