"""A page in S3: its bytes, its type, and what is said when it cannot be written."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_binance_loan.exceptions import ConfigurationError, TransientError
from airflow_provider_binance_loan.report.landing import land_page
from tests.support.connections import remove_aws_credentials

KEY = "stories/unit=6/page.html"


def test_lands_a_page_that_a_browser_shows(s3: Any) -> None:
    """The object is the page in UTF-8 with the type of one, and its hash is in the metadata."""
    landed = land_page("<p>ü</p>", s3_bucket="lake", s3_key=KEY, s3_extra_args={"CacheControl": "no-store"})
    assert landed.uri == f"s3://lake/{KEY}"
    assert "prefix=stories%2Funit%3D6%2Fpage.html" in landed.console_url
    found = s3.get_object(Bucket="lake", Key=KEY)
    body = found["Body"].read()
    assert body == "<p>ü</p>".encode()
    assert found["ContentType"] == "text/html; charset=utf-8"
    assert found["CacheControl"] == "no-store"
    assert found["Metadata"]["sha256"] == hashlib.sha256(body).hexdigest()


def test_replaces_the_page_of_an_earlier_run(s3: Any) -> None:
    """A whole address will do, and the later page wins."""
    for page in ("first", "second"):
        land_page(page, s3_key=f"s3://lake/{KEY}")
    assert s3.get_object(Bucket="lake", Key=KEY)["Body"].read() == b"second"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"s3_key": f"s3://nowhere/{KEY}"}, "Create the bucket 'nowhere'"),
        ({"s3_key": KEY}, "s3_bucket"),
        ({"s3_key": None}, "s3_key .*not set"),
        ({"s3_key": None, "s3_bucket": "lake"}, "s3_key .*not set"),
        ({"s3_key": f"s3://lake/{KEY}", "s3_extra_args": "x"}, "s3_extra_args as a dict.*'x'"),
        ({"s3_key": "s3://lake/" + "a" * 1025}, r"s3_key .*1024 bytes"),
        ({"s3_key": f"s3://lake/{KEY}", "s3_extra_args": {"NoSuch": 1}}, "s3_extra_args"),
    ],
)
def test_says_what_is_wrong(s3: Any, arguments: dict[str, Any], says: str) -> None:
    """An argument that is wrong, or a bucket that is not there, is named."""
    with pytest.raises(ConfigurationError, match=says):
        land_page("page", **arguments)


def test_says_that_there_are_no_credentials(
    s3: Any, s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Missing credentials are a transient error, as with the operators."""
    remove_aws_credentials(monkeypatch, s3_url, tmp_path)
    with pytest.raises(TransientError, match="there are no AWS credentials"):
        land_page("page", s3_key=f"s3://lake/{KEY}")
