"""Objects in S3 as they are now, read to be compared with what was landed."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from airflow.sdk.lineage import get_hook_lineage_collector

from airflow_provider_binance_loan.landing.s3_arguments import parse_s3_location
from airflow_provider_binance_loan.landing.s3_errors import explain_client_errors, explain_refusals
from airflow_provider_binance_loan.landing.s3_hook import open_s3_hook

_CHUNK_BYTES = 1024 * 1024
_READ_NEEDS = "s3:GetObject and s3:ListBucket, and use of any KMS key"


class Digest(NamedTuple):
    """The size of an object in bytes, and its SHA-256 in hex."""

    size: int
    sha256: str


class S3Reader:
    """Reads objects with a task's connection.

    :param aws_conn_id: the connection.
    :param verify: certificate checks: True, False, or the path of a CA bundle.
    :raises ConfigurationError: an argument or the connection is wrong.
    :raises AirflowOptionalProviderFeatureException: the amazon provider is not installed.
    """

    def __init__(self, *, aws_conn_id: str | None, verify: bool | str | None) -> None:
        self._aws_conn_id = aws_conn_id
        self._hook = open_s3_hook(aws_conn_id, verify)
        with explain_client_errors(aws_conn_id):
            self._client = self._hook.get_conn()

    def digest(self, uri: str) -> Digest | None:
        """Return the digest of an object, which is read in chunks; None where there is no such object.

        :raises ConfigurationError: the address is none of S3, or S3 does not allow to read it.
        """
        from botocore.exceptions import ClientError  # type: ignore[import-untyped]

        bucket, key = parse_s3_location(None, uri)
        read, size = hashlib.sha256(), 0
        with explain_refusals(
            "GetObject", uri, bucket=bucket, needs=_READ_NEEDS, aws_conn_id=self._aws_conn_id
        ):
            try:
                body = self._client.get_object(Bucket=bucket, Key=key)["Body"]
            except ClientError as error:
                if error.response["Error"]["Code"] == "NoSuchKey":
                    return None
                raise
            for chunk in body.iter_chunks(_CHUNK_BYTES):
                read.update(chunk)
                size += len(chunk)
        get_hook_lineage_collector().add_input_asset(
            context=self._hook, scheme="s3", asset_kwargs={"bucket": bucket, "key": key}
        )
        return Digest(size, read.hexdigest())
