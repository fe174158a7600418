"""The DAGs that the tests run: each waits for liquidations of the local Binance in another way."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor
from airflow_provider_binance_loan.triggers import BinanceLoanForceLiquidationEventTrigger

ACCOUNT = {"binance_loan_conn_id": "binance_loan_waited"}
# What the sensors share: each run waits for what starts after it was asked for.
WAIT = {
    "task_id": "wait",
    "since": "{{ dag_run.run_after.isoformat() }}",
    "deferrable": True,
    "poke_interval": 2,
    "retries": 2,
    "retry_delay": timedelta(seconds=1),
}

with DAG(dag_id="wait_then_pull", schedule=None, default_args=ACCOUNT):
    wait = BinanceLoanForceLiquidationSensor(**WAIT)
    pull = BinanceLoanForceLiquidationOperator(
        task_id="pull",
        start="{{ ti.xcom_pull(task_ids='wait')['start'] }}",
        end="{{ ti.xcom_pull(task_ids='wait')['end'] }}",
    )
    wait >> pull

with DAG(dag_id="wait_with_form", schedule=None):
    # A connection that is not there when this file is read: a person has yet to fill it in.
    wait = BinanceLoanForceLiquidationSensor(**WAIT, binance_loan_conn_id="from_the_form")
    pull = BinanceLoanForceLiquidationOperator(
        task_id="pull",
        start="{{ ti.xcom_pull(task_ids='wait')['start'] }}",
        end="{{ ti.xcom_pull(task_ids='wait')['end'] }}",
        binance_loan_conn_id="from_the_form",
    )
    wait >> pull

with DAG(dag_id="wait_softly", schedule=None, default_args=ACCOUNT):
    BinanceLoanForceLiquidationSensor(**WAIT, soft_fail=True)

with DAG(dag_id="wait_with_wrong_secret", schedule=None, default_args=ACCOUNT):
    BinanceLoanForceLiquidationSensor(
        **WAIT, soft_fail=True, binance_loan_conn_id="binance_loan_wrong_secret"
    )

with DAG(dag_id="wait_five_seconds", schedule=None, default_args=ACCOUNT):
    BinanceLoanForceLiquidationSensor(**WAIT, soft_fail=True, timeout=timedelta(seconds=5))

watched = Asset(
    "watched_liquidations",
    watchers=[
        AssetWatcher(
            name="liquidations",
            trigger=BinanceLoanForceLiquidationEventTrigger(
                asset_name="watched_liquidations",
                poke_interval=1,
                binance_loan_conn_id="binance_loan_watched",
            ),
        )
    ],
)

PAYLOADS = "triggering_asset_events.values() | sum(start=[]) | map(attribute='extra.payload')"

with DAG(dag_id="pull_watched", schedule=[watched]):
    BinanceLoanForceLiquidationOperator(
        task_id="pull",
        start="{{ " + PAYLOADS + " | map(attribute='start') | min }}",
        end="{{ " + PAYLOADS + " | map(attribute='end') | max }}",
        binance_loan_conn_id="binance_loan_watched",
    )
