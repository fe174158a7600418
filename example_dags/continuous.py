"""Pull each liquidation soon after it starts, in runs that follow one another without a gap.

With `@continuous` a run's interval begins where the last one's ended. Each run pulls its interval, then waits
in the triggerer for the next liquidation since its end; when that comes, the next run begins at once, and its
interval holds it. So each record is pulled once, and no run is empty but the first.

There must be a connection `binance_loan_default` with the credit account's API key, and a triggerer.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor

with DAG(
    dag_id="continuous",
    schedule="@continuous",
    start_date=datetime(2026, 11, 1, tzinfo=timezone.utc),
    max_active_runs=1,
    catchup=False,
    tags=["binance", "example"],
):
    pull = BinanceLoanForceLiquidationOperator(task_id="pull")
    wait = BinanceLoanForceLiquidationSensor(
        task_id="wait",
        since="{{ data_interval_end }}",
        deferrable=True,
        poke_interval=60,
        timeout=7 * 24 * 60 * 60,
    )
    pull >> wait
