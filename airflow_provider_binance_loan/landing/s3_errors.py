"""What the errors of boto3 and S3 mean: what to correct, or that the task may be tried again.

Errors that may pass are raised as they are, for Airflow to retry.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_provider_binance_loan.exceptions import ConfigurationError, TransientError
from airflow_provider_binance_loan.validation import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.exceptions import ClientError  # type: ignore[import-untyped]

# The answer to a HEAD has no body, so there the code is the HTTP status.
_NO_BUCKET = {"404", "NoSuchBucket"}
_DENIED = {"403", "AccessDenied"}
# A store other than AWS's answers these to the checksums that boto3 adds to an upload.
_WRONG_REQUEST = {"InvalidArgument", "InvalidRequest", "MissingContentLength", "NotImplemented"}
_CHECKSUMS = (
    "Set request_checksum_calculation to when_required in config_kwargs of the AWS connection, if its store "
    "does not know boto3's checksums"
)
# The codes are AWS's: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_ADVICE = {
    "InvalidAccessKeyId": "Correct the key of the AWS connection",
    "SignatureDoesNotMatch": "Correct the key of the AWS connection",
    "InvalidToken": "Correct the session token of the AWS connection",
    **dict.fromkeys(
        ("301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"),
        "Correct region_name or endpoint_url of the AWS connection",
    ),
    **dict.fromkeys(
        ("AccountProblem", "AllAccessDisabled", "NotSignedUp"),
        "Ask AWS about the account of the AWS connection",
    ),
    **dict.fromkeys(
        (
            "AccessControlListNotSupported",
            "InvalidEncryptionAlgorithmError",
            "InvalidStorageClass",
            "InvalidTag",
            "MetadataTooLarge",
        ),
        "Correct s3_extra_args or acl_policy",
    ),
}
# Of the codes that begin with "KMS.".
_KMS_THAT_MAY_PASS = ("Throttling", "Internal", "Timeout")
# What boto3 and its hook raise for a setting of a wrong type.
_WRONG_TYPES = (AttributeError, KeyError, TypeError)
# The longest text of S3's that an error shows. It may be a page of HTML.
_MAX_TEXT = 200


@contextmanager
def explain_client_errors(aws_conn_id: str | None) -> Iterator[None]:
    """Raise whatever keeps boto3 from making a client of a connection as an error that says why.

    :raises ConfigurationError: the connection, or what the machine adds to it, is wrong.
    :raises TransientError: the reason may pass, as when a role's credentials cannot be fetched.
    """
    from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
    from botocore import exceptions as boto  # type: ignore[import-untyped]

    try:
        yield
    except AirflowNotFoundException:
        raise TransientError(
            "Add the AWS connection: it was not found, or the secrets backend did not answer.",
            conn_id=aws_conn_id,
        ) from None
    except (
        boto.ClientError,
        boto.ConnectionError,
        boto.CredentialRetrievalError,
        boto.HTTPClientError,
        boto.MetadataRetrievalError,
        boto.NoCredentialsError,
        OSError,
    ) as error:
        raise TransientError(
            f"Try again later, or correct the AWS connection: there is no client of S3 yet ({_flaw(error)}).",
            conn_id=aws_conn_id,
        ) from None
    except (boto.BotoCoreError, AirflowException, *_WRONG_TYPES, NotImplementedError, ValueError) as error:
        raise _no_client(error, aws_conn_id) from None


@contextmanager
def explain_bucket_errors(bucket: str, aws_conn_id: str | None) -> Iterator[None]:
    """Raise what S3 says of a bucket: that it is missing or cannot be, or that credentials are missing.

    A write-only role lacks s3:ListBucket, so a refusal is ignored here; the upload will show whether it may
    write.
    """
    from botocore.exceptions import ClientError

    try:
        with explain_unsent_requests(bucket, aws_conn_id):
            yield
    except ClientError as error:
        if error.response["Error"]["Code"] in _NO_BUCKET:
            raise _no_bucket(bucket) from None


@contextmanager
def explain_unsent_requests(
    bucket: str, aws_conn_id: str | None, arguments: str = "s3_bucket or s3_key"
) -> Iterator[None]:
    """Raise what keeps boto3 from sending a request: a name that no bucket can have, or no credentials.

    :param bucket: the bucket.
    :param aws_conn_id: the connection.
    :param arguments: the arguments that name the bucket.
    """
    from botocore.exceptions import (
        EndpointProviderError,
        NoCredentialsError,
        ParamValidationError,
        UnknownSignatureVersionError,
    )

    try:
        yield
    except (EndpointProviderError, UnknownSignatureVersionError) as error:
        raise _no_client(error, aws_conn_id) from None
    except ParamValidationError:
        raise ConfigurationError(
            f"Correct {arguments}: {shown(bucket)} is not a valid name of a bucket."
        ) from None
    except NoCredentialsError:  # transient: the machine's role may provide them a moment later
        raise TransientError(
            "Add a key to the AWS connection, or a role to the machine: there are no AWS credentials.",
            conn_id=aws_conn_id,
        ) from None


@contextmanager
def explain_refusals(
    operation: str,
    uri: str,
    *,
    bucket: str,
    needs: str,
    aws_conn_id: str | None,
    has_arguments: bool = False,
) -> Iterator[None]:
    """Raise a refusal of S3's that no retry can help as a ConfigurationError.

    :param operation: S3's name of the operation.
    :param uri: the object.
    :param bucket: the object's bucket.
    :param needs: what must be allowed for the operation, or what to do without.
    :param aws_conn_id: the connection.
    :param has_arguments: whether the request has further arguments or an ACL, which may be at fault.
    """
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        code, text = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        if code == "NoSuchBucket":
            raise _no_bucket(bucket) from None
        advice = _advice(code, needs=needs, has_arguments=has_arguments)
        if advice is None:
            raise
        said = f"{code:.60}: {' '.join(text.split()):.{_MAX_TEXT}}"
        raise ConfigurationError(
            f"{advice}: S3 refused {operation} of {uri} ({said}).",
            conn_id=aws_conn_id if "AWS connection" in advice or code in _DENIED else None,
        ) from None


def _advice(code: str, *, needs: str, has_arguments: bool) -> str | None:
    """Return what to do about a refusal; None for an error that may pass."""
    if code in _DENIED:
        return f"Allow {needs}"
    if code in _WRONG_REQUEST:
        return f"Correct s3_extra_args or acl_policy. {_CHECKSUMS}" if has_arguments else _CHECKSUMS
    if code.endswith("QuotaExceeded"):  # MinIO's begins with its name
        return "Raise the quota of the bucket, or remove objects from it"
    if code.startswith("KMS.") and not any(word in code for word in _KMS_THAT_MAY_PASS):
        return "Correct the KMS key of the bucket or of s3_extra_args"
    return _ADVICE.get(code)


def is_unknown_condition(error: ClientError) -> bool:
    """Return whether S3, or a store like it, refuses a request because it does not know its condition."""
    code, text = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    named = any(header in text.lower() for header in ("if-none-match", "if-match"))
    return code == "NotImplemented" or (code in _WRONG_REQUEST and named)


def _no_client(error: Exception, aws_conn_id: str | None) -> ConfigurationError:
    return ConfigurationError(
        f"Correct the AWS connection or environment: boto3 cannot make a client of it ({_flaw(error)}).",
        conn_id=aws_conn_id,
    )


def _flaw(error: Exception) -> str:
    """Return what an error says, on one short line; with its type where it says little alone."""
    kind = f"{type(error).__name__}: " if isinstance(error, _WRONG_TYPES) else ""
    return f"{kind}{' '.join(str(error).split()):.{_MAX_TEXT}}"


def _no_bucket(bucket: str) -> ConfigurationError:
    return ConfigurationError(
        f"Create the bucket {shown(bucket)}, or correct s3_bucket or s3_key: S3 has no such bucket."
    )
