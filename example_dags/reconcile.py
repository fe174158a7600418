"""Land a day of liquidations and interest, and check that everything Binance says of the day agrees.

What: each run lands its day, and then compares: wallets with totals, LTVs with their formula, repayments with
what was owed, transfers with repayments, and the new objects with their manifests. The XCom of the last task
is the table of checks, with both figures of each. A difference fails the task, and the log names it.

Why: an auditor asks whether the figures are complete and unchanged. This says so of each day, with figures.

There must be a connection `binance_loan_default` with the credit account's API key, a connection
`aws_default`, and the bucket. Switch the DAG on: a new DAG is paused.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, CronDataIntervalTimetable

from airflow_provider_binance_loan.operators import (
    BinanceLoanForceLiquidationOperator,
    BinanceLoanInterestOperator,
    BinanceLoanReconciliationOperator,
)

with DAG(
    dag_id="reconcile",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=datetime(2025, 7, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"retries": 5, "retry_delay": timedelta(minutes=1)},
    tags=["binance", "example"],
):
    liquidations = BinanceLoanForceLiquidationOperator(
        task_id="land_liquidations",
        s3_bucket="risk-lake",
        s3_key="audited/liquidations/dt={{ window_start | ds }}/part.jsonl.gz",
    )
    interest = BinanceLoanInterestOperator(
        task_id="land_interest",
        s3_bucket="risk-lake",
        s3_key="audited/interest/dt={{ window_start | ds }}/part.jsonl.gz",
    )
    BinanceLoanReconciliationOperator(
        task_id="reconcile",
        manifests=[liquidations.output, interest.output],
        max_xcom_records=10_000,
    )
