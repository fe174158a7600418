"""The loan-to-value (LTV) of risk units, computed by Binance at the moment of the request.

https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/account#query-risk-unit-details
"""

from __future__ import annotations

from typing import Annotated, TypedDict

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.force_liquidations import Liability
from airflow_provider_binance_loan.binance.declaration import Snapshot
from airflow_provider_binance_loan.binance.fields import IN_INNER_ROWS, FieldType
from airflow_provider_binance_loan.binance.own_columns import ASKED_AT
from airflow_provider_binance_loan.binance.plans import Plan, gather
from airflow_provider_binance_loan.binance.snapshots import Sample, read_snapshot
from airflow_provider_binance_loan.exceptions import TransientError


class Wallet(TypedDict):
    """One wallet of an account. Amounts are decimal strings."""

    accountType: Annotated[str | None, FieldType.TEXT, "`PORTFOLIO_MARGIN`, `SPOT` or `CROSS_MARGIN`"]
    netEquity: Annotated[str | None, FieldType.AMOUNT, "net equity in the wallet"]
    maintainMargin: Annotated[str | None, FieldType.AMOUNT, "maintenance margin that the wallet requires"]


class CollateralAccount(TypedDict):
    """One account of the risk unit, with its wallets: always a list, empty where Binance sent none."""

    email: Annotated[str | None, FieldType.TEXT, "e-mail address of the account"]
    type: Annotated[str | None, FieldType.TEXT, "`CREDIT` or `COLLATERAL`"]
    wallets: Annotated[list[Wallet], "one entry for each wallet of the account"]


class RiskUnitLtv(TypedDict):
    """The LTV of one risk unit at one moment, and the figures that it is computed from.

    Every documented field is there, and None where Binance sent null or nothing. Fields that Binance does
    not document are kept after them. Amounts and LTVs are decimal strings in plain notation with every
    digit that Binance sent.
    """

    asked_at: Annotated[int, FieldType.TIME, "when Binance was asked, by its own clock"]
    groupId: Annotated[int, FieldType.INTEGER, "the risk unit"]
    parentEmail: Annotated[str | None, FieldType.TEXT, "e-mail address of the parent account"]
    creditEmail: Annotated[str | None, FieldType.TEXT, "e-mail address of the credit account"]
    updateTime: Annotated[int | None, FieldType.TIME, "last update; may stand still between calls"]
    ltv: Annotated[str | None, FieldType.RATIO_OR_EMPTY, "the LTV; null while Binance states none"]
    totalNetEquity: Annotated[str | None, FieldType.AMOUNT, "net equity of the risk unit"]
    totalMaintenanceMargin: Annotated[
        str | None, FieldType.AMOUNT, "maintenance margin that the risk unit requires"
    ]
    totalLiability: Annotated[str | None, FieldType.AMOUNT, "outstanding principal and interest"]
    parentAccountFrozenAmount: Annotated[str | None, FieldType.AMOUNT, "frozen amount of the parent account"]
    maxTransferOutAmount: Annotated[str | None, FieldType.AMOUNT, "the most that may be transferred out"]
    maxAllowedBorrowLimit: Annotated[str | None, FieldType.AMOUNT, "the most that may be borrowed"]
    liabilities: Annotated[list[Liability], "one entry for each loan"]
    collateralAccounts: Annotated[list[CollateralAccount], IN_INNER_ROWS, "one entry for each account"]


RISK_UNIT_LTVS = Snapshot(
    name="risk_unit_ltvs",
    path="/sapi/v1/margin/loan-group/ltv-details",
    record=RiskUnitLtv,
    key_fields=("groupId", ASKED_AT),
    weight=200,
    marks=frozenset({"ltv", "totalNetEquity", "totalLiability", "collateralAccounts"}),
    table="risk_units",
    poll_fields=frozenset(
        {"ltv", "totalNetEquity", "totalMaintenanceMargin", "totalLiability", "maxAllowedBorrowLimit"}
    ),
)


#: How Binance may refuse one endpoint to a key that it has just answered at another one.
NOT_CREDIT_CODES = frozenset({-2015, -3003, -3999})


def read_ltvs(dataset: Snapshot = RISK_UNIT_LTVS) -> Plan[Sample]:
    """Return the plan that reads the LTVs of all risk units that the key sees, sorted by risk unit.

    The key of a credit account whose risk unit is closed sees none. Any other key that sees none is of
    another account, or of a risk unit that is in neither list for a moment.

    :raises TransientError: the key sees no risk unit, and no closed one explains that.
    """
    for _ in range(2):  # once more, for a risk unit that was closed, or opened, between the two answers
        sample = yield from read_snapshot(dataset)
        if sample.records or (yield from _has_closed_unit()):
            return sample
    raise TransientError(
        "Use the key of the parent account, or of a unit's credit account: this key sees no risk unit.",
        path=dataset.path,
    )


def _has_closed_unit() -> Plan[bool]:
    request = CLOSED_RISK_UNITS.page_request(1)._replace(handled_codes=NOT_CREDIT_CODES)
    (answer,) = yield from gather([request])
    return answer.refusal is None and bool(answer.content.rows)


def read_visible_units() -> Plan[list[int]]:
    """Return the plan that reads the ids of the active risk units that the key sees; none if it may not."""
    request = RISK_UNIT_LTVS.for_polls.request()._replace(handled_codes=NOT_CREDIT_CODES)
    (answer,) = yield from gather([request])
    return [] if answer.refusal else sorted({record["groupId"] for record in answer.content})
