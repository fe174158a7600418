"""Arguments and refusals of landing: each is named, and what must be allowed or corrected."""

from __future__ import annotations

import errno
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from airflow.sdk.exceptions import AirflowNotFoundException
from botocore.exceptions import ClientError, NoCredentialsError, ParamValidationError

from airflow_provider_binance_loan import exceptions as errors
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.landing.formats import _disk_error, parse_format
from airflow_provider_binance_loan.landing.parquet import parse_amount_types
from airflow_provider_binance_loan.landing.s3 import _CHECK_NEEDS, _WRITE_NEEDS
from airflow_provider_binance_loan.landing.s3_arguments import (
    parse_extra_args,
    require_upload_args,
    require_verify,
)
from airflow_provider_binance_loan.landing.s3_errors import (
    explain_bucket_errors,
    explain_client_errors,
    explain_refusals,
)
from airflow_provider_binance_loan.landing.s3_reader import S3Reader
from airflow_provider_binance_loan.landing.sink import Sink
from airflow_provider_binance_loan.landing.xcom import collect_for_xcom
from airflow_provider_binance_loan.operators import BinanceLoanReconciliationOperator
from airflow_provider_binance_loan.reconciliation.check import Outcome, build
from airflow_provider_binance_loan.reconciliation.landings import parse_manifests
from tests.support.bad_input import Case, Environment

RECORD = {"groupId": 6, "liquidationStartTime": 1772323200000, "liquidationEndTime": None}


class Destination:
    """An object store that holds every object."""

    def check(self, keys: object) -> None:
        pass

    def exists(self, key: str) -> bool:
        return True

    def uri(self, key: str) -> str:
        return f"s3://lake/{key}"


def sink(**arguments: Any) -> Any:
    arguments = {"key": "a.jsonl", **arguments}
    destination: Any = Destination()
    made = Sink(FORCE_LIQUIDATIONS, destination, **arguments)
    return made.land([RECORD | {"totalLiability": "1e30", "startLtv": "0." + "1" * 30}], {})


def full_disk() -> None:
    raise _disk_error(OSError(errno.ENOSPC, "No space left on device"))


def upload(**args: Any) -> Any:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s")
    return require_upload_args(client, args)


def extra_args(args: Any, *, encrypt: bool = False, acl_policy: str | None = None) -> Any:
    return parse_extra_args(args, encrypt=encrypt, acl_policy=acl_policy)


def client_error(error: Exception) -> None:
    with explain_client_errors("aws_default"):
        raise error


def bucket_error(error: Exception) -> None:
    with explain_bucket_errors("lake", "aws_default"):
        raise error


def refusal(code: str, operation: str = "PutObject") -> None:
    needs = _WRITE_NEEDS if operation == "PutObject" else _CHECK_NEEDS
    with explain_refusals(
        operation, "s3://lake/a.jsonl", bucket="lake", needs=needs, aws_conn_id="aws_default"
    ):
        raise answer(code, operation)


def answer(code: str, operation: str = "PutObject") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "No.\n"}}, operation)


class Reader(S3Reader):
    """Reads one body from whichever address."""

    def __init__(self, *chunks: bytes) -> None:
        super().__init__(aws_conn_id=None, verify=None)
        self._body: Any = SimpleNamespace(iter_chunks=lambda _: chunks)

    def _open(self, uri: str) -> Any:
        return {"Body": self._body} if uri != "s3://lake/none" else None


def manifest(*chunks: bytes, uri: str = "s3://lake/a.json") -> Any:
    return parse_manifests(uri, Reader(*chunks).read_text)


def table(*outcomes: Outcome) -> Any:
    """Return a table of a reconciliation that XCom cannot hold."""
    rows = [
        build("ltv", "risk unit 6", outcome, None, Decimal("0.5"), Decimal("0.9")) for outcome in outcomes
    ]
    operator = BinanceLoanReconciliationOperator(task_id="reconcile", max_xcom_records=1)
    return operator._report(rows, {})


def landed(case_id: str, field: str, run: Any, kind: str = "ConfigurationError") -> Case:
    return Case(case_id, field, {"run": run, "kind": kind})


CASES = [
    landed("verify='/no'", "verify", lambda: require_verify("/no")),
    landed("verify=''", "verify", lambda: require_verify("")),
    landed("s3_extra_args='a'", "s3_extra_args", lambda: extra_args("a")),
    landed("s3_extra_args={'Colour': 1}", "s3_extra_args", lambda: extra_args({"Colour": 1})),
    landed(
        "encrypt=True, kms",
        "encrypt",
        lambda: extra_args({"ServerSideEncryption": "aws:kms"}, encrypt=True),
    ),
    landed("acl_policy, ACL", "acl_policy", lambda: extra_args({"ACL": "private"}, acl_policy="private")),
    landed("Tagging=5", "s3_extra_args", lambda: upload(Tagging=5)),
    landed("Metadata={'a': 'é'}", "s3_extra_args", lambda: upload(Metadata={"a": "é"})),
    landed("file_format='csv'", "file_format", lambda: parse_format("a.jsonl", "csv")),
    landed("file_format='parquet'", "file_format", lambda: parse_format("a.jsonl", "parquet")),
    landed("file_format='jsonl', .gz", "file_format", lambda: parse_format("a.gz", "jsonl")),
    landed("s3_key='a.csv'", "s3_key", lambda: parse_format("a.csv", None)),
    landed("s3_key='{table}'", "flatten", lambda: sink(key="{table}.jsonl")),
    landed("replace=False", "replace", lambda: sink(replace=False)),
    landed("parquet_amounts, jsonl", "parquet_amounts", lambda: sink(amounts="string")),
    landed(
        "parquet_amounts={'a': 'string'}",
        "parquet_amounts",
        lambda: parse_amount_types(FORCE_LIQUIDATIONS.fields, {"a": "string"}),
    ),
    landed("startLtv=0.111…", "parquet_amounts", lambda: sink(key="a.parquet")),
    landed("no manifest", "manifests", lambda: manifest(uri="s3://lake/none")),
    landed("a large manifest", "manifests", lambda: manifest(*[b" " * 1024 * 1024] * 17)),
    landed("a manifest of bytes", "manifests", lambda: manifest(b"\xff")),
    landed("a manifest of no JSON", "manifests", lambda: manifest(b"{")),
    landed("a manifest of text", "manifests", lambda: manifest(b'"s3://lake/a.json"')),
    landed("2 rows of a table", "max_xcom_records", lambda: table("equal", "equal")),
    landed("2 rows, one different", "max_xcom_records", lambda: table("equal", "different")),
    landed("2 records", "s3_key", lambda: collect_for_xcom([RECORD, RECORD], 1)),
    landed("AWS connection", "AWS connection", lambda: client_error(ValueError("Invalid endpoint: x"))),
    landed(
        "AWS connection, not found",
        "AWS connection",
        lambda: client_error(AirflowNotFoundException("No.")),
        "TransientError",
    ),
    landed(
        "AWS connection, no role",
        "AWS connection",
        lambda: client_error(answer("AccessDenied", "AssumeRole")),
        "TransientError",
    ),
    landed("bucket name", "s3_bucket", lambda: bucket_error(ParamValidationError(report="Invalid"))),
    landed("no credentials", "AWS connection", lambda: bucket_error(NoCredentialsError()), "TransientError"),
    landed("no bucket", "s3_bucket", lambda: bucket_error(answer("404"))),
    landed("NoSuchBucket", "s3_bucket", lambda: refusal("NoSuchBucket")),
    landed("AccessDenied", "s3:PutObject", lambda: refusal("AccessDenied")),
    landed("403", "replace", lambda: refusal("403", "HeadObject")),
    landed("SignatureDoesNotMatch", "AWS connection", lambda: refusal("SignatureDoesNotMatch")),
    landed("InvalidStorageClass", "s3_extra_args", lambda: refusal("InvalidStorageClass")),
    landed("InvalidToken", "AWS connection", lambda: refusal("InvalidToken")),
    landed("AccountProblem", "AWS connection", lambda: refusal("AccountProblem")),
    landed("PermanentRedirect", "region_name", lambda: refusal("PermanentRedirect")),
    landed("QuotaExceeded", "quota", lambda: refusal("QuotaExceeded")),
    landed("KMS.DisabledException", "KMS key", lambda: refusal("KMS.DisabledException")),
    landed("InvalidArgument", "request_checksum_calculation", lambda: refusal("InvalidArgument")),
    landed("disk full", "TMPDIR", full_disk, "TransientError"),
]


def provoke(case: Case, environment: Environment) -> None:
    """Run into the error of a case."""
    case.given["run"]()


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_names_what_is_wrong_with_landing(case: Case, environment: Environment, refused: Any) -> None:
    """The error names the argument, and the AWS connection where that is at fault."""
    error = refused(getattr(errors, case.given["kind"]), case.field, lambda: provoke(case, environment))
    about_connection = case.id in {
        "AWS connection",
        "AWS connection, not found",
        "AWS connection, no role",
        "no credentials",
        "AccessDenied",
        "403",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "AccountProblem",
        "PermanentRedirect",
        "InvalidArgument",
    }
    assert error.conn_id == ("aws_default" if about_connection else None)
