"""The store: where an object lands, what it carries, and what S3's refusals mean."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk.exceptions import AirflowOptionalProviderFeatureException
from botocore.exceptions import ClientError

from airflow_provider_binance_loan.exceptions import ConfigurationError, TransientError
from airflow_provider_binance_loan.landing.s3 import S3Object, Store, parse_s3_object

TARGET = S3Object("lake", "a/b.jsonl")


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
    assert parse_s3_object(bucket, key) == target


@pytest.mark.parametrize(
    ("bucket", "says"),
    [
        ("nowhere", "There is no bucket 'nowhere': create it, or mend s3_bucket or s3_key"),
        ("no bucket", "s3_bucket is 'no bucket', which is no name of a bucket"),
    ],
)
def test_says_that_there_is_no_bucket(s3: Any, bucket: str, says: str) -> None:
    """A bucket that is not there, or cannot be, is an error before anything is uploaded; another is none."""
    Store().check_bucket("lake")
    with pytest.raises(ConfigurationError, match=says):
        Store().check_bucket(bucket)


@pytest.mark.parametrize("verify", ["", "/no/such", 5])
def test_says_what_is_wrong_with_verify(s3: Any, verify: Any) -> None:
    """What certificates are checked against is a switch, or a file that is there."""
    with pytest.raises(ConfigurationError, match=f"verify is {verify!r}: give True, False, or the path"):
        Store(verify=verify)


@pytest.mark.parametrize(
    "extra", [{"endpoint_url": "127.0.0.1:15000"}, {"profile_name": "nope"}, {"region_name": "not a region"}]
)
def test_says_what_is_wrong_with_the_aws_connection(
    s3: Any, monkeypatch: pytest.MonkeyPatch, extra: dict[str, str]
) -> None:
    """A connection that no client can be made of is named."""
    connection = {"conn_type": "aws", "login": "testing", "password": "testing", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    with pytest.raises(
        ConfigurationError, match="aws_conn_id is 'aws_default', of which no client can be made"
    ):
        Store()


def test_says_that_there_are_no_credentials(
    s3: Any, s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who has no key is told so; it is tried again, since a machine's role may give one a moment later."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    extra = {"endpoint_url": s3_url, "region_name": "us-east-1"}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", "extra": extra}))
    with pytest.raises(TransientError, match="No AWS credentials were found by aws_conn_id 'aws_default'"):
        Store().check_bucket("lake")


def test_says_that_the_bucket_is_gone(s3: Any) -> None:
    """A bucket that goes away before the upload is the same error."""
    with pytest.raises(ConfigurationError, match="There is no bucket 'gone'"):
        Store().upload(io.BytesIO(b"x"), S3Object("gone", "a"), {})


def test_refuses_an_object_that_exists(s3: Any) -> None:
    """An object that is there is named; one that is not is no fault."""
    Store().refuse_existing([TARGET])
    s3.put_object(Bucket="lake", Key=TARGET.key, Body=b"")
    with pytest.raises(ConfigurationError, match=r"s3://lake/a/b\.jsonl exists: remove it, or let replace=T"):
        Store().refuse_existing([S3Object("lake", "other"), TARGET])


def test_gives_an_object_what_the_arguments_say(s3: Any) -> None:
    """Encryption, ACL, storage class, tags and the user's own metadata arrive, beside ours."""
    store = Store(
        encrypt=True,
        acl_policy="public-read",
        extra_args={
            "StorageClass": "STANDARD_IA",
            "Tagging": "team=risk&tier=gold",
            "Metadata": {"owner": "risk", "records": "theirs"},
        },
    )
    store.upload(io.BytesIO(b"body"), TARGET, {"records": "1"})
    found = s3.get_object(Bucket="lake", Key=TARGET.key)
    assert found["Body"].read() == b"body"
    assert found["ServerSideEncryption"] == "AES256"
    assert found["StorageClass"] == "STANDARD_IA"
    assert found["Metadata"] == {"owner": "risk", "records": "1"}
    tags = s3.get_object_tagging(Bucket="lake", Key=TARGET.key)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "risk", "tier": "gold"}
    grants = s3.get_object_acl(Bucket="lake", Key=TARGET.key)["Grants"]
    assert "READ" in {grant["Permission"] for grant in grants if grant["Grantee"]["Type"] == "Group"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            {"extra_args": {"storageclass": "GLACIER"}},
            "s3_extra_args has 'storageclass', .*give some of .*ACL",
        ),
        ({"extra_args": ["StorageClass"]}, r"s3_extra_args is \['StorageClass'\]: give a dict"),
        (
            {"encrypt": True, "extra_args": {"ServerSideEncryption": "aws:kms"}},
            "encrypt=True means AES256, and s3_extra_args has ServerSideEncryption='aws:kms': give one",
        ),
    ],
)
def test_refuses_arguments_that_no_upload_takes(s3: Any, arguments: dict[str, Any], says: str) -> None:
    """An upload's argument that boto3 does not know is an error before there is anything to upload."""
    with pytest.raises(ConfigurationError, match=says):
        Store(**arguments)


@pytest.fixture
def writer(s3: Any, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Let the connection be one that may do what is given, on the objects of the bucket, and no more."""
    iam = boto3.client(
        "iam",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    iam.create_user(UserName="writer")

    def allow(*actions: str) -> None:
        statement = {"Effect": "Allow", "Action": actions, "Resource": "arn:aws:s3:::lake/*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName="writer", PolicyName="writing", PolicyDocument=policy)
        key = iam.create_access_key(UserName="writer")["AccessKey"]
        connection = {
            "conn_type": "aws",
            "login": key["AccessKeyId"],
            "password": key["SecretAccessKey"],
            "extra": {"endpoint_url": s3_url, "region_name": "us-east-1"},
        }
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        # From now on the server asks who comes.
        requests.post(f"{s3_url}/moto-api/reset-auth", data="0", timeout=10).raise_for_status()

    yield allow
    requests.post(f"{s3_url}/moto-api/reset-auth", data="inf", timeout=10).raise_for_status()
    for key in iam.list_access_keys(UserName="writer")["AccessKeyMetadata"]:
        iam.delete_access_key(UserName="writer", AccessKeyId=key["AccessKeyId"])
    iam.delete_user_policy(UserName="writer", PolicyName="writing")
    iam.delete_user(UserName="writer")


def test_needs_no_more_than_to_write(writer: Callable[..., None]) -> None:
    """One who may write and nothing else, not even look for the bucket, can land."""
    writer("s3:PutObject")
    store = Store()
    store.check_bucket("lake")
    store.upload(io.BytesIO(b"x"), TARGET, {})
    with pytest.raises(ClientError, match="403"):
        store._s3.check_for_key(TARGET.key, TARGET.bucket)


def test_says_that_it_may_not_write(writer: Callable[..., None]) -> None:
    """Who may only read is told what to allow, and the object that did not come is named."""
    writer("s3:GetObject")
    says = (
        r"S3 does not let the AWS connection write s3://lake/a/b\.jsonl \(AccessDenied: .*allow s3:PutObject"
    )
    with pytest.raises(ConfigurationError, match=says):
        Store().upload(io.BytesIO(b"x"), TARGET, {})


def test_says_that_it_may_not_look(writer: Callable[..., None]) -> None:
    """Who may not look cannot be promised that nothing is replaced."""
    writer("s3:PutObject")
    with pytest.raises(
        ConfigurationError, match=r"tell whether there is s3://lake/a/b\.jsonl \(403.*replace=True"
    ):
        Store().refuse_existing([TARGET])
    assert Store().holds(TARGET)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            {"extra_args": {"StorageClass": "NONE"}},
            r"refuses to write .*InvalidStorageClass.*mend s3_extra_args",
        ),
        (
            {"extra_args": {"Tagging": "a=" + "b" * 300}},
            r"refuses to write .*InvalidTag.*mend s3_extra_args",
        ),
    ],
)
def test_says_which_argument_s3_refuses(s3: Any, arguments: dict[str, Any], says: str) -> None:
    """What only S3 itself can tell of an argument is no fault that passes."""
    with pytest.raises(ConfigurationError, match=says):
        Store(**arguments).upload(io.BytesIO(b"x"), TARGET, {})


def test_leaves_what_may_pass_as_it_is(s3: Any, mocker: Any) -> None:
    """Any other error of S3's is raised as it is, so that Airflow retries."""
    busy = ClientError({"Error": {"Code": "SlowDown", "Message": "Please reduce"}}, "PutObject")
    mocker.patch.object(S3Hook, "load_file_obj", side_effect=busy)
    with pytest.raises(ClientError, match="SlowDown"):
        Store().upload(io.BytesIO(b"x"), TARGET, {})


@pytest.mark.parametrize(
    ("region", "page"),
    [
        ("eu-central-1", "https://console.aws.amazon.com/s3/object/lake?region=eu-central-1&prefix="),
        ("us-gov-west-1", "https://console.amazonaws-us-gov.com/s3/object/lake?region=us-gov-west-1&prefix="),
        ("cn-north-1", "https://console.amazonaws.cn/s3/object/lake?region=cn-north-1&prefix="),
    ],
)
def test_knows_the_page_of_an_object(monkeypatch: pytest.MonkeyPatch, region: str, page: str) -> None:
    """The console's address has the partition, the region, and the key with its signs escaped."""
    connection = {"conn_type": "aws", "login": "a", "password": "b", "extra": {"region_name": region}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    url = Store().console_url(S3Object("lake", "dt=2026-03-01/a b&c.jsonl"))
    assert url == f"{page}dt%3D2026-03-01%2Fa%20b%26c.jsonl"


def test_names_the_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the amazon provider the error says how to install it."""
    monkeypatch.setitem(sys.modules, "airflow.providers.amazon.aws.hooks.s3", None)
    with pytest.raises(AirflowOptionalProviderFeatureException, match=r"pip install '.*binance-loan\[s3\]'"):
        Store()
