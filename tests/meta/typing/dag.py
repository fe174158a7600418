"""What type checkers see of a DAG that uses each operator, sensor and trigger with all of its arguments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, assert_type

from airflow.sdk import DAG, Asset, AssetWatcher, Context

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor
from airflow_provider_binance_loan.triggers import (
    BinanceLoanForceLiquidationEventTrigger,
    BinanceLoanForceLiquidationTrigger,
)

if TYPE_CHECKING:
    from airflow.triggers.base import BaseEventTrigger, BaseTrigger

watched = Asset(
    "force_liquidations",
    watchers=[
        AssetWatcher(
            name="watcher",
            trigger=BinanceLoanForceLiquidationEventTrigger(
                asset_name="force_liquidations",
                finished=True,
                risk_units="active",
                lookback=3600,
                poke_interval=30.0,
                binance_loan_conn_id="another_account",
            ),
        )
    ],
)

with DAG("force_liquidations", schedule="@hourly", start_date=datetime(2026, 3, 1, tzinfo=UTC)):
    wait = BinanceLoanForceLiquidationSensor(
        task_id="wait",
        since="{{ data_interval_start }}",
        wait_for="finished",
        lookback=timedelta(days=2),
        risk_units=[6, "7"],
        deferrable=True,
        binance_loan_conn_id="another_account",
        poke_interval=60,
        timeout=3600,
        soft_fail=True,
    )
    pull = BinanceLoanForceLiquidationOperator(
        task_id="pull",
        start=datetime(2026, 3, 1, 9, tzinfo=UTC),
        end="{{ data_interval_end }}",
        lookback=timedelta(hours=6),
        risk_units="6,7",
        max_xcom_records=10,
        binance_loan_conn_id="another_account",
        retries=3,
    )
    land = BinanceLoanForceLiquidationOperator(
        task_id="land",
        risk_units=6,
        s3_bucket="lake",
        s3_key="loans/{table}/dt={{ window_start | ds }}/records.parquet",
        file_format="parquet",
        flatten=True,
        parquet_amounts={"interest": "string"},
        replace=False,
        skip_if_empty=True,
        encrypt=True,
        acl_policy="bucket-owner-full-control",
        s3_extra_args={"StorageClass": "STANDARD_IA"},
        aws_conn_id=None,
        verify="/etc/ssl/bundle.pem",
        outlets=[watched],
    )
    wait >> [pull, land]


def run(context: Context) -> None:
    """A run returns records, or a manifest."""
    assert_type(pull.execute(context), list[dict[str, Any]] | dict[str, Any])
    assert_type(wait.execute_complete(context, {"status": "success"}), dict[str, Any])
    assert_type(pull.s3_key, str | None)


def triggers() -> tuple[BaseTrigger, BaseEventTrigger]:
    """A trigger's class path and arguments are what Airflow stores."""
    waiting = BinanceLoanForceLiquidationTrigger(
        since="2026-03-01T09:00:00Z",
        wait_for="started",
        risk_units=[6],
        lookback=60.5,
        poke_interval=30,
        exponential_backoff=True,
        max_wait=600,
        not_before=None,
        deadline=1_772_360_000.0,
        binance_loan_conn_id="another_account",
    )
    watching = BinanceLoanForceLiquidationEventTrigger(asset_name="force_liquidations", risk_units={6, 7})
    assert_type(waiting.serialize(), tuple[str, dict[str, Any]])
    assert_type(watching.serialize(), tuple[str, dict[str, Any]])
    return waiting, watching
