"""What risk units borrowed and repaid.

https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/trade#get-risk-unit-borrow-repay-records
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypedDict

from airflow_provider_binance_loan.binance.fields import FieldType
from airflow_provider_binance_loan.binance.own_columns import ASKED_GROUP_ID, OCCURRENCE
from airflow_provider_binance_loan.binance.time_range import DAY_MS
from airflow_provider_binance_loan.binance.windowed_dataset import Kind, WindowedDataset

if TYPE_CHECKING:
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord

#: The type of what was borrowed.
BORROW = "BORROW"
#: The types of repayments.
REPAYMENTS = frozenset({"REPAY", "NORMAL_REPAY", "FORCE_REPAY"})


class BorrowRepayRecord(TypedDict):
    """One attempt to borrow or to repay. Amounts are decimal strings, in units of the asset.

    Binance does not say which risk unit a row is of. So `asked_group_id` is the risk unit that was asked for:
    a closed one, one that was named, or the active one of the key. It is None where `ltv-details` does not
    tell the active one.

    Binance's page shows one `tranId` in rows of other types and statuses. Should an answer hold rows whose
    key is the same, they are numbered: `occurrence` is 0 in the first one.

    Every documented field is there, and None where Binance sent null or nothing. Fields that Binance does not
    document are kept after them.
    """

    asked_group_id: Annotated[int | None, FieldType.INTEGER, "the risk unit that was asked for, if known"]
    occurrence: Annotated[int, FieldType.INTEGER, "0, or a higher number for a row whose key is there again"]
    tranId: Annotated[int, FieldType.INTEGER, "the transaction"]
    assetName: Annotated[str | None, FieldType.TEXT, "the asset, for example `USDT`"]
    amount: Annotated[str | None, FieldType.AMOUNT, "the amount, in units of the asset"]
    principal: Annotated[str | None, FieldType.AMOUNT, "principal repaid; null for what was borrowed"]
    interest: Annotated[str | None, FieldType.AMOUNT, "interest repaid; null for what was borrowed"]
    status: Annotated[str, FieldType.TEXT, "for example `CONFIRM` or `FAILED`"]
    type: Annotated[str, FieldType.TEXT, "`BORROW`, `REPAY`, `NORMAL_REPAY` or `FORCE_REPAY`"]
    timestamp: Annotated[int, FieldType.TIME, "when it was created"]


def created_ms(record: AnyRecord) -> int:
    """Return when a transaction was created, in epoch milliseconds."""
    created: int = record["timestamp"]
    return created


def _may_be_borrowed(record: AnyRecord) -> bool:
    return record["type"] not in REPAYMENTS


def _may_be_repaid(record: AnyRecord) -> bool:
    return bool(record["type"] != BORROW)


BORROW_REPAY = WindowedDataset(
    name="borrow_repay",
    path="/sapi/v1/margin/loan-group/borrow-repay",
    record=BorrowRepayRecord,
    key_fields=("timestamp", "tranId", "type", "status", OCCURRENCE),
    weight=10,
    table="borrow_repay",
    time_ms=created_ms,
    start_ms=created_ms,
    group_field=ASKED_GROUP_ID,
    kinds=(
        Kind((("type", BORROW),), _may_be_borrowed),
        Kind((("type", "REPAY"),), _may_be_repaid),
    ),
    # The page speaks of 7, 30 and 100 days at most. A day less than the shortest, since it does not say
    # whether exactly 7 days pass, nor whether more are refused or left out.
    max_span_ms=6 * DAY_MS,
)
