"""Check of the closed risk units: none was open in the window that was not asked for."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import was_open_in
from airflow_provider_binance_loan.binance.time_range import utc_text
from airflow_provider_binance_loan.reconciliation.check import build, compare

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_binance_loan.binance.risk_units import RiskUnits
    from airflow_provider_binance_loan.binance.time_range import TimeRange
    from airflow_provider_binance_loan.reconciliation.check import Check

CHECK = "closed_risk_unit"


def check_closed_units(
    units: Iterable[Mapping[str, Any]], risk_units: RiskUnits, window: TimeRange
) -> Iterator[Check]:
    """Yield a row for each closed risk unit that was not asked for, or one that counts them if all were.

    There is no row where `"all"` were asked for, as nothing could be missing.

    :param units: the closed risk units of the account.
    :param risk_units: those that were asked for.
    :param window: the window that they were asked for.
    """
    if risk_units == "all":
        return
    open_ones = [unit for unit in units if was_open_in(unit, window)]
    named = risk_units if isinstance(risk_units, tuple) else ()
    asked = [unit for unit in open_ones if unit["groupId"] in named]
    if len(asked) == len(open_ones):
        note = "closed risk units that may have been open in the window, and those that were asked for"
        yield compare(CHECK, "all", Decimal(len(open_ones)), Decimal(len(asked)), note)
    for unit in open_ones:
        if unit in asked:
            continue
        subject = f"risk unit {unit['groupId']}"
        if named:
            yield build(CHECK, subject, "not_compared", "not asked for, as risk_units names others")
        elif _was_certainly_open(unit, window):
            note = f"not asked for, and closed only at {utc_text(unit['closeTime'])}"
            yield build(CHECK, subject, "different", note, Decimal(1), Decimal(0))
        else:
            note = "not asked for, and by its times it may have been open in the window or not"
            yield build(CHECK, subject, "not_compared", note)


def _was_certainly_open(unit: Mapping[str, Any], window: TimeRange) -> bool:
    """Return whether both times of a closed risk unit say that it was open in the window."""
    created_ms, closed_ms = unit["createTime"], unit["closeTime"]
    if created_ms is None or closed_ms is None or closed_ms < created_ms:
        return False
    return bool(created_ms < window.end_ms and closed_ms > window.start_ms)
