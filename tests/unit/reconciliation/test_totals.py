"""The totals and the LTV of a record: Binance's own examples, and what cannot be compared."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS
from airflow_provider_binance_loan.binance.decoding import decode
from airflow_provider_binance_loan.reconciliation.check import Check
from airflow_provider_binance_loan.reconciliation.totals import check_liquidations, check_ltvs
from tests.support.paths import DATA

EXAMPLE = (DATA / "documented-example.json").read_bytes()
LTV = (DATA / "documented-ltv.json").read_bytes()


def rows_of(**changes: Any) -> dict[str, Check]:
    """Return the rows of Binance's example, with some fields changed, by check."""
    (record,) = FORCE_LIQUIDATIONS.parse(decode(EXAMPLE)).rows
    return {row["check"]: row for row in check_liquidations([record | changes])}


def outcomes(**changes: Any) -> dict[str, str]:
    return {check: row["outcome"] for check, row in rows_of(**changes).items()}


def test_the_documented_liquidation_agrees() -> None:
    """Its wallets sum to a total that has lost its eighth decimal; its LTV of 1 is not compared."""
    rows = rows_of()
    assert rows["net_equity"] == {
        "check": "net_equity",
        "subject": "risk unit 6, liquidation of 2025-05-27T21:35:16.906Z",
        "expected": "16671.55079731",
        "found": "16671.5507973",
        "difference": "-0.00000001",
        "outcome": "equal",
        "note": "within its rounding",
    }
    assert rows["ltv"]["expected"] == "0.99978258"
    assert outcomes() == {
        "net_equity": "equal",
        "maintenance_margin": "equal",
        "liabilities": "equal",
        "ltv": "not_compared",
    }


def test_the_documented_ltv_agrees() -> None:
    """The figures of Binance's example of a risk unit are what its wallets and loans sum to."""
    records = RISK_UNIT_LTVS.parse(decode(LTV))
    rows = list(check_ltvs({"asked_at": 1_752_137_105_623, **record} for record in records))
    assert [(row["check"], row["outcome"]) for row in rows] == [
        ("net_equity_now", "equal"),
        ("maintenance_margin_now", "equal"),
        ("liabilities_now", "equal"),
        ("ltv_now", "equal"),
    ]


@pytest.mark.parametrize(
    ("total", "outcome"),
    [
        ("16671.55079731", "equal"),
        ("16671.5507974", "different"),  # a unit of its last decimal is more than half of it
        ("16671.550797", "equal"),
        ("16671.551", "equal"),
        ("16671.6", "not_compared"),  # it may be rounded, and it may be wrong
        ("16672", "different"),  # the liability has a decimal
        ("16671.55079732", "not_compared"),  # no more than what six rounded wallets may be off
        ("16671.55079741", "different"),
        ("26671.5507973", "different"),
        (None, "not_compared"),
        ("INF", "not_compared"),
    ],
)
def test_a_total_may_be_rounded(total: str | None, outcome: str) -> None:
    """Half a unit of the last decimal that the totals of a record have is rounding; more is a difference."""
    assert outcomes(totalNetEquity=total, totalLiability="16667.9")["net_equity"] == outcome


@pytest.mark.parametrize(
    ("start", "end", "outcome"),
    [
        ("0.99978258", "0", "equal"),
        ("0.9998", "0", "equal"),
        ("0.999", "0", "equal"),  # cut off, and not rounded
        ("1", "0.417", "equal"),  # the other LTV has decimals, so this one lost zeros
        ("1", "0", "not_compared"),
        ("0", "0", "not_compared"),
        ("2", "0", "different"),  # no rounding to a whole number explains it
        ("0.99", "0", "not_compared"),
        ("0.9", "0", "not_compared"),
        ("0.8", "0", "different"),
        ("0.99", "0.417", "different"),
        ("0.998", "0", "different"),
        ("0.99948", "0", "different"),
        (None, "0", "not_compared"),
    ],
)
def test_an_ltv_may_be_rounded(start: str | None, end: str, outcome: str) -> None:
    """An LTV is compared within 0.001 and its rounding, where its decimals are known."""
    assert outcomes(startLtv=start, endLtv=end)["ltv"] == outcome


@pytest.mark.parametrize(("equity", "margin"), [("0", "0"), ("5", "5"), ("-1", "0"), (None, "0")])
def test_a_formula_without_a_result_is_not_compared(equity: str | None, margin: str) -> None:
    """Where the net equity is not above the maintenance margin, or unknown, there is no LTV."""
    assert outcomes(totalNetEquity=equity, totalMaintenanceMargin=margin)["ltv"] == "not_compared"


@pytest.mark.parametrize("assets", [["USDC"], ["USDT", "USDC"], ["BTC"], [None], []])
def test_liabilities_of_other_assets_are_not_compared(assets: list[str | None]) -> None:
    """A total in dollars says nothing of other assets, even where the figures happen to agree."""
    loans = [{"assetName": asset, "principal": "16667.926", "interest": "0"} for asset in assets]
    snapshot = {"snapshots": [], "liabilities": loans}
    found = outcomes(liquidationSnapshot=snapshot)
    assert (found["liabilities"], found["net_equity"]) == ("not_compared", "not_compared")


def test_a_sum_is_exact() -> None:
    """More digits than Decimal's own context keeps, 28, are compared to the last one."""
    wallets = [
        {"memberType": "COLLATERAL", "netEquity": text, "maintainMargin": "0"}
        for text in ("123456789012345678901234567890.12345678", "0.00000001")
    ]
    snapshot = {"snapshots": wallets, "liabilities": []}
    right = "123456789012345678901234567890.12345679"
    assert rows_of(liquidationSnapshot=snapshot, totalNetEquity=right)["net_equity"]["outcome"] == "equal"
    wrong = rows_of(liquidationSnapshot=snapshot, totalNetEquity="1" + right)["net_equity"]
    assert (wrong["outcome"], wrong["difference"]) == (
        "different",
        "1000000000000000000000000000000.00000000",
    )


def test_a_table_is_json() -> None:
    """All values of a row go to XCom as they are."""
    rows = list(rows_of().values())
    assert json.loads(json.dumps(rows)) == rows
