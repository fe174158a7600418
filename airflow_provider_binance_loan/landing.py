"""Records to bytes to S3: whole or not at all, and the same records always as the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from tempfile import NamedTemporaryFile
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from airflow.sdk.exceptions import AirflowOptionalProviderFeatureException

from airflow_provider_binance_loan.binance.records import is_running
from airflow_provider_binance_loan.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook


class S3Object(NamedTuple):
    """Where an object lands."""

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        """The object's `s3://` address."""
        return f"s3://{self.bucket}/{self.key}"


def to_s3_object(bucket: str | None, key: str) -> S3Object:
    """Return where to land, from a bucket and a key in it, or from a whole `s3://` URL.

    :raises ConfigurationError: it is neither, or both.
    """
    for name, value in (("s3_bucket", bucket), ("s3_key", key)):
        if not isinstance(value, str | None) or value == "None":
            raise ConfigurationError(
                f"{name} is {value!r}: give a text; a template may have rendered nothing."
            )
    if "://" in key:
        if bucket:
            raise ConfigurationError(
                f"s3_bucket is {bucket!r} and s3_key is a URL, {key!r}: give one of them."
            )
        if not key.startswith("s3://"):
            raise ConfigurationError(f"s3_key is {key!r}: give s3://bucket/key.")
        bucket, _, key = key.removeprefix("s3://").partition("/")
    if not bucket:
        raise ConfigurationError(
            f"s3_key is {key!r} without a bucket: add s3_bucket, or give a whole s3://bucket/key."
        )
    if not key or key.endswith("/"):
        raise ConfigurationError(f"s3_key is {key!r}: give the key of an object, not of a folder.")
    return S3Object(bucket, key)


def open_s3(aws_conn_id: str | None, verify: bool | str | None) -> S3Hook:
    """Return the hook that uploads.

    :raises AirflowOptionalProviderFeatureException: the amazon provider is not installed.
    """
    try:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    except ImportError:
        raise AirflowOptionalProviderFeatureException(
            "Landing in S3 needs the amazon provider: pip install 'airflow-provider-binance-loan[s3]'"
        ) from None
    return S3Hook(aws_conn_id=aws_conn_id, verify=verify)


def refuse_existing(s3: S3Hook, target: S3Object) -> None:
    """Raise when the object is there already.

    :raises ConfigurationError: it is.
    """
    if s3.check_for_key(target.key, target.bucket):
        raise ConfigurationError(f"{target.uri} exists: remove it, or let replace=True overwrite it.")


def land(
    records: Iterable[Mapping[str, Any]], s3: S3Hook, target: S3Object, *, replace: bool
) -> dict[str, Any]:
    """Upload records as JSON Lines, gzipped when the key ends in `.gz`, and return what was written.

    Nothing is uploaded before the last record is there.
    """
    count = running = 0
    with NamedTemporaryFile(prefix="binance-loan-") as file:
        with _compressed(file) if target.key.endswith(".gz") else nullcontext(file) as sink:
            for record in records:
                sink.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
                count += 1
                running += is_running(record)
        file.flush()
        size = file.tell()
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        s3.load_file(file.name, target.key, target.bucket, replace=replace)
    return {"s3_uri": target.uri, "records": count, "running": running, "bytes": size, "sha256": digest}


def _compressed(file: IO[bytes]) -> gzip.GzipFile:
    # No name and no time in the header, so that the same records are the same bytes.
    return gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
