"""The doors: one table of scenarios through both, over real HTTP, with the same outcome."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from airflow.sdk.exceptions import AirflowNotFoundException
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from airflow_provider_binance_loan import exceptions
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.client import base as doors
from airflow_provider_binance_loan.client.base import SyncClient
from airflow_provider_binance_loan.client.throttle import Standing
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.sandbox.exchange import (
    SANDBOX_API_KEY,
    SANDBOX_API_SECRET,
    ApiKey,
    Exchange,
)
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.conftest import DATA, HookClient, new_certificate
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.raw import EMPTY, answer, error, raw_server
from tests.support.relay import TunnelProxy


def ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


class TestRecords:
    """What comes back when nothing is wrong."""

    @pytest.mark.parametrize("count", [0, 1, 100, 250])
    def test_returns_every_record_of_the_window(
        self, client: HookClient, exchange: Exchange, count: int
    ) -> None:
        """All records of the window come, oldest first; those before it and at its end do not."""
        start = ms(NOW - HOUR)
        for number in range(count):
            exchange.add_liquidation(1, start + number, start + number + 5)
        exchange.add_liquidation(2, start - 1, start)
        exchange.add_liquidation(2, ms(NOW), None)
        records = client.pull(NOW - HOUR, NOW)
        assert [FORCE_LIQUIDATIONS.key(record) for record in records] == [
            (start + number, 1) for number in range(count)
        ]

    def test_reads_a_burst_that_has_only_just_ended(self, client: HookClient, exchange: Exchange) -> None:
        """More than a page in the last minute of a window that ends now costs a few requests."""
        for number in range(350):
            exchange.add_liquidation(1, ms(NOW) - 40_000 + 100 * number, ms(NOW) - 1000)
        assert len(client.pull(NOW - HOUR, NOW)) == 350
        assert len(exchange.requests) <= 30

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
        """The record of Binance's page comes out with the digits that the page shows."""
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

    def test_an_empty_window_asks_nothing(self, client: HookClient, exchange: Exchange) -> None:
        """A window that ends where it starts holds nothing."""
        assert client.pull(NOW, NOW) == []
        assert exchange.requests == []


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_signs_with_a_private_key(client: HookClient, exchange: Exchange, connect: Any, kind: str) -> None:
    """Binance accepts what a private key signed."""
    key: Any = Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(65537, 2048)
    exchange.add_key(ApiKey("k" * 64, public_key=key.public_key()))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    connect(login="k" * 64, password=None, extra={"private_key": pem})
    assert client.pull(NOW - HOUR, NOW) == []
    assert [request.status for request in exchange.requests] == [200, 200]


def test_sends_the_very_bytes_that_it_signed(client: HookClient, connect: Any, mocker: Any) -> None:
    """The query on the wire is the text that was signed, and its signature, byte for byte."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    signed = mocker.spy(doors, "signed_query")
    with raw_server([EMPTY, EMPTY]) as (url, lines):
        connect(host=url, password=pem.decode())
        client.pull(NOW - HOUR, NOW)
    assert len(lines) == 2
    assert [line.split("?")[1].split(" ")[0] for line in lines] == signed.spy_return_list
    assert all(
        re.search(r"&timestamp=\d{13}&signature=[A-Za-z0-9%]{88,}$", text) for text in signed.spy_return_list
    )


BUSY = answer("503 Service Unavailable", error(-1008))

# what is answered, the error's class, a part of its text, how many requests were made
FAULTS: dict[str, tuple[list[bytes], type[Exception], str, int]] = {
    "parameter": ([answer("400 Bad Request", error(-1102))], exceptions.RequestRefusedError, "code -1102", 1),
    "signature": (
        [answer("400 Bad Request", error(-1022))],
        exceptions.AuthRefusedError,
        "code -1022: Text; check that the secret or private key belongs to the API key",
        1,
    ),
    "key": (
        [answer("401 Unauthorized", error(-2015))],
        exceptions.AuthRefusedError,
        "its list of allowed IP",
        1,
    ),
    "account": (
        [answer("400 Bad Request", error(-3999))],
        exceptions.RequestRefusedError,
        "credit account",
        1,
    ),
    "code as text": (
        [answer("400 Bad Request", '{"code":"-2015"}')],
        exceptions.AuthRefusedError,
        "-2015",
        1,
    ),
    "no code": ([answer("401 Unauthorized", "<html>")], exceptions.AuthRefusedError, "HTTP 401", 1),
    "quoted request": (
        [answer("400 Bad Request", error(-1100, "Bad: a=1&signature=abc%2Fdef&b=2"))],
        exceptions.RequestRefusedError,
        "Bad: a=1&…&b=2",
        1,
    ),
    "refused with 200": ([answer("200 OK", error(-1102))], exceptions.RequestRefusedError, "code -1102", 1),
    "unknown code with 200": ([answer("200 OK", error(77))], exceptions.RequestRefusedError, "code 77", 1),
    "firewall": (
        [answer("403 Forbidden", "<html>", "Content-Type: text/html")],
        exceptions.AuthRefusedError,
        "web firewall",
        1,
    ),
    "redirect": (
        [answer("302 Found", "", "Location: http://127.0.0.1:1/elsewhere")],
        exceptions.RequestRefusedError,
        "redirects are not followed",
        1,
    ),
    "html with 200": (
        [answer("200 OK", "<html>", "Content-Type: text/html")],
        exceptions.BadResponseError,
        "HTTP 200 with 6 bytes of text/html, which is not JSON",
        1,
    ),
    "nothing with 200": ([answer("200 OK", "")] * 5, exceptions.TransientError, "with 0 bytes", 5),
    "cut off JSON": (
        [answer("200 OK", '{"total":0,"rows":[')] * 5,
        exceptions.TransientError,
        "which is cut off",
        5,
    ),
    "no rows": ([answer("200 OK", "{}")], exceptions.BadResponseError, "rows is absent", 1),
    "ban": (
        [answer("418 I'm a teapot", error(-1003), "Retry-After: 120")],
        exceptions.RateLimitedError,
        "this IP address is banned until 2026-03-01T12:02:00",
        1,
    ),
    "short ban": (
        [answer("418 I'm a teapot", error(-1003), "Retry-After: 5")],
        exceptions.RateLimitedError,
        "this IP address is banned until 2026-03-01T12:00:05",
        1,
    ),
    "ban in words": (
        [answer("418 I'm a teapot", error(-1003, "IP banned until 1772370000000."))],
        exceptions.RateLimitedError,
        "banned until 2026-03-01T13:00:00",
        1,
    ),
    "long limit": (
        [answer("429 Too Many Requests", error(-1003), "Retry-After: 3600")],
        exceptions.RateLimitedError,
        "wait until 2026-03-01T13:00:00",
        1,
    ),
    "limit until a date": (
        [answer("429 Too Many Requests", error(-1003), "Retry-After: Sun, 01 Mar 2026 13:00:00 GMT")],
        exceptions.RateLimitedError,
        "wait until 2026-03-01T13:00:00",
        1,
    ),
    "limit with a fraction": (
        [answer("429 Too Many Requests", error(-1003), "Retry-After: 3600.5")],
        exceptions.RateLimitedError,
        "wait until 2026-03-01T13:00:00",
        1,
    ),
    "limit said twice": (
        [answer("429 Too Many Requests", error(-1003), "Retry-After: 60, 3600")],
        exceptions.RateLimitedError,
        "wait until 2026-03-01T13:00:00",
        1,
    ),
    "limit past all time": (
        [answer("429 Too Many Requests", error(-1003), f"Retry-After: {'9' * 400}")],
        exceptions.RateLimitedError,
        "wait until 2027-03-02T12:00:00",
        1,
    ),
    "ban with a fraction": (
        [answer("418 I'm a teapot", error(-1003), "Retry-After: 86400.0")],
        exceptions.RateLimitedError,
        "banned until 2026-03-02T12:00:00",
        1,
    ),
    "busy for ever": ([BUSY] * 5, exceptions.TransientError, "HTTP 503, code -1008", 5),
    "bad gateway for ever": (
        [answer("502 Bad Gateway", "<html>")] * 5,
        exceptions.TransientError,
        "HTTP 502; try again later",
        5,
    ),
    "hangs up for ever": ([b"\r\nConnection: close"] * 5, exceptions.TransientError, "hung up", 5),
    "cut off for ever": (
        [answer("200 OK", '{"total":0,"rows":[]}').replace(b"Length: 21", b"Length: 99")] * 5,
        exceptions.TransientError,
        "hung up",
        5,
    ),
}


class TestFaults:
    """What a door does with each answer that is not data."""

    @pytest.mark.parametrize(("answers", "kind", "says", "requests"), FAULTS.values(), ids=FAULTS)
    def test_raises_what_the_answer_means(
        self,
        client: HookClient,
        connect: Any,
        answers: list[bytes],
        kind: type[Exception],
        says: str,
        requests: int,
    ) -> None:
        """Each fault has its class and its sentence; only what may pass is asked again, signed anew."""
        with raw_server(answers) as (url, lines):
            connect(host=url)
            with pytest.raises(exceptions.BinanceLoanError, match=re.escape(says)) as caught:
                client.pull(NOW - HOUR, NOW)
        assert type(caught.value) is kind
        assert len(lines) == requests
        assert_tells_no_secret(caught.value)

    @pytest.mark.parametrize("location", ["http://[::1", "https://h:abc/", "mailto:x", "\x01x"])
    def test_looks_at_no_redirect(self, client: HookClient, connect: Any, location: str) -> None:
        """A redirect is refused as such, also where it leads nowhere."""
        with raw_server([answer("302 Found", "", f"Location: {location}")]) as (url, lines):
            connect(host=url)
            with pytest.raises(exceptions.RequestRefusedError, match="redirects are not followed"):
                client.pull(NOW - HOUR, NOW)
        assert len(lines) == 1

    @pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints"])
    def test_passes_over_what_comes_before_the_answer(
        self, client: HookClient, connect: Any, status: str
    ) -> None:
        """What a server says before its answer is not the answer."""
        with raw_server([f"HTTP/1.1 {status}\r\nLink: </x>\r\n\r\n".encode() + EMPTY] * 2) as (url, lines):
            connect(host=url)
            assert client.pull(NOW - HOUR, NOW) == []
        assert len(lines) == 2

    def test_says_so_when_nobody_listens(self, client: HookClient, connect: Any, clock: FakeClock) -> None:
        """A host that cannot be reached is a transient error after the last try."""
        connect(host="http://127.0.0.1:9")
        with pytest.raises(exceptions.TransientError, match="could not be reached") as caught:
            client.pull(NOW - HOUR, NOW)
        assert len(clock.waits) == 4
        assert_tells_no_secret(caught.value)

    def test_says_so_when_no_answer_comes(self, client: HookClient, connect: Any, mocker: Any) -> None:
        """A server that is silent past the timeout is a transient error."""
        mocker.patch.object(doors, "_MAX_TRIES", 1)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            connect(host=f"http://127.0.0.1:{silent.getsockname()[1]}", extra={"timeout": 1})
            with pytest.raises(exceptions.TransientError, match="gave no answer in time") as caught:
                client.pull(NOW - HOUR, NOW)
        assert_tells_no_secret(caught.value)

    def test_refuses_a_certificate_that_does_not_check(
        self, client: HookClient, connect: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server whose certificate does not check out never sees the request; one that does, answers."""
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        with raw_server([EMPTY] * 5, certificate) as (url, lines):
            connect(host=url)
            with pytest.raises(
                exceptions.TransientError, match="failed its TLS check: check verify"
            ) as caught:
                client.pull(NOW - HOUR, NOW)
            assert lines == []
        assert_tells_no_secret(caught.value)

    @pytest.mark.parametrize("where", ["connection", "environment"])
    def test_checks_against_a_bundle_of_ones_own(
        self, client: HookClient, connect: Any, certificate: Path, where: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A CA bundle in the connection wins over the one in the environment, which both doors honour."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate) if where == "environment" else "/no/such")
        with raw_server([EMPTY, EMPTY], certificate) as (url, lines):
            connect(host=url, extra={"verify": str(certificate)} if where == "connection" else {})
            assert client.pull(NOW - HOUR, NOW) == []
        assert len(lines) == 2


def assert_tells_no_secret(error: BaseException | None) -> None:
    """Neither the error nor any that it came from shows the key, the secret or a signature."""
    while error:
        text = f"{error!s} {error!r} {vars(error)}"
        assert not any(part in text for part in (SANDBOX_API_KEY, SANDBOX_API_SECRET, "signature="))
        error = error.__cause__ or error.__context__


def test_iterating_reads_span_by_span(
    exchange: Exchange, connect: Callable[..., None], clock: FakeClock
) -> None:
    """The first records come before the last span is asked for."""
    for days in (1, 150):
        exchange.add_liquidation(1, ms(NOW - timedelta(days=days)), ms(NOW))
    records = BinanceLoanHook(clock=clock).iter_force_liquidations(NOW - timedelta(days=180), NOW)
    assert next(records)["liquidationStartTime"] == ms(NOW - timedelta(days=150))
    assert len(exchange.requests) == 2
    assert len(list(records)) == 1
    assert len(exchange.requests) == 4


class TestProxy:
    """Which way a request takes."""

    @pytest.mark.parametrize(
        ("form", "environment"),
        [
            ("{url}", {"HTTPS_PROXY": "http://127.0.0.1:9"}),  # the connection's wins
            ("", {"HTTPS_PROXY": "{url}"}),
            ("", {"https_proxy": "{bare}"}),
            ("", {"ALL_PROXY": "{url}"}),
        ],
    )
    def test_asks_through_the_proxy(
        self,
        client: HookClient,
        connect: Any,
        certificate: Path,
        monkeypatch: pytest.MonkeyPatch,
        form: str,
        environment: dict[str, str],
    ) -> None:
        """The connection's proxy is used, or else the environment's; it sees no request, and no key."""
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        with raw_server([EMPTY, EMPTY], certificate) as (url, lines), TunnelProxy(url) as proxy:
            named = {"url": proxy.url, "bare": proxy.url.removeprefix("http://")}
            for name, value in environment.items():
                monkeypatch.setenv(name, value.format(**named))
            connect(host=url, extra={"proxies": form.format(**named), "verify": str(certificate)})
            assert client.pull(NOW - HOUR, NOW) == []
        assert len(lines) == 2
        (head,) = proxy.heads
        assert head.startswith("CONNECT 127.0.0.1:")
        assert SANDBOX_API_KEY not in head

    @pytest.mark.parametrize("verify", ["bundle", False])
    def test_checks_the_proxy_as_it_checks_binance(
        self, client: HookClient, connect: Any, certificate: Path, verify: Any
    ) -> None:
        """A proxy that is asked over TLS is checked by the same certificates."""
        verify = str(certificate) if verify else False
        with raw_server([EMPTY] * 2, certificate) as (url, lines), TunnelProxy(url, certificate) as proxy:
            connect(host=url, extra={"proxies": proxy.url, "verify": verify})
            assert client.pull(NOW - HOUR, NOW) == []
        assert len(lines) == 2

    @pytest.mark.parametrize(
        ("proxy", "says"),
        [
            ("socks5://hush", "is not the URL of an http or https proxy"),
            ("http://127.0.0.1:hush", "is not the URL of an http or https proxy"),
            ("http://hush@127.0.0.1:9", "has a user without a password"),
        ],
    )
    def test_says_what_is_wrong_with_the_environments(
        self, client: HookClient, connect: Any, monkeypatch: pytest.MonkeyPatch, proxy: str, says: str
    ) -> None:
        """A proxy that cannot be used is an error before any request, which does not repeat it."""
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        connect(host="https://127.0.0.1:9")
        with pytest.raises(
            exceptions.ConfigurationError, match=f"environment's HTTPS_PROXY {says}"
        ) as caught:
            client.pull(NOW - HOUR, NOW)
        assert "hush" not in str(caught.value)

    def test_asks_nobody_on_the_way_to_this_machine(
        self, client: HookClient, connect: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A plain http address is asked directly: the environment's proxy would be given the API key."""
        monkeypatch.setenv("NO_PROXY", "")
        with raw_server([EMPTY, EMPTY]) as (url, asked), raw_server([EMPTY, EMPTY]) as (proxy, lines):
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy)
            connect(host=url)
            assert client.pull(NOW - HOUR, NOW) == []
        assert (len(asked), lines) == (2, [])


def test_sends_no_login_that_the_machine_keeps(
    client: HookClient, connect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `.netrc` has for the host is not sent along."""
    (tmp_path / "netrc").write_text("default login someone password something\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    heads: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                heads.append(connection.recv(65536))
                connection.sendall(EMPTY.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        connect(host=f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert client.pull(NOW - HOUR, NOW) == []
    assert len(heads) == 2
    assert not any(b"authorization" in head.lower() for head in heads)


def test_reads_a_bundle_once(
    client: HookClient, connect: Any, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many connections a process makes, the authorities are read once: that takes long."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(certificate.read_bytes())
    loads: list[Any] = []
    load = ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, *args: Any, **kwargs: Any) -> None:
        loads.append((args, kwargs))
        load(context, *args, **kwargs)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    with raw_server([EMPTY] * 4, certificate) as (url, lines):
        connect(host=url, extra={"verify": str(bundle)})
        for _ in range(2):
            assert client.pull(NOW - HOUR, NOW) == []
    assert len(set(lines.ports)) == 2
    assert len(loads) == 1


def test_reads_a_renewed_bundle(
    client: HookClient, connect: Any, certificate: Path, tmp_path: Path, clock: FakeClock
) -> None:
    """A CA bundle that is renewed in its place counts from the next pull on, without a restart."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(new_certificate())
    with raw_server([EMPTY, EMPTY], certificate) as (url, lines):
        connect(host=url, extra={"verify": str(bundle)})
        with pytest.raises(exceptions.TransientError, match="failed its TLS check"):
            client.pull(NOW - HOUR, NOW)
        bundle.write_bytes(certificate.read_bytes())
        assert client.pull(NOW - HOUR, NOW) == []
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("extra", "environment", "says"),
    [
        ({"verify": __file__}, {}, f"verify is '{__file__}', which holds no certificates"),
        (
            {},
            {"REQUESTS_CA_BUNDLE": "/no/such"},
            "REQUESTS_CA_BUNDLE is '/no/such', which holds no certificates",
        ),
    ],
)
def test_refuses_a_bundle_without_certificates(
    client: HookClient, connect: Any, monkeypatch: pytest.MonkeyPatch, extra: Any, environment: Any, says: str
) -> None:
    """A CA bundle that is none is named, before any request."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    connect(host="https://127.0.0.1:9", extra=extra)
    with pytest.raises(exceptions.ConfigurationError, match=re.escape(says)):
        client.pull(NOW - HOUR, NOW)


def test_the_session_reaches_the_connections_host_alone(exchange: Exchange, connect: Any) -> None:
    """A session of the hook carries the API key, and cannot carry it anywhere else."""
    hook = BinanceLoanHook()
    session = hook.get_conn()
    with raw_server([EMPTY]) as (elsewhere, lines):
        with pytest.raises(requests.exceptions.InvalidSchema):
            session.get(elsewhere)
        assert lines == []
    url = json.loads(os.environ["AIRFLOW_CONN_BINANCE_LOAN_DEFAULT"])["host"]
    assert session.get(f"{url}/api/v3/ping").status_code == 200


def test_finds_a_connection_that_only_the_synchronous_way_finds(
    exchange: Exchange, connect: Any, clock: FakeClock, mocker: Any
) -> None:
    """Where Airflow has no asynchronous way to a connection, the asynchronous door takes the other."""
    mocker.patch.object(BinanceLoanHook, "aget_connection", side_effect=AirflowNotFoundException)
    assert asyncio.run(BinanceLoanHook(clock=clock).aget_force_liquidations(NOW - HOUR, NOW)) == []


def test_a_failure_ends_the_waits_beside_it(connect: object, clock: FakeClock) -> None:
    """Once a request has failed, those beside it do not wait for tries whose answers nobody would use."""
    with SyncClient(BinanceLoanHook()._settings(), Standing(clock)) as beside:
        beside._give_up(exceptions.TransientError("of the other"))
        with pytest.raises(exceptions.TransientError, match="of the other"):
            beside._ask(doors.TIME)
    assert clock.waits == []
