"""Arguments of the operator: a wrong one fails the task without a retry, and is named."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_binance_loan.operators import (
    BinanceLoanForceLiquidationOperator,
    BinanceLoanLiquidationTransferOperator,
    BinanceLoanLtvOperator,
    BinanceLoanReconciliationOperator,
    BinanceLoanRiskUnitOperator,
)
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor
from tests.support.bad_input import Case, Environment, case, cases
from tests.support.clock import HOUR, NOW
from tests.support.runs import run_context

CASES = [
    *cases("start", "yesterday", "now", " ", "null", "{{ ds }}", "2026-03-01", "12:00"),
    *cases("start", "2026-02-30T00:00:00Z", "2026-03-01T24:00:00Z", "2026-03-01T00:00:00Z\n"),
    *cases("start", "2026-03-01T09:00:00 UTC", "2026-03-01T00:00:00Z/2026-03-02T00:00:00Z"),
    *cases("start", "1772323200000", 1772323200000, False, date(2026, 3, 1), datetime(2026, 3, 1)),
    *cases("start", "0001-01-01T00:00:00+05:00", "2026-03-01T00:00:00+24:00", "1960-01-01T00:00:00Z"),
    *cases("end", "tomorrow", [], "2026-03-02T00:00:00", datetime.max.replace(tzinfo=timezone(-HOUR))),
    case("start", start=NOW, end=NOW),
    case("start", start=NOW),
    case("end", start=NOW, end=NOW - HOUR),
    case("end", end="2026-03-01T11:00:00Z"),
    *cases("lookback", 5, None, -HOUR, timedelta(days=999_999)),
    case("lookback", start="1970-01-02T00:00:00Z", lookback=timedelta(days=7)),
    case("s3_bucket", s3_bucket="lake"),
    case("flatten", flatten=True),
    case("file_format", file_format="parquet"),
    case("encrypt", encrypt=True),
    case("acl_policy", acl_policy="private"),
    case("s3_extra_args", s3_extra_args={"Tagging": "a=b"}),
    case("s3_bucket", s3_key=""),
    *cases("s3_key", "a/b", "s3:///a"),
    case("s3_bucket", s3_key="s3://lake/a", s3_bucket="lake"),
    *cases("s3_key", "https://lake/a", "S3://lake/a", "s3://lake", "s3://lake//a"),
    *cases("s3_key", "s3://lake/a\n.jsonl", "s3://lake/\ud800.jsonl", f"s3://lake/{'é' * 513}"),
    *cases("s3_key", "", "a/", "None", "/a", "a?b", "a#b", 5, s3_bucket="lake"),
    case("s3_bucket", s3_key="a", s3_bucket="None"),
    case("s3_bucket", s3_key="a", s3_bucket=b"lake"),
    *cases("max_xcom_records", -1, None, "5", 5.0, True, 10**30, 10**5000),
    *cases("replace", "no"),
    *cases("flatten", 1),
    *cases("skip_if_empty", "false"),
    *cases("encrypt", None),
    *cases("on_bad_amount", "ignore", None, True),
]
LANDED = {"uri": "s3://lake/a", "records": 1, "bytes": 1, "sha256": "0"}
OTHERS = [
    case("risk_units", operator=BinanceLoanLiquidationTransferOperator, risk_units=[6]),
    case("s3_key", operator=BinanceLoanLtvOperator, s3_key="s3://lake/{asked_at:x}.jsonl"),
    case("status", operator=BinanceLoanRiskUnitOperator, status="open"),
    case("status", operator=BinanceLoanRiskUnitOperator, status=None),
    case("on_difference", operator=BinanceLoanReconciliationOperator, on_difference="ignore"),
    case("on_difference", operator=BinanceLoanReconciliationOperator, on_difference=None),
    case("max_xcom_records", operator=BinanceLoanReconciliationOperator, max_xcom_records=-1),
    *(
        Case(name, "manifests", {"operator": BinanceLoanReconciliationOperator, "manifests": manifests})
        for name, manifests in (
            ("manifests=5", 5),
            ("manifests='None'", "None"),
            ("manifests of bytes", b"s3://lake/a"),
            ("manifests of text", "[{'uri': 's3://lake/a'}]"),
            ("a manifest without a key", ["s3://lake/"]),
            ("a manifest without fields", [{}]),
            ("records, not a manifest", [{"asked_at": 1, "parentEmail": "a@example.com"}]),
            ("a manifest without a hash", [LANDED | {"sha256": None}]),
            ("a manifest with records=True", [LANDED | {"records": True}]),
            ("a manifest of another store", [LANDED | {"uri": "gs://lake/a"}]),
            ("a manifest with a table without fields", [LANDED | {"tables": {"a": {}}}]),
            ("a window of no instants", [LANDED | {"window_start": "yesterday", "window_end": "today"}]),
            ("half a window", [LANDED | {"window_start": "2026-03-01T00:00:00+00:00"}]),
            (
                "a window without time zone",
                [LANDED | {"window_start": "2026-03-01T00:00:00", "window_end": "2026-03-02T00:00:00"}],
            ),
        )
    ),
]
RUNS = [
    case("end", data_interval_start=NOW, data_interval_end=NOW - HOUR),
    case(
        "start and end",
        data_interval_start=None,
        data_interval_end=None,
        dag_run=SimpleNamespace(run_after=None),
    ),
    case("data_interval_start", data_interval_start=datetime(2026, 3, 1)),
    case("partition", data_interval_start=None, data_interval_end=None, partition_key="2026-03-01"),
    case(  # as in Airflow 3.2
        "partition",
        data_interval_start=None,
        data_interval_end=None,
        dag_run=SimpleNamespace(run_after=NOW, partition_key="2026-03-01"),
    ),
]


def provoke(case: Case, environment: Environment) -> None:
    """Run into the error of a wrong argument."""
    with environment.connection():
        BinanceLoanForceLiquidationOperator(task_id="pull", **case.given).execute(run_context())


def provoke_other(case: Case, environment: Environment) -> None:
    """Run into the error of an operator of another dataset with a wrong argument."""
    operator, *_ = (value for value in case.given.values() if isinstance(value, type))
    arguments = {name: value for name, value in case.given.items() if name != "operator"}
    with environment.connection():
        operator(task_id="pull", **arguments).execute(run_context())


def provoke_run(case: Case, environment: Environment) -> None:
    """Run into the error of a run whose interval is no window."""
    with environment.connection():
        BinanceLoanForceLiquidationOperator(task_id="pull").execute(run_context(**case.given))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_names_the_argument_of_the_operator(case: Case, environment: Environment, refused: Any) -> None:
    """A wrong argument fails the task without a retry."""
    refused(AirflowFailException, case.field, lambda: provoke(case, environment))


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in RUNS])
def test_names_what_is_wrong_with_a_run(case: Case, environment: Environment, refused: Any) -> None:
    """A run whose interval is no window fails the operator and the sensor alike."""
    sensor = BinanceLoanForceLiquidationSensor(task_id="wait")
    errors = [
        refused(AirflowFailException, case.field, lambda: provoke_run(case, environment)),
        refused(AirflowFailException, case.field, lambda: sensor.execute(run_context(**case.given))),
    ]
    # Of a partition each asks for arguments of its own.
    assert case.field == "partition" or str(errors[0]) == str(errors[1])


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in OTHERS])
def test_names_the_argument_of_another_operator(case: Case, environment: Environment, refused: Any) -> None:
    """A wrong argument of an operator of another dataset fails its task without a retry."""
    refused(AirflowFailException, case.field, lambda: provoke_other(case, environment))
