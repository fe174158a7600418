"""The operator: a run's window to XCom or S3, and the end of the task when something is wrong."""

from __future__ import annotations

import gzip
import io
import json
import traceback
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_provider_binance_loan.client.base import RetryPolicy
from airflow_provider_binance_loan.exceptions import BadResponseError, TransientError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.operators import (
    BinanceLoanLiquidationTransferOperator,
)
from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_SECRET, Exchange
from tests.support.clock import HOUR
from tests.support.connections import S3_KEY, S3_SECRET, aws_connection
from tests.support.operators import START_MS, fill, operator
from tests.support.runs import run_context
from tests.support.transfers import TRANSFERS

pytestmark = pytest.mark.usefixtures("real_time")


@pytest.mark.parametrize("count", [0, 3])
def test_returns_the_records(exchange: Exchange, count: int) -> None:
    """Without a key the records of the run's interval are the task's XCom, in JSON's own types."""
    fill(exchange, count)
    exchange.add_liquidation(2, START_MS - 1)
    exchange.add_liquidation(2, START_MS + 3_600_000)
    records = operator().execute(run_context())
    assert isinstance(records, list)
    assert [record["liquidationStartTime"] for record in records] == list(range(START_MS, START_MS + count))
    assert json.loads(json.dumps(records)) == records


@pytest.mark.parametrize("count", [0, 3, 250])
def test_lands_the_records(exchange: Exchange, s3: Any, count: int) -> None:
    """With a key they are in S3, and the XCom is a manifest of the object and the window."""
    fill(exchange, count)
    manifest = operator(s3_bucket="lake", s3_key="a/b.jsonl.gz").execute(run_context())
    assert isinstance(manifest, dict)
    body = s3.get_object(Bucket="lake", Key="a/b.jsonl.gz")["Body"].read()
    records = [json.loads(line) for line in gzip.decompress(body).splitlines()]
    assert [record["liquidationStartTime"] for record in records] == list(range(START_MS, START_MS + count))
    assert manifest | {"sha256": ""} == {
        "dataset": "force_liquidations",
        "uri": "s3://lake/a/b.jsonl.gz",
        "s3_uri": "s3://lake/a/b.jsonl.gz",
        "records": count,
        "running": 0,
        "bytes": len(body),
        "sha256": "",
        "window_start": "2026-03-01T11:00:00+00:00",
        "window_end": "2026-03-01T12:00:00+00:00",
    }
    assert operator(s3_key="s3://lake/a/b.jsonl.gz").execute(run_context()) == manifest


def test_counts_what_is_still_running(exchange: Exchange, s3: Any) -> None:
    """The manifest, and so the event of an asset, says how many records may still change."""
    fill(exchange, 2)
    exchange.add_liquidation(2, START_MS + 1)
    manifest = operator(s3_key="s3://lake/a.jsonl").execute(run_context())
    assert isinstance(manifest, dict)
    assert (manifest["records"], manifest["running"]) == (3, 1)


def test_reads_the_documented_example(exchange: Exchange) -> None:
    """The window of the documented example holds its record, digit for digit."""
    exchange.add_unit(6)
    example = next(one for one in Exchange().liquidations() if one.fields)
    exchange.add_liquidation(6, example.start_ms, example.end_ms, **example.fields)
    start = datetime(2025, 5, 27, 21, tzinfo=UTC)
    (record,) = operator().execute(run_context(start, start + HOUR))
    assert record["totalNetEquity"] == "16671.5507973"
    assert isinstance(record["liquidationSnapshot"]["liabilities"], list)


def test_says_which_window_it_pulls(capsys: pytest.CaptureFixture[str]) -> None:
    """One line of the log has the window and the rule that chose it."""
    operator().execute(run_context())
    line = "Window [2026-03-01T11:00:00Z, 2026-03-01T12:00:00Z): the run's data interval."
    assert capsys.readouterr().out.count(line) == 1


@pytest.mark.parametrize(("count", "records"), [(0, "0 records"), (1, "1 record"), (2, "2 records")])
@pytest.mark.parametrize(
    ("arguments", "line"),
    [({}, "Pulled {}."), ({"s3_key": "s3://lake/a.jsonl"}, "Landed {} in s3://lake/a.jsonl.")],
    ids=["xcom", "s3"],
)
def test_says_how_many_records_it_pulled(
    exchange: Exchange,
    s3: Any,
    capsys: pytest.CaptureFixture[str],
    arguments: dict[str, Any],
    line: str,
    count: int,
    records: str,
) -> None:
    """One line of the log has the number of records, and where they are."""
    fill(exchange, count)
    operator(**arguments).execute(run_context())
    assert line.format(records) in capsys.readouterr().out


@pytest.mark.parametrize("login", [S3_KEY, ""], ids=["connection", "environment"])
@pytest.mark.parametrize("replace", [True, False])
def test_says_once_where_its_aws_credentials_are_from(
    exchange: Exchange,
    s3: Any,
    s3_url: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    login: str,
    replace: bool,
) -> None:
    """Three tables are landed with one client of S3, so that the log has our lines and few others."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", S3_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3_SECRET)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection(s3_url, login, login))
    caplog.set_level("INFO", logger="botocore")
    fill(exchange, 3)
    capsys.readouterr()
    operator(s3_key="s3://lake/a.jsonl", flatten=True, replace=replace).execute(run_context())
    out = [line for line in capsys.readouterr().out.splitlines() if "airflow." in line]
    assert ("Window [" in out[0], "Landed 3 records" in out[-1], len(out) <= 3) == (True, True, True)
    others = [record for record in caplog.records if record.name.startswith(("boto", "s3"))]
    assert len(out[1:-1] + others) == 1


def test_starts_earlier_by_the_lookback(exchange: Exchange) -> None:
    """A lookback fetches liquidations again that started before the window."""
    exchange.add_liquidation(1, START_MS - 1)
    assert len(operator(lookback=timedelta(milliseconds=1)).execute(run_context())) == 1


def test_fails_for_good_on_too_many_records_for_xcom(exchange: Exchange) -> None:
    """More records than XCom may hold fail the task without a retry, and the error says what to set."""
    fill(exchange, 3)
    with pytest.raises(AirflowFailException, match=r"^Set s3_key .* max_xcom_records=2"):
        operator(max_xcom_records=2).execute(run_context())


@pytest.mark.parametrize(
    ("fields", "code", "advice"),
    [
        ({"login": "unknown"}, "code -20", "key"),
        ({"password": "wrong-secret"}, "code -1022", "secret or private key"),
    ],
    ids=["key", "secret"],
)
def test_fails_for_good_on_a_refused_key(
    connect: Any, fields: dict[str, str], code: str, advice: str
) -> None:
    """A key that Binance refuses fails the task without a retry, which would invite a ban."""
    connect(**fields)
    with pytest.raises(AirflowFailException) as caught:
        operator().execute(run_context())
    text = str(caught.value)
    assert [
        part for part in (advice, "connection 'binance_loan_default'", "HTTP 40", code) if part not in text
    ] == []
    assert fields.get("password", SANDBOX_API_SECRET) not in text


def test_leaves_transient_errors_to_airflow(connect: Any) -> None:
    """A fault that may pass is raised as it is, so that Airflow retries as the DAG says."""
    connect(host="http://127.0.0.1:9")
    task = operator()
    task.hook = BinanceLoanHook(retry_policy=RetryPolicy(max_attempts=1))
    with pytest.raises(TransientError) as caught:
        task.execute(run_context())
    assert caught.value.conn_id == "binance_loan_default"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            {"s3_key": "s3://lake/a.jsonl", "replace": False},
            r"^Remove the object, or set replace=True: s3://lake/a\.jsonl is there already",
        ),
        ({"s3_key": "s3://nowhere/a.jsonl"}, "^Create the bucket 'nowhere'"),
        ({"s3_key": "s3://lake/a"}, "^Set file_format, or give s3_key a known ending: 'a' has none"),
        ({"s3_key": "s3://lake/a", "file_format": "csv"}, "^Give file_format as .* it is 'csv'"),
        ({"s3_key": "s3://lake/{table}.jsonl"}, "^Set flatten=True"),
        (
            {"s3_key": "s3://lake/a.parquet", "parquet_amounts": "float"},
            "^Give parquet_amounts as .* it is 'float'",
        ),
        (
            {"s3_key": "s3://lake/a.jsonl", "parquet_amounts": "string"},
            "^Leave out parquet_amounts, .* it is 'string'",
        ),
        ({"s3_key": "s3://lake/a.gz", "file_format": "jsonl"}, "s3_key agree: .*'a.gz' means 'gzip'"),
        (
            {"s3_key": "s3://lake/b.jsonl", "s3_extra_args": {"Colour": "red"}},
            "^Correct or remove 'Colour' in s3_extra_args",
        ),
        ({"s3_key": "s3://lake/b.jsonl", "s3_extra_args": {"Tagging": {"a": "b"}}}, "parameter Tagging"),
        ({"s3_key": "s3://lake/b.jsonl", "s3_extra_args": {"Metadata": "a"}}, "parameter Metadata"),
        ({"s3_key": "s3://lake/b.jsonl", "s3_extra_args": {"Metadata": {"a": 1}}}, "parameter Metadata.a"),
        (
            {"s3_key": "s3://lake/b.jsonl", "s3_extra_args": {"Metadata": {"a": "é"}}},
            "Use ASCII for Metadata in s3_extra_args",
        ),
        ({"s3_key": "s3://lake/b.jsonl", "acl_policy": 5}, "parameter ACL"),
        (
            {"s3_key": "s3://lake/b.jsonl", "acl_policy": "private", "s3_extra_args": {"ACL": "private"}},
            "^Leave out acl_policy, or ACL of s3_extra_args: .*'private'",
        ),
    ],
)
def test_finds_out_before_any_request(
    exchange: Exchange, s3: Any, arguments: dict[str, Any], says: str
) -> None:
    """Wrong arguments, and what S3 does not allow, fail the task without a request to Binance or a retry."""
    s3.put_object(Bucket="lake", Key="a.jsonl", Body=b"old")
    with pytest.raises(AirflowFailException, match=says):
        operator(**arguments).execute(run_context())
    assert exchange.requests == []


@pytest.mark.parametrize("arguments", [{}, {"s3_key": "s3://lake/a.jsonl"}], ids=["xcom", "s3"])
def test_skips_an_empty_window(exchange: Exchange, s3: Any, arguments: dict[str, Any]) -> None:
    """With skip_if_empty a window without records writes nothing; one with records is pulled as usual."""
    task = operator(skip_if_empty=True, **arguments)
    with pytest.raises(AirflowSkipException, match="no records"):
        task.execute(run_context())
    assert "Contents" not in s3.list_objects_v2(Bucket="lake")
    fill(exchange, 2)
    returned = task.execute(run_context())
    assert (returned["records"] if isinstance(returned, dict) else len(returned)) == 2


@pytest.mark.parametrize(("key", "flatten"), [("a.jsonl.gz", False), ("a.parquet", True)])
def test_pulls_a_window_to_the_same_bytes_again(
    exchange: Exchange, s3: Any, key: str, *, flatten: bool
) -> None:
    """A rerun of a window writes the objects of the first run again."""
    fill(exchange, 3)
    task = operator(s3_bucket="lake", s3_key=key, flatten=flatten)
    assert task.execute(run_context()) == task.execute(run_context())


@pytest.mark.parametrize("arguments", [{}, {"s3_key": "s3://lake/a.jsonl"}], ids=["xcom", "s3"])
@pytest.mark.parametrize("name", ["flatten", "replace", "skip_if_empty", "encrypt"])
def test_refuses_switches_that_are_none(
    exchange: Exchange, s3: Any, arguments: dict[str, Any], name: str
) -> None:
    """A text in place of True or False fails the task without a request to Binance."""
    with pytest.raises(AirflowFailException, match=f"^Give {name} as True or False: it is 'no'"):
        operator(**{**arguments, name: "no"}).execute(run_context())
    assert exchange.requests == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"s3_bucket": "lake"},
        {"flatten": True},
        {"file_format": "parquet"},
        {"encrypt": True},
        {"acl_policy": "private"},
        {"s3_extra_args": {"Tagging": "a=b"}},
    ],
    ids=str,
)
def test_refuses_arguments_of_s3_without_a_key(exchange: Exchange, arguments: dict[str, Any]) -> None:
    """An argument that does nothing without s3_key fails the task without a request to Binance."""
    ((name, value),) = arguments.items()
    with pytest.raises(AirflowFailException) as caught:
        operator(**arguments).execute(run_context())
    assert str(caught.value).startswith(f"Add s3_key, or leave out {name}: it is {value!r}")
    assert exchange.requests == []


def test_says_an_error_once(connect: Any) -> None:
    """The traceback of a failed task has one error: that of Airflow, with the text of ours."""
    connect(password="wrong")
    with pytest.raises(AirflowFailException) as caught:
        operator().execute(run_context())
    text = "".join(traceback.format_exception(caught.value))
    assert text.count(str(caught.value)) == 1
    assert "connection 'binance_loan_default'" in str(caught.value)


def test_transfers_are_not_selected_by_risk_unit(exchange: Exchange) -> None:
    """Whoever chooses risk units is told that Binance cannot."""
    task = BinanceLoanLiquidationTransferOperator(task_id="pull", risk_units=[6])
    with pytest.raises(AirflowFailException, match=r"^Leave out risk_units: Binance does not select"):
        task.execute(run_context())
    assert exchange.requests == []


@pytest.mark.parametrize("flatten", [False, True], ids=["records", "tables"])
def test_another_dataset_needs_an_attribute_alone(exchange: Exchange, s3: Any, *, flatten: bool) -> None:
    """An operator of a further dataset is a docstring and its declaration, and lands like the first one."""
    fill(exchange, 3)
    task = BinanceLoanLiquidationTransferOperator(
        task_id="pull", s3_bucket="lake", s3_key="a.jsonl", flatten=flatten
    )
    manifest = task.execute(run_context())
    assert isinstance(manifest, dict)
    key = manifest["uri"].removeprefix("s3://lake/")
    lines = s3.get_object(Bucket="lake", Key=key)["Body"].read().splitlines()
    assert [set(json.loads(line)) for line in lines] == [
        {"liquidationId"} if flatten else {"liquidationId", "liquidationTransferRecord"}
    ] * 3
    assert (manifest["records"], manifest["window_start"]) == (3, "2026-03-01T11:00:00+00:00")
    assert {request.path for request in exchange.requests} == {TRANSFERS.path}


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({}, "XCom"),
        ({"s3_key": "a.jsonl"}, "INF"),
        ({"s3_key": "a.jsonl.gz"}, "INF"),
        ({"s3_key": "a.parquet", "parquet_amounts": "string"}, "INF"),
        ({"s3_key": "a.parquet", "parquet_amounts": {"totalLiability": "string"}}, "INF"),
        ({"s3_key": "a.parquet"}, None),
    ],
    ids=str,
)
def test_lands_a_bad_amount_as_it_was_sent(
    arguments: dict[str, Any], found: str | None, exchange: Exchange, s3: Any
) -> None:
    """A text in place of an amount fails the task, or is kept by every format that can hold it."""
    exchange.add_liquidation(1, START_MS, START_MS + 1, totalLiability="INF")
    arguments = arguments | ({"s3_bucket": "lake"} if "s3_key" in arguments else {})
    with pytest.raises(BadResponseError, match="totalLiability is 'INF'"):
        operator(**arguments).execute(run_context())
    assert "Contents" not in s3.list_objects_v2(Bucket="lake")
    task = operator(**arguments, on_bad_amount="keep")
    if found is None:
        with pytest.raises(AirflowFailException, match="Set parquet_amounts="):
            task.execute(run_context())
        assert "Contents" not in s3.list_objects_v2(Bucket="lake")
        return
    result = task.execute(run_context())
    if isinstance(result, list):
        (record,) = result
    else:
        body = s3.get_object(Bucket="lake", Key=arguments["s3_key"])["Body"].read()
        if "parquet" in arguments["s3_key"]:
            (record,) = pq.read_table(io.BytesIO(body)).to_pylist()
        else:
            record = json.loads(gzip.decompress(body) if arguments["s3_key"].endswith("gz") else body)
    assert record["totalLiability"] == "INF"
