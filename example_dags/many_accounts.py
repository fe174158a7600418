"""Land the force liquidations of many credit accounts, with one task that is mapped over their connections.

What: each account has a connection of its own, since an API key belongs to one account, and a folder of its
own, since `groupId` may mean another risk unit in another account. A further account is one more line here
and one more connection.

Why: a refused key fails one mapped task, and the other accounts land.

There must be the connections below, each with the API key of one credit account, a connection `aws_default`,
and the bucket. Switch the DAG on: a new DAG is paused. In the sandbox one account answers under each name.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, CronDataIntervalTimetable

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator

ACCOUNTS = [
    "binance_loan_asia",
    "binance_loan_europe",
    "binance_loan_market_making",
]

with DAG(
    dag_id="many_accounts",
    schedule=CronDataIntervalTimetable("@hourly", timezone="UTC"),
    start_date=datetime(2025, 5, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["binance", "example"],
):
    BinanceLoanForceLiquidationOperator.partial(
        task_id="land",
        s3_bucket="risk-lake",
        s3_key="liquidations/account={{ task.binance_loan_conn_id }}"
        "/dt={{ window_start | ds }}/hour={{ window_start.format('HH') }}/part.jsonl.gz",
        # The grid shows the connection instead of a number.
        map_index_template="{{ task.binance_loan_conn_id }}",
        # All accounts behind one IP address share its limits.
        max_active_tis_per_dag=2,
    ).expand(binance_loan_conn_id=ACCOUNTS)
