"""Pull each hour's force liquidations into XCom, for the tasks that follow.

What: the operator returns the records, and a task prints which risk units were liquidated.

Why: for a handful of records an hour that a later task of the same DAG uses, this needs no storage. For
anything larger, see `force_liquidation_to_s3.py`.

There must be a connection `binance_loan_default` with the credit account's API key. Switch the DAG on: a new
DAG is paused.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, task

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator


@task
def print_risk_units(records: list[dict[str, Any]]) -> None:
    """Print one line for each liquidation."""
    for record in records:
        print(f"risk unit {record['groupId']}: LTV {record['startLtv']}, owed {record['totalLiability']}")


with DAG(
    dag_id="force_liquidation_to_xcom",
    # Each run covers the full hour before it. Plain "@hourly" would give runs an interval without width.
    schedule=CronDataIntervalTimetable("@hourly", timezone="UTC"),
    start_date=datetime(2025, 5, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["binance", "example"],
):
    pull = BinanceLoanForceLiquidationOperator(task_id="pull")
    print_risk_units(pull.output)
