"""Land each hour's force liquidations in S3, one object an hour, as gzipped JSON Lines.

What: the object's key comes from the window, so that running an hour again writes the same object again. An
hour without liquidations leaves an empty object.

Why: an empty object shows that the hour was pulled; a missing one, that it was not.

There must be a connection `binance_loan_default` with the credit account's API key, a connection
`aws_default`, and the bucket. Switch the DAG on: a new DAG is paused.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, CronDataIntervalTimetable

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator

with DAG(
    dag_id="force_liquidation_to_s3",
    # Each run covers the full hour before it. Plain "@hourly" would give runs an interval without width.
    schedule=CronDataIntervalTimetable("@hourly", timezone="UTC"),
    start_date=datetime(2025, 5, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["binance", "example"],
):
    BinanceLoanForceLiquidationOperator(
        task_id="land",
        s3_bucket="risk-lake",
        s3_key="liquidations/dt={{ window_start | ds }}/hour={{ window_start.format('HH') }}/part.jsonl.gz",
    )
