"""The interest that loans of risk units accrued, hour by hour.

https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/trade#get-risk-unit-interest-history
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypedDict

from airflow_provider_binance_loan.binance.fields import FieldType
from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset

if TYPE_CHECKING:
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord


class InterestRecord(TypedDict):
    """The interest of one loan for one hour. Amounts are decimal strings, in units of the asset.

    Every documented field is there, and None where Binance sent null or nothing. Fields that Binance does
    not document are kept after them.
    """

    groupId: Annotated[int, FieldType.INTEGER, "the risk unit"]
    assetName: Annotated[str, FieldType.TEXT, "the asset that was borrowed, for example `USDT`"]
    principal: Annotated[str | None, FieldType.AMOUNT, "outstanding principal, in units of the asset"]
    interestRate: Annotated[str | None, FieldType.RATIO, "hourly interest rate"]
    interest: Annotated[str | None, FieldType.AMOUNT, "interest for the hour, in units of the asset"]
    interestTimestamp: Annotated[int, FieldType.TIME, "when the interest was last updated"]


def accrued_ms(record: AnyRecord) -> int:
    """Return when an interest accrued, in epoch milliseconds."""
    accrued: int = record["interestTimestamp"]
    return accrued


INTEREST_HISTORY = WindowedDataset(
    name="interest_history",
    path="/sapi/v1/margin/loan-group/interest-history",
    record=InterestRecord,
    key_fields=("interestTimestamp", "groupId", "assetName"),
    weight=10,
    table="interest",
    time_ms=accrued_ms,
    start_ms=accrued_ms,
)
