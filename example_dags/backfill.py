"""Land a year of days that were never pulled, and each new day: the same DAG does both.

What: a run pulls the day of its data interval and writes one object for it, with the records of risk units
that are closed by now as well. This command fills a year, and with `--dry-run` lists what it would do:

    airflow backfill create --dag-id backfill --from-date 2025-07-01 --to-date 2026-06-30 --max-active-runs 4

Why: the same day always becomes the same object, so days can be filled in any order, concurrently, and again.
`--reprocess-behavior failed` pulls the days that failed again, and `completed` pulls all days again. With
`catchup=True` the command is not needed: the days since `start_date` are filled once the DAG is switched on.

There must be a connection `binance_loan_default` with the credit account's API key, a connection
`aws_default`, and the bucket. Switch the DAG on: a new DAG is paused, and the runs of a backfill stay queued
until then.
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
    # How many scheduled days may run concurrently; a backfill has its own --max-active-runs.
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
