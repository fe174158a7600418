"""The risk units of the account that are closed.

https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/account#query-closed-risk-unit-record
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypedDict

from airflow_provider_binance_loan.binance.declaration import ListedDataset
from airflow_provider_binance_loan.binance.fields import FieldType
from airflow_provider_binance_loan.binance.time_range import DAY_MS, EARLIEST_MS
from airflow_provider_binance_loan.validation import LATEST_S

if TYPE_CHECKING:
    from airflow_provider_binance_loan.binance.time_range import TimeRange
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord


class ClosedRiskUnit(TypedDict):
    """A risk unit that is closed. Fields that Binance does not document are kept after these."""

    groupId: Annotated[int, FieldType.INTEGER, "the risk unit"]
    parentEmail: Annotated[str | None, FieldType.TEXT, "e-mail address of the parent account"]
    creditEmail: Annotated[str | None, FieldType.TEXT, "e-mail address of the credit account"]
    enabled: Annotated[bool | None, FieldType.FLAG, "whether it is enabled"]
    createTime: Annotated[int | None, FieldType.TIME, "when it was created"]
    closeTime: Annotated[int | None, FieldType.TIME, "when it was closed"]


CLOSED_RISK_UNITS = ListedDataset(
    name="closed_risk_units",
    path="/sapi/v1/margin/loan-groups/closed",
    record=ClosedRiskUnit,
    # A unit may be closed, opened again and closed once more.
    key_fields=("groupId", "createTime", "closeTime"),
    table="closed_risk_units",
    marks=frozenset({"parentEmail", "creditEmail", "enabled", "createTime", "closeTime"}),
)

# Binance does not say how exact createTime and closeTime are, nor whether a record may start after closeTime.
_SLACK_MS = DAY_MS


def was_open_in(unit: AnyRecord, window: TimeRange) -> bool:
    """Return whether a closed unit may have been open at some time of a window, give or take a day.

    A createTime or closeTime that is missing, or cannot be right, counts as unbounded: the unit is asked for.
    """
    created_ms, closed_ms = _plausible(unit["createTime"]), _plausible(unit["closeTime"])
    if created_ms is not None and closed_ms is not None and closed_ms < created_ms:
        return True
    created_before = created_ms is None or created_ms - _SLACK_MS < window.end_ms
    return created_before and (closed_ms is None or closed_ms + _SLACK_MS >= window.start_ms)


def _plausible(time_ms: int | None) -> int | None:
    """Return a time, or None for one in seconds or microseconds, or from before there was a Binance."""
    return time_ms if time_ms is not None and EARLIEST_MS <= time_ms < LATEST_S * 1000 else None
