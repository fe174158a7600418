"""What a pull reports to Airflow: the endpoint of its records, and the objects that hold them."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.definitions.asset import AssetRef
from airflow.sdk.lineage import get_hook_lineage_collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow.providers.common.compat.openlineage.facet import Dataset as OpenLineageDataset
    from airflow.sdk import Context

    from airflow_provider_binance_loan.binance.declaration import Dataset
    from airflow_provider_binance_loan.hooks import BinanceLoanHook


def add_input(hook: BinanceLoanHook, dataset: Dataset, about: Mapping[str, str]) -> None:
    """Report a dataset, as the connection's account sees it, as an input of the task.

    :param about: when the records are from.
    """
    account = quote(str(hook.binance_loan_conn_id), safe="", errors="replace")
    get_hook_lineage_collector().add_input_asset(
        context=hook,
        uri=f"binance://{account}{dataset.path}",
        asset_extra=dict(about),
    )


def convert_asset_to_openlineage(asset: Asset, _: object) -> OpenLineageDataset:
    """Return a dataset of OpenLineage: the account is its namespace, and the path its name.

    The OpenLineage provider finds this function by the scheme of the asset.
    """
    # Comes with Airflow, but needs OpenLineage, which calls this function.
    from airflow.providers.common.compat.openlineage.facet import Dataset as OpenLineageDataset

    parts = urlsplit(asset.uri)
    return OpenLineageDataset(namespace=f"{parts.scheme}://{parts.netloc}", name=parts.path)


def add_to_asset_events(context: Context, outlets: Iterable[Any], manifest: Mapping[str, Any]) -> None:
    """Add a manifest to the events of the task's assets; an alias gets the object as its asset."""
    for outlet in outlets:
        if isinstance(outlet, (Asset, AssetRef)):
            context["outlet_events"][outlet].extra.update(manifest)
        elif isinstance(outlet, AssetAlias):
            asset = Asset(_asset_uri(manifest["uri"]))
            context["outlet_events"][outlet].add(asset, extra=dict(manifest))


def _asset_uri(uri: str) -> str:
    # Airflow accepts ASCII only, and a single other address makes it refuse the events of all outlets.
    return quote(uri, safe=string.punctuation)
