"""The table of checks of a window's datasets: which check needs which dataset, and where it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_loan.reconciliation.check import build
from airflow_provider_binance_loan.reconciliation.closed_units import check_closed_units
from airflow_provider_binance_loan.reconciliation.ledger import Ledger
from airflow_provider_binance_loan.reconciliation.loans import (
    check_between_liquidations,
    check_charged_principals,
    check_forced_repayment_times,
    check_forced_repayments,
)
from airflow_provider_binance_loan.reconciliation.movements import check_interest_rates, check_transactions
from airflow_provider_binance_loan.reconciliation.periods import build_periods
from airflow_provider_binance_loan.reconciliation.totals import check_liquidations, check_ltvs
from airflow_provider_binance_loan.reconciliation.transfers import check_transfers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_binance_loan.binance.risk_units import RiskUnits
    from airflow_provider_binance_loan.binance.time_range import TimeRange
    from airflow_provider_binance_loan.reconciliation.check import Check

# Without one of its datasets a check is not compared. The checks of `totals.py` need no other dataset.
_NEEDS = {
    **dict.fromkeys(("net_equity", "maintenance_margin", "liabilities", "ltv"), ("liquidations",)),
    **dict.fromkeys(
        ("net_equity_now", "maintenance_margin_now", "liabilities_now", "ltv_now"), ("risk_unit_ltvs",)
    ),
    "interest_rate": ("interest",),
    "repeated_transaction": ("transactions",),
    "repayment_parts": ("transactions",),
    "forced_principal": ("liquidations", "transactions"),
    "forced_interest": ("liquidations", "transactions", "interest"),
    "forced_repayment_time": ("liquidations", "transactions"),
    "ledger_principal": ("liquidations", "transactions"),
    "ledger_interest": ("liquidations", "transactions", "interest"),
    "charged_principal": ("liquidations", "transactions", "interest"),
    "transfer_time": ("liquidations", "transfers"),
    "transfers": ("liquidations", "transactions", "transfers"),
    "closed_risk_unit": ("closed_risk_units",),
}


class Missing(NamedTuple):
    """A dataset that could not be read, and why."""

    reason: str


class Pulled(NamedTuple):
    """The records of a window, and of now. Each of them is read once, in this order."""

    liquidations: Iterable[Mapping[str, Any]] | Missing
    interest: Iterable[Mapping[str, Any]] | Missing
    transactions: Iterable[Mapping[str, Any]] | Missing
    transfers: Iterable[Mapping[str, Any]] | Missing
    risk_unit_ltvs: Iterable[Mapping[str, Any]] | Missing
    closed_risk_units: Iterable[Mapping[str, Any]] | Missing


def check_datasets(pulled: Pulled, window: TimeRange, risk_units: RiskUnits) -> list[Check]:
    """Return the rows of all checks of a window's datasets against each other.

    :param pulled: the datasets.
    :param window: the window that they are of.
    :param risk_units: which risk units were asked for; the transfers are always those of all.
    """
    read = [() if isinstance(records, Missing) else records for records in pulled]
    liquidations, (_, interest, transactions, transfers, ltvs, closed_units) = list(read[0]), read
    periods, ledger = build_periods(liquidations), Ledger()
    rows = [
        *check_liquidations(liquidations),
        *check_interest_rates(ledger.add_interest(interest)),
        *check_transactions(ledger.add_transactions(transactions)),
        *check_forced_repayments(periods, ledger, window),
        *check_forced_repayment_times(periods, ledger, window),
        *check_between_liquidations(periods, ledger, window),
        *check_charged_principals(periods, ledger),
        *check_transfers(transfers, periods, ledger, window, all_units=risk_units == "all"),
        *check_ltvs(ltvs),
        *check_closed_units(closed_units, risk_units, window),
    ]
    missing = {
        name: records.reason for name, records in pulled._asdict().items() if isinstance(records, Missing)
    }
    why_not = {
        check: "; ".join(f"{name}: {missing[name]}" for name in names if name in missing)
        for check, names in _NEEDS.items()
    }
    return [
        *(row for row in rows if not why_not[row["check"]]),
        *(build(check, "all", "not_compared", why) for check, why in why_not.items() if why),
    ]
