"""Let each new liquidation start a run: a watcher on an asset, and a DAG that is scheduled on it.

What: the watcher polls Binance once a minute in the triggerer and makes an asset event of each new
liquidation. Airflow may hand several events to one run, so the operator's window reaches from the first to
the last of them. A run that is started by hand has no events, and pulls the last seven days.

Why: the records are there minutes after a liquidation starts, and there are no runs without one.

There must be a connection `binance_loan_default` with the credit account's API key, and a triggerer. Switch
the DAG on: a new DAG is paused. From Airflow 3.3 on, a restart of the triggerer loses no event, and may
repeat those of the last seconds; before, it repeats those of the last seven days.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.triggers import BinanceLoanForceLiquidationEventTrigger

liquidations = Asset(
    "binance_loan_liquidations",
    watchers=[
        AssetWatcher(
            name="liquidations",
            trigger=BinanceLoanForceLiquidationEventTrigger(
                asset_name="binance_loan_liquidations", poke_interval=60
            ),
        )
    ],
)

PAYLOADS = (
    "triggering_asset_events.values() | sum(start=[]) | map(attribute='extra')"
    " | selectattr('payload', 'defined') | map(attribute='payload')"
)

with DAG(
    dag_id="asset_driven",
    schedule=[liquidations],
    start_date=datetime(2025, 5, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["binance", "example"],
):
    BinanceLoanForceLiquidationOperator(
        task_id="pull",
        start="{{ " + PAYLOADS + " | map(attribute='start') | min | default('') }}",
        end="{{ " + PAYLOADS + " | map(attribute='end') | max | default('') }}",
    )
