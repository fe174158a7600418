"""The risk units of the parent account that are active.

https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/risk-unit#query-active-risk-units
"""

from __future__ import annotations

from typing import Annotated, TypedDict

from airflow_provider_binance_loan.binance.declaration import Snapshot
from airflow_provider_binance_loan.binance.fields import FieldType
from airflow_provider_binance_loan.binance.own_columns import ASKED_AT


class Member(TypedDict):
    """One account of a risk unit."""

    email: Annotated[str | None, FieldType.TEXT, "e-mail address of the account"]
    type: Annotated[str | None, FieldType.TEXT, "`CREDIT` or `COLLATERAL`"]
    enableMargin: Annotated[bool | None, FieldType.FLAG, "whether its margin wallet is collateral"]
    enableSpot: Annotated[bool | None, FieldType.FLAG, "whether its spot wallet is collateral"]


class ActiveRiskUnit(TypedDict):
    """A risk unit that is active. Fields that Binance does not document are kept after these."""

    asked_at: Annotated[int, FieldType.TIME, "when Binance was asked, by its own clock"]
    groupId: Annotated[int, FieldType.INTEGER, "the risk unit"]
    members: Annotated[list[Member], "one entry for each account"]
    createTime: Annotated[int | None, FieldType.TIME, "when it was created, or last updated"]


ACTIVE_RISK_UNITS = Snapshot(
    name="active_risk_units",
    path="/sapi/v1/margin/loan-groups/activated",
    record=ActiveRiskUnit,
    key_fields=("groupId", ASKED_AT),
    weight=10,
    for_parent=True,
    marks=frozenset({"members", "createTime"}),
    table="risk_units",
)
