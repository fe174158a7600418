"""What Airflow is told of a pull: where the records came from, and which assets hold them now."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.definitions.asset import AssetRef
from airflow.sdk.lineage import get_hook_lineage_collector

from airflow_provider_binance_loan.binance.slicing import FORCE_LIQUIDATION_PATH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.sdk import Context

    from airflow_provider_binance_loan.hooks import BinanceLoanHook
    from airflow_provider_binance_loan.windows import Window


def note_input(hook: BinanceLoanHook, window: Window) -> None:
    """Note the endpoint, as the connection's account sees it, as an input of the task."""
    account = quote(str(hook.binance_loan_conn_id), safe="", errors="replace")
    get_hook_lineage_collector().add_input_asset(
        context=hook,
        uri=f"binance://{account}{FORCE_LIQUIDATION_PATH}",
        asset_extra={"window_start": window.start.isoformat(), "window_end": window.end.isoformat()},
    )


def announce(context: Context, outlets: Iterable[Any], manifest: dict[str, Any]) -> None:
    """Give the manifest to the events of the task's assets; an alias gets the object as its asset."""
    for outlet in outlets:
        if isinstance(outlet, (Asset, AssetRef)):
            context["outlet_events"][outlet].extra.update(manifest)
        elif isinstance(outlet, AssetAlias):
            context["outlet_events"][outlet].add(Asset(_to_asset_uri(manifest["s3_uri"])), extra=manifest)


def _to_asset_uri(s3_uri: str) -> str:
    # Airflow takes ASCII alone, and refuses the events of all outlets when one is otherwise.
    return quote(s3_uri, safe=string.punctuation)
