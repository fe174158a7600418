"""Mistakes, and in a comment on each the code of the error that a type checker reports for it."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_provider_binance_loan.exceptions import RateLimitedError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.operators import (
    BinanceLoanForceLiquidationOperator,
    BinanceLoanLtvOperator,
)
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor, BinanceLoanLtvSensor
from airflow_provider_binance_loan.triggers import (
    BinanceLoanForceLiquidationEventTrigger,
    BinanceLoanForceLiquidationTrigger,
    BinanceLoanLtvEventTrigger,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)

BinanceLoanHook(conn_id="a")  # error: call-arg
hook = BinanceLoanHook()
hook.get_force_liquidations("2026-03-01", NOW)  # error: arg-type
hook.get_force_liquidations(NOW, NOW, "all")  # error: call-arg
hook.get_force_liquidations(NOW, NOW, risk_units=6.5)  # error: arg-type
hook.get_force_liquidations(NOW, NOW, unit=6)  # error: call-arg
for record in hook.iter_force_liquidations(NOW, NOW):
    str(record["startLTV"])  # error: typeddict-item
    bool(record["startLtv"] > 0.9)  # error: operator
    float(record["startLtv"])  # error: arg-type
    str(record["liquidationSnapshot"]["snapshots"]["netEquity"])  # error: call-overload
str(hook.get_closed_risk_units()[0]["closedTime"])  # error: typeddict-item

BinanceLoanForceLiquidationOperator("pull")  # error: call-arg
BinanceLoanLtvOperator(task_id="sample", file_format="csv")  # error: arg-type
BinanceLoanLtvOperator(task_id="sample", parquet_amounts="float")  # error: arg-type
BinanceLoanForceLiquidationOperator(task_id="pull", lookback=3600)  # error: arg-type
BinanceLoanForceLiquidationSensor(task_id="wait", wait_for="closed")  # error: arg-type
BinanceLoanForceLiquidationTrigger()  # error: call-arg
BinanceLoanForceLiquidationTrigger(since=NOW)  # error: arg-type
BinanceLoanLtvSensor(task_id="wait", below=datetime.now(UTC))  # error: arg-type
BinanceLoanLtvEventTrigger(asset_name="a", levels=0.7)  # error: arg-type
hook.get_ltv("all")  # error: call-arg
str(hook.get_ltv()[0]["LTV"])  # error: typeddict-item
BinanceLoanForceLiquidationEventTrigger(finished=True)  # error: call-arg
BinanceLoanForceLiquidationEventTrigger(asset_name="a", wait_for="started")  # error: call-arg
str(RateLimitedError("Wait.").ends_at)  # error: attr-defined
