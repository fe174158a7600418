"""The transfers of collateral to the credit account during force liquidations.

https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/trade#get-risk-unit-force-liquidation-transfer-record
"""

from __future__ import annotations

from typing import Annotated, TypedDict

from airflow_provider_binance_loan.binance.fields import FieldType
from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset, no_time


class TransferredAsset(TypedDict):
    """An amount of one asset that a transfer moved."""

    assetName: Annotated[str | None, FieldType.TEXT, "for example `USDT`"]
    amount: Annotated[str | None, FieldType.AMOUNT, "the amount, in units of the asset"]


class Transfer(TypedDict):
    """One transfer from a collateral account to the credit account."""

    transferTime: Annotated[int | None, FieldType.TIME, "when it was made"]
    fromUid: Annotated[int | None, FieldType.INTEGER, "UID of the account that gave"]
    fromAccountType: Annotated[str | None, FieldType.TEXT, "its wallet, for example `SPOT`"]
    toUid: Annotated[int | None, FieldType.INTEGER, "UID of the account that received"]
    toAccountType: Annotated[str | None, FieldType.TEXT, "its wallet"]
    status: Annotated[str | None, FieldType.TEXT, "for example `CONFIRM`"]
    assets: Annotated[list[TransferredAsset], "what was moved, one entry for each asset"]


class LiquidationTransfers(TypedDict):
    """The transfers of one liquidation. The list grows while the liquidation runs.

    `liquidationId` is in no other record of Binance's: the time and the accounts of the transfers tell which
    liquidation it is. Fields that Binance does not document are kept after these.
    """

    liquidationId: Annotated[int, FieldType.INTEGER, "the liquidation"]
    liquidationTransferRecord: Annotated[list[Transfer], "its transfers; empty before the first one"]


LIQUIDATION_TRANSFERS = WindowedDataset(
    name="liquidation_transfers",
    path="/sapi/v1/margin/loan-group/force-liquidation-transfer-record",
    record=LiquidationTransfers,
    key_fields=("liquidationId",),
    table="liquidation_transfers",
    # By which time Binance selects a row is not documented: its transfers', of which it may have none, or its
    # liquidation's. So each row belongs to every window that it is returned for.
    time_ms=no_time,
    group_field=None,
)
