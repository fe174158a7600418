"""The DAGs that the tests run: windows land in the local S3, and what landed starts runs that hear of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetAlias, task

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator

lake = Asset("s3://lake/loans")
landed = AssetAlias("landed")

ACCOUNT = {"binance_loan_conn_id": "binance_loan_waited"}
KEY = "s3://lake/loans/dt={{ window_start | ds }}/{{ window_start | ts_nodash }}.parquet"

with DAG(dag_id="land", schedule=None, default_args=ACCOUNT):
    BinanceLoanForceLiquidationOperator(task_id="land", s3_key=KEY, outlets=[lake, landed])

with DAG(dag_id="land_mapped", schedule=None, default_args=ACCOUNT):
    BinanceLoanForceLiquidationOperator.partial(
        task_id="land", s3_key=KEY, end="{{ dag_run.run_after.isoformat() }}", flatten=True
    ).expand(start=["2026-03-01T09:00:00Z", "{{ dag_run.run_after - macros.timedelta(days=1) }}"])

with DAG(dag_id="land_wrong_window", schedule=None, default_args=ACCOUNT):
    BinanceLoanForceLiquidationOperator(
        task_id="land", start="yesterday", s3_key=KEY, retries=2, retry_delay=timedelta(seconds=1)
    )

with DAG(dag_id="land_nothing", schedule=None, default_args=ACCOUNT):
    BinanceLoanForceLiquidationOperator(
        task_id="land",
        start="2020-03-01T09:00:00Z",
        end="2020-03-01T10:00:00Z",
        s3_key=KEY,
        skip_if_empty=True,
        outlets=[lake],
    )


@task
def hear(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
    """Return what the events that started the run carry."""
    return [event.extra for events in triggering_asset_events.values() for event in events]


with DAG(dag_id="hear_of_asset", schedule=[lake]):
    hear()

with DAG(dag_id="hear_of_alias", schedule=[landed]):
    hear()
