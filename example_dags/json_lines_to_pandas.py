"""Land each hour's force liquidations in S3, and add up with pandas what the liquidated units owed.

What: the manifest, the XCom of the task that landed the records, is all that the next task needs to find
them. Amounts are decimal strings there, from which the task makes decimals.

Why: sums of decimals are exact, and sums of floats are not.

There must be a connection `binance_loan_default` with the credit account's API key, a connection
`aws_default`, the bucket, and pandas. Switch the DAG on: a new DAG is paused.
"""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal, localcontext

from airflow.sdk import DAG, CronDataIntervalTimetable, task

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator


@task
def add_up(manifest: dict) -> dict[str, str]:
    """Return the total liability of each risk unit that was liquidated."""
    import pandas as pd
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    file = S3Hook().download_file(manifest["s3_uri"])
    # Without dtype=False pandas would make floats of the amounts.
    records = pd.read_json(file, lines=True, compression="gzip", dtype=False, convert_dates=False)

    records = records.reindex(columns=["groupId", "totalLiability"]).dropna()  # an empty file has no columns
    amounts = records["totalLiability"].map(Decimal)
    with localcontext(prec=60):  # by default sums are rounded to 28 digits
        sums = amounts.groupby(records["groupId"]).sum()
    return {str(group_id): f"{total:f}" for group_id, total in sums.items()}


with DAG(
    dag_id="json_lines_to_pandas",
    schedule=CronDataIntervalTimetable("@hourly", timezone="UTC"),
    start_date=datetime(2025, 5, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["binance", "example"],
):
    land = BinanceLoanForceLiquidationOperator(
        task_id="land",
        s3_bucket="risk-lake",
        s3_key="liquidations/dt={{ window_start | ds }}/hour={{ window_start.format('HH') }}/part.jsonl.gz",
    )
    add_up(land.output)
