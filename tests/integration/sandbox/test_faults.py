"""Fault injection: each fault over HTTP, bans, the queue of faults, and random faults."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import logging
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from airflow_provider_binance_loan.sandbox.exchange import (
    SANDBOX_API_KEY,
    SANDBOX_API_SECRET,
    Behaviour,
    Exchange,
)
from airflow_provider_binance_loan.sandbox.faults import TRANSIENT_FAULTS, Fault
from airflow_provider_binance_loan.sandbox.server import SandboxServer

NOW_MS = 1_775_000_000_000  # 2026-03-31T23:33:20Z
LIQUIDATIONS = "/sapi/v1/margin/loan-group/force-liquidation"
CLOSED = "/sapi/v1/margin/loan-groups/closed"
TIME = "/api/v3/time"


@dataclass
class Clock:
    """A clock that stands still unless a test moves it."""

    now_ms: int = NOW_MS

    def __call__(self) -> float:
        """Return epoch seconds, as `time.time` does."""
        return self.now_ms / 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[SandboxServer]:
    """A server whose first page is long enough to be gzipped."""
    exchange = Exchange(clock=clock, history=False)
    exchange.add_unit(1)
    for index in range(50):
        exchange.add_liquidation(1, NOW_MS - index - 1, NOW_MS)
    with SandboxServer(exchange) as server:
        yield server


def target(server: SandboxServer, path: str) -> str:
    """Return a path with its timestamp and signature."""
    if path == TIME:
        return path
    payload = f"timestamp={server.exchange.now_ms()}"
    signature = hmac.new(SANDBOX_API_SECRET.encode(), payload.encode(), hashlib.sha256).hexdigest()
    return f"{path}?{payload}&signature={signature}"


def get(server: SandboxServer, path: str = LIQUIDATIONS, **headers: str) -> requests.Response:
    """Send a request over a connection of its own."""
    headers = {"X-MBX-APIKEY": SANDBOX_API_KEY} | {name.replace("_", "-"): headers[name] for name in headers}
    url = server.url + target(server, path)
    return requests.get(url, headers=headers, timeout=10, allow_redirects=False)


def opened(server: SandboxServer, path: str) -> socket.socket:
    """Send a request, and return the connection, to read the response from."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    head = f"GET {target(server, path)} HTTP/1.1\r\nHost: sandbox\r\nX-MBX-APIKEY: {SANDBOX_API_KEY}\r\n"
    connection.sendall(f"{head}Accept-Encoding: gzip\r\n\r\n".encode())
    return connection


def receive(server: SandboxServer, path: str) -> tuple[bytes, bytes, str]:
    """Return the head and the body of a response as received, and how the connection ended."""
    data, end = b"", "closed"
    with opened(server, path) as connection:
        try:
            while chunk := connection.recv(65536):
                data += chunk
        except ConnectionResetError:
            end = "reset"
    head, _, body = data.partition(b"\r\n\r\n")
    return head.lower(), body, end


def statuses(server: SandboxServer) -> list[int]:
    """Return the logged statuses."""
    return [request.status for request in server.exchange.requests]


def wait_for_request(exchange: Exchange) -> None:
    """Wait until the first request is logged."""
    while not exchange.requests:
        time.sleep(0.001)


# --- replaced responses


@pytest.mark.parametrize(
    ("fault", "status", "headers", "body"),
    [
        (
            Fault("error"),
            503,
            {"Content-Type": "application/json;charset=UTF-8"},
            b'{"code":-1008,"msg":"Ser',
        ),
        (
            Fault("error", code=-1001, msg="Gone."),
            503,
            {"Retry-After": None},
            b'{"code":-1001,"msg":"Gone."}',
        ),
        (Fault("error", 429, -1003, "Slow.", 7), 429, {"Retry-After": "7"}, b'{"code":-1003,"msg":"Slow."}'),
        (Fault("error", 418, -1003, "IP banned until 5."), 418, {"Retry-After": None}, b'{"code":-1003,'),
        (Fault("error", 400, -1021, "Late."), 400, {}, b'{"code":-1021,"msg":"Late."}'),
        (Fault("html", 403), 403, {"Content-Type": "text/html; charset=utf-8"}, b"<!DOCTYPE html>\n"),
        (Fault("html", 502, retry_after=3), 502, {"Retry-After": "3"}, b"<!DOCTYPE html>\n"),
        (Fault("empty", 502), 502, {"Content-Length": "0", "Content-Type": None}, b""),
        (Fault("redirect", msg="https://else.where/x"), 302, {"Location": "https://else.where/x"}, b""),
        (Fault("garbled"), 200, {"Content-Encoding": "gzip"}, b'{"total":0,"rows":[]}'),
    ],
)
def test_a_fault_replaces_the_response(
    server: SandboxServer, fault: Fault, status: int, headers: dict[str, str], body: bytes
) -> None:
    """The response is that of the fault, and the connection can be used for the next request."""
    server.exchange.fail(fault, fault)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    sockets = []
    for path in (LIQUIDATIONS, TIME):
        connection.request("GET", target(server, path))
        sockets.append(connection.sock)
        response = connection.getresponse()
        assert response.status == status
        assert {name: response.getheader(name) for name in headers} == headers
        content = response.read()
        assert content.startswith(body)
        assert bool(content) == bool(body)
    connection.request("GET", TIME)
    assert json.loads(connection.getresponse().read()) == {"serverTime": NOW_MS}
    assert sockets == [connection.sock] * 2
    connection.close()
    assert statuses(server) == [status, status, 200]


def test_a_huge_response_has_two_hundred_mebibytes_of_padding(server: SandboxServer) -> None:
    """The response is short and gzipped, and decompresses to valid JSON that is far too long."""
    server.exchange.fail(Fault("huge"))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", TIME)
    response = connection.getresponse()
    assert (response.status, response.getheader("Content-Encoding")) == (200, "gzip")
    assert response.getheader("Content-Length") is None
    gzip, size, compressed = zlib.decompressobj(wbits=31), 0, 0
    first = last = b""
    while chunk := response.read(4096):
        compressed += len(chunk)
        text = gzip.decompress(chunk)
        size += len(text)
        first, last = first or text[:40], (last + text[-40:])[-40:]
    connection.close()
    assert gzip.eof
    assert compressed < 2 * 2**20
    assert 200 * 2**20 < size < 201 * 2**20
    padded = b'{"total":0,"rows":[],"padding":"000'
    assert (first[: len(padded)], last[-5:]) == (padded, b'000"}')


# --- damaged responses


def test_a_reset_precedes_any_response(server: SandboxServer) -> None:
    """The client receives no byte, and the request is logged with its query."""
    server.exchange.fail(Fault("reset"))
    sent = target(server, LIQUIDATIONS)
    assert receive(server, LIQUIDATIONS) == (b"", b"", "reset")
    (logged,) = server.exchange.requests
    assert (logged.path, logged.status, logged.weight, logged.at_ms) == (LIQUIDATIONS, 0, 1, NOW_MS)
    assert sent == f"{logged.path}?{logged.query}"
    assert dict(logged.params)["signature"] == logged.query.rpartition("=")[2]


@pytest.mark.parametrize("path", [LIQUIDATIONS, TIME])
@pytest.mark.parametrize(("kind", "end"), [("reset_in_body", "reset"), ("truncate", "closed")])
def test_a_response_ends_half_way(server: SandboxServer, kind: Any, end: str, path: str) -> None:
    """The head has the length of the whole response, but only the first half of the body is sent."""
    server.exchange.fail(Fault("hang_up"), Fault(kind))
    _, whole, _ = receive(server, path)
    head, body, ended = receive(server, path)
    assert head.startswith(b"http/1.1 200 ok\r\n")
    assert b"content-length: %d" % len(whole) in head.split(b"\r\n")
    assert (b"content-encoding: gzip" in head) == (path == LIQUIDATIONS)
    assert (body, ended) == (whole[: len(whole) // 2], end)
    assert statuses(server) == [200, 200]


@pytest.mark.parametrize("path", [LIQUIDATIONS, TIME])
def test_a_cut_response_looks_complete(server: SandboxServer, path: str) -> None:
    """Half of the body is missing, which only the JSON shows: there is no length and no gzip."""
    server.exchange.fail(None, Fault("cut"))
    whole = get(server, path).content
    head, body, ended = receive(server, path)
    assert head.startswith(b"http/1.1 200 ok\r\n")
    assert not [
        name for name in (b"content-length", b"transfer-encoding", b"content-encoding") if name in head
    ]
    assert (body, ended) == (whole[: len(whole) // 2], "closed")
    assert statuses(server) == [200, 200]


def test_a_server_closes_the_connection_without_notice(server: SandboxServer) -> None:
    """The response is complete and has no `Connection: close`, but the connection serves no other request."""
    server.exchange.fail(Fault("hang_up"))
    response = more = b""
    with opened(server, TIME) as connection:
        while not response.endswith(b"}"):
            response += connection.recv(65536)
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"GET /api/v3/time HTTP/1.1\r\nHost: sandbox\r\n\r\n")
            more = connection.recv(1)
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"connection:" not in head.lower()
    assert (json.loads(body), more) == ({"serverTime": NOW_MS}, b"")
    assert statuses(server) == [200]


def test_a_refusal_can_be_damaged(server: SandboxServer) -> None:
    """The damaged response is the one that the request would have received, here a refusal."""
    server.exchange.fail(Fault("truncate"))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(server.url + LIQUIDATIONS, timeout=10)
    assert statuses(server) == [401]


@pytest.mark.parametrize("kind", ["reset_in_body", "truncate", "cut", "hang_up"])
def test_a_client_may_disconnect_first(
    server: SandboxServer, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that disconnects before its damaged response is sent leaves no traceback in the log."""
    server.exchange.fail(Fault(kind))
    server.exchange.behaviour = Behaviour(latency_s=0.05)
    with caplog.at_level(logging.DEBUG):
        opened(server, LIQUIDATIONS).close()
        wait_for_request(server.exchange)
        assert get(server, TIME).status_code == 200
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


def test_silence_does_not_block_other_requests(server: SandboxServer) -> None:
    """A request without a response is logged when it is received, and does not delay other requests."""
    server.exchange.fail(Fault("silence"))
    with opened(server, LIQUIDATIONS) as connection:
        wait_for_request(server.exchange)
        assert get(server, TIME).status_code == 200
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert statuses(server) == [0, 200]


@pytest.mark.parametrize("kind", ["silence", "huge"])
def test_a_server_stops_during_a_fault(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An endless response does not keep the server from stopping, and leaves no traceback in the log."""
    exchange = Exchange(history=False)
    exchange.fail(Fault(kind))
    server = SandboxServer(exchange).__enter__()
    with opened(server, TIME) as connection, caplog.at_level(logging.DEBUG):
        wait_for_request(exchange)
        stop = threading.Thread(target=server.__exit__, args=(None, None, None), daemon=True)
        stop.start()
        stop.join(20)
        assert not stop.is_alive()
        if kind == "silence":
            assert connection.recv(1) == b""
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


# --- the queue


def test_requests_take_faults_from_the_queue(server: SandboxServer) -> None:
    """Each API request takes the next fault, or succeeds when that is None; other requests take none."""
    server.exchange.fail(Fault("error"), None, Fault("empty", 502))
    server.exchange.fail(Fault("error", 500))
    assert requests.get(server.url + "/api/v3/ping", timeout=10).status_code == 200
    assert requests.get(server.url + "/sandbox/state", timeout=10).json()["faults"] == 3
    received = [get(server, path).status_code for path in (TIME, LIQUIDATIONS, CLOSED, "/sapi/none", CLOSED)]
    assert received == [503, 200, 502, 500, 200]
    assert server.exchange.state()["faults"] == 0


def test_a_fault_waits_for_its_path(server: SandboxServer) -> None:
    """A fault for a path stays at the head of the queue until a request for that path takes it."""
    server.exchange.fail(Fault("error", path="/closed"), Fault("error", 500))
    received = [get(server, path).status_code for path in (LIQUIDATIONS, TIME, CLOSED, TIME, CLOSED)]
    assert received == [200, 200, 503, 500, 200]


def test_a_request_with_a_fault_has_its_weight(server: SandboxServer) -> None:
    """The weight of a request with a fault is counted like any other."""
    server.exchange.fail(Fault("reset"), Fault("error"))
    receive(server, LIQUIDATIONS)
    assert get(server).headers["X-SAPI-USED-IP-WEIGHT-1M"] == "2"
    assert [request.weight for request in server.exchange.requests] == [1, 1]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"kind": "explosion"},
            "kind must be one of error, html, empty, redirect, huge, .*, not 'explosion'",
        ),
        ({"status": 600}, "status must be a number from 200 to 599, not 600"),
        ({"status": True}, "status must be a number from 200 to 599, not True"),
        ({"status": "503"}, "status must be a number from 200 to 599, not '503'"),
        ({"code": "-1"}, "code must be a whole number, not '-1'"),
        ({"msg": None}, "msg must be a text, not None"),
        (
            {"kind": "redirect", "msg": "/x"},
            "msg must be the http:// or https:// address of a redirect, not '/x'",
        ),
        (
            {"kind": "redirect", "msg": "http://a\r\nb"},
            "msg must be the http:// or https:// address of a redirect",
        ),
        ({"retry_after": -1}, "retry_after must be null or a number of seconds, not -1"),
        ({"retry_after": 1.5}, "retry_after must be null or a number of seconds, not 1.5"),
        ({"path": 1}, "path must be null or the end of a path, not 1"),
        ({"bans": 1}, "bans must be true or false, not 1"),
    ],
)
def test_an_invalid_fault_is_refused(fields: dict[str, Any], text: str) -> None:
    """The error names the field, its valid values and its value."""
    with pytest.raises(ValueError, match=text):
        Fault(**({"kind": "error"} | fields))


# --- the bans


@pytest.mark.parametrize(
    ("fault", "block_ms"),
    [
        (Fault("error", 429, retry_after=7), 7_000),
        (Fault("error", 418, retry_after=300), 300_000),
        (Fault("error", 429), 60_000),
        (Fault("error", 418), 120_000),
        (Fault("error", 418, msg=f"Way too many; IP banned until {NOW_MS + 999}."), 999),
        (Fault("html", 429, retry_after=7), 7_000),
        (Fault("empty", 418), 120_000),
    ],
)
def test_a_request_that_is_too_early_causes_a_ban(
    server: SandboxServer, clock: Clock, fault: Fault, block_ms: int
) -> None:
    """One millisecond too early, an address is banned for two minutes, and once more during the ban."""
    server.exchange.fail(fault, fault)
    assert [get(server, X_Forwarded_For=address).status_code for address in "AB"] == [fault.status] * 2
    clock.now_ms += block_ms - 1
    banned = get(server, CLOSED, X_Forwarded_For="A")
    assert (banned.status_code, banned.headers["Retry-After"]) == (418, "120")
    msg = f"Way too many requests; IP banned until {clock.now_ms + 120_000}."
    assert banned.json() == {"code": -1003, "msg": msg}
    clock.now_ms += 1
    assert [get(server, X_Forwarded_For=address).status_code for address in "AB"] == [418, 200]
    clock.now_ms += 120_000
    assert get(server, X_Forwarded_For="A").status_code == 200


@pytest.mark.parametrize(
    "fault",
    [
        Fault("error", 429, retry_after=0),
        Fault("error", 503, retry_after=30),
        Fault("error", 429, retry_after=30, bans=False),
        Fault("redirect", 429, msg="http://else.where"),
    ],
)
def test_other_faults_cause_no_ban(server: SandboxServer, fault: Fault) -> None:
    """Without a wait, a limit or its enforcement, the next request succeeds."""
    server.exchange.fail(fault)
    assert [get(server).status_code for _ in range(2)] == [
        302 if fault.kind == "redirect" else fault.status,
        200,
    ]


def test_a_ban_is_for_signed_requests_of_an_address(server: SandboxServer) -> None:
    """A banned address can still request the time and admin calls; other addresses are not affected."""
    server.exchange.fail(Fault("error", 429, retry_after=7))
    assert [get(server, path).status_code for path in (TIME, CLOSED, TIME, "/sapi/none")] == [
        429,
        418,
        200,
        418,
    ]
    assert requests.get(server.url + "/sandbox/state", timeout=10).status_code == 200
    assert get(server, X_Forwarded_For="elsewhere").status_code == 200


def test_a_banned_request_takes_no_fault_and_shortens_no_ban(server: SandboxServer, clock: Clock) -> None:
    """A refused request leaves the next fault in the queue, and Retry-After lasts until the ban ends."""
    server.exchange.fail(Fault("error", 418, retry_after=3600), Fault("error", 500))
    get(server)
    clock.now_ms += 1_500
    banned = get(server)
    assert (banned.headers["Retry-After"], banned.json()["msg"][-14:-1]) == ("3599", str(NOW_MS + 3_600_000))
    assert server.exchange.state()["faults"] == 1
    clock.now_ms = NOW_MS + 3_600_000
    assert get(server).status_code == 500


def test_other_clients_can_use_up_the_weight(server: SandboxServer, clock: Clock) -> None:
    """Weight that other clients used counts towards the limit, and a request too early causes a ban."""
    server.exchange.behaviour = Behaviour(used_weight=11_999)
    first, second = get(server), get(server)
    assert (first.status_code, first.headers["X-SAPI-USED-IP-WEIGHT-1M"]) == (200, "12000")
    assert (second.status_code, second.headers["X-SAPI-USED-IP-WEIGHT-1M"]) == (429, "12001")
    assert second.headers["Retry-After"] == "40"
    server.exchange.behaviour = Behaviour()
    clock.now_ms += 39_999
    assert get(server).status_code == 418


# --- random faults


def random_faults(seed: int, rate: float, path: str = LIQUIDATIONS) -> list[Fault | None]:
    """Return the faults of a thousand requests."""
    exchange = Exchange(seed, clock=Clock(), behaviour=Behaviour(fault_rate=rate), history=False)
    return [exchange.next_fault(path) for _ in range(1000)]


def test_random_faults_depend_on_the_seed() -> None:
    """The same seed has the same faults, and another seed has others."""
    assert random_faults(1, 0.5) == random_faults(1, 0.5) != random_faults(2, 0.5)


@pytest.mark.parametrize(("rate", "least", "most"), [(0, 0, 0), (0.2, 150, 250), (1, 1000, 1000)])
def test_random_faults_have_the_given_rate(rate: float, least: int, most: int) -> None:
    """The rate is the share of requests with a fault, and every fault is transient."""
    faults = [fault for fault in random_faults(1, rate) if fault]
    assert least <= len(faults) <= most
    assert set(faults) == (set(TRANSIENT_FAULTS) if rate else set())


def test_random_faults_are_overcome_by_a_retry() -> None:
    """No random fault is a silence, a ban or a refusal, apart from -1021 for signed requests."""
    assert {fault.kind for fault in TRANSIENT_FAULTS}.isdisjoint({"silence", "huge", "garbled", "redirect"})
    assert {fault.code for fault in TRANSIENT_FAULTS if fault.status == 400} == {-1021}
    assert all(fault.blocked_until_ms(NOW_MS) == NOW_MS for fault in TRANSIENT_FAULTS)
    assert {fault for fault in random_faults(1, 1, TIME) if fault} == {
        f for f in TRANSIENT_FAULTS if f.code != -1021
    }


def test_without_a_rate_no_random_number_is_used() -> None:
    """The shuffled order of a seed is the same, whether or not the server asked for faults."""
    orders = []
    for calls in (0, 5):
        exchange = Exchange(clock=Clock(), behaviour=Behaviour(order="random"), history=False)
        exchange.add_unit(1)
        for index in range(30):
            exchange.add_liquidation(1, index)
        for _ in range(calls):
            assert exchange.next_fault(LIQUIDATIONS) is None
        orders.append(
            [row["liquidationStartTime"] for row in exchange.force_liquidations(0, 30, size=30)["rows"]]
        )
    assert orders[0] == orders[1] != sorted(orders[0])


def test_queued_faults_come_before_random_ones() -> None:
    """While the queue is not empty there are no random faults, for no request and no path."""
    exchange = Exchange(clock=Clock(), behaviour=Behaviour(fault_rate=1), history=False)
    exchange.fail(None, Fault("error", path="/closed"))
    assert [exchange.next_fault(path) for path in (TIME, TIME, CLOSED)] == [
        None,
        None,
        Fault("error", path="/closed"),
    ]
    assert exchange.next_fault(LIQUIDATIONS) in TRANSIENT_FAULTS


def test_random_faults_over_http(server: SandboxServer) -> None:
    """Clients meet the random faults in their order, and a random limit bans nobody."""
    server.exchange.behaviour = Behaviour(fault_rate=1)
    expected = [fault for fault in random_faults(1, 1)[:40] if fault]
    for _ in expected:
        with contextlib.suppress(requests.RequestException):
            get(server)
    sent = [fault.status if fault.kind in {"error", "html", "empty"} else 200 for fault in expected]
    assert statuses(server) == [
        status if fault.responds else 0 for status, fault in zip(sent, expected, strict=True)
    ]
    assert {0, 200, 400, 429, 500, 502, 503} == set(statuses(server))


# --- admin calls


def test_an_admin_call_queues_faults(server: SandboxServer) -> None:
    """A call queues a fault as often as `times` says, once by default, and returns the queue's length."""

    def queue(**body: Any) -> Any:
        return requests.post(server.url + "/sandbox/fault", json=body, timeout=10).json()

    assert queue(kind="error", status=429, code=-1003, msg="Slow.", retry_after=0, times=2) == {"faults": 2}
    assert queue(kind="empty", status=502, path="/closed") == {"faults": 3}
    responses = [get(server) for _ in range(3)]
    assert [response.status_code for response in responses] == [429, 429, 200]
    assert (responses[0].json(), responses[0].headers["Retry-After"]) == (
        {"code": -1003, "msg": "Slow."},
        "0",
    )
    assert requests.get(server.url + "/sandbox/state", timeout=10).json()["faults"] == 1
    assert get(server, CLOSED).status_code == 502
