"""Wait for a liquidation without occupying a worker, then pull its records.

What: each hour's run waits in the triggerer for a liquidation that starts at or after the beginning of its
hour, and pulls the records that the sensor found. When there is none within half an hour, the run is skipped.

Why: a waiting task that occupies no worker costs next to nothing, and the pull starts within a minute.
Merge by `(groupId, liquidationStartTime)`: a liquidation that starts during the wait is in the next run too.

There must be a connection `binance_loan_default` with the credit account's API key, and a triggerer. Switch
the DAG on: a new DAG is paused.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, CronDataIntervalTimetable

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor

with DAG(
    dag_id="sensor_then_operator",
    schedule=CronDataIntervalTimetable("@hourly", timezone="UTC"),
    start_date=datetime(2025, 5, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["binance", "example"],
):
    wait = BinanceLoanForceLiquidationSensor(
        task_id="wait",
        deferrable=True,
        poke_interval=60,
        timeout=timedelta(minutes=30),
        soft_fail=True,
    )
    pull = BinanceLoanForceLiquidationOperator(
        task_id="pull",
        start="{{ ti.xcom_pull(task_ids='wait')['start'] }}",
        end="{{ ti.xcom_pull(task_ids='wait')['end'] }}",
    )
    wait >> pull
