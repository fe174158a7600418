"""Land each day's force liquidations in S3 by partitions: one run, one object and one key for each day.

What: a run has no data interval but a partition, whose date is the start of the day that the run covers, so
`start` and `end` say what the window is. With `run_offset=-1` the run of midnight gets the partition of the
day that ends then. Without it, the partition would be the day that begins, of which nothing has happened yet.

Why: the partition names the day wherever a day is asked for: a manual run is given its key, a backfill takes
the first and the last date, and the object has the key in its own. A partition that is run again writes the
same object again.

There must be Airflow 3.3 or newer, since tasks of 3.2 do not get `partition_date`, a connection
`binance_loan_default` with the credit account's API key, a connection `aws_default`, and the bucket. Switch
the DAG on: a new DAG is paused.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, CronPartitionTimetable

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator

with DAG(
    dag_id="partitioned",
    schedule=CronPartitionTimetable("@daily", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
    start_date=datetime(2025, 5, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["binance", "example"],
):
    BinanceLoanForceLiquidationOperator(
        task_id="land",
        start="{{ partition_date }}",
        end="{{ partition_date.add(days=1) }}",
        s3_bucket="risk-lake",
        s3_key="partitioned/dt={{ partition_key }}/part.jsonl.gz",
    )
