"""Settings of a client that nothing is sent by."""

from __future__ import annotations

from typing import Any

from airflow_provider_binance_loan.binance.signing import Credentials
from airflow_provider_binance_loan.client.settings import Settings


def new_settings(**changes: Any) -> Settings:
    """Return the default settings, whose signature tells which text was signed."""

    def sign(text: bytes) -> str:
        return f"signed-{len(text)}-{text[-3:].decode()}"

    fields = {
        "conn_id": "binance_loan_default",
        "base_url": "https://api.binance.com",
        "credentials": Credentials("the-api-key", sign),
        "recv_window": 5000,
        "timeout": 15,
        "max_wait": 60,
        "proxy": None,
        "verify": True,
        "max_concurrency": 16,
        "fingerprint": b"",
    }
    return Settings(**{**fields, **changes})  # type: ignore[arg-type]
