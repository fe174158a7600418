"""Keep the LTVs that Binance does not keep: a snapshot each minute in Parquet, and the last hour as a curve.

What: a run each minute asks for the loan-to-value of all risk units, and lands it as three Parquet tables.
The key has the moment of the snapshot, by Binance's clock: a run that is repeated adds a snapshot, and
replaces none. The task `draw` reads what was landed in the last hour, and draws a line for each risk unit in
its log.

Why: Binance computes an LTV when it is asked, and keeps no history: what nobody samples is gone. After a
liquidation the history says how the risk unit got there.

There must be a connection `binance_loan_default` with the API key of the parent account, or of a credit
account, a connection `aws_default`, the bucket, pandas, and the package's extra `parquet`. Switch the DAG on:
a new DAG is paused.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from tempfile import TemporaryDirectory

from airflow.sdk import DAG, CronTriggerTimetable, task

from airflow_provider_binance_loan.operators import BinanceLoanLtvOperator

BUCKET, PREFIX = "risk-lake", "ltv/risk_units/"
BARS = "▁▂▃▄▅▆▇█"


@task
def draw(manifest: dict) -> dict[str, str]:
    """Return a curve of the last hour for each risk unit, from an LTV of 0 to one of 1."""
    import pandas as pd
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    until = datetime.fromisoformat(manifest["asked_at"])
    hour_ago = until - timedelta(hours=1)
    hook = S3Hook()
    keys = [
        key
        for day in dict.fromkeys((f"{hour_ago:%Y-%m-%d}", f"{until:%Y-%m-%d}"))
        for key in hook.list_keys(BUCKET, f"{PREFIX}dt={day}/")
        if f"{hour_ago:%Y%m%dT%H%M%S}" <= key.rpartition("/")[2] <= f"{until:%Y%m%dT%H%M%S}Z"
    ]
    with TemporaryDirectory() as folder:
        files = [hook.download_file(key, BUCKET, folder) for key in keys]
        history = pd.concat(pd.read_parquet(file, dtype_backend="pyarrow") for file in files)

    # The query: the LTVs of each risk unit, in the order of time, without those that are unknown.
    known = history[history["ltv"] >= 0].sort_values("asked_at")
    curves = known.groupby("groupId")["ltv"].agg(
        lambda ltvs: "".join(BARS[min(int(ltv * len(BARS)), len(BARS) - 1)] for ltv in ltvs)
    )
    for group_id, curve in curves.items():
        print(f"Risk unit {group_id}: {curve}")
    return {str(group_id): curve for group_id, curve in curves.items()}


with DAG(
    dag_id="ltv_history",
    schedule=CronTriggerTimetable("* * * * *", timezone="UTC"),
    start_date=datetime(2025, 5, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    tags=["binance", "example"],
):
    sample = BinanceLoanLtvOperator(
        task_id="sample",
        s3_bucket=BUCKET,
        s3_key="ltv/{table}/dt={asked_at:%Y-%m-%d}/{asked_at}.parquet",
        flatten=True,
    )
    draw(sample.output)
