"""The operator: a run's window to XCom or S3, and the end of the task when something is wrong."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, Asset, AssetAlias
from airflow.sdk.definitions._internal.templater import SandboxedEnvironment as Environment
from airflow.sdk.definitions.asset import AssetUniqueKey
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk.execution_time import macros
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.sdk.lineage import get_hook_lineage_collector

from airflow_provider_binance_loan.exceptions import TransientError
from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from tests.support.clock import HOUR, NOW

START_MS = int((NOW - HOUR).timestamp() * 1000)


@pytest.fixture(autouse=True)
def real_time(connect: Any, exchange: Exchange) -> None:
    """Let the local Binance share the operator's clock."""
    import time

    exchange.clock = time.time


def context(start: datetime = NOW - HOUR, end: datetime = NOW) -> Any:
    return {
        "dag_run": SimpleNamespace(run_after=end),
        "data_interval_start": start,
        "data_interval_end": end,
    }


def operator(**arguments: Any) -> BinanceLoanForceLiquidationOperator:
    return BinanceLoanForceLiquidationOperator(task_id="pull", **arguments)


def fill(exchange: Exchange, count: int) -> None:
    for number in range(count):
        exchange.add_liquidation(1, START_MS + number, START_MS + number + 1)


@pytest.mark.parametrize("count", [0, 3])
def test_returns_the_records(exchange: Exchange, count: int) -> None:
    """Without a key the records of the run's interval are the task's XCom, JSON through and through."""
    fill(exchange, count)
    exchange.add_liquidation(2, START_MS - 1)
    exchange.add_liquidation(2, START_MS + 3_600_000)
    records = operator().execute(context())
    assert isinstance(records, list)
    assert [record["liquidationStartTime"] for record in records] == list(range(START_MS, START_MS + count))
    assert json.loads(json.dumps(records)) == records


@pytest.mark.parametrize("count", [0, 3, 250])
def test_lands_the_records(exchange: Exchange, s3: Any, count: int) -> None:
    """With a key they are in S3, and the XCom is a manifest of the object and the window."""
    fill(exchange, count)
    manifest = operator(s3_bucket="lake", s3_key="a/b.jsonl.gz").execute(context())
    assert isinstance(manifest, dict)
    body = s3.get_object(Bucket="lake", Key="a/b.jsonl.gz")["Body"].read()
    records = [json.loads(line) for line in gzip.decompress(body).splitlines()]
    assert [record["liquidationStartTime"] for record in records] == list(range(START_MS, START_MS + count))
    assert manifest | {"sha256": ""} == {
        "s3_uri": "s3://lake/a/b.jsonl.gz",
        "records": count,
        "running": 0,
        "bytes": len(body),
        "sha256": "",
        "window_start": "2026-03-01T11:00:00+00:00",
        "window_end": "2026-03-01T12:00:00+00:00",
    }
    assert operator(s3_key="s3://lake/a/b.jsonl.gz").execute(context()) == manifest


def test_reads_the_documented_example(exchange: Exchange) -> None:
    """The window of the documented example holds its record, digit for digit."""
    exchange.add_unit(6)
    example = next(one for one in Exchange().liquidations() if one.fields)
    exchange.add_liquidation(6, example.start_ms, example.end_ms, **example.fields)
    start = datetime(2025, 5, 27, 21, tzinfo=UTC)
    (record,) = operator().execute(context(start, start + HOUR))
    assert record["totalNetEquity"] == "16671.5507973"
    assert isinstance(record["liquidationSnapshot"]["liabilities"], list)


def test_says_which_window_it_pulls(capsys: pytest.CaptureFixture[str]) -> None:
    """One line of the log has the window and the rule that chose it."""
    operator().execute(context())
    line = "Window [2026-03-01 11:00:00+00:00, 2026-03-01 12:00:00+00:00): the run's data interval."
    assert line in capsys.readouterr().out


def test_looks_back(exchange: Exchange) -> None:
    """A lookback fetches again what started before the window."""
    exchange.add_liquidation(1, START_MS - 1)
    assert len(operator(lookback=timedelta(milliseconds=1)).execute(context())) == 1


def test_fails_for_good_on_too_many_records_for_xcom(exchange: Exchange) -> None:
    """More records than XCom should hold fail the task without a retry, and the error names the way out."""
    fill(exchange, 3)
    with pytest.raises(AirflowFailException, match=r"max_xcom_records=2 records, .* set s3_key"):
        operator(max_xcom_records=2).execute(context())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"login": "unknown"}, "code -20"),
        ({"password": "wrong"}, "code -1022.*check that the secret or private key"),
    ],
)
def test_fails_for_good_on_a_refused_key(connect: Any, fields: dict[str, Any], says: str) -> None:
    """A key that Binance refuses fails the task without a retry, which would invite a ban."""
    connect(**fields)
    with pytest.raises(AirflowFailException, match=says):
        operator().execute(context())


def test_leaves_what_may_pass_to_airflow(connect: Any, mocker: Any) -> None:
    """A fault that may pass is raised as it is, so that Airflow retries as the DAG says."""
    mocker.patch("airflow_provider_binance_loan.client.base._MAX_TRIES", 1)
    connect(host="http://127.0.0.1:9")
    with pytest.raises(TransientError):
        operator().execute(context())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"s3_key": "s3://lake/a.jsonl", "replace": False}, r"s3://lake/a\.jsonl exists"),
        ({"s3_key": "s3://nowhere/a.jsonl"}, "There is no bucket 'nowhere'"),
        ({"s3_key": "s3://lake/a"}, "s3_key is 'a', whose end names no format"),
        ({"s3_key": "s3://lake/a", "file_format": "csv"}, "file_format is 'csv'"),
        ({"s3_key": "s3://lake/{table}.jsonl"}, "set flatten=True"),
        ({"s3_key": "s3://lake/a.parquet", "parquet_amounts": "float"}, "parquet_amounts is 'float'"),
        (
            {"s3_key": "s3://lake/a.jsonl", "parquet_amounts": "string"},
            "parquet_amounts is 'string', and the",
        ),
        ({"s3_key": "s3://lake/a.gz", "file_format": "jsonl"}, "s3_key, 'a.gz', means 'gzip'"),
        ({"s3_key": "s3://lake/b.jsonl", "s3_extra_args": {"Colour": "red"}}, "s3_extra_args has 'Colour'"),
        ({"s3_key": "s3://lake/b.jsonl", "s3_extra_args": {"Tagging": {"a": "b"}}}, "parameter Tagging"),
        ({"s3_key": "s3://lake/b.jsonl", "s3_extra_args": {"Metadata": "a"}}, "parameter Metadata"),
        ({"s3_key": "s3://lake/b.jsonl", "s3_extra_args": {"Metadata": {"a": 1}}}, "parameter Metadata.a"),
        ({"s3_key": "s3://lake/b.jsonl", "s3_extra_args": {"Metadata": {"a": "é"}}}, "is not all ASCII"),
        ({"s3_key": "s3://lake/b.jsonl", "acl_policy": 5}, "parameter ACL"),
        (
            {"s3_key": "s3://lake/b.jsonl", "acl_policy": "private", "s3_extra_args": {"ACL": "private"}},
            "s3_extra_args has ACL='private': give one of them",
        ),
    ],
)
def test_finds_out_before_any_request(
    exchange: Exchange, s3: Any, arguments: dict[str, Any], says: str
) -> None:
    """What S3 or the arguments do not allow fails the task for good, and Binance is not asked."""
    s3.put_object(Bucket="lake", Key="a.jsonl", Body=b"old")
    with pytest.raises(AirflowFailException, match=says):
        operator(**arguments).execute(context())
    assert exchange.requests == []


@pytest.mark.parametrize("arguments", [{}, {"s3_key": "s3://lake/a.jsonl"}], ids=["xcom", "s3"])
def test_skips_an_empty_window_when_told_to(exchange: Exchange, s3: Any, arguments: dict[str, Any]) -> None:
    """With skip_if_empty a window without records writes nothing; one with records is pulled as ever."""
    task = operator(skip_if_empty=True, **arguments)
    with pytest.raises(AirflowSkipException, match="no records"):
        task.execute(context())
    assert "Contents" not in s3.list_objects_v2(Bucket="lake")
    fill(exchange, 2)
    returned = task.execute(context())
    assert (returned["records"] if isinstance(returned, dict) else len(returned)) == 2


@pytest.mark.parametrize(("key", "flatten"), [("a.jsonl.gz", False), ("a.parquet", True)])
def test_pulls_a_window_to_the_same_bytes_again(
    exchange: Exchange, s3: Any, key: str, *, flatten: bool
) -> None:
    """A rerun of a window leaves what the first run left."""
    fill(exchange, 3)
    task = operator(s3_bucket="lake", s3_key=key, flatten=flatten)
    assert task.execute(context()) == task.execute(context())


def test_names_a_window_in_the_key(exchange: Exchange, s3: Any) -> None:
    """The key that a template makes of the window is where the records of that window land."""
    fill(exchange, 1)
    task = operator(s3_key="s3://lake/dt={{ window_start | ds }}/{{ window_end | ts_nodash }}.parquet")
    run = context()
    task.render_template_fields(run, Environment())
    manifest = task.execute(run)
    assert isinstance(manifest, dict)
    assert manifest["s3_uri"] == "s3://lake/dt=2026-03-01/20260301T120000.parquet"
    assert manifest["records"] == 1


KEY = (
    "{{ window_start | ds }} {{ window_start | ts_nodash }} "
    "{{ window_end | ts }} {{ window_end | ds_nodash }}"
)


@pytest.mark.parametrize(
    ("arguments", "run", "rendered"),
    [
        ({}, context(), "2026-03-01 20260301T110000 2026-03-01T12:00:00+00:00 20260301"),
        ({}, {}, "2026-02-22 20260222T120000 2026-03-01T12:00:00+00:00 20260301"),
        (
            {"start": "{{ dag_run.run_after - macros.timedelta(hours=2) }}"},
            {},
            "2026-03-01 20260301T100000 2026-03-01T12:00:00+00:00 20260301",
        ),
        (
            {"start": "2026-03-01T00:30:00+01:00", "end": "2026-03-01T01:00:00+01:00"},
            {},
            "2026-02-28 20260228T233000 2026-03-01T00:00:00+00:00 20260301",
        ),
        (
            {"lookback": timedelta(days=1)},
            context(),
            "2026-02-28 20260228T110000 2026-03-01T12:00:00+00:00 20260301",
        ),
    ],
    ids=["interval", "none", "templated", "given", "lookback"],
)
@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "mapped"])
def test_templates_may_name_the_window(
    arguments: dict[str, Any], run: dict[str, Any], rendered: str, *, mapped: bool
) -> None:
    """The window is known before the templates of other arguments, in every kind of run and of task."""
    templates = {"s3_key": KEY, "s3_bucket": "{{ window_end.minute }}", "s3_extra_args": {"Tagging": KEY}}
    assert render(arguments | templates, run, mapped=mapped) == (rendered, "0", {"Tagging": rendered})


@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "mapped"])
def test_a_wrong_window_fails_the_task_and_not_the_template(*, mapped: bool) -> None:
    """A key that names a window which is none stays as it is, and the task fails with what is wrong."""
    arguments = {"start": "yesterday", "s3_key": KEY}
    assert render(arguments, context(), mapped=mapped)[0] == KEY
    with pytest.raises(AirflowFailException, match="start is 'yesterday': give a datetime or an ISO 8601"):
        operator(**arguments).execute(context())


def test_a_key_that_renders_nothing_is_no_way_to_xcom(exchange: Exchange, s3: Any) -> None:
    """Where templates render native objects, a key may become None, which is refused like the text."""
    with DAG("native", schedule=None, render_template_as_native_obj=True) as dag:
        task = operator(s3_key="{{ None }}")
    run = context() | {"dag": dag}
    task.render_template_fields(run, dag.get_template_env())
    with pytest.raises(AirflowFailException, match="s3_key is 'None': give a text; a template may have"):
        task.execute(run)
    assert exchange.requests == []


def render(arguments: dict[str, Any], run: dict[str, Any], *, mapped: bool) -> tuple[Any, ...]:
    """Render a task's templates as Airflow does before it runs one, and return those of S3."""
    with DAG("templates", schedule=None) as dag:
        if mapped:
            task = BinanceLoanForceLiquidationOperator.partial(task_id="pull", **arguments).expand(
                aws_conn_id=["one", "two"]
            )
        else:
            task = operator(**arguments)
    instance = SimpleNamespace(map_index=1 if mapped else -1, task=task)
    dag_run = SimpleNamespace(run_after=NOW, conf={})
    run = {**run, "dag": dag, "macros": macros, "dag_run": dag_run, "ti": instance}
    task.render_template_fields(run, dag.get_template_env())
    assert instance.task.aws_conn_id == ("two" if mapped else "aws_default")
    return instance.task.s3_key, instance.task.s3_bucket, instance.task.s3_extra_args


def test_tells_its_assets_what_came(exchange: Exchange, s3: Any) -> None:
    """The event of an asset carries the manifest; an alias gets the object as its asset, with it."""
    fill(exchange, 2)
    lake, alias = Asset("s3://lake/loans"), AssetAlias("loans")
    events = OutletEventAccessors()
    task = operator(s3_key="s3://lake/loans/a.jsonl", outlets=[lake, alias])
    manifest = task.execute(context() | {"outlet_events": events})
    assert isinstance(manifest, dict)
    assert events[lake].extra == manifest
    assert (manifest["records"], manifest["s3_uri"]) == (2, "s3://lake/loans/a.jsonl")
    (event,) = events[alias].asset_alias_events
    assert (event.dest_asset_key.uri, event.extra) == (manifest["s3_uri"], manifest)


def test_names_an_asset_as_airflow_takes_it(exchange: Exchange, s3: Any) -> None:
    """Airflow takes ASCII alone for an asset's address; the manifest has the key as it is."""
    alias, events = AssetAlias("loans"), OutletEventAccessors()
    task = operator(s3_key="s3://lake/dt=1/żółć.jsonl", outlets=[alias])
    manifest = task.execute(context() | {"outlet_events": events})
    assert isinstance(manifest, dict)
    assert manifest["s3_uri"] == "s3://lake/dt=1/żółć.jsonl"
    (event,) = events[alias].asset_alias_events
    assert event.dest_asset_key.uri == "s3://lake/dt=1/%C5%BC%C3%B3%C5%82%C4%87.jsonl"


def test_tells_an_asset_that_is_named_by_a_reference(exchange: Exchange, s3: Any, mocker: Any) -> None:
    """A reference to an asset is an outlet like the asset itself."""
    lake, reference = Asset("s3://lake/loans"), Asset.ref(uri="s3://lake/loans")
    key = AssetUniqueKey.from_asset(lake)
    mocker.patch.object(OutletEventAccessors, "_resolve_asset_ref", return_value=(key, "test"))
    events = OutletEventAccessors()
    task = operator(s3_key="s3://lake/a.jsonl", outlets=[reference])
    assert events[lake].extra == {}
    manifest = task.execute(context() | {"outlet_events": events})
    assert events[lake].extra == manifest


def test_leaves_its_assets_alone_without_s3(exchange: Exchange) -> None:
    """Records in XCom are no object that an asset could tell of."""
    operator(outlets=[Asset("s3://lake/loans")]).execute(context() | {"outlet_events": None})


def test_notes_where_records_come_from_and_go(exchange: Exchange, s3: Any, mocker: Any) -> None:
    """Lineage has the endpoint as the one input, with the window, and the object as the one output."""
    mocker.patch("airflow.sdk.plugins_manager.get_hook_lineage_readers_plugins", return_value=[object])
    get_hook_lineage_collector.cache_clear()
    try:
        operator(s3_key="s3://lake/a.jsonl").execute(context())
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


@pytest.mark.parametrize(
    ("arguments", "page"),
    [
        ({}, ""),
        (
            {"s3_key": "s3://lake/dt=1/a.jsonl"},
            "https://console.aws.amazon.com/s3/object/lake?region=us-east-1&prefix=dt%3D1%2Fa.jsonl",
        ),
        (
            {"s3_key": "s3://lake/b.jsonl", "flatten": True},
            "https://console.aws.amazon.com/s3/object/lake?region=us-east-1&prefix=liquidations%2Fb.jsonl",
        ),
    ],
    ids=["xcom", "records", "tables"],
)
def test_links_to_the_object(exchange: Exchange, s3: Any, arguments: dict[str, Any], page: str) -> None:
    """The task's page leads to the object in the AWS console, and nowhere when there is none."""
    task = operator(**arguments)
    (link,) = task.operator_extra_links
    assert link.name == "S3 object"
    assert link.get_link(task, ti_key=None) == ""
    task.execute(context())
    assert link.get_link(task, ti_key=None) == page


def test_templates_what_a_dag_may_want_to_compute() -> None:
    """Windows, ids, keys and connections are template fields."""
    assert set(BinanceLoanForceLiquidationOperator.template_fields) == {
        "start",
        "end",
        "risk_units",
        "s3_bucket",
        "s3_key",
        "s3_extra_args",
        "aws_conn_id",
        "binance_loan_conn_id",
    }
