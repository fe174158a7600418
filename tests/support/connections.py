"""Airflow connections to the local servers, as JSON for an `AIRFLOW_CONN_…` variable."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_KEY, SANDBOX_API_SECRET

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

S3_KEY = S3_SECRET = "testing"


def binance_connection(host: str, **fields: Any) -> str:
    """Return a connection to a local Binance, with the sandbox's key unless `fields` say otherwise."""
    connection = {
        "conn_type": "binance_loan",
        "host": host,
        "login": SANDBOX_API_KEY,
        "password": SANDBOX_API_SECRET,
    }
    return json.dumps(connection | fields)


def aws_connection(url: str, key: str = S3_KEY, secret: str = S3_SECRET, **extra: Any) -> str:
    """Return a connection to a local S3 endpoint."""
    extra = {"endpoint_url": url, "region_name": "us-east-1", **extra}
    return json.dumps({"conn_type": "aws", "login": key, "password": secret, "extra": extra})


def remove_aws_credentials(monkeypatch: pytest.MonkeyPatch, url: str, folder: Path) -> None:
    """Leave boto3 no credentials in any place where it looks; the connection has none, and an endpoint.

    :param folder: an empty folder.
    """
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "none"))
    extra = {"endpoint_url": url, "region_name": "us-east-1"}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", "extra": extra}))


def aws_client(url: str, service: str = "s3") -> Any:
    """Return boto3's client of a local S3 endpoint, or of another service of the same server."""
    import boto3  # here, as most who need a connection need no client of their own

    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=S3_KEY,
        aws_secret_access_key=S3_SECRET,
    )
