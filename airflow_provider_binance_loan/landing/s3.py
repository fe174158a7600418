"""The destination S3."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk.lineage import get_hook_lineage_collector

from airflow_provider_binance_loan.landing.s3_arguments import (
    parse_extra_args,
    require_s3_key,
    require_upload_args,
)
from airflow_provider_binance_loan.landing.s3_errors import (
    explain_bucket_errors,
    explain_client_errors,
    explain_refusals,
    is_unknown_condition,
)
from airflow_provider_binance_loan.landing.s3_hook import open_s3_hook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

# Of the AWS console, by partition.
_DOMAINS = {"aws-cn": "amazonaws.cn", "aws-us-gov": "amazonaws-us-gov.com"}

_WRITE_NEEDS = "s3:PutObject and use of any KMS key, or correct the AWS connection"
_CHECK_NEEDS = "s3:GetObject and s3:ListBucket, or set replace=True"


class S3Destination:
    """A bucket in S3, as a task's arguments describe it: a :class:`~.target.Destination`.

    :param bucket: the bucket.
    :param aws_conn_id: the connection.
    :param verify: certificate checks: True, False, or the path of a CA bundle.
    :param encrypt: whether S3 encrypts objects with keys of its own.
    :param acl_policy: a canned ACL for objects.
    :param extra_args: further arguments of an upload, by boto3's names.
    :param conflict_waits: how many seconds to wait before each further try of a write that S3 refuses because
        of another one at the same time.
    :raises ConfigurationError: an argument is wrong.
    :raises AirflowOptionalProviderFeatureException: the amazon provider is not installed.
    """

    def __init__(
        self,
        bucket: str,
        *,
        aws_conn_id: str | None = "aws_default",
        verify: bool | str | None = None,
        encrypt: bool = False,
        acl_policy: str | None = None,
        extra_args: Mapping[str, Any] | None = None,
        conflict_waits: Sequence[float] = (0.5, 1, 2, 4),
    ) -> None:
        self._bucket = bucket
        self._aws_conn_id = aws_conn_id
        self._verify = verify
        self._encrypt = encrypt
        self._acl_policy = acl_policy
        self._conflict_waits = conflict_waits
        self._hook = self._open_hook()
        self._extra_args = parse_extra_args(extra_args, encrypt=encrypt, acl_policy=acl_policy)
        with explain_client_errors(aws_conn_id):
            client = self._hook.get_conn()
            self._transfer_config = self._hook.transfer_config
        require_upload_args(client, self._extra_args | ({"ACL": acl_policy} if acl_policy else {}))

    def check(self, keys: Collection[str]) -> None:
        """Return if the keys are valid, and S3 does not deny that the bucket exists.

        :raises ConfigurationError: a key is not valid, or there is no such bucket.
        :raises TransientError: there are no AWS credentials.
        """
        for key in keys:
            require_s3_key(key)
        with explain_bucket_errors(self._bucket, self._aws_conn_id):
            self._hook.get_conn().head_bucket(Bucket=self._bucket)

    def exists(self, key: str) -> bool:
        """Return whether an object exists.

        :raises ConfigurationError: the connection does not allow to find out.
        """
        with explain_refusals(
            "HeadObject",
            self.uri(key),
            bucket=self._bucket,
            needs=_CHECK_NEEDS,
            aws_conn_id=self._aws_conn_id,
        ):
            return bool(self._hook.check_for_key(key, self._bucket))

    def upload(self, file: IO[bytes], key: str, metadata: Mapping[str, str], *, replace: bool = True) -> None:
        """Write an object, from the file's start.

        Metadata of the same name in `extra_args` is overridden. Where S3 does not know the condition on a
        write that keeps an existing object, a check right before the write has to do.

        :raises FileExistsError: an object exists, and `replace` is not set.
        :raises ConfigurationError: S3 does not allow it, or the bucket is gone.
        """
        args = {**self._extra_args, "Metadata": {**self._extra_args.get("Metadata", {}), **metadata}}
        with explain_refusals(
            "PutObject",
            self.uri(key),
            bucket=self._bucket,
            needs=_WRITE_NEEDS,
            aws_conn_id=self._aws_conn_id,
            has_arguments=bool(self._extra_args or self._acl_policy or self._encrypt),
        ):
            if replace:
                self._write(file, key, args)
            else:
                self._write_new(file, key, args)

    def remove(self, key: str, metadata: Mapping[str, str]) -> None:
        """Remove an object, unless its metadata shows that another upload wrote it."""
        from botocore.exceptions import ClientError  # type: ignore[import-untyped]

        found = self._hook.head_object(key, self._bucket)
        if not (found and _has_metadata(found, metadata)):
            return
        target = {"Bucket": self._bucket, "Key": key}
        try:
            # The condition keeps other bytes that are written right now.
            self._hook.get_conn().delete_object(**target, IfMatch=found["ETag"])
        except ClientError as error:
            if not is_unknown_condition(error):
                raise
            self._hook.get_conn().delete_object(**target)

    def uri(self, key: str) -> str:
        """Return the `s3://` address of an object."""
        return f"s3://{self._bucket}/{key}"

    def console_url(self, key: str) -> str:
        """Return the page of an object in the AWS console."""
        domain = _DOMAINS.get(self._hook.conn_partition, "aws.amazon.com")
        return (
            f"https://console.{domain}/s3/object/{quote(self._bucket)}"
            f"?region={self._hook.conn_region_name}&prefix={quote(key, safe='')}"
        )

    def _write_new(self, file: IO[bytes], key: str, args: Mapping[str, Any]) -> None:
        from botocore.exceptions import ClientError

        for wait in (*self._conflict_waits, None):
            try:
                self._write(file, key, args, condition=True)
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                if status == 412:
                    found = self._hook.head_object(key, self._bucket)
                    if found and _has_metadata(found, args["Metadata"]):
                        return  # boto3 has tried again, since the answer to its first write was lost
                    raise FileExistsError(key) from None
                if is_unknown_condition(error):
                    break
                if status != 409 or wait is None:
                    raise
                time.sleep(wait)
            else:
                return
        if self.exists(key):
            raise FileExistsError(key)
        self._write(file, key, args)

    def _write(self, file: IO[bytes], key: str, args: Mapping[str, Any], *, condition: bool = False) -> None:
        # As S3Hook's `load_file_obj` does it, which takes other arguments only from a hook of its own: each
        # would make a client of its own, and log where its credentials are from.
        more = {"ServerSideEncryption": "AES256"} if self._encrypt else {}
        if self._acl_policy:
            more["ACL"] = self._acl_policy
        client = self._hook.get_conn()
        file.seek(0)
        with _required_absence(client) if condition else nullcontext():
            client.upload_fileobj(
                _KeptOpen(file),
                self._bucket,
                key,
                ExtraArgs={**args, **more},
                Config=self._transfer_config,
            )
        get_hook_lineage_collector().add_output_asset(
            context=self._hook, scheme="s3", asset_kwargs={"bucket": self._bucket, "key": key}
        )

    def _open_hook(self) -> S3Hook:
        return open_s3_hook(self._aws_conn_id, self._verify)


class _KeptOpen:
    """A file that boto3 cannot close, so that it can be read again."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        """Leave the file open."""


@contextmanager
def _required_absence(client: Any) -> Iterator[None]:
    """Add to the writes of a client the condition that no object exists.

    boto3's managed upload, which sends large objects in parts, does not take this argument.
    """
    events = [f"provide-client-params.s3.{name}" for name in ("PutObject", "CompleteMultipartUpload")]
    for event in events:
        client.meta.events.register(event, _require_absence)
    try:
        yield
    finally:
        for event in events:
            client.meta.events.unregister(event, _require_absence)


def _require_absence(params: Mapping[str, Any], **_: Any) -> dict[str, Any]:
    """Return the arguments of a write to S3 with the condition that no object exists."""
    return {**params, "IfNoneMatch": "*"}


def _has_metadata(found: Mapping[str, Any], metadata: Mapping[str, str]) -> bool:
    """Return whether an object, as S3 describes it, has all of the metadata, and there is some."""
    return bool(metadata) and metadata.items() <= found["Metadata"].items()
