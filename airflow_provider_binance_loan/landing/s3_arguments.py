"""Validation of what a task says of its uploads to S3, before there is anything to upload."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import described, shown

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
_MAX_KEY_BYTES = 1024
# The ARN of an access point, which S3 takes for a bucket. It may hold slashes.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-naming.html
_ACCESS_POINT = re.compile(
    r"arn:aws[^:/]*:(s3|s3-object-lambda|s3-outposts):[a-z0-9-]*:[0-9]{12}:"
    r"(outpost[:/][^:/]+[:/])?accesspoint[:/][^:/]+(?=/|$)"
)


class S3Location(NamedTuple):
    """A bucket, and the key of an object in it."""

    bucket: str
    key: str


def parse_s3_location(bucket: str | None, key: str | None) -> S3Location:
    """Return where an object is, from a bucket and a key in it, or from a whole `s3://` URL.

    :raises ConfigurationError: it is neither, or both.
    """
    if key is None:
        raise ConfigurationError("Give s3_key as the key of an object, or as s3://bucket/key: it is not set.")
    for name, value in (("s3_bucket", bucket), ("s3_key", key)):
        if value == "None":
            raise ConfigurationError(f"Check the template of {name}: it rendered the text None.")
        if not isinstance(value, str | None):
            raise ConfigurationError(f"Give {name} as text: it is {shown(value)}.")
    given = key
    if "://" in key:
        if bucket:
            raise ConfigurationError(
                f"Give s3_bucket, or a URL as s3_key, not both: they are {shown(bucket)} and {shown(given)}."
            )
        if not key.startswith("s3://"):
            raise ConfigurationError(f"Give s3_key as s3://bucket/key: it is {shown(given)}.")
        place = key.removeprefix("s3://")
        access_point = _ACCESS_POINT.match(place)
        at = access_point.end() if access_point else f"{place}/".index("/")
        bucket, key = place[:at], place[at + 1 :]
    if not bucket:
        raise ConfigurationError(
            f"Add s3_bucket, or give s3_key as s3://bucket/key: {shown(given)} names no bucket."
        )
    _require_key(key, given)
    return S3Location(bucket, key)


def require_s3_key(key: str) -> None:
    """Require a key that S3 accepts and that other tools read as the same object.

    :raises ConfigurationError: it is not.
    """
    _require_key(key, key)


def _require_key(key: str, given: str) -> None:
    if not key or key.endswith("/"):
        raise ConfigurationError(
            f"Give s3_key as the key of an object, not of a folder: it is {described(given)}."
        )
    if key.startswith("/") or "?" in key or "#" in key:
        raise ConfigurationError(
            f"Remove the leading slash, ? or # from the key in s3_key: it is {shown(given)}, and readers of "
            "s3:// URLs get that wrong."
        )
    if not key.isprintable() or len(key.encode()) > _MAX_KEY_BYTES:
        raise ConfigurationError(
            f"Give s3_key printable characters only, {_MAX_KEY_BYTES} bytes at most: it is {shown(given)}."
        )


def require_verify(verify: Any) -> None:
    """Require a switch or the path of a CA bundle, or None for boto3's default.

    :raises ConfigurationError: it is neither, or there is nothing at the path.
    """
    if verify is None or isinstance(verify, bool):
        return
    if not (isinstance(verify, str) and verify and Path(verify).exists()):
        raise ConfigurationError(
            f"Give verify as True, False or the path of a CA bundle that exists: it is {described(verify)}."
        )


def require_extra_args(extra_args: Any) -> None:
    """Require the further arguments of an upload as a dict, or None.

    :raises ConfigurationError: they are something else.
    """
    if not isinstance(extra_args or {}, Mapping):
        raise ConfigurationError(
            f"Give s3_extra_args as a dict of boto3's upload arguments: it is {shown(extra_args)}."
        )


def parse_extra_args(
    extra_args: Mapping[str, Any] | None, *, encrypt: bool, acl_policy: str | None
) -> dict[str, Any]:
    """Return the further arguments of an upload.

    :raises ConfigurationError: boto3 has no such argument, or one contradicts `encrypt` or `acl_policy`.
    """
    from boto3.s3.transfer import S3Transfer  # type: ignore[import-untyped]

    require_extra_args(extra_args)
    args = dict(extra_args or {})
    for name in args:
        if name not in S3Transfer.ALLOWED_UPLOAD_ARGS:
            raise ConfigurationError(
                f"Correct or remove {shown(name)} in s3_extra_args: boto3's uploads have no such argument; "
                "boto3.s3.transfer.S3Transfer.ALLOWED_UPLOAD_ARGS lists all."
            )
    if encrypt and args.get("ServerSideEncryption", "AES256") != "AES256":
        raise ConfigurationError(
            "Leave out encrypt, or ServerSideEncryption of s3_extra_args: encrypt=True means AES256, and "
            f"ServerSideEncryption is {shown(args['ServerSideEncryption'])}."
        )
    if acl_policy and "ACL" in args:
        raise ConfigurationError(
            f"Leave out acl_policy, or ACL of s3_extra_args: they are {shown(acl_policy)} and "
            f"{shown(args['ACL'])}."
        )
    return args


def require_upload_args(client: Any, args: Mapping[str, Any]) -> None:
    """Require arguments of an upload that boto3 accepts; it would check them only when all records are read.

    :raises ConfigurationError: one has a wrong type, or metadata that is not ASCII.
    """
    from botocore.validate import ParamValidator  # type: ignore[import-untyped]

    shape = client.meta.service_model.operation_model("PutObject").input_shape
    known = {name: value for name, value in args.items() if name in shape.members}
    report = ParamValidator().validate({"Bucket": "bucket", "Key": "key", **known}, shape)
    if report.has_errors():
        flaw = report.generate_report().splitlines()[0]
        raise ConfigurationError(f"Correct s3_extra_args or acl_policy: {flaw:.200}.")
    if not all(text.isascii() for pair in args.get("Metadata", {}).items() for text in pair):
        raise ConfigurationError("Use ASCII for Metadata in s3_extra_args: S3 accepts nothing else.")
