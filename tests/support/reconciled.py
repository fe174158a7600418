"""The records of a window of the sandbox's world, as a pull returns them, and their table of checks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.datasets.interest_history import INTEREST_HISTORY
from airflow_provider_binance_loan.binance.datasets.liquidation_transfers import LIQUIDATION_TRANSFERS
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS
from airflow_provider_binance_loan.binance.decoding import decode
from airflow_provider_binance_loan.binance.time_range import TimeRange
from airflow_provider_binance_loan.reconciliation.check import Check, judge_roundings
from airflow_provider_binance_loan.reconciliation.datasets import Pulled, check_datasets
from airflow_provider_binance_loan.sandbox.exchange import Exchange, write_json
from airflow_provider_binance_loan.sandbox.ledger import borrowings, charges, repaid
from airflow_provider_binance_loan.sandbox.repayments import repayments
from airflow_provider_binance_loan.sandbox.rows import interest_row, transaction_row, transfers_row

Row = dict[str, Any]


@dataclass
class Records:
    """The datasets of a window, and of now; a test may change them."""

    window: TimeRange
    liquidations: list[Row]
    interest: list[Row]
    transactions: list[Row]
    transfers: list[Row]
    ltvs: list[Row]
    closed_units: list[Row]

    def pulled(self) -> Pulled:
        """Return them as they are checked."""
        return Pulled(
            self.liquidations,
            self.interest,
            self.transactions,
            self.transfers,
            self.ltvs,
            self.closed_units,
        )

    def table(self) -> list[Check]:
        """Return the table of checks."""
        return judge_roundings(check_datasets(self.pulled(), self.window, "all"))


def records_of(exchange: Exchange, start_ms: int, end_ms: int) -> Records:
    """Return the records of all risk units in a window, oldest first, as the hook returns them."""
    now_ms, last_ms = exchange.now_ms(), end_ms - 1
    liquidations = [one for one in exchange.liquidations() if start_ms <= one.start_ms < end_ms]
    timelines = exchange._timelines
    interest = []
    for timeline in timelines.values():
        for charge in charges(timeline, start_ms, last_ms):
            loans = {loan.asset: loan for loan in timeline.figures(charge.at_ms).loans}
            interest.append(interest_row(charge.group_id, charge.at_ms, loans[charge.asset]))
    transactions = [
        {"asked_group_id": group_id, "occurrence": 0, "principal": None, "interest": None, **row}
        for group_id, timeline in timelines.items()
        for list_them in (borrowings, repaid)
        for row in decode(
            write_json([transaction_row(one) for one in list_them(timeline, start_ms, last_ms)])
        )
    ]
    for row in transactions:
        for name in ("amount", "principal", "interest"):
            row[name] = None if row[name] is None else str(row[name])
    # Under every rule by which Binance may select a record, that of a liquidation in the window is selected.
    transfers = [
        transfers_row(exchange.seed, one, repayments(exchange.seed, one, now_ms)) for one in liquidations
    ]
    ltvs = RISK_UNIT_LTVS.parse(decode(write_json(exchange.ltv_details())))
    return Records(
        TimeRange(start_ms, end_ms),
        _parse(FORCE_LIQUIDATIONS, [exchange.row(one) for one in liquidations]),
        sorted(_parse(INTEREST_HISTORY, interest), key=INTEREST_HISTORY.key),
        sorted(transactions, key=lambda row: row["timestamp"]),
        _parse(LIQUIDATION_TRANSFERS, transfers),
        [{"asked_at": now_ms, **row} for row in ltvs],
        exchange.closed_units(size=100)["rows"],
    )


def outcomes(table: list[Check]) -> Counter[tuple[str, str]]:
    """Return how many rows of each check have each outcome."""
    return Counter((row["check"], row["outcome"]) for row in table)


def _parse(dataset: Any, rows: list[Row]) -> list[Row]:
    parsed: list[Row] = dataset.parse(decode(write_json({"total": len(rows), "rows": rows}))).rows
    return parsed
