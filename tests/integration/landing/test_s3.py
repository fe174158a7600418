"""The destination S3: what an object carries, and what S3's refusals mean."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from airflow.sdk.exceptions import AirflowOptionalProviderFeatureException
from botocore.exceptions import ClientError

from airflow_provider_binance_loan.exceptions import ConfigurationError, TransientError
from airflow_provider_binance_loan.landing.s3 import S3Destination
from tests.support.connections import aws_client, aws_connection, remove_aws_credentials
from tests.support.s3_answers import Refusal, ScriptedDestination

KEY = "a/b.jsonl"


@pytest.mark.parametrize(
    ("bucket", "says"),
    [
        ("nowhere", "Create the bucket 'nowhere', or correct s3_bucket or s3_key"),
        ("no bucket", "Correct s3_bucket or s3_key: 'no bucket' is not a valid name"),
    ],
)
def test_says_that_there_is_no_bucket(s3: Any, bucket: str, says: str) -> None:
    """A bucket that does not exist, or cannot, is an error before anything is uploaded; another is none."""
    S3Destination("lake").check([KEY])
    with pytest.raises(ConfigurationError, match=says):
        S3Destination(bucket).check([KEY])


def test_refuses_a_key_that_s3_does_not_accept(s3: Any) -> None:
    """Each key is checked before anything is uploaded."""
    with pytest.raises(ConfigurationError, match=r"s3_key .*1024 bytes"):
        S3Destination("lake").check([KEY, "a" * 1025])


@pytest.mark.parametrize(("verify", "fact"), [("", "empty"), ("/no/such", "'/no/such'"), (5, "5")])
def test_says_what_is_wrong_with_verify(s3: Any, verify: Any, fact: str) -> None:
    """Certificate checks are a switch, or a file that exists."""
    with pytest.raises(
        ConfigurationError,
        match=f"Give verify as True, False .*: it is {fact}",
    ):
        S3Destination("lake", verify=verify)


ROLE = {"role_arn": "arn:aws:iam::123456789012:role/lake"}


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"endpoint_url": "127.0.0.1:15000"}, "Invalid endpoint"),
        ({"endpoint_url": 5}, "TypeError: "),
        ({"endpoint_url": "ftp://lake"}, "not a valid URI"),
        ({"profile_name": "nope"}, "profile .nope. could not be found"),
        ({"region_name": "not a region"}, "doesn't match a supported format"),
        ({"region_name": 5}, "TypeError: "),
        ({"config_kwargs": {"nope": 1}}, "unexpected keyword argument 'nope'"),
        ({"config_kwargs": "nope"}, "AttributeError: "),
        ({"config_kwargs": {"signature_version": "nope"}}, "Unknown Signature Version: nope"),
        ({"config_kwargs": {"s3": {"addressing_style": "nope"}}}, "addressing style nope is invalid"),
        ({"config_kwargs": {"retries": {"mode": "nope"}}}, "Invalid value provided to .mode.: .nope."),
        ({"config_kwargs": {"read_timeout": "nope"}}, "Timeout value read was nope"),
        ({"config_kwargs": {"request_checksum_calculation": "nope"}}, "but got nope"),
        ({"service_config": {"s3": {"transfer_config_args": {"nope": 1}}}}, "argument 'nope'"),
        ({"service_config": {"s3": "nope"}}, "AttributeError: "),
        ({**ROLE, "assume_role_method": "nope"}, "assume_role_method='nope'"),
        ({**ROLE, "assume_role_method": "assume_role_with_saml"}, "KeyError: 'assume_role_with_saml'"),
        ({**ROLE, "assume_role_method": "assume_role_with_web_identity"}, "Unsupported federation: None"),
        ({**ROLE, "assume_role_kwargs": {"Nope": 1}}, "Unknown parameter in input: .Nope."),
    ],
    ids=str,
)
def test_says_what_is_wrong_with_the_aws_connection(
    s3: Any, monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], says: str
) -> None:
    """A connection that boto3 cannot make a client of is named with the reason, without its secret."""
    connection = {"conn_type": "aws", "login": "testing", "password": "s3-secret", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    with pytest.raises(ConfigurationError, match=rf"^Correct the AWS connection .*: .*{says}") as caught:
        S3Destination("lake").check([KEY])
    assert caught.value.conn_id == "aws_default"
    assert "s3-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "environment", "kind", "says"),
    [
        ("", {"AWS_ACCESS_KEY_ID": "a"}, ConfigurationError, "missing: AWS_SECRET_ACCESS_KEY"),
        ("", {"AWS_RETRY_MODE": "nope"}, ConfigurationError, "Invalid value provided to .mode.: .nope."),
        ("", {"AWS_PROFILE": "nope"}, ConfigurationError, "profile .nope. could not be found"),
        ("[broken", {}, ConfigurationError, "Unable to parse config file"),
        ("[default]\naws_access_key_id = a", {}, ConfigurationError, "missing: aws_secret_access_key"),
        ("[default]\ncredential_process = false", {}, TransientError, "Error when retrieving credentials"),
        ("[default]\nrole_arn = a\nsource_profile = nope", {}, ConfigurationError, "source_profile .nope."),
    ],
)
def test_says_what_is_wrong_with_the_aws_settings_of_the_machine(
    s3: Any,
    s3_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    config: str,
    environment: dict[str, str],
    kind: type[Exception],
    says: str,
) -> None:
    """Credentials and settings of the machine, which a connection may leave to boto3, are named likewise."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "config"
    file.write_text(config)
    for name, value in {"AWS_CONFIG_FILE": str(file), **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection(s3_url, "", ""))
    with pytest.raises(kind, match=rf"AWS connection.*{says}") as caught:
        S3Destination("lake")
    assert caught.type is kind


def test_says_that_there_are_no_credentials(
    s3: Any, s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Missing credentials are a transient error, as a machine's role may provide them a moment later."""
    remove_aws_credentials(monkeypatch, s3_url, tmp_path)
    with pytest.raises(TransientError, match="there are no AWS credentials") as caught:
        S3Destination("lake").check([KEY])
    assert caught.value.conn_id == "aws_default"


def test_says_that_the_bucket_is_gone(s3: Any) -> None:
    """A bucket that is removed before the upload is the same error."""
    with pytest.raises(ConfigurationError, match="Create the bucket 'gone'"):
        S3Destination("gone").upload(io.BytesIO(b"x"), "a", {})


def test_finds_out_whether_an_object_exists(s3: Any) -> None:
    """An object exists once it is written, and no more once it is removed."""
    lake = S3Destination("lake")
    assert not lake.exists(KEY)
    lake.upload(io.BytesIO(b""), KEY, {"records": "0"})
    assert (lake.exists(KEY), lake.exists("other")) == (True, False)
    lake.remove(KEY, {"records": "0"})
    assert not lake.exists(KEY)
    assert lake.uri(KEY) == "s3://lake/a/b.jsonl"


def test_applies_the_arguments_to_the_object(s3: Any) -> None:
    """Encryption, ACL, storage class, tags and the user's own metadata arrive; ours overrides the latter."""
    lake = S3Destination(
        "lake",
        encrypt=True,
        acl_policy="public-read",
        extra_args={
            "StorageClass": "STANDARD_IA",
            "Tagging": "team=risk&tier=gold",
            "Metadata": {"owner": "risk", "records": "theirs"},
        },
    )
    lake.upload(io.BytesIO(b"body"), KEY, {"records": "1"})
    found = s3.get_object(Bucket="lake", Key=KEY)
    assert found["Body"].read() == b"body"
    assert found["ServerSideEncryption"] == "AES256"
    assert found["StorageClass"] == "STANDARD_IA"
    assert found["Metadata"] == {"owner": "risk", "records": "1"}
    tags = s3.get_object_tagging(Bucket="lake", Key=KEY)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "risk", "tier": "gold"}
    grants = s3.get_object_acl(Bucket="lake", Key=KEY)["Grants"]
    assert "READ" in {grant["Permission"] for grant in grants if grant["Grantee"]["Type"] == "Group"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            {"extra_args": {"storageclass": "GLACIER"}},
            "Correct or remove 'storageclass' in s3_extra_args: .*ALLOWED_UPLOAD_ARGS",
        ),
        ({"extra_args": ["StorageClass"]}, r"Give s3_extra_args as a dict .*: it is \['StorageClass'\]"),
        (
            {"encrypt": True, "extra_args": {"ServerSideEncryption": "aws:kms"}},
            "Leave out encrypt, or ServerSideEncryption of s3_extra_args: .* is 'aws:kms'",
        ),
    ],
)
def test_refuses_arguments_that_no_upload_has(s3: Any, arguments: dict[str, Any], says: str) -> None:
    """An argument that boto3's uploads do not have is an error before there is anything to upload."""
    with pytest.raises(ConfigurationError, match=says):
        S3Destination("lake", **arguments)


@pytest.fixture
def writer(s3: Any, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Limit the connection to the given actions on the objects of the bucket."""
    iam = aws_client(s3_url, "iam")
    iam.create_user(UserName="writer")

    def allow(*actions: str) -> None:
        statement = {"Effect": "Allow", "Action": actions, "Resource": "arn:aws:s3:::lake/*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName="writer", PolicyName="writing", PolicyDocument=policy)
        key = iam.create_access_key(UserName="writer")["AccessKey"]
        connection = aws_connection(s3_url, key["AccessKeyId"], key["SecretAccessKey"])
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection)
        # From now on the server checks credentials.
        requests.post(f"{s3_url}/moto-api/reset-auth", data="0", timeout=10).raise_for_status()

    yield allow
    requests.post(f"{s3_url}/moto-api/reset-auth", data="inf", timeout=10).raise_for_status()
    for key in iam.list_access_keys(UserName="writer")["AccessKeyMetadata"]:
        iam.delete_access_key(UserName="writer", AccessKeyId=key["AccessKeyId"])
    iam.delete_user_policy(UserName="writer", PolicyName="writing")
    iam.delete_user(UserName="writer")


def test_needs_no_more_than_to_write(writer: Callable[..., None]) -> None:
    """A role that may write and nothing else, not even list the bucket, can land."""
    writer("s3:PutObject")
    lake = S3Destination("lake")
    lake.check([KEY])
    lake.upload(io.BytesIO(b"x"), KEY, {})
    with pytest.raises(ClientError, match="403"):
        lake._hook.check_for_key(KEY, "lake")


def test_says_that_it_may_not_write(writer: Callable[..., None]) -> None:
    """A role that may only read is an error that says what to allow, and names object and connection."""
    writer("s3:GetObject")
    says = r"Allow s3:PutObject.*: S3 refused PutObject of s3://lake/a/b\.jsonl \(AccessDenied: "
    with pytest.raises(ConfigurationError, match=says) as caught:
        S3Destination("lake").upload(io.BytesIO(b"x"), KEY, {})
    assert caught.value.conn_id == "aws_default"


def test_says_that_it_may_not_find_out_what_exists(writer: Callable[..., None]) -> None:
    """A role that may not read cannot be promised that nothing is replaced."""
    writer("s3:PutObject")
    says = r"Allow s3:GetObject and s3:ListBucket, or set replace=True: .* s3://lake/a/b\.jsonl \(403"
    with pytest.raises(ConfigurationError, match=says) as caught:
        S3Destination("lake").exists(KEY)
    assert caught.value.conn_id == "aws_default"


def test_says_that_the_key_is_wrong(writer: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that S3 does not know is an error that names the connection, and does not hold the secret."""
    writer("s3:PutObject")
    connection = json.loads(os.environ["AIRFLOW_CONN_AWS_DEFAULT"])
    connection |= {"login": "AKIAUNKNOWN", "password": "s3-secret"}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    with pytest.raises(ConfigurationError, match="Correct the key of the AWS connection") as caught:
        S3Destination("lake").upload(io.BytesIO(b"x"), KEY, {})
    assert caught.value.conn_id == "aws_default"
    assert "s3-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            {"extra_args": {"StorageClass": "NONE"}},
            "Correct s3_extra_args or acl_policy: S3 refused PutObject .*InvalidStorageClass",
        ),
        (
            {"extra_args": {"Tagging": "a=" + "b" * 300}},
            "Correct s3_extra_args or acl_policy: S3 refused PutObject .*InvalidTag",
        ),
    ],
)
def test_says_which_argument_s3_refuses(s3: Any, arguments: dict[str, Any], says: str) -> None:
    """An argument that only S3 itself can judge is an error that no retry can help."""
    with pytest.raises(ConfigurationError, match=says):
        S3Destination("lake", **arguments).upload(io.BytesIO(b"x"), KEY, {})


class OldDestination(S3Destination):
    """A bucket in a store that refuses the checksums which boto3 adds to uploads."""

    def _open_hook(self) -> Any:
        hook = super()._open_hook()
        hook.get_conn().meta.events.register("before-send.s3", refuse_checksums)
        return hook


def refuse_checksums(request: Any, **_: Any) -> Any:
    if any("checksum" in name.lower() for name in request.headers):
        return Refusal(400, "InvalidArgument", "Unsupported header").build(request.url)
    return None


@pytest.mark.parametrize("size", [1, 12 * 2**20], ids=["one request", "parts"])
def test_lands_in_a_store_without_checksums(
    s3: Any, s3_url: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """A store that does not know boto3's checksums refuses an upload, and what the error advises helps."""
    file, says = (
        io.BytesIO(b"x" * size),
        "^Set request_checksum_calculation to when_required in ",
    )
    with pytest.raises(ConfigurationError, match=says):
        OldDestination("lake").upload(file, KEY, {})
    settings = {"request_checksum_calculation": "when_required"}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection(s3_url, config_kwargs=settings))
    OldDestination("lake").upload(file, KEY, {})
    assert s3.head_object(Bucket="lake", Key=KEY)["ContentLength"] == size


def test_leaves_errors_that_may_pass_as_they_are(s3: Any, mocker: Any) -> None:
    """Any other error of S3's is raised as it is, so that Airflow retries."""
    busy = Refusal(400, "RequestTimeout", "Please try again")
    with pytest.raises(ClientError, match="RequestTimeout"):
        ScriptedDestination([busy] * 9).upload(io.BytesIO(b"x"), KEY, {})


@pytest.mark.parametrize(
    ("region", "page"),
    [
        ("eu-central-1", "https://console.aws.amazon.com/s3/object/lake?region=eu-central-1&prefix="),
        ("us-gov-west-1", "https://console.amazonaws-us-gov.com/s3/object/lake?region=us-gov-west-1&prefix="),
        ("cn-north-1", "https://console.amazonaws.cn/s3/object/lake?region=cn-north-1&prefix="),
    ],
)
def test_knows_the_page_of_an_object(monkeypatch: pytest.MonkeyPatch, region: str, page: str) -> None:
    """The console's address has the partition, the region, and the key, escaped."""
    connection = {"conn_type": "aws", "login": "a", "password": "b", "extra": {"region_name": region}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    url = S3Destination("lake").console_url("dt=2026-03-01/a b&c.jsonl")
    assert url == f"{page}dt%3D2026-03-01%2Fa%20b%26c.jsonl"


def test_names_the_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the amazon provider the error says how to install it."""
    monkeypatch.setitem(sys.modules, "airflow.providers.amazon.aws.hooks.s3", None)
    with pytest.raises(AirflowOptionalProviderFeatureException, match=r"pip install '.*binance-loan\[s3\]'"):
        S3Destination("lake")
