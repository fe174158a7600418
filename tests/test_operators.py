"""The operator: a run's window to XCom or S3, and the end of the task when something is wrong."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_binance_loan.exceptions import TransientError
from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from tests.conftest import NOW

HOUR = timedelta(hours=1)
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
    mocker.patch("airflow_provider_binance_loan.doors._MAX_TRIES", 1)
    connect(host="http://127.0.0.1:9")
    with pytest.raises(TransientError):
        operator().execute(context())


def test_refuses_an_existing_object_before_any_request(exchange: Exchange, s3: Any) -> None:
    """With replace=False an object that is there fails the task, and Binance is not asked."""
    s3.put_object(Bucket="lake", Key="a.jsonl", Body=b"old")
    with pytest.raises(AirflowFailException, match=r"s3://lake/a\.jsonl exists"):
        operator(s3_bucket="lake", s3_key="a.jsonl", replace=False).execute(context())
    assert exchange.requests == []


def test_templates_what_a_dag_may_want_to_compute() -> None:
    """Windows, ids, keys and connections are template fields."""
    assert set(BinanceLoanForceLiquidationOperator.template_fields) == {
        "start",
        "end",
        "risk_units",
        "s3_bucket",
        "s3_key",
        "aws_conn_id",
        "binance_loan_conn_id",
    }
