"""The force liquidations of risk units.

https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/trade#get-risk-unit-force-liquidation-record
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypedDict

from airflow_provider_binance_loan.binance.fields import FieldType
from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset

if TYPE_CHECKING:
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord


class Snapshot(TypedDict):
    """One wallet of one account of the risk unit. Amounts are decimal strings."""

    subEmail: Annotated[str | None, FieldType.TEXT, "e-mail address of the account"]
    memberType: Annotated[str | None, FieldType.TEXT, "`CREDIT` or `COLLATERAL`"]
    walletType: Annotated[str | None, FieldType.TEXT, "`PORTFOLIO_MARGIN`, `SPOT` or `CROSS_MARGIN`"]
    netEquity: Annotated[str | None, FieldType.AMOUNT, "net equity in the wallet"]
    maintainMargin: Annotated[str | None, FieldType.AMOUNT, "maintenance margin that the wallet requires"]


class Liability(TypedDict):
    """One outstanding loan of the risk unit. Amounts are decimal strings, in units of the asset."""

    assetName: Annotated[str | None, FieldType.TEXT, "for example `USDT`"]
    principal: Annotated[str | None, FieldType.AMOUNT, "outstanding principal, in units of the asset"]
    interest: Annotated[str | None, FieldType.AMOUNT, "outstanding interest, in units of the asset"]


class LiquidationSnapshot(TypedDict):
    """The wallets and the loans of the risk unit; both are always lists, empty where Binance sent none."""

    snapshots: Annotated[list[Snapshot], "one entry for each wallet of each account"]
    liabilities: Annotated[list[Liability], "one entry for each loan"]


class ForceLiquidation(TypedDict):
    """One force liquidation of one risk unit.

    Every documented field is there, and None where Binance sent null or nothing. Fields that Binance does
    not document are kept after them. Amounts and LTVs are decimal strings in plain notation with every
    digit that Binance sent: `"0E-8"` becomes `"0.00000000"`, the number `16671.5507973` becomes
    `"16671.5507973"`.
    """

    groupId: Annotated[int, FieldType.INTEGER, "the risk unit"]
    startLtv: Annotated[str | None, FieldType.RATIO, "LTV when the liquidation started"]
    endLtv: Annotated[str | None, FieldType.RATIO, "latest LTV; changes while the liquidation runs"]
    liquidationStartTime: Annotated[int, FieldType.TIME, "when the liquidation started"]
    liquidationEndTime: Annotated[int | None, FieldType.TIME, "when it ended; null or 0 while it runs"]
    totalNetEquity: Annotated[str | None, FieldType.AMOUNT, "net equity of the risk unit"]
    totalMaintenanceMargin: Annotated[
        str | None, FieldType.AMOUNT, "maintenance margin that the risk unit requires"
    ]
    totalLiability: Annotated[str | None, FieldType.AMOUNT, "outstanding principal and interest"]
    liquidationSnapshot: Annotated[LiquidationSnapshot, "the wallets and the loans of the risk unit"]


def is_finished(record: AnyRecord) -> bool:
    """Return whether a liquidation has ended, so that its figures no longer change."""
    return bool(record["liquidationEndTime"])


def started_ms(record: AnyRecord) -> int:
    """Return when a liquidation began, in epoch milliseconds."""
    start_ms: int = record["liquidationStartTime"]
    return start_ms


FORCE_LIQUIDATIONS = WindowedDataset(
    name="force_liquidations",
    path="/sapi/v1/margin/loan-group/force-liquidation",
    record=ForceLiquidation,
    key_fields=("liquidationStartTime", "groupId"),
    table="liquidations",
    poll_fields=frozenset({"liquidationEndTime"}),
    time_ms=started_ms,
    start_ms=started_ms,
    is_final=is_finished,
)
