"""The table of checks of a window's datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_loan.reconciliation.between_liquidations import check_between_liquidations
from airflow_provider_binance_loan.reconciliation.forced_repayments import (
    check_forced_repayment_times,
    check_forced_repayments,
)
from airflow_provider_binance_loan.reconciliation.interest import check_interest_rates
from airflow_provider_binance_loan.reconciliation.ledger import Ledger
from airflow_provider_binance_loan.reconciliation.liquidations import check_liquidations
from airflow_provider_binance_loan.reconciliation.periods import build_periods
from airflow_provider_binance_loan.reconciliation.transactions import check_transactions
from airflow_provider_binance_loan.reconciliation.transfers import check_transfers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_binance_loan.binance.time_range import TimeRange
    from airflow_provider_binance_loan.reconciliation.check import Check


class Pulled(NamedTuple):
    """The records of a window. Each of them is read once, in this order."""

    liquidations: Iterable[Mapping[str, Any]]
    interest: Iterable[Mapping[str, Any]]
    transactions: Iterable[Mapping[str, Any]]
    transfers: Iterable[Mapping[str, Any]]


def check_datasets(pulled: Pulled, window: TimeRange, *, all_units: bool) -> list[Check]:
    """Return the rows of all checks of a window's datasets against each other.

    :param all_units: whether the records are of all risk units, as those of transfers always are.
    """
    liquidations, ledger = list(pulled.liquidations), Ledger()
    periods = build_periods(liquidations)
    return [
        *check_liquidations(liquidations),
        *check_interest_rates(ledger.add_interest(pulled.interest)),
        *check_transactions(ledger.add_transactions(pulled.transactions)),
        *check_forced_repayments(periods, ledger, window),
        *check_forced_repayment_times(periods, ledger, window),
        *check_between_liquidations(periods, ledger, window),
        *check_transfers(pulled.transfers, periods, ledger, window, all_units=all_units),
    ]
