"""S3 as a task sees it: where an object lands, whether it may, and what S3's refusals mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from airflow.sdk.exceptions import AirflowOptionalProviderFeatureException

from airflow_provider_binance_loan.exceptions import ConfigurationError, TransientError
from airflow_provider_binance_loan.validation import shown

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
_LONGEST_KEY = 1024
# A HEAD has no body, so that only the status tells.
_NO_BUCKET = {"404", "NoSuchBucket"}
_DENIED = {"403", "AccessDenied"}
_WRONG_KEY = {"InvalidAccessKeyId", "SignatureDoesNotMatch"}
_WRONG_ARGUMENT = {"InvalidArgument", "InvalidRequest", "InvalidStorageClass", "InvalidTag"}
# Of the AWS console, by partition.
_DOMAINS = {"aws-cn": "amazonaws.cn", "aws-us-gov": "amazonaws-us-gov.com"}


class S3Object(NamedTuple):
    """Where an object lands."""

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        """The object's `s3://` address."""
        return f"s3://{self.bucket}/{self.key}"


def parse_s3_object(bucket: str | None, key: str) -> S3Object:
    """Return where to land, from a bucket and a key in it, or from a whole `s3://` URL.

    :raises ConfigurationError: it is neither, or both.
    """
    for name, value in (("s3_bucket", bucket), ("s3_key", key)):
        if not isinstance(value, str | None) or value == "None":
            raise ConfigurationError(
                f"{name} is {shown(value)}: give a text; a template may have rendered nothing."
            )
    came = shown(key)
    if "://" in key:
        if bucket:
            raise ConfigurationError(
                f"s3_bucket is {shown(bucket)} and s3_key is a URL, {came}: give one of them."
            )
        if not key.startswith("s3://"):
            raise ConfigurationError(f"s3_key is {came}: give s3://bucket/key.")
        bucket, _, key = key.removeprefix("s3://").partition("/")
    if not bucket:
        raise ConfigurationError(
            f"s3_key is {came} without a bucket: add s3_bucket, or give a whole s3://bucket/key."
        )
    if not key or key.endswith("/"):
        raise ConfigurationError(f"s3_key is {came}: give the key of an object, not of a folder.")
    if key.startswith("/") or "?" in key or "#" in key:
        raise ConfigurationError(
            f"s3_key is {came}: leave out a slash at its start, ? and #, which readers of s3:// URLs get "
            "wrong."
        )
    if not key.isprintable() or len(key.encode()) > _LONGEST_KEY:
        raise ConfigurationError(
            f"s3_key is {came}: give a key of printable characters, {_LONGEST_KEY} bytes at the most."
        )
    return S3Object(bucket, key)


class Store:
    """S3, as a task's arguments describe it.

    :param aws_conn_id: the connection.
    :param verify: certificate checks: True, False, or the path of a CA bundle.
    :param encrypt: whether S3 encrypts, with keys of its own.
    :param acl_policy: a canned ACL.
    :param extra_args: what else boto3 takes for an upload, by boto3's names.
    :raises ConfigurationError: an argument is wrong.
    :raises AirflowOptionalProviderFeatureException: the amazon provider is not installed.
    """

    def __init__(
        self,
        aws_conn_id: str | None = "aws_default",
        verify: bool | str | None = None,
        *,
        encrypt: bool = False,
        acl_policy: str | None = None,
        extra_args: Mapping[str, Any] | None = None,
    ) -> None:
        if not (
            verify is None
            or isinstance(verify, bool)
            or (isinstance(verify, str) and verify and Path(verify).exists())
        ):
            raise ConfigurationError(
                f"verify is {shown(verify)}: give True, False, or the path of a CA bundle."
            )
        self._conn: dict[str, Any] = {"aws_conn_id": aws_conn_id, "verify": verify}
        self._encrypt = encrypt
        self._acl_policy = acl_policy
        self._s3 = _open_s3(**self._conn)
        self._extra_args = _to_extra_args(extra_args, encrypt=encrypt, acl_policy=acl_policy)
        _check_upload(_client(self._s3), {**self._extra_args, **({"ACL": acl_policy} if acl_policy else {})})

    def check_bucket(self, bucket: str) -> None:
        """Return unless S3 says that there is no such bucket.

        :raises ConfigurationError: it says so.
        """
        from botocore.exceptions import (  # type: ignore[import-untyped]
            ClientError,
            NoCredentialsError,
            ParamValidationError,
        )

        try:
            self._s3.get_conn().head_bucket(Bucket=bucket)
        except ParamValidationError:
            raise ConfigurationError(f"s3_bucket is {shown(bucket)}, which is no name of a bucket.") from None
        except NoCredentialsError:  # which may come back, where the machine's role gives them
            raise TransientError(
                f"No AWS credentials were found by aws_conn_id {shown(self._conn['aws_conn_id'])}: define "
                "that connection with a key, or give the machine a role; or try again later."
            ) from None
        except ClientError as error:
            # Those who may write need not be allowed to look; whether they may write, the upload tells.
            if error.response["Error"]["Code"] in _NO_BUCKET:
                raise _no_bucket(bucket) from None

    def refuse_existing(self, targets: Iterable[S3Object]) -> None:
        """Return when none of the objects is there.

        :raises ConfigurationError: one is, or S3 does not tell.
        """
        for target in targets:
            with _explained(
                target, "tell whether there is", "s3:GetObject and s3:ListBucket, or replace=True"
            ):
                if self._s3.check_for_key(target.key, target.bucket):
                    raise ConfigurationError(
                        f"{target.uri} exists: remove it, or let replace=True overwrite it."
                    )

    def upload(self, file: IO[bytes], target: S3Object, metadata: Mapping[str, str]) -> None:
        """Write an object, and replace the one that is there.

        :raises ConfigurationError: S3 does not allow it, or the bucket is gone.
        """
        args = {**self._extra_args, "Metadata": {**self._extra_args.get("Metadata", {}), **metadata}}
        with _explained(target, "write", "s3:PutObject, and the use of the key where KMS encrypts"):
            # Not `load_file`, which notes the temporary file as an input of the task.
            _open_s3(**self._conn, extra_args=args).load_file_obj(
                file,
                target.key,
                target.bucket,
                replace=True,
                encrypt=self._encrypt,
                acl_policy=self._acl_policy,
            )

    def holds(self, target: S3Object) -> bool:
        """Tell whether an object is there; True also when S3 does not tell."""
        try:
            return bool(self._s3.check_for_key(target.key, target.bucket))
        except Exception:  # noqa: BLE001 - whatever kept S3 from telling
            return True

    def remove(self, target: S3Object) -> None:
        """Remove an object, if S3 allows it."""
        with suppress(Exception):  # the error that led here is the one to show
            self._s3.delete_objects(target.bucket, target.key)

    def console_url(self, target: S3Object) -> str:
        """Return the page of an object in the AWS console."""
        domain = _DOMAINS.get(self._s3.conn_partition, "aws.amazon.com")
        return (
            f"https://console.{domain}/s3/object/{quote(target.bucket)}"
            f"?region={self._s3.conn_region_name}&prefix={quote(target.key, safe='')}"
        )


def _open_s3(**arguments: Any) -> S3Hook:
    try:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    except ImportError:
        raise AirflowOptionalProviderFeatureException(
            "Landing in S3 needs the amazon provider: pip install 'airflow-provider-binance-loan[s3]'"
        ) from None
    # One part of an object in memory at a time; a connection's own `transfer_config_args` come first.
    return S3Hook(transfer_config_args={"use_threads": False}, **arguments)


def _client(s3: S3Hook) -> Any:
    """Return the client of a connection.

    :raises ConfigurationError: the connection says what no client can be made of.
    """
    from botocore.exceptions import (
        InvalidConfigError,
        InvalidRegionError,
        ParamValidationError,
        ProfileNotFound,
    )

    try:
        return s3.get_conn()
    except (
        InvalidConfigError,
        InvalidRegionError,
        ParamValidationError,
        ProfileNotFound,
        ValueError,
    ) as error:
        flaw = " ".join(str(error).split())
        raise ConfigurationError(
            f"aws_conn_id is {shown(s3.aws_conn_id)}, of which no client can be made ({flaw:.200}): mend "
            "that connection."
        ) from error


def _to_extra_args(
    extra_args: Mapping[str, Any] | None, *, encrypt: bool, acl_policy: str | None
) -> dict[str, Any]:
    """Return the arguments of an upload.

    :raises ConfigurationError: boto3 knows no such argument, or one says other than `encrypt` or
        `acl_policy`.
    """
    from boto3.s3.transfer import S3Transfer  # type: ignore[import-untyped]

    if not isinstance(extra_args or {}, Mapping):
        raise ConfigurationError(
            f"s3_extra_args is {shown(extra_args)}: give a dict of boto3's upload arguments."
        )
    args = dict(extra_args or {})
    for name in args:
        if name not in S3Transfer.ALLOWED_UPLOAD_ARGS:
            raise ConfigurationError(
                f"s3_extra_args has {shown(name)}, which boto3's uploads do not take: "
                f"give some of {', '.join(S3Transfer.ALLOWED_UPLOAD_ARGS)}."
            )
    if encrypt and args.get("ServerSideEncryption", "AES256") != "AES256":
        raise ConfigurationError(
            f"encrypt=True means AES256, and s3_extra_args has ServerSideEncryption="
            f"{shown(args['ServerSideEncryption'])}: give one of them."
        )
    if acl_policy and "ACL" in args:
        raise ConfigurationError(
            f"acl_policy is {shown(acl_policy)}, and s3_extra_args has ACL={shown(args['ACL'])}: "
            "give one of them."
        )
    return args


def _check_upload(client: Any, args: Mapping[str, Any]) -> None:
    """Return when boto3 would take the arguments of an upload, which it looks at only once all is read.

    :raises ConfigurationError: it would not.
    """
    from botocore.validate import ParamValidator  # type: ignore[import-untyped]

    shape = client.meta.service_model.operation_model("PutObject").input_shape
    known = {name: value for name, value in args.items() if name in shape.members}
    report = ParamValidator().validate({"Bucket": "bucket", "Key": "key", **known}, shape)
    if report.has_errors():
        flaw = report.generate_report().splitlines()[0]
        raise ConfigurationError(f"s3_extra_args or acl_policy is wrong: {flaw:.200}.")
    if not all(text.isascii() for pair in args.get("Metadata", {}).items() for text in pair):
        raise ConfigurationError("Metadata in s3_extra_args is not all ASCII, which S3 takes alone.")


def _no_bucket(bucket: str) -> ConfigurationError:
    return ConfigurationError(f"There is no bucket {shown(bucket)}: create it, or mend s3_bucket or s3_key.")


@contextmanager
def _explained(target: S3Object, action: str, needs: str) -> Iterator[None]:
    """Say of S3's refusals what they are about; what may pass is left as it is, for Airflow to retry."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        code, text = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        if code == "NoSuchBucket":
            raise _no_bucket(target.bucket) from error
        if code in _DENIED:
            raise ConfigurationError(
                f"S3 does not let the AWS connection {action} {target.uri} ({code}: {text}): allow {needs}; "
                "or mend the connection's keys."
            ) from error
        if code in _WRONG_KEY | _WRONG_ARGUMENT:
            mend = "the AWS connection" if code in _WRONG_KEY else "s3_extra_args or acl_policy"
            raise ConfigurationError(
                f"S3 refuses to {action} {target.uri} ({code}: {text:.200}): mend {mend}."
            ) from error
        raise
