"""The DAGs of the early warning: watchers of LTVs and of liquidations, and a run for what they fire."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_binance_loan.sensors import BinanceLoanLtvSensor
from airflow_provider_binance_loan.triggers import (
    BinanceLoanForceLiquidationEventTrigger,
    BinanceLoanLtvEventTrigger,
)

WARNED = {"poke_interval": 2, "binance_loan_conn_id": "binance_loan_warned"}

ltvs = Asset(
    "warned_ltvs",
    watchers=[
        AssetWatcher(
            name="ltvs",
            trigger=BinanceLoanLtvEventTrigger(
                asset_name="warned_ltvs", levels=[0.70, "0.80", 0.85], **WARNED
            ),
        )
    ],
)
liquidations = Asset(
    "warned_liquidations",
    watchers=[
        AssetWatcher(
            name="liquidations",
            trigger=BinanceLoanForceLiquidationEventTrigger(asset_name="warned_liquidations", **WARNED),
        )
    ],
)


@task
def heard(triggering_asset_events: dict) -> list[str]:
    """Return what the events say: what, and which level."""
    events = [event for found in triggering_asset_events.values() for event in found]
    return [f"{event.extra['payload']['what']} {event.extra['payload']['level']}" for event in events]


with DAG(dag_id="hear_of_ltvs", schedule=[ltvs]):
    heard()

with DAG(dag_id="hear_of_liquidations", schedule=[liquidations]):
    EmptyOperator(task_id="heard")  # so that Airflow runs the watcher

with DAG(dag_id="wait_for_calm", schedule=None):
    BinanceLoanLtvSensor(task_id="wait", below={1: 0.8}, deferrable=True, **WARNED)
