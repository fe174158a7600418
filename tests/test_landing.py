"""Landing: what is in S3 is what was read, whole, and always the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowOptionalProviderFeatureException

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.landing import S3Object, land, open_s3, refuse_existing, to_s3_object

RECORDS: list[dict[str, Any]] = [
    {"groupId": 6, "liquidationEndTime": 5, "totalLiability": "16667.92600000", "mail": "użytkownik@例え.jp"},
    {"groupId": 7, "liquidationEndTime": None, "totalLiability": None, "list": [{"a": "0.00000000"}]},
]


@pytest.mark.parametrize(
    ("bucket", "key", "target"),
    [
        ("lake", "a/b.jsonl", S3Object("lake", "a/b.jsonl")),
        (None, "s3://lake/a/b.jsonl", S3Object("lake", "a/b.jsonl")),
        ("", "s3://lake/a", S3Object("lake", "a")),
    ],
)
def test_finds_the_object(bucket: str | None, key: str, target: S3Object) -> None:
    """The object is named by a bucket and a key, or by a whole URL."""
    assert to_s3_object(bucket, key) == target


@pytest.mark.parametrize(
    ("bucket", "key", "says"),
    [
        ("lake", "s3://lake/a", "s3_bucket is 'lake' and s3_key is a URL, 's3://lake/a': give one"),
        (None, "a/b", "s3_key is 'a/b' without a bucket"),
        (None, "", "s3_key is '' without a bucket"),
        (None, "https://lake/a", "s3_key is 'https://lake/a': give s3://bucket/key"),
        (None, "s3://lake", "s3_key is '': give the key of an object"),
        (None, "s3:///a", "s3_key is 'a' without a bucket"),
        ("lake", "None", "s3_key is 'None': give a text; a template may have rendered nothing"),
        ("None", "a", "s3_bucket is 'None'"),
        ("lake", 5, "s3_key is 5"),
        ("lake", "a/", "s3_key is 'a/': give the key of an object, not of a folder"),
        ("lake", "", "s3_key is '': give the key of an object"),
    ],
)
def test_refuses_what_names_no_object(bucket: str | None, key: str, says: str) -> None:
    """Neither, both, a folder, or another kind of URL is an error that says what came."""
    with pytest.raises(ConfigurationError, match=says):
        to_s3_object(bucket, key)


@pytest.mark.parametrize("records", [RECORDS, []], ids=["records", "none"])
@pytest.mark.parametrize("key", ["a.jsonl", "a.jsonl.gz"])
def test_lands_json_lines(s3: Any, key: str, records: list[dict[str, Any]]) -> None:
    """Each record is a line, gzipped when the key says so; the manifest describes the very bytes."""
    manifest = land(records, open_s3("aws_default", None), S3Object("lake", key), replace=True)
    body = s3.get_object(Bucket="lake", Key=key)["Body"].read()
    text = (gzip.decompress(body) if key.endswith(".gz") else body).decode()
    assert [json.loads(line) for line in text.splitlines()] == records
    assert manifest == {
        "s3_uri": f"s3://lake/{key}",
        "records": len(records),
        "running": len(records) // 2,
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }


def test_writes_the_same_bytes_again(s3: Any, mocker: Any) -> None:
    """The same records are the same bytes, at whatever time and under whatever name they are written."""
    hook, target = open_s3("aws_default", None), S3Object("lake", "a.jsonl.gz")
    first = land(RECORDS, hook, target, replace=True)
    mocker.patch("time.time", return_value=2_000_000_000.0)
    assert land(RECORDS, hook, target, replace=True) == first


def test_lands_nothing_when_the_records_break_off(s3: Any) -> None:
    """A pull that fails halfway leaves no object, and the one that was there as it was."""

    def breaks_off() -> Iterator[dict[str, Any]]:
        yield RECORDS[0]
        raise RuntimeError("halfway")

    hook, target = open_s3("aws_default", None), S3Object("lake", "a.jsonl")
    with pytest.raises(RuntimeError, match="halfway"):
        land(breaks_off(), hook, target, replace=True)
    assert not hook.check_for_key("a.jsonl", "lake")


def test_refuses_an_object_that_exists(s3: Any) -> None:
    """An object that is there is named; one that is not is no fault."""
    hook, target = open_s3("aws_default", None), S3Object("lake", "a.jsonl")
    refuse_existing(hook, target)
    s3.put_object(Bucket="lake", Key="a.jsonl", Body=b"")
    with pytest.raises(
        ConfigurationError, match=r"s3://lake/a\.jsonl exists: remove it, or let replace=True"
    ):
        refuse_existing(hook, target)


def test_names_the_extra_that_is_missing(mocker: Any) -> None:
    """Without the amazon provider the error says how to install it."""
    mocker.patch.dict(sys.modules, {"airflow.providers.amazon.aws.hooks.s3": None})
    with pytest.raises(AirflowOptionalProviderFeatureException, match=r"binance-loan\[s3\]"):
        open_s3("aws_default", None)
