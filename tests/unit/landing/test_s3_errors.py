"""What S3 refuses for good, and what may pass."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
from botocore import exceptions as boto
from botocore.exceptions import ClientError

from airflow_provider_binance_loan.exceptions import BinanceLoanError, ConfigurationError, TransientError
from airflow_provider_binance_loan.landing.s3_errors import (
    explain_client_errors,
    explain_refusals,
    is_unknown_condition,
)

CHECKSUMS = "request_checksum_calculation"


def refused(code: str, message: str = "No.", *, has_arguments: bool = False) -> None:
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    with explain_refusals(
        "PutObject",
        "s3://lake/a.jsonl",
        bucket="lake",
        needs="s3:PutObject",
        aws_conn_id="aws_default",
        has_arguments=has_arguments,
    ):
        raise ClientError(answer, "PutObject")


@pytest.mark.parametrize(
    ("code", "begins", "about_connection"),
    [
        ("AccessDenied", "Allow s3:PutObject: ", True),
        ("InvalidAccessKeyId", "Correct the key of the AWS connection: ", True),
        ("SignatureDoesNotMatch", "Correct the key of the AWS connection: ", True),
        ("InvalidToken", "Correct the session token of the AWS connection: ", True),
        ("AccountProblem", "Ask AWS about the account of the AWS connection: ", True),
        ("NotSignedUp", "Ask AWS about the account of the AWS connection: ", True),
        ("AllAccessDisabled", "Ask AWS about the account of the AWS connection: ", True),
        ("PermanentRedirect", "Correct region_name or endpoint_url of the AWS connection: ", True),
        ("AuthorizationHeaderMalformed", "Correct region_name or endpoint_url of the AWS connection: ", True),
        ("301", "Correct region_name or endpoint_url of the AWS connection: ", True),
        ("QuotaExceeded", "Raise the quota of the bucket, or remove objects from it: ", False),
        ("XMinioAdminBucketQuotaExceeded", "Raise the quota of the bucket, ", False),
        ("KMS.DisabledException", "Correct the KMS key of the bucket or of s3_extra_args: ", False),
        ("KMS.NotFoundException", "Correct the KMS key of the bucket or of s3_extra_args: ", False),
        ("KMS.KMSInvalidStateException", "Correct the KMS key of the bucket or ", False),
        ("InvalidStorageClass", "Correct s3_extra_args or acl_policy: ", False),
        ("InvalidTag", "Correct s3_extra_args or acl_policy: ", False),
        ("AccessControlListNotSupported", "Correct s3_extra_args or acl_policy: ", False),
        ("NoSuchBucket", "Create the bucket 'lake', ", False),
    ],
)
def test_is_final(code: str, begins: str, about_connection: bool) -> None:
    """A refusal that no retry helps says first what to correct, and then what S3 said."""
    with pytest.raises(ConfigurationError) as caught:
        refused(code)
    assert caught.value.message.startswith(begins)
    assert caught.value.conn_id == ("aws_default" if about_connection else None)
    assert code == "NoSuchBucket" or f"refused PutObject of s3://lake/a.jsonl ({code}: No.)" in str(
        caught.value
    )


@pytest.mark.parametrize(
    "code",
    [
        "SlowDown",
        "InternalError",
        "503",
        "RequestTimeout",
        "ExpiredToken",
        "OperationAborted",
        "KMS.ThrottlingException",
        "KMS.KMSInternalException",
        "KMS.DependencyTimeoutException",
    ],
)
def test_may_pass(code: str) -> None:
    """Other errors are raised as they are, so that Airflow retries the task."""
    with pytest.raises(ClientError, match=code):
        refused(code)


@pytest.mark.parametrize(
    "code", ["InvalidArgument", "InvalidRequest", "NotImplemented", "MissingContentLength"]
)
@pytest.mark.parametrize("has_arguments", [False, True], ids=["without arguments", "with arguments"])
def test_blames_the_arguments_only_where_there_are_some(code: str, has_arguments: bool) -> None:
    """A store may refuse the checksums that boto3 adds, so arguments are blamed only when there are some."""
    with pytest.raises(ConfigurationError) as caught:
        refused(code, has_arguments=has_arguments)
    message = caught.value.message
    assert f"{CHECKSUMS} to when_required" in message
    assert message.startswith("Correct s3_extra_args or acl_policy" if has_arguments else f"Set {CHECKSUMS}")
    assert ("s3_extra_args" in message) == has_arguments
    assert caught.value.conn_id == "aws_default"


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidArgument", "QuotaExceeded"])
def test_shows_what_s3_said_on_one_short_line(code: str) -> None:
    """The text of a store, which may be a page of HTML, is cut off, and has no line breaks."""
    with pytest.raises(ConfigurationError) as caught:
        refused(code, "<html>\r\n" + "so long\n" * 1000)
    assert "(" + code + ": <html> so long so long" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("code", "message", "unknown"),
    [
        ("NotImplemented", "A header implies functionality that is not implemented.", True),
        ("InvalidArgument", "Unsupported header 'If-None-Match' received for this API call.", True),
        ("InvalidRequest", "if-match is not supported", True),
        ("InvalidArgument", "Invalid storage class", False),
        ("AccessDenied", "If-None-Match", False),
    ],
)
def test_knows_who_does_not_know_conditions(code: str, message: str, unknown: bool) -> None:
    """A store that does not know a condition says that it is not implemented, or names the header."""
    error = ClientError({"Error": {"Code": code, "Message": message}}, "PutObject")
    assert is_unknown_condition(error) == unknown


def kinds(base: type[Exception]) -> list[type[Exception]]:
    """Return all kinds of an error, however far down."""
    return [base, *(kind for direct in base.__subclasses__() for kind in kinds(direct))]


OWN = [ClientError, AirflowException, AirflowNotFoundException, OSError, FileNotFoundError]
BUILT_IN = [AttributeError, KeyError, NotImplementedError, TypeError, ValueError]
MAY_PASS = {
    "AirflowNotFoundException",
    "ClientError",
    "ConnectionError",
    "CredentialRetrievalError",
    "HTTPClientError",
    "MetadataRetrievalError",
    "NoCredentialsError",
    "OSError",
}


@pytest.mark.parametrize(
    "kind", [*kinds(boto.BotoCoreError), *OWN, *BUILT_IN], ids=lambda kind: str(kind.__name__)
)
def test_says_why_there_is_no_client(kind: type[Exception]) -> None:
    """Whatever boto3 raises when it makes a client is one of our errors, on one line, with its reason."""
    error = kind.__new__(kind)
    error.args = ("So\nit is.",)
    with pytest.raises(BinanceLoanError) as caught, explain_client_errors("lake_aws"):
        raise error
    may_pass = any(base.__name__ in MAY_PASS for base in kind.__mro__)
    assert type(caught.value) is (TransientError if may_pass else ConfigurationError)
    assert caught.value.conn_id == "lake_aws"
    assert "AWS connection" in caught.value.message
    assert "\n" not in caught.value.message
    assert kind is AirflowNotFoundException or "it is." in caught.value.message


@pytest.mark.parametrize("error", [RuntimeError("No."), MemoryError(), ConfigurationError("No.")], ids=repr)
def test_leaves_other_errors_as_they_are(error: Exception) -> None:
    """What is neither boto3's nor of a wrong type, as an error of Airflow's API server, is not explained."""
    with pytest.raises(type(error)) as caught, explain_client_errors("lake_aws"):
        raise error
    assert caught.value is error
