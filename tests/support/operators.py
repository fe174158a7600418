"""The operator and its context, as the tests of operators, lineage and links run it."""

from __future__ import annotations

from typing import Any

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from tests.support.clock import HOUR, NOW

START_MS = int((NOW - HOUR).timestamp() * 1000)


def operator(**arguments: Any) -> BinanceLoanForceLiquidationOperator:
    return BinanceLoanForceLiquidationOperator(task_id="pull", **arguments)


def fill(exchange: Exchange, count: int) -> None:
    """Add finished liquidations, a millisecond apart, from the start of the context's data interval."""
    for number in range(count):
        exchange.add_liquidation(1, START_MS + number, START_MS + number + 1)
