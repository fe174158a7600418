"""The DAG whose tasks fail, each for the reason that its id names."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor

# One request suffices for it, and meets the fault.
HOUR = {"start": "2026-03-01T09:00:00Z", "end": "2026-03-01T10:00:00Z", "risk_units": "active"}

with DAG(dag_id="fail", schedule=None):
    for failure in (
        "empty_password",
        "wrong_secret",
        "unknown_key",
        "no_connection",
        "rate_limited",
        "banned",
        "wrong_clock",
        "unreachable",
        "failed_tls",
        "firewall",
    ):
        BinanceLoanForceLiquidationOperator(
            task_id=failure, binance_loan_conn_id=f"failing_{failure}", **HOUR
        )
    BinanceLoanForceLiquidationOperator(
        task_id="no_bucket",
        s3_key="s3://no-such-bucket/loans.parquet",
        binance_loan_conn_id="failing_no_bucket",
        **HOUR,
    )
    BinanceLoanForceLiquidationSensor(
        task_id="refused_in_triggerer",
        since="{{ dag_run.run_after.isoformat() }}",
        risk_units="active",
        deferrable=True,
        poke_interval=1,
        binance_loan_conn_id="failing_refused_in_triggerer",
    )
