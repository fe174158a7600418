"""Pulls: the records of a window, over real HTTP and through both clients."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from airflow.sdk.exceptions import AirflowNotFoundException
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.sandbox.exchange import ApiKey, Exchange
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.hook_client import HookClient
from tests.support.paths import DATA
from tests.support.raw import EMPTY, answer, raw_server


def ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


class TestRecords:
    """The records that a pull returns when nothing is wrong."""

    @pytest.mark.parametrize("count", [0, 1, 100, 250])
    def test_returns_every_record_of_the_window(
        self, client: HookClient, exchange: Exchange, count: int
    ) -> None:
        """All records of the window are returned, oldest first; those before it and at its end are not."""
        start = ms(NOW - HOUR)
        for number in range(count):
            exchange.add_liquidation(1, start + number, start + number + 5)
        exchange.add_liquidation(2, start - 1, start)
        exchange.add_liquidation(2, ms(NOW), None)
        keys = [FORCE_LIQUIDATIONS.key(record) for record in client.pull(NOW - HOUR, NOW)]
        assert keys == [(start + number, 1) for number in range(count)]

    def test_reads_a_burst_that_has_just_ended(self, client: HookClient, exchange: Exchange) -> None:
        """More than a page in the last minute of a window that ends now costs a few requests."""
        for number in range(350):
            exchange.add_liquidation(1, ms(NOW) - 40_000 + 100 * number, ms(NOW) - 1000)
        assert len(client.pull(NOW - HOUR, NOW)) == 350
        assert len(exchange.requests) <= 40

    def test_returns_closed_units_by_default(self, client: HookClient, exchange: Exchange) -> None:
        """A unit that is closed by now is read too, unless only active ones are asked for."""
        for group in (1, 2):
            exchange.add_liquidation(group, ms(NOW - HOUR) + group, ms(NOW) - 1)
        exchange.close(2)
        for risk_units, groups in (("all", [1, 2]), ("active", [1]), ([2], [2]), ("1,2", [1, 2])):
            records = client.pull(NOW - HOUR, NOW, risk_units=risk_units)
            assert [record["groupId"] for record in records] == groups

    def test_returns_the_documented_example_digit_for_digit(
        self, client: HookClient, connect: Any, clock: FakeClock
    ) -> None:
        """The record of Binance's page is returned with the digits that the page shows."""
        with SandboxServer(Exchange(clock=clock.time)) as server:
            connect(host=server.url)
            start = datetime(2025, 5, 27, 21, tzinfo=UTC)
            (record,) = client.pull(start, start + HOUR)
        shown = json.loads((DATA / "documented-example.json").read_text(), parse_float=str)["rows"][0]
        assert record["totalNetEquity"] == shown["totalNetEquity"] == "16671.5507973"
        assert record["liquidationStartTime"] == shown["liquidationStartTime"]
        assert [wallet["netEquity"] for wallet in record["liquidationSnapshot"]["snapshots"]] == [
            "12671.05079731",
            "0.00000000",
            "1000.25333000",
            "1000.24667000",
            "1000.00000000",
            "1000.00000000",
        ]
        assert record["liquidationSnapshot"]["liabilities"] == [shown["liquidationSnapshot"]["liabilities"]]

    def test_an_empty_window_sends_nothing(self, client: HookClient, exchange: Exchange) -> None:
        """A window that ends where it starts holds nothing."""
        assert client.pull(NOW, NOW) == []
        assert exchange.requests == []

    def test_iterating_reads_span_by_span(
        self, exchange: Exchange, connect: Callable[..., None], clock: FakeClock
    ) -> None:
        """The first records are yielded before the last span is requested."""
        for days in (1, 150):
            exchange.add_liquidation(1, ms(NOW - timedelta(days=days)), ms(NOW))
        records = BinanceLoanHook(clock=clock).iter_force_liquidations(NOW - timedelta(days=180), NOW)
        assert next(records)["liquidationStartTime"] == ms(NOW - timedelta(days=150))
        assert len(exchange.requests) == 3
        assert len(list(records)) == 1
        assert len(exchange.requests) == 6

    @pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints"])
    def test_skips_interim_answers(self, client: HookClient, connect: Any, status: str) -> None:
        """What a server sends before its answer is not the answer."""
        with raw_server([f"HTTP/1.1 {status}\r\nLink: </x>\r\n\r\n".encode() + EMPTY] * 3) as (url, lines):
            connect(host=url)
            assert client.pull(NOW - HOUR, NOW) == []
        assert len(lines) == 3

    def test_finds_a_connection_that_only_the_synchronous_way_finds(
        self, exchange: Exchange, connect: Any, clock: FakeClock, mocker: Any
    ) -> None:
        """Where Airflow has no asynchronous way to a connection, the asynchronous client takes the other."""
        mocker.patch.object(BinanceLoanHook, "aget_connection", side_effect=AirflowNotFoundException)
        assert asyncio.run(BinanceLoanHook(clock=clock).aget_force_liquidations(NOW - HOUR, NOW)) == []
        assert [request.status for request in exchange.requests] == [200, 200, 200]


class TestSignature:
    """How requests are signed."""

    @pytest.mark.parametrize("kind", ["ed25519", "rsa"])
    def test_signs_with_a_private_key(
        self, client: HookClient, exchange: Exchange, connect: Any, kind: str
    ) -> None:
        """Binance accepts what a private key signed."""
        key: Any = Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(65537, 2048)
        exchange.add_key(ApiKey("k" * 64, public_key=key.public_key()))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        connect(login="k" * 64, password=None, extra={"private_key": pem})
        assert client.pull(NOW - HOUR, NOW) == []
        assert [request.status for request in exchange.requests] == [200, 200, 200]

    def test_sends_the_bytes_that_it_signed(self, client: HookClient, connect: Any) -> None:
        """The query on the wire is, byte for byte, the text that was signed, and its signature at the end."""
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        busy = answer("503 Service Unavailable", "")
        with raw_server([EMPTY, busy, EMPTY, EMPTY]) as (url, lines):
            connect(host=url, password=pem.decode())
            client.pull(NOW - HOUR, NOW)
        assert len(lines) == 4
        for line in lines:
            query = line.split("?")[1].split(" ")[0]
            assert re.search(r"&timestamp=\d{13}&signature=[A-Za-z0-9%]{88,}$", query)
            signed, _, signature = query.rpartition("&signature=")
            key.public_key().verify(base64.b64decode(unquote(signature)), signed.encode())
        assert len({line.rpartition("&signature=")[2] for line in lines}) == 4
