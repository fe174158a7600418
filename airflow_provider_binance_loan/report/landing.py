"""Landing a page in S3: with a task's connection, and so that a browser shows it."""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_loan import __version__
from airflow_provider_binance_loan.landing.s3 import S3Destination
from airflow_provider_binance_loan.landing.s3_arguments import parse_s3_location, require_extra_args

if TYPE_CHECKING:
    from collections.abc import Mapping

# A browser downloads an object that has no type.
_CONTENT_TYPE = "text/html; charset=utf-8"


class LandedPage(NamedTuple):
    """Where a page is.

    :param uri: its `s3://` address.
    :param console_url: its page in the AWS console, which has a button that opens it.
    """

    uri: str
    console_url: str


def land_page(
    page: str,
    *,
    s3_key: str,
    s3_bucket: str | None = None,
    s3_extra_args: Mapping[str, Any] | None = None,
    aws_conn_id: str | None = "aws_default",
    verify: bool | str | None = None,
) -> LandedPage:
    """Write a page as an object in S3, in place of one that is there, and return where it is.

    Needs the extra `s3`. The arguments are those of the operators.

    :param page: the page.
    :param s3_key: a key in `s3_bucket`, or a whole `s3://bucket/key`.
    :param s3_bucket: the bucket, when `s3_key` is not a whole URL.
    :param s3_extra_args: further arguments of boto3's upload, such as `{"ServerSideEncryption": "aws:kms"}`.
    :param aws_conn_id: the connection for S3.
    :param verify: certificate checks of the S3 endpoint: True, False, or the path of a CA bundle.
    :raises ConfigurationError: an argument is wrong, there is no such bucket, or S3 refuses the upload.
    :raises TransientError: there are no AWS credentials.
    """
    bucket, key = parse_s3_location(s3_bucket, s3_key)
    require_extra_args(s3_extra_args)
    destination = S3Destination(
        bucket,
        aws_conn_id=aws_conn_id,
        verify=verify,
        extra_args={"ContentType": _CONTENT_TYPE, **(s3_extra_args or {})},
    )
    destination.check([key])
    body = page.encode()
    metadata = {"sha256": hashlib.sha256(body).hexdigest(), "provider-version": __version__}
    destination.upload(BytesIO(body), key, metadata)
    return LandedPage(destination.uri(key), destination.console_url(key))
