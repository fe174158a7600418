"""Fill a year of days that were never pulled, and go on with a day each day: the same DAG does both.

A run pulls the day of its data interval and nothing else, so days can be filled in any order, side by side,
and again: the same day is the same object. Risk units that are closed by now are read as well. This fills a
year, and with `--dry-run` says what it would do:

    airflow backfill create --dag-id backfill --from-date 2025-07-01 --to-date 2026-06-30 --max-active-runs 4

`--reprocess-behavior failed` fills in afterwards what failed; `completed` pulls every day again.
`catchup=True` would do without the command, and fill from `start_date` on once the DAG is switched on.

There must be a connection `binance_loan_default` with the credit account's API key, a connection
`aws_default`, and the bucket.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, CronDataIntervalTimetable

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator

with DAG(
    dag_id="backfill",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=datetime(2025, 5, 1, tzinfo=timezone.utc),
    catchup=False,
    # So many scheduled days at a time; a backfill has its own --max-active-runs.
    max_active_runs=1,
    tags=["binance", "example"],
):
    BinanceLoanForceLiquidationOperator(
        task_id="land",
        s3_bucket="risk-lake",
        s3_key="daily/dt={{ window_start | ds }}/part.jsonl.gz",
        retries=5,
        retry_delay=timedelta(minutes=1),
    )
