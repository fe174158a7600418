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

# The answer to a HEAD has no body, so there the code is the HTTP status.
_NO_BUCKET = {"404", "NoSuchBucket"}
_DENIED = {"403", "AccessDenied"}
_WRONG_KEY = {"InvalidAccessKeyId", "SignatureDoesNotMatch"}
_WRONG_ARGUMENT = {"InvalidArgument", "InvalidRequest", "InvalidStorageClass", "InvalidTag"}


@contextmanager
def explain_client_errors(aws_conn_id: str | None) -> Iterator[None]:
    """Raise what keeps boto3 from making a client of a connection as a ConfigurationError."""
    from botocore.exceptions import (  # type: ignore[import-untyped]
        InvalidConfigError,
        InvalidRegionError,
        ParamValidationError,
        ProfileNotFound,
    )

    try:
        yield
    except (
        InvalidConfigError,
        InvalidRegionError,
        ParamValidationError,
        ProfileNotFound,
        ValueError,
    ) as error:
        flaw = " ".join(str(error).split())
        raise ConfigurationError(
            f"Correct the AWS connection: boto3 cannot make a client of it ({flaw:.200}).",
            conn_id=aws_conn_id,
        ) from None


@contextmanager
def explain_bucket_errors(bucket: str, aws_conn_id: str | None) -> Iterator[None]:
    """Raise what S3 says of a bucket: that it is missing or cannot be, or that credentials are missing.

    A write-only role lacks s3:ListBucket, so a refusal is ignored here; the upload will show whether it may
    write.
    """
    from botocore.exceptions import ClientError, NoCredentialsError, ParamValidationError

    try:
        yield
    except ParamValidationError:
        raise ConfigurationError(
            f"Correct s3_bucket or s3_key: {shown(bucket)} is not a valid name of a bucket."
        ) from None
    except NoCredentialsError:  # transient: the machine's role may provide them a moment later
        raise TransientError(
            "Add a key to the AWS connection, or a role to the machine: there are no AWS credentials.",
            conn_id=aws_conn_id,
        ) from None
    except ClientError as error:
        if error.response["Error"]["Code"] in _NO_BUCKET:
            raise _no_bucket(bucket) from None


@contextmanager
def explain_refusals(
    operation: str, uri: str, *, bucket: str, needs: str, aws_conn_id: str | None
) -> Iterator[None]:
    """Raise a refusal of S3's that no retry can help as a ConfigurationError.

    :param operation: S3's name of the operation.
    :param uri: the object.
    :param bucket: the object's bucket.
    :param needs: what must be allowed for the operation, or what to do without.
    :param aws_conn_id: the connection.
    """
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        code, text = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        refusal = f"S3 refused {operation} of {uri} ({code}: {' '.join(text.split())})."
        if code == "NoSuchBucket":
            raise _no_bucket(bucket) from None
        if code in _DENIED:
            raise ConfigurationError(f"Allow {needs}: {refusal}", conn_id=aws_conn_id) from None
        if code in _WRONG_KEY:
            raise ConfigurationError(
                f"Correct the key of the AWS connection: {refusal}", conn_id=aws_conn_id
            ) from None
        if code in _WRONG_ARGUMENT:
            raise ConfigurationError(f"Correct s3_extra_args or acl_policy: {refusal}") from None
        raise


def _no_bucket(bucket: str) -> ConfigurationError:
    return ConfigurationError(
        f"Create the bucket {shown(bucket)}, or correct s3_bucket or s3_key: S3 has no such bucket."
    )
