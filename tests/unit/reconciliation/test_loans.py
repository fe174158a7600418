"""What is owed, of a few records by hand: what Binance leaves open is neither equal nor a difference."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.time_range import TimeRange
from airflow_provider_binance_loan.reconciliation.check import judge_roundings
from airflow_provider_binance_loan.reconciliation.datasets import Pulled, check_datasets

HOUR = 3_600_000
START = 1_772_323_200_000  # 2026-03-01T00:00Z
WINDOW = TimeRange(START, START + 24 * HOUR)

Row = dict[str, Any]
LOANS = [{"assetName": "USDT", "principal": "100", "interest": "1"}]


def liquidation(at: float, end: float | None, *, principal: str = "100", **fields: Any) -> Row:
    """Return a liquidation that starts and ends so many hours after the start of the window."""
    loan = {"assetName": "USDT", "principal": principal, "interest": "1"}
    return {
        "groupId": 6,
        "startLtv": "0.912",
        "endLtv": "0",
        "liquidationStartTime": START + int(at * HOUR),
        "liquidationEndTime": end and START + int(end * HOUR),
        "totalNetEquity": "110.75",
        "totalMaintenanceMargin": "0",
        "totalLiability": "101",
        "liquidationSnapshot": {"snapshots": [], "liabilities": [loan]},
        **fields,
    }


def transaction(at: float, kind: str = "FORCE_REPAY", principal: str = "100", **fields: Any) -> Row:
    amount = principal if kind == "BORROW" else str(int(principal) + 1)
    return {
        "asked_group_id": 6,
        "occurrence": 0,
        "tranId": int(at * HOUR),
        "assetName": "USDT",
        "amount": amount,
        "principal": None if kind == "BORROW" else principal,
        "interest": None if kind == "BORROW" else "1",
        "status": "CONFIRM",
        "type": kind,
        "timestamp": START + int(at * HOUR),
        **fields,
    }


def transfer(at: float | None, amount: str = "101") -> Row:
    """Return a record of one transfer."""
    moved = {
        "transferTime": None if at is None else START + int(at * HOUR),
        "toUid": 7,
        "status": "CONFIRM",
        "assets": [{"assetName": "USDT", "amount": amount}],
    }
    return {"liquidationId": 3, "liquidationTransferRecord": [moved]}


def rows(
    check: str, liquidations: list[Row], transactions: list[Row], transfers: Iterable[Row] = ()
) -> list[tuple[str, str | None]]:
    """Return the outcome and the note of each row of a check."""
    pulled = Pulled(liquidations, [], transactions, transfers, [], [])
    table = check_datasets(pulled, WINDOW, "all")
    return [(row["outcome"], row["note"]) for row in table if row["check"] == check]


@pytest.mark.parametrize(
    ("one", "transactions", "outcome"),
    [
        (liquidation(1, 2), [transaction(2)], "equal"),
        (liquidation(1, 2), [transaction(1)], "equal"),  # in its first millisecond
        (liquidation(1, 2), [transaction(1.5, principal="60"), transaction(2, principal="40")], "equal"),
        (liquidation(1, 2), [transaction(1.5, "NORMAL_REPAY")], "equal"),
        (liquidation(1, 2), [transaction(1.5, status="FAILED"), transaction(2)], "equal"),
        (liquidation(1, 2), [transaction(2, principal="99")], "different"),
        (liquidation(1, 2), [], "different"),
        (liquidation(1, 2), [transaction(2), transaction(1.5)], "different"),
        (liquidation(1, 2, endLtv="0.5"), [transaction(2, principal="60")], "not_compared"),
        (liquidation(1, 2, endLtv="0.5"), [transaction(2, principal="101")], "different"),
        (liquidation(1, 2, endLtv=None), [transaction(2, principal="60")], "not_compared"),
        (liquidation(1, 2, startLtv="1"), [transaction(2, principal="60")], "not_compared"),
        (liquidation(1, 2, startLtv="1"), [transaction(2, principal="101")], "different"),
        (liquidation(1, 2, startLtv="1"), [transaction(2)], "equal"),
        (liquidation(1, None), [], "not_compared"),
        (liquidation(1, 25), [], "not_compared"),
        (liquidation(-1, 2), [transaction(2)], "not_compared"),
        (liquidation(1, 2), [transaction(1.5, "BORROW"), transaction(2)], "not_compared"),
        (liquidation(1, 2), [transaction(2, "REPAY")], "not_compared"),
        (liquidation(1, 2), [transaction(2, status="PENDING")], "not_compared"),
        (liquidation(1, 2), [transaction(2, principal="100") | {"principal": None}], "not_compared"),
        (liquidation(1, 2), [transaction(2, assetName=None)], "not_compared"),
        (liquidation(1, 2), [transaction(2, asked_group_id=None)], "not_compared"),
        (liquidation(1, 2, principal="INF"), [transaction(2)], "not_compared"),
    ],
)
def test_what_a_liquidation_repaid(one: Row, transactions: list[Row], outcome: str) -> None:
    """Only a liquidation that is whole in the window, and has repaid all, can be compared."""
    assert [found for found, _ in rows("forced_principal", [one], transactions)] == [outcome]


@pytest.mark.parametrize(
    ("first", "transactions", "outcome"),
    [
        (liquidation(1, 2), [transaction(2), transaction(3, "BORROW")], "equal"),
        (liquidation(1, 2), [transaction(1), transaction(3, "BORROW")], "equal"),
        (liquidation(1, 2), [transaction(2), transaction(4, "BORROW")], "equal"),
        (liquidation(1, 2), [transaction(2), transaction(3, "BORROW", principal="99")], "different"),
        (liquidation(1, 2), [transaction(2)], "different"),
        (liquidation(1, 4.5), [transaction(2), transaction(3, "BORROW")], "not_compared"),  # they overlap
        (liquidation(-1, 2), [transaction(2), transaction(3, "BORROW")], "not_compared"),
        (liquidation(1, 2), [transaction(2), transaction(3, "LEND")], "not_compared"),
        (liquidation(1, 2, principal="INF"), [transaction(2), transaction(3, "BORROW")], "not_compared"),
    ],
)
def test_what_is_owed_at_the_next_liquidation(first: Row, transactions: list[Row], outcome: str) -> None:
    """It is compared where the window has all that changed it."""
    pair = [liquidation(4, 5), first]
    assert [found for found, _ in rows("ledger_principal", pair, transactions)] == [outcome]


def test_a_repayment_without_a_liquidation_is_a_difference() -> None:
    """One before the first liquidation may be of a liquidation before the window; one after it is not."""
    early = rows("forced_repayment_time", [liquidation(3, 4)], [transaction(1), transaction(4)])
    assert [outcome for outcome, _ in early] == ["equal", "not_compared"]
    late = rows("forced_repayment_time", [liquidation(1, 2)], [transaction(2), transaction(4)])
    assert late == [("different", "the first without a liquidation was at 2026-03-01T04:00:00Z")]


def test_a_repayment_of_an_unknown_unit_is_counted() -> None:
    """Where Binance does not say whose a repayment is, its time is not compared."""
    found = rows("forced_repayment_time", [liquidation(1, 2)], [transaction(4, asked_group_id=None)])
    assert found == [("not_compared", "repayments by force whose risk unit is unknown: 1")]


@pytest.mark.parametrize(
    ("member_type", "outcome"),
    [("COLLATERAL", "different"), ("CREDIT", "not_compared"), (None, "not_compared"), ("A", "not_compared")],
)
def test_what_the_credit_account_paid_itself(member_type: str | None, outcome: str) -> None:
    """Only where the record says that it held too little, a transfer that is too small is a difference."""
    held = [{"memberType": member_type, "netEquity": "110.75", "maintainMargin": "0"}]
    one = liquidation(1, 2, liquidationSnapshot={"snapshots": held, "liabilities": LOANS})
    assert [found for found, _ in rows("transfers", [one], [transaction(2)])] == [outcome]


@pytest.mark.parametrize("others", [[], transfer(1.5, "1")["liquidationTransferRecord"]])
def test_a_transfer_without_a_time_is_not_compared(others: list[Row]) -> None:
    """It may be of any liquidation, so the row of one that lacks a transfer says that."""
    one = liquidation(1, 2, liquidationSnapshot=wallets("0") | {"liabilities": LOANS})
    record = transfer(None)
    record["liquidationTransferRecord"] += others
    given = [one], [transaction(2)], [record]
    assert rows("transfer_time", *given) == [("not_compared", "a transfer has no transferTime")]
    assert rows("transfers", *given) == [
        ("not_compared", "which record of transfers is of it is not certain")
    ]


@pytest.mark.parametrize(
    ("repaid_at", "amount", "outcome", "note"),
    [
        (1, "101", "equal", "counting repayments in its first millisecond"),
        (2, "101", "equal", None),
        (2, "102", "different", "more was transferred than repaid"),
    ],
)
def test_a_repayment_in_the_first_millisecond_may_be_of_it(
    repaid_at: float, amount: str, outcome: str, note: str | None
) -> None:
    """The transfers are compared with and without it, as what it repaid is."""
    one = liquidation(1, 2, liquidationSnapshot=wallets("0") | {"liabilities": LOANS})
    given = [one], [transaction(repaid_at)], [transfer(1.5, amount)]
    assert rows("transfers", *given) == [(outcome, note)]


def test_a_zero_has_no_sign() -> None:
    """What was not repaid is 0."""
    table = check_datasets(Pulled([liquidation(1, 2)], [], [], [], [], []), WINDOW, "all")
    figures = {row[name] for row in table for name in ("expected", "found", "difference")}  # type: ignore[literal-required]
    assert "0" in figures
    assert [figure for figure in figures if figure and figure.startswith("-0") and not float(figure)] == []


def test_a_key_that_comes_twice_is_named() -> None:
    """The same contents are a difference; other contents, such as another asset, are not compared."""
    other = transaction(2, assetName="USDC", occurrence=1)
    found = rows("repeated_transaction", [], [transaction(2), other, transaction(2, occurrence=2)])
    assert [outcome for outcome, _ in found] == ["not_compared", "different"]


@pytest.mark.parametrize(
    ("exact", "equities", "outcome"),
    [
        (0, ("60", "50.75"), "not_compared"),
        (9, ("60", "50.75"), "not_compared"),
        (10, ("60", "50.75"), "different"),
        (10, ("110.75", "0"), "not_compared"),  # one figure is the same, however it is rounded
    ],
)
def test_a_rounding_is_one_if_others_are_rounded_too(
    exact: int, equities: tuple[str, ...], outcome: str
) -> None:
    """Where all other comparisons of a check are exact to the last digit, one that is not is a difference."""
    right = [liquidation(at / 10, 24, liquidationSnapshot=wallets(*equities)) for at in range(exact)]
    doubtful = liquidation(20, 24, liquidationSnapshot=wallets("60", "50.75"), totalNetEquity="110.75000001")
    table = check_datasets(Pulled([*right, doubtful], [], [], [], [], []), WINDOW, "all")
    found = [row for row in judge_roundings(table) if row["check"] == "net_equity"]
    assert [row["outcome"] for row in found] == [*["equal"] * exact, outcome]


def test_one_figure_is_not_off_by_rounding() -> None:
    """A total of one wallet is that of the wallet, to the last digit."""
    one = liquidation(1, 2, liquidationSnapshot=wallets("110.75", "0"), totalNetEquity="110.75000001")
    assert rows("net_equity", [one], []) == [("different", None)]


def wallets(*equities: str) -> Row:
    """Return the snapshot of wallets that hold so much."""
    held = [{"memberType": "CREDIT", "netEquity": text, "maintainMargin": "0"} for text in equities]
    return {"snapshots": held, "liabilities": []}
