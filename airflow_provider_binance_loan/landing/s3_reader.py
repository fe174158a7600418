"""Objects in S3 as they are now, read to be compared with what was landed."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk.lineage import get_hook_lineage_collector

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.landing.s3_arguments import S3Location, parse_s3_location
from airflow_provider_binance_loan.landing.s3_errors import (
    explain_client_errors,
    explain_refusals,
    explain_unsent_requests,
)
from airflow_provider_binance_loan.landing.s3_hook import open_s3_hook
from airflow_provider_binance_loan.reconciliation.landings import StoredObject
from airflow_provider_binance_loan.validation import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

_CHUNK_BYTES = 1024 * 1024
_MAX_TEXT_BYTES = 16 * _CHUNK_BYTES
_READ_NEEDS = "s3:GetObject and s3:ListBucket, and use of any KMS key"


class S3Reader:
    """Reads objects with a task's connection; S3 is first asked when an object is.

    :param aws_conn_id: the connection.
    :param verify: certificate checks of the endpoint: True, False, or the path of a CA bundle.
    """

    def __init__(self, *, aws_conn_id: str | None, verify: bool | str | None) -> None:
        self._aws_conn_id = aws_conn_id
        self._verify = verify

    def read_text(self, uri: str) -> str:
        """Return the text of a small object.

        :raises ConfigurationError: there is no such object, it is no such text, or S3 does not allow it.
        """
        text = b""
        answer = self._open(uri)
        if answer is None:
            raise ConfigurationError(f"Correct manifests, or write it first: there is no {shown(uri)}.")
        for chunk in self._chunks(uri, answer):
            text += chunk
            if len(text) > _MAX_TEXT_BYTES:
                raise ConfigurationError(f"Correct manifests: {shown(uri)} is too large for one.")
        try:
            return text.decode()
        except UnicodeDecodeError:
            raise ConfigurationError(f"Correct manifests: {shown(uri)} is not text, as JSON is.") from None

    def examine(self, uri: str) -> StoredObject | None:
        """Return an object's size and hash, read in chunks, and its metadata; None where there is none.

        :raises ConfigurationError: the address is none of S3, or S3 does not allow to read it.
        """
        answer = self._open(uri)
        if answer is None:
            return None
        read, size = hashlib.sha256(), 0
        for chunk in self._chunks(uri, answer):
            read.update(chunk)
            size += len(chunk)
        stated = str(answer.get("Metadata", {}).get("records", ""))
        return StoredObject(size, read.hexdigest(), int(stated) if stated.isdecimal() else None)

    def _open(self, uri: str) -> Any:
        """Return S3's answer about an object, whose body is not read yet; None where there is none."""
        from botocore.exceptions import ClientError  # type: ignore[import-untyped]

        bucket, key = _parse_address(uri)
        with self._explain(uri), explain_unsent_requests(bucket, self._aws_conn_id, "manifests"):
            try:
                answer = self._client.get_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if error.response["Error"]["Code"] == "NoSuchKey":
                    return None
                raise
        get_hook_lineage_collector().add_input_asset(
            context=self._hook, scheme="s3", asset_kwargs={"bucket": bucket, "key": key}
        )
        return answer

    def _chunks(self, uri: str, answer: Any) -> Iterator[bytes]:
        with self._explain(uri):
            yield from answer["Body"].iter_chunks(_CHUNK_BYTES)

    def _explain(self, uri: str) -> AbstractContextManager[None]:
        return explain_refusals(
            "GetObject",
            uri,
            bucket=_parse_address(uri).bucket,
            needs=_READ_NEEDS,
            aws_conn_id=self._aws_conn_id,
        )

    @cached_property
    def _hook(self) -> S3Hook:
        return open_s3_hook(self._aws_conn_id, self._verify)

    @cached_property
    def _client(self) -> Any:
        with explain_client_errors(self._aws_conn_id):
            return self._hook.get_conn()


def _parse_address(uri: str) -> S3Location:
    """Return where an object is.

    :raises ConfigurationError: the address is none of an object in S3.
    """
    try:
        return parse_s3_location(None, uri)
    except ConfigurationError:
        raise ConfigurationError(
            f"Give manifests, and the objects in them, addresses s3://bucket/key: it is {shown(uri)}."
        ) from None
