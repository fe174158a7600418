"""Land each hour's force liquidations in S3 as three Parquet tables, and add up with pandas what was owed.

What: each table has a prefix of its own above the partitions, `binance/liabilities/dt=…/hour=…/`, as
warehouses expect it; `groupId` and `liquidationStartTime` join the tables. The manifest, the XCom of the task
that landed them, names the three objects.

Why: a warehouse reads the tables without parsing JSON, and sums of their amounts, which are decimals, are
exact.

There must be a connection `binance_loan_default` with the credit account's API key, a connection
`aws_default`, the bucket, pandas, and the package's extra `parquet`. Switch the DAG on: a new DAG is paused.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, CronDataIntervalTimetable, task

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator


@task
def add_up(manifest: dict) -> dict[str, str]:
    """Return the outstanding principal of each asset."""
    import pandas as pd
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    file = S3Hook().download_file(manifest["tables"]["liabilities"]["s3_uri"])
    liabilities = pd.read_parquet(file, dtype_backend="pyarrow")

    sums = liabilities.groupby("assetName")["principal"].sum()
    return {asset: f"{total:f}" for asset, total in sums.items()}


with DAG(
    dag_id="parquet_to_pandas",
    schedule=CronDataIntervalTimetable("@hourly", timezone="UTC"),
    start_date=datetime(2025, 5, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["binance", "example"],
):
    land = BinanceLoanForceLiquidationOperator(
        task_id="land",
        s3_bucket="risk-lake",
        s3_key="binance/{table}/dt={{ window_start | ds }}/hour={{ window_start.format('HH') }}/part.parquet",
        flatten=True,
    )
    add_up(land.output)
