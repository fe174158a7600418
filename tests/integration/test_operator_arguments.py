"""The operator's arguments: each one, off its default, arrives where it acts."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_provider_binance_loan import operators
from airflow_provider_binance_loan.base_operator import BinanceLoanBaseOperator, BinanceLoanLandingOperator
from airflow_provider_binance_loan.landing.s3 import S3Destination
from airflow_provider_binance_loan.operators import (
    BinanceLoanBorrowRepayOperator,
    BinanceLoanForceLiquidationOperator,
    BinanceLoanInterestOperator,
    BinanceLoanLiquidationTransferOperator,
    BinanceLoanLtvOperator,
    BinanceLoanReconciliationOperator,
    BinanceLoanRiskUnitOperator,
)
from airflow_provider_binance_loan.sandbox.exchange import ApiKey, Exchange
from airflow_provider_binance_loan.snapshot_operator import BinanceLoanSnapshotOperator
from airflow_provider_binance_loan.windowed_operator import BinanceLoanDatasetOperator
from tests.support.arguments import keyword_arguments
from tests.support.clock import HOUR, NOW
from tests.support.connections import aws_connection, binance_connection
from tests.support.operators import fill
from tests.support.runs import run_context

pytestmark = pytest.mark.usefixtures("real_time")

Run = Callable[..., Any]


class Bench(NamedTuple):
    """Two records in the run's window, of the unit 1, and what an argument may act upon."""

    exchange: Exchange
    s3: Any
    monkeypatch: pytest.MonkeyPatch
    mocker: Any


class Proof(NamedTuple):
    """A value off the argument's default, and the proof that it acts.

    The proof is given the bench, and a function that runs the task with the value, and with what is added.
    """

    value: Any
    check: Callable[[Bench, Run], None]


PROOFS: dict[str, Proof] = {}
OF_RECONCILIATION: dict[str, Proof] = {}  # whose functions are named after the argument and `reconciled_`


def proof(value: Any, proofs: dict[str, Proof] = PROOFS) -> Callable[[Callable[[Bench, Run], None]], None]:
    """Add the proof of the argument that a function is named after."""

    def add(check: Callable[[Bench, Run], None]) -> None:
        proofs[check.__name__.removeprefix("reconciled_")] = Proof(value, check)

    return add


@proof(NOW - 5 * HOUR)
def start(bench: Bench, run: Run) -> None:
    assert run(s3_key="s3://lake/a.jsonl")["window_start"] == "2026-03-01T07:00:00+00:00"


@proof(NOW - HOUR / 2)
def end(bench: Bench, run: Run) -> None:
    assert run(s3_key="s3://lake/a.jsonl")["window_end"] == "2026-03-01T11:30:00+00:00"


@proof(2 * HOUR)
def lookback(bench: Bench, run: Run) -> None:
    assert run(s3_key="s3://lake/a.jsonl")["window_start"] == "2026-03-01T09:00:00+00:00"


@proof(True)
def add_window(bench: Bench, run: Run) -> None:
    assert [next(iter(record.items())) for record in run()] == [("window_end", 1_772_366_400_000)] * 2


@proof([2])
def risk_units(bench: Bench, run: Run) -> None:
    assert run() == []
    assert {dict(request.params).get("groupId") for request in bench.exchange.requests} == {"2"}


@proof("keep")
def on_bad_amount(bench: Bench, run: Run) -> None:
    bench.exchange.liquidations()[0].fields["totalLiability"] = "INF"
    assert run()[0]["totalLiability"] == "INF"


@proof("pond")
def s3_bucket(bench: Bench, run: Run) -> None:
    bench.s3.create_bucket(Bucket="pond")
    assert run(s3_key="a.jsonl")["uri"] == "s3://pond/a.jsonl"
    bench.s3.delete_object(Bucket="pond", Key="a.jsonl")
    bench.s3.delete_bucket(Bucket="pond")


@proof("a/b.jsonl")
def s3_key(bench: Bench, run: Run) -> None:
    run(s3_bucket="lake")
    assert bench.s3.get_object(Bucket="lake", Key="a/b.jsonl")["Body"].read().count(b"\n") == 2


@proof("jsonl.gz")
def file_format(bench: Bench, run: Run) -> None:
    run(s3_key="s3://lake/a")
    body = bench.s3.get_object(Bucket="lake", Key="a")["Body"].read()
    assert gzip.decompress(body).count(b"\n") == 2


@proof(True)
def flatten(bench: Bench, run: Run) -> None:
    assert set(run(s3_key="s3://lake/a.jsonl")["tables"]) == {"liquidations", "snapshots", "liabilities"}


@proof({"totalLiability": "string"})
def parquet_amounts(bench: Bench, run: Run) -> None:
    run(s3_key="s3://lake/a.parquet")
    schema = pq.read_schema(io.BytesIO(bench.s3.get_object(Bucket="lake", Key="a.parquet")["Body"].read()))
    assert str(schema.field("totalLiability").type) == "string"
    assert str(schema.field("totalNetEquity").type).startswith("decimal128")


@proof(False)
def replace(bench: Bench, run: Run) -> None:
    bench.s3.put_object(Bucket="lake", Key="a.jsonl", Body=b"old")
    with pytest.raises(AirflowFailException, match="is there already"):
        run(s3_key="s3://lake/a.jsonl")
    assert bench.exchange.requests == []
    upload = bench.mocker.spy(S3Destination, "upload")
    run(s3_key="s3://lake/b.jsonl")
    assert [call.kwargs["replace"] for call in upload.call_args_list] == [False]


@proof(True)
def skip_if_empty(bench: Bench, run: Run) -> None:
    for key in (None, "s3://lake/a.jsonl"):
        with pytest.raises(AirflowSkipException):
            run(s3_key=key, risk_units=[2])


@proof(True)
def encrypt(bench: Bench, run: Run) -> None:
    run(s3_key="s3://lake/a.jsonl")
    assert bench.s3.head_object(Bucket="lake", Key="a.jsonl")["ServerSideEncryption"] == "AES256"


@proof("public-read")
def acl_policy(bench: Bench, run: Run) -> None:
    run(s3_key="s3://lake/a.jsonl")
    grants = bench.s3.get_object_acl(Bucket="lake", Key="a.jsonl")["Grants"]
    assert "READ" in {grant["Permission"] for grant in grants}


@proof({"StorageClass": "STANDARD_IA"})
def s3_extra_args(bench: Bench, run: Run) -> None:
    run(s3_key="s3://lake/a.jsonl")
    assert bench.s3.head_object(Bucket="lake", Key="a.jsonl")["StorageClass"] == "STANDARD_IA"


@proof("lake_aws")
def aws_conn_id(bench: Bench, run: Run) -> None:
    bench.monkeypatch.setenv("AIRFLOW_CONN_LAKE_AWS", aws_connection(bench.s3.meta.endpoint_url))
    bench.monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection("http://127.0.0.1:9"))
    assert run(s3_key="s3://lake/a.jsonl")["records"] == 2


@proof(False)
def verify(bench: Bench, run: Run) -> None:
    opened = bench.mocker.spy(S3Hook, "__init__")
    run(s3_key="s3://lake/a.jsonl")
    assert [call.kwargs["verify"] for call in opened.call_args_list] == [False]


@proof(1)
def max_xcom_records(bench: Bench, run: Run) -> None:
    with pytest.raises(AirflowFailException, match="max_xcom_records=1"):
        run()


def use_other_account(bench: Bench) -> None:
    """Leave the connection `other_account` alone, with a key of its own."""
    bench.exchange.add_key(ApiKey("k" * 64, "s" * 64))
    host = json.loads(os.environ["AIRFLOW_CONN_BINANCE_LOAN_DEFAULT"])["host"]
    other = binance_connection(host, login="k" * 64, password="s" * 64)
    bench.monkeypatch.setenv("AIRFLOW_CONN_OTHER_ACCOUNT", other)
    bench.monkeypatch.delenv("AIRFLOW_CONN_BINANCE_LOAN_DEFAULT")


@proof("other_account")
def binance_loan_conn_id(bench: Bench, run: Run) -> None:
    use_other_account(bench)
    assert len(run()) == 2


LANDED = {"uri": "s3://lake/a.jsonl", "records": 1, "bytes": 3, "sha256": "none"}


def asked(bench: Bench) -> tuple[int, int]:
    """Return the first and the last time that the requests asked for, in hours before the end of the run."""
    params = [dict(request.params) for request in bench.exchange.requests]
    starts, ends = ([int(one[name]) for one in params if name in one] for name in ("startTime", "endTime"))
    now_ms = int(NOW.timestamp() * 1000)
    return round((now_ms - min(starts)) / 3_600_000, 3), round((now_ms - max(ends)) / 3_600_000, 3)


@proof(NOW - 5 * HOUR, OF_RECONCILIATION)
def reconciled_start(bench: Bench, run: Run) -> None:
    run()
    assert asked(bench) == (5, 0)


@proof(NOW - HOUR / 2, OF_RECONCILIATION)
def reconciled_end(bench: Bench, run: Run) -> None:
    run()
    assert asked(bench) == (1, 0.5)


@proof(2 * HOUR, OF_RECONCILIATION)
def reconciled_lookback(bench: Bench, run: Run) -> None:
    run()
    assert asked(bench) == (3, 0)


@proof([2], OF_RECONCILIATION)
def reconciled_risk_units(bench: Bench, run: Run) -> None:
    subjects = [row["subject"] for row in run()]
    assert any(subject.startswith("risk unit 2 at ") for subject in subjects)
    assert not any(subject.startswith("risk unit 1") for subject in subjects)


@proof([LANDED], OF_RECONCILIATION)
def reconciled_manifests(bench: Bench, run: Run) -> None:
    bench.s3.put_object(Bucket="lake", Key="a.jsonl", Body=b"old")
    (row,) = [row for row in run(on_difference="warn") if row["check"] == "landed_object"]
    assert (row["subject"], row["outcome"]) == ("s3://lake/a.jsonl", "different")


@proof("warn", OF_RECONCILIATION)
def reconciled_on_difference(bench: Bench, run: Run) -> None:
    bench.exchange.liquidations()[0].fields["totalNetEquity"] = "1"
    assert "different" in {row["outcome"] for row in run()}


@proof("lake_aws", OF_RECONCILIATION)
def reconciled_aws_conn_id(bench: Bench, run: Run) -> None:
    bench.monkeypatch.setenv("AIRFLOW_CONN_LAKE_AWS", aws_connection(bench.s3.meta.endpoint_url))
    bench.monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection("http://127.0.0.1:9"))
    rows = run(manifests=[LANDED], on_difference="warn")
    assert "there is no such object" in {row["note"] for row in rows}


@proof(False, OF_RECONCILIATION)
def reconciled_verify(bench: Bench, run: Run) -> None:
    opened = bench.mocker.spy(S3Hook, "__init__")
    run(manifests=[LANDED], on_difference="warn")
    assert [call.kwargs["verify"] for call in opened.call_args_list] == [False]


OF_RECONCILIATION["max_xcom_records"] = PROOFS["max_xcom_records"]


@proof("other_account", OF_RECONCILIATION)
def reconciled_binance_loan_conn_id(bench: Bench, run: Run) -> None:
    use_other_account(bench)
    assert "equal" in {row["outcome"] for row in run()}


OPERATORS = [
    BinanceLoanForceLiquidationOperator,
    BinanceLoanLiquidationTransferOperator,
    BinanceLoanInterestOperator,
    BinanceLoanBorrowRepayOperator,
    BinanceLoanLtvOperator,
    BinanceLoanRiskUnitOperator,
]
# What is shared is proved once; the LTVs' own behaviour has tests of its own.
CASES = [
    *((BinanceLoanForceLiquidationOperator, name, PROOFS[name]) for name in PROOFS),
    *((BinanceLoanReconciliationOperator, name, OF_RECONCILIATION[name]) for name in OF_RECONCILIATION),
]


@pytest.mark.parametrize(("operator", "name", "given"), CASES)
def test_an_argument_acts(
    exchange: Exchange,
    s3: Any,
    monkeypatch: pytest.MonkeyPatch,
    mocker: Any,
    operator: Any,
    name: str,
    given: Proof,
) -> None:
    """With a value off its default the argument changes what is read, written or returned."""
    fill(exchange, 2)
    value, check = given

    def run(**others: Any) -> Any:
        return operator(task_id="pull", **{name: value}, **others).execute(run_context())

    check(Bench(exchange, s3, monkeypatch, mocker), run)


@pytest.mark.parametrize("operator", OPERATORS)
def test_each_argument_has_a_proof(operator: type[Any]) -> None:
    """An argument that is new needs a proof above, with a value that is not its default."""
    own = keyword_arguments(operator)
    own.pop("status", None)  # of the risk units alone, which have tests of their own
    assert own.keys() <= PROOFS.keys()
    assert [name for name, default in own.items() if default == PROOFS[name].value] == []


def test_each_argument_of_the_reconciliation_has_a_proof() -> None:
    """Its arguments are those that are proved, each with a value that is not its default."""
    own = keyword_arguments(BinanceLoanReconciliationOperator)
    assert own.keys() == OF_RECONCILIATION.keys()
    assert [name for name, default in own.items() if default == OF_RECONCILIATION[name].value] == []


def test_each_operator_is_proved() -> None:
    """The operators of the package are those that are tested here."""
    found = {cls for cls in vars(operators).values() if is_operator(cls)}
    assert found == {*OPERATORS, BinanceLoanReconciliationOperator}


def is_operator(thing: Any) -> bool:
    """Return whether it is an operator of a dataset, and not one of their bases."""
    bases = (BinanceLoanLandingOperator, BinanceLoanDatasetOperator, BinanceLoanSnapshotOperator)
    return isinstance(thing, type) and issubclass(thing, BinanceLoanBaseOperator) and thing not in bases
