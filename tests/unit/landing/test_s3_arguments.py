"""Arguments of uploads to S3: what is wrong is found without asking S3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.handlers import VALID_S3_ARN

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.landing.s3_arguments import (
    S3Location,
    parse_extra_args,
    parse_s3_location,
    require_s3_key,
    require_upload_args,
    require_verify,
)

ACCESS_POINT = "arn:aws:s3:eu-west-1:123456789012:accesspoint/lake-writer"


@pytest.mark.parametrize(
    ("bucket", "key", "location"),
    [
        ("lake", "a/b.jsonl", S3Location("lake", "a/b.jsonl")),
        (None, "s3://lake/a/b.jsonl", S3Location("lake", "a/b.jsonl")),
        ("", "s3://lake/a", S3Location("lake", "a")),
    ],
)
def test_finds_the_object(bucket: str | None, key: str, location: S3Location) -> None:
    """The object is named by a bucket and a key, or by a whole URL."""
    assert parse_s3_location(bucket, key) == location


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:s3:eu-west-1:123456789012:accesspoint/lake-writer",
        "arn:aws:s3:eu-west-1:123456789012:accesspoint:lake-writer",
        "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap",
        "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/lake-writer",
        "arn:aws:s3-object-lambda:eu-west-1:123456789012:accesspoint/lake-reader",
        "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01ac5d28a6a232904/accesspoint/lake-writer",
        "arn:aws:s3-outposts:us-west-2:123456789012:outpost:op-01ac5d28a6a232904:accesspoint:lake-writer",
    ],
)
@pytest.mark.parametrize("key", ["a.jsonl", "dt=2026-03-01/a.jsonl", "accesspoint/x/a.jsonl"])
def test_finds_the_object_behind_an_access_point(arn: str, key: str) -> None:
    """The ARN of an access point is a bucket, on its own and in an address, as the manifest has it."""
    assert VALID_S3_ARN.match(arn)
    assert parse_s3_location(arn, key) == S3Location(arn, key)
    assert parse_s3_location(None, f"s3://{arn}/{key}") == S3Location(arn, key)


@pytest.mark.parametrize(
    ("bucket", "key", "says"),
    [
        ("lake", 5, "Give s3_key as text"),
        ("lake", "None", "Check the template of s3_key"),
        ("None", "a", "Check the template of s3_bucket"),
        (b"lake", "a", "Give s3_bucket as text"),
        ("lake", "s3://lake/a", "Give s3_bucket, or a URL as s3_key, not both"),
        (None, "https://lake/a", "Give s3_key as s3://bucket/key: it is 'https://lake/a'"),
        (None, "S3://lake/a", "Give s3_key as s3://bucket/key"),
        (None, "", "Add s3_bucket, or give s3_key as s3://bucket/key"),
        (None, "a/b", "Add s3_bucket, or give s3_key as s3://bucket/key: 'a/b' names no bucket"),
        (None, "s3:///a", "Add s3_bucket, or give s3_key as s3://bucket/key"),
        (None, "s3://lake", "Give s3_key as the key of an object, not of a folder: it is 's3://lake'"),
        ("lake", "", "Give s3_key as the key of an object"),
        ("lake", "a/", "Give s3_key as the key of an object"),
        (None, "s3://lake//a", "Remove the leading slash"),
        (None, f"s3://{ACCESS_POINT}", "Give s3_key as the key of an object"),
        (None, f"s3://{ACCESS_POINT}//a", "Remove the leading slash"),
        ("lake", "/a", "Remove the leading slash"),
        ("lake", "a?b", "Remove the leading slash, ? or #"),
        ("lake", "a#b", "Remove the leading slash, ? or #"),
        (None, "s3://lake/a\n.jsonl", "Give s3_key printable characters only"),
        (None, "s3://lake/\ud800.jsonl", "Give s3_key printable characters only"),
        (None, f"s3://lake/{'é' * 513}", "Give s3_key printable characters only, 1024 bytes at most"),
    ],
)
def test_refuses_what_names_no_object(bucket: Any, key: Any, says: str) -> None:
    """The error says which argument to give, and how."""
    with pytest.raises(ConfigurationError) as caught:
        parse_s3_location(bucket, key)
    assert str(caught.value).startswith(says)


def test_refuses_a_key_that_is_too_long() -> None:
    """A key of 1024 bytes is the longest."""
    require_s3_key("a" * 1024)
    with pytest.raises(ConfigurationError, match="s3_key"):
        require_s3_key("a" * 1025)


@pytest.mark.parametrize("verify", [None, True, False, "bundle"])
def test_accepts_certificate_checks(verify: Any, tmp_path: Path) -> None:
    """A switch, or the path of a file that exists, says how to check certificates."""
    if verify == "bundle":
        verify = str(tmp_path / "bundle.pem")
        Path(verify).touch()
    assert require_verify(verify) is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(("verify", "fact"), [("", "empty"), ("/no/such", "'/no/such'"), (5, "5")])
def test_refuses_other_certificate_checks(verify: Any, fact: str) -> None:
    """Anything else is an error that shows it."""
    with pytest.raises(
        ConfigurationError,
        match=f"Give verify as True, False .*: it is {fact}",
    ):
        require_verify(verify)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (
            {"extra_args": {"storageclass": "GLACIER"}},
            ["s3_extra_args", "'storageclass'", "ALLOWED_UPLOAD_ARGS"],
        ),
        ({"extra_args": ["StorageClass"]}, ["s3_extra_args", "dict", "['StorageClass']"]),
        (
            {"extra_args": {"ServerSideEncryption": "aws:kms"}, "encrypt": True},
            ["encrypt", "s3_extra_args", "'aws:kms'", "AES256"],
        ),
        (
            {"extra_args": {"ACL": "private"}, "acl_policy": "public-read"},
            ["acl_policy", "s3_extra_args", "'private'", "'public-read'"],
        ),
    ],
)
def test_refuses_further_arguments(arguments: dict[str, Any], names: list[str]) -> None:
    """What boto3 does not know, and what contradicts another argument, is an error that names both."""
    with pytest.raises(ConfigurationError) as caught:
        parse_extra_args(**{"encrypt": False, "acl_policy": None, **arguments})
    assert [name for name in names if name not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("extra_args", "encrypt"),
    [
        (None, False),
        ({}, True),
        ({"ServerSideEncryption": "AES256"}, True),
        ({"StorageClass": "GLACIER", "Metadata": {"owner": "risk"}}, False),
    ],
)
def test_accepts_further_arguments(extra_args: Any, encrypt: bool) -> None:
    """Known arguments that agree with the others are those of the upload."""
    args = parse_extra_args(extra_args, encrypt=encrypt, acl_policy=None)
    assert args == (extra_args or {})
    require_upload_args(boto3.client("s3", region_name="us-east-1"), args)


@pytest.mark.parametrize(
    ("args", "name"),
    [
        ({"Tagging": {"a": "b"}}, "Tagging"),
        ({"Metadata": "a"}, "Metadata"),
        ({"Metadata": {"a": 1}}, "Metadata.a"),
        ({"Metadata": {"a": "é"}}, "Metadata"),
        ({"Metadata": {"é": "a"}}, "Metadata"),
        ({"ACL": 5}, "ACL"),
    ],
)
def test_refuses_values_of_a_wrong_type(args: dict[str, Any], name: str) -> None:
    """A value that boto3 would refuse once all records are read is an error that names the argument."""
    with pytest.raises(ConfigurationError, match="s3_extra_args") as caught:
        require_upload_args(boto3.client("s3", region_name="us-east-1"), args)
    assert name in str(caught.value)
