"""Land each liquidation soon after it starts, by runs that follow one another without a gap.

What: with `@continuous` the interval of a run begins where that of the last one ended. Each run lands its
interval, then waits in the triggerer for the next liquidation since its end, or for a day; then the next run
begins. The liquidation is in that run's interval or in the one after it.

Why: each record lands once, without a schedule to choose; an object may be empty.

There must be a connection `binance_loan_default` with the credit account's API key, a connection
`aws_default`, the bucket, and a triggerer. Switch the DAG on: a new DAG is paused.

Clear a run whose `land` failed for good: the next run does not reach back for it. After three such runs in a
row Airflow pauses the DAG.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor

with DAG(
    dag_id="continuous",
    schedule="@continuous",
    start_date=datetime(2026, 11, 1, tzinfo=timezone.utc),
    max_active_runs=1,
    max_consecutive_failed_dag_runs=3,
    catchup=False,
    tags=["binance", "example"],
):
    land = BinanceLoanForceLiquidationOperator(
        task_id="land",
        s3_bucket="risk-lake",
        s3_key="continuous/dt={{ window_start | ds }}/{{ window_start | ts_nodash }}.jsonl.gz",
        retries=5,
        retry_delay=timedelta(minutes=1),
    )
    wait = BinanceLoanForceLiquidationSensor(
        task_id="wait",
        since="{{ data_interval_end }}",
        deferrable=True,
        poke_interval=60,
        timeout=timedelta(days=1),
        soft_fail=True,
    )
    land >> wait
