"""A second dataset, which the package does not have, to prove that it knows datasets and no endpoint.

The transfers of liquidations: lists within lists, and records without a time of their own, or without any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

from airflow_provider_binance_loan.binance.declaration import WindowedDataset
from airflow_provider_binance_loan.binance.fields import FieldType


class TransferredAsset(TypedDict):
    """An amount that was transferred."""

    assetName: Annotated[str | None, FieldType.TEXT, "for example `USDT`"]
    amount: Annotated[str | None, FieldType.AMOUNT, "the amount"]


class Transfer(TypedDict):
    """A transfer of collateral."""

    transferTime: Annotated[int | None, FieldType.TIME, "when it was made"]
    fromUid: Annotated[int | None, FieldType.INTEGER, "the account that was debited"]
    fromAccountType: Annotated[str | None, FieldType.TEXT, "its wallet"]
    toUid: Annotated[int | None, FieldType.INTEGER, "the account that was credited"]
    toAccountType: Annotated[str | None, FieldType.TEXT, "its wallet"]
    status: Annotated[str | None, FieldType.TEXT, "the status"]
    assets: Annotated[list[TransferredAsset], "what was transferred"]


class TransferRecord(TypedDict):
    """The transfers of one liquidation."""

    liquidationId: Annotated[int, FieldType.INTEGER, "the liquidation"]
    liquidationTransferRecord: Annotated[list[Transfer], "its transfers"]


def latest_transfer_ms(record: Mapping[str, Any]) -> int | None:
    """Return the time of the latest transfer; None without transfers."""
    times = [transfer["transferTime"] for transfer in record["liquidationTransferRecord"]]
    return max((time for time in times if time), default=None)


TRANSFERS = WindowedDataset(
    name="liquidation_transfers",
    path="/sapi/v1/margin/loan-group/force-liquidation-transfer-record",
    record=TransferRecord,
    key_fields=("liquidationId",),
    table="liquidation_transfers",
    time_ms=latest_transfer_ms,
    by_risk_unit=False,
)


def transfer_records() -> list[dict[str, Any]]:
    """Records with several transfers, assets and undeclared fields, and one without a transfer."""
    rows = [
        {
            "liquidationId": 56,
            "liquidationTransferRecord": [
                _transfer(1_765_378_400_855, ("USDT", "17750.6316"), ("BTC", "0.000000000000000001")),
                _transfer(0, ("BTC", "0E-8")),
            ],
        },
        {"liquidationId": 55, "liquidationTransferRecord": _transfer(1_765_374_361_589) | {"note": "late"}},
        {"liquidationId": 54},
    ]
    return TRANSFERS.parse({"total": 3, "rows": rows}).rows


def _transfer(time_ms: int, *assets: tuple[str, str]) -> dict[str, Any]:
    return {
        "transferTime": time_ms,
        "fromUid": 1_000_277_033_525,
        "fromAccountType": "PORTFOLIO_MARGIN",
        "toUid": "1000277033505",
        "toAccountType": "PORTFOLIO_MARGIN",
        "status": "CONFIRM",
        "assets": [{"assetName": name, "amount": amount} for name, amount in assets],
    }
