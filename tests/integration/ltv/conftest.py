"""A server with LTVs, and the connection to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.clock import FakeClock
from tests.support.connections import binance_connection
from tests.support.hook_client import KINDS
from tests.support.ltvs import LtvServer, ltv_server


@pytest.fixture
def ltvs(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[LtvServer]:
    """A Binance that knows LTVs alone, on the fake clock; the default connection leads to it."""
    with ltv_server(clock.now_ms) as server:
        monkeypatch.setenv("AIRFLOW_CONN_BINANCE_LOAN_DEFAULT", binance_connection(server.url))
        yield server


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which of the two HTTP clients a test runs through: it runs through both."""
    return str(request.param)
