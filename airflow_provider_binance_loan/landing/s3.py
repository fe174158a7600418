"""The destination S3."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk.exceptions import AirflowOptionalProviderFeatureException

from airflow_provider_binance_loan.landing.s3_arguments import (
    parse_extra_args,
    require_s3_key,
    require_upload_args,
    require_verify,
)
from airflow_provider_binance_loan.landing.s3_errors import (
    explain_bucket_errors,
    explain_client_errors,
    explain_refusals,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

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
    ) -> None:
        require_verify(verify)
        self._bucket = bucket
        self._aws_conn_id = aws_conn_id
        self._verify = verify
        self._encrypt = encrypt
        self._acl_policy = acl_policy
        self._hook = self._open_hook()
        self._extra_args = parse_extra_args(extra_args, encrypt=encrypt, acl_policy=acl_policy)
        with explain_client_errors(aws_conn_id):
            client = self._hook.get_conn()
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

    def upload(self, file: IO[bytes], key: str, metadata: Mapping[str, str]) -> None:
        """Write an object, in place of an existing one.

        Metadata of the same name in `extra_args` is overridden.

        :raises ConfigurationError: S3 does not allow it, or the bucket is gone.
        """
        args = {**self._extra_args, "Metadata": {**self._extra_args.get("Metadata", {}), **metadata}}
        with explain_refusals(
            "PutObject",
            self.uri(key),
            bucket=self._bucket,
            needs=_WRITE_NEEDS,
            aws_conn_id=self._aws_conn_id,
        ):
            # `load_file` would report the temporary file as an input of the task.
            self._open_hook(extra_args=args).load_file_obj(
                file,
                key,
                self._bucket,
                replace=True,
                encrypt=self._encrypt,
                acl_policy=self._acl_policy,
            )

    def remove(self, key: str) -> None:
        """Remove an object."""
        self._hook.delete_objects(self._bucket, key)

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

    def _open_hook(self, **arguments: Any) -> S3Hook:
        try:
            from airflow.providers.amazon.aws.hooks.s3 import S3Hook
        except ImportError:
            raise AirflowOptionalProviderFeatureException(
                "pip install 'airflow-provider-binance-loan[s3]': landing in S3 needs the amazon provider"
            ) from None
        return S3Hook(
            aws_conn_id=self._aws_conn_id,
            verify=self._verify,
            # This keeps one part of an object in memory at a time. A connection's own setting overrides it.
            transfer_config_args={"use_threads": False},
            **arguments,
        )
