"""Lineage and asset events: where records come from, and which objects hold them."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.definitions.asset import AssetUniqueKey
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.sdk.lineage import get_hook_lineage_collector
from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.lineage import add_input
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from tests.support.operators import fill, operator
from tests.support.records import WINDOW
from tests.support.runs import run_context

pytestmark = pytest.mark.usefixtures("real_time")


def test_adds_the_manifest_to_asset_events(exchange: Exchange, s3: Any) -> None:
    """The event of an asset carries the manifest; an alias gets the object as its asset, with it."""
    fill(exchange, 2)
    lake, alias = Asset("s3://lake/loans"), AssetAlias("loans")
    events = OutletEventAccessors()
    task = operator(s3_key="s3://lake/loans/a.jsonl", outlets=[lake, alias])
    manifest = task.execute(run_context() | {"outlet_events": events})
    assert isinstance(manifest, dict)
    assert events[lake].extra == manifest
    assert (manifest["records"], manifest["s3_uri"]) == (2, "s3://lake/loans/a.jsonl")
    (event,) = events[alias].asset_alias_events
    assert (event.dest_asset_key.uri, event.extra) == (manifest["s3_uri"], manifest)


def test_escapes_the_address_of_an_asset(exchange: Exchange, s3: Any) -> None:
    """Airflow accepts only ASCII in an asset's address; the manifest has the key as it is."""
    alias, events = AssetAlias("loans"), OutletEventAccessors()
    task = operator(s3_key="s3://lake/dt=1/żółć.jsonl", outlets=[alias])
    manifest = task.execute(run_context() | {"outlet_events": events})
    assert isinstance(manifest, dict)
    assert manifest["s3_uri"] == "s3://lake/dt=1/żółć.jsonl"
    (event,) = events[alias].asset_alias_events
    assert event.dest_asset_key.uri == "s3://lake/dt=1/%C5%BC%C3%B3%C5%82%C4%87.jsonl"


def test_adds_the_manifest_to_the_event_of_a_reference(exchange: Exchange, s3: Any, mocker: Any) -> None:
    """A reference to an asset is an outlet like the asset itself."""
    lake, reference = Asset("s3://lake/loans"), Asset.ref(uri="s3://lake/loans")
    key = AssetUniqueKey.from_asset(lake)
    mocker.patch.object(OutletEventAccessors, "_resolve_asset_ref", return_value=(key, "test"))
    events = OutletEventAccessors()
    task = operator(s3_key="s3://lake/a.jsonl", outlets=[reference])
    assert events[lake].extra == {}
    manifest = task.execute(run_context() | {"outlet_events": events})
    assert events[lake].extra == manifest


def test_adds_nothing_to_asset_events_without_s3(exchange: Exchange) -> None:
    """Records in XCom are not an object, so the task's assets get no manifest."""
    events = OutletEventAccessors()
    operator(outlets=[lake := Asset("s3://lake/loans")]).execute(run_context() | {"outlet_events": events})
    assert events[lake].extra == {}


def test_reports_input_and_output(exchange: Exchange, s3: Any, mocker: Any) -> None:
    """Lineage has the dataset as the one input, with the window, and the object as the one output."""
    mocker.patch("airflow.sdk.plugins_manager.get_hook_lineage_readers_plugins", return_value=[object])
    get_hook_lineage_collector.cache_clear()
    try:
        operator(s3_key="s3://lake/a.jsonl").execute(run_context())
        lineage = get_hook_lineage_collector().collected_assets
    finally:
        get_hook_lineage_collector.cache_clear()
    (source,), (target,) = lineage.inputs, lineage.outputs
    assert source.asset.uri == ("binance://binance_loan_default/sapi/v1/margin/loan-group/force-liquidation")
    assert source.asset.extra == {
        "window_start": "2026-03-01T11:00:00+00:00",
        "window_end": "2026-03-01T12:00:00+00:00",
    }
    assert target.asset.uri == "s3://lake/a.jsonl"


class Dataset(NamedTuple):
    """OpenLineage's dataset, which the package does without."""

    namespace: str
    name: str


@pytest.mark.parametrize("conn_id", ["binance_loan_default", "desk.eu-1", "wäh rung/a@b:c"])
def test_openlineage_gets_the_input(conn_id: str, mocker: Any) -> None:
    """Airflow finds the converter of the scheme, and the dataset has the connection and the path."""
    mocker.patch("airflow.providers.common.compat.openlineage.facet.Dataset", Dataset)
    mocker.patch("airflow.sdk.plugins_manager.get_hook_lineage_readers_plugins", return_value=[object])
    get_hook_lineage_collector.cache_clear()
    try:
        add_input(BinanceLoanHook(conn_id), FORCE_LIQUIDATIONS, WINDOW.bounds)
        (source,) = get_hook_lineage_collector().collected_assets.inputs
    finally:
        get_hook_lineage_collector.cache_clear()
    uri = source.asset.normalized_uri
    assert uri is not None
    converter = ProvidersManagerTaskRuntime().asset_to_openlineage_converters[uri.partition(":")[0]]
    found = converter(Asset(uri=uri, extra=source.asset.extra), source.context)
    assert found.name == "/sapi/v1/margin/loan-group/force-liquidation"
    assert unquote(found.namespace) == f"binance://{conn_id}"
    assert f"{found.namespace}{found.name}" == source.asset.uri
