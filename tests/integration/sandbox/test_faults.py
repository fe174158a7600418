"""The sandbox going wrong on request: each fault as it is on the wire, the bans, the queue and the chance."""

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
from airflow_provider_binance_loan.sandbox.faults import PASSING, Fault
from airflow_provider_binance_loan.sandbox.server import SandboxServer

NOW_MS = 1_775_000_000_000  # 2026-03-31T23:33:20Z
LIQUIDATIONS = "/sapi/v1/margin/loan-group/force-liquidation"
CLOSED = "/sapi/v1/margin/loan-groups/closed"
TIME = "/api/v3/time"


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now_ms: int = NOW_MS

    def __call__(self) -> float:
        """Return the seconds that `time.time` would."""
        return self.now_ms / 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[SandboxServer]:
    """Serve an exchange whose first page is long enough to be zipped."""
    exchange = Exchange(clock=clock, history=False)
    exchange.add_unit(1)
    for index in range(50):
        exchange.add_liquidation(1, NOW_MS - index - 1, NOW_MS)
    with SandboxServer(exchange) as server:
        yield server


def target(server: SandboxServer, path: str) -> str:
    """Write a path with what signs it."""
    if path == TIME:
        return path
    payload = f"timestamp={server.exchange.now_ms()}"
    signature = hmac.new(SANDBOX_API_SECRET.encode(), payload.encode(), hashlib.sha256).hexdigest()
    return f"{path}?{payload}&signature={signature}"


def get(server: SandboxServer, path: str = LIQUIDATIONS, **headers: str) -> requests.Response:
    """Ask over a connection of its own."""
    headers = {"X-MBX-APIKEY": SANDBOX_API_KEY} | {name.replace("_", "-"): headers[name] for name in headers}
    url = server.url + target(server, path)
    return requests.get(url, headers=headers, timeout=10, allow_redirects=False)


def opened(server: SandboxServer, path: str) -> socket.socket:
    """Send a request, and leave the answer to the caller."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    head = f"GET {target(server, path)} HTTP/1.1\r\nHost: sandbox\r\nX-MBX-APIKEY: {SANDBOX_API_KEY}\r\n"
    connection.sendall(f"{head}Accept-Encoding: gzip\r\n\r\n".encode())
    return connection


def heard(server: SandboxServer, path: str) -> tuple[bytes, bytes, str]:
    """Return head and body of an answer as they come, and how the connection ends."""
    data, end = b"", "closed"
    with opened(server, path) as connection:
        try:
            while piece := connection.recv(65536):
                data += piece
        except ConnectionResetError:
            end = "reset"
    head, _, body = data.partition(b"\r\n\r\n")
    return head.lower(), body, end


def statuses(server: SandboxServer) -> list[int]:
    """List the logged statuses."""
    return [request.status for request in server.exchange.requests]


def until_logged(exchange: Exchange) -> None:
    """Wait for the first request."""
    while not exchange.requests:
        time.sleep(0.001)


# --- another answer


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
def test_a_fault_answers_in_the_place_of_the_right_answer(
    server: SandboxServer, fault: Fault, status: int, headers: dict[str, str], body: bytes
) -> None:
    """The answer is the one that was ordered, and the connection goes on to the next request."""
    server.exchange.fail(fault, fault)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    sockets = []
    for path in (LIQUIDATIONS, TIME):
        connection.request("GET", target(server, path))
        sockets.append(connection.sock)
        answer = connection.getresponse()
        assert answer.status == status
        assert {name: answer.getheader(name) for name in headers} == headers
        content = answer.read()
        assert content.startswith(body)
        assert bool(content) == bool(body)
    connection.request("GET", TIME)
    assert json.loads(connection.getresponse().read()) == {"serverTime": NOW_MS}
    assert sockets == [connection.sock] * 2
    connection.close()
    assert statuses(server) == [status, status, 200]


def test_a_huge_answer_is_a_page_with_two_hundred_mebibytes_of_padding(server: SandboxServer) -> None:
    """What comes is short and zipped, and is far too long and good JSON when unzipped."""
    server.exchange.fail(Fault("huge"))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", TIME)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Content-Encoding")) == (200, "gzip")
    assert answer.getheader("Content-Length") is None
    unzip, size, zipped = zlib.decompressobj(wbits=31), 0, 0
    first = last = b""
    while piece := answer.read(4096):
        zipped += len(piece)
        text = unzip.decompress(piece)
        size += len(text)
        first, last = first or text[:40], (last + text[-40:])[-40:]
    connection.close()
    assert unzip.eof
    assert zipped < 2 * 2**20
    assert 200 * 2**20 < size < 201 * 2**20
    padded = b'{"total":0,"rows":[],"padding":"000'
    assert (first[: len(padded)], last[-5:]) == (padded, b'000"}')


# --- the wire


def test_a_reset_comes_before_any_answer(server: SandboxServer) -> None:
    """Not a byte comes, and the request is logged with what it was signed with."""
    server.exchange.fail(Fault("reset"))
    asked = target(server, LIQUIDATIONS)
    assert heard(server, LIQUIDATIONS) == (b"", b"", "reset")
    (logged,) = server.exchange.requests
    assert (logged.path, logged.status, logged.weight, logged.at_ms) == (LIQUIDATIONS, 0, 1, NOW_MS)
    assert asked == f"{logged.path}?{logged.query}"
    assert dict(logged.params)["signature"] == logged.query.rpartition("=")[2]


@pytest.mark.parametrize("path", [LIQUIDATIONS, TIME])
@pytest.mark.parametrize(("kind", "end"), [("reset_in_body", "reset"), ("truncate", "closed")])
def test_an_answer_breaks_off_half_way(server: SandboxServer, kind: Any, end: str, path: str) -> None:
    """The head promises the whole answer, the first half of it comes, and then the end."""
    server.exchange.fail(Fault("hang_up"), Fault(kind))
    _, right, _ = heard(server, path)
    head, body, ended = heard(server, path)
    assert head.startswith(b"http/1.1 200 ok\r\n")
    assert b"content-length: %d" % len(right) in head.split(b"\r\n")
    assert (b"content-encoding: gzip" in head) == (path == LIQUIDATIONS)
    assert (body, ended) == (right[: len(right) // 2], end)
    assert statuses(server) == [200, 200]


@pytest.mark.parametrize("path", [LIQUIDATIONS, TIME])
def test_a_cut_answer_looks_complete(server: SandboxServer, path: str) -> None:
    """Nothing but the JSON itself, which is not zipped, shows that half of it is missing."""
    server.exchange.fail(None, Fault("cut"))
    right = get(server, path).content
    head, body, ended = heard(server, path)
    assert head.startswith(b"http/1.1 200 ok\r\n")
    assert not [
        name for name in (b"content-length", b"transfer-encoding", b"content-encoding") if name in head
    ]
    assert (body, ended) == (right[: len(right) // 2], "closed")
    assert statuses(server) == [200, 200]


def test_a_server_hangs_up_without_a_word(server: SandboxServer) -> None:
    """The answer is whole and says nothing of the end of its connection, on which no other one comes."""
    server.exchange.fail(Fault("hang_up"))
    answer = more = b""
    with opened(server, TIME) as connection:
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"GET /api/v3/time HTTP/1.1\r\nHost: sandbox\r\n\r\n")
            more = connection.recv(1)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection:" not in head.lower()
    assert (json.loads(body), more) == ({"serverTime": NOW_MS}, b"")
    assert statuses(server) == [200]


def test_a_spoiled_refusal_is_still_a_refusal(server: SandboxServer) -> None:
    """What is spoiled is the answer that the request deserves."""
    server.exchange.fail(Fault("truncate"))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(server.url + LIQUIDATIONS, timeout=10)
    assert statuses(server) == [401]


@pytest.mark.parametrize("kind", ["reset_in_body", "truncate", "cut", "hang_up"])
def test_a_client_may_hang_up_first(
    server: SandboxServer, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that is gone when its answer is spoiled leaves no traceback in anybody's log."""
    server.exchange.fail(Fault(kind))
    server.exchange.behaviour = Behaviour(latency_s=0.05)
    with caplog.at_level(logging.DEBUG):
        opened(server, LIQUIDATIONS).close()
        until_logged(server.exchange)
        assert get(server, TIME).status_code == 200
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


def test_a_silent_server_serves_the_others(server: SandboxServer) -> None:
    """A request without an answer is logged when it comes, and holds up nobody else."""
    server.exchange.fail(Fault("silence"))
    with opened(server, LIQUIDATIONS) as connection:
        until_logged(server.exchange)
        assert get(server, TIME).status_code == 200
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert statuses(server) == [0, 200]


@pytest.mark.parametrize("kind", ["silence", "huge"])
def test_a_server_stops_in_the_middle_of_a_fault(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that does not end keeps no server, and leaves no traceback in anybody's log."""
    exchange = Exchange(history=False)
    exchange.fail(Fault(kind))
    server = SandboxServer(exchange).__enter__()
    with opened(server, TIME) as connection, caplog.at_level(logging.DEBUG):
        until_logged(exchange)
        stop = threading.Thread(target=server.__exit__, args=(None, None, None), daemon=True)
        stop.start()
        stop.join(20)
        assert not stop.is_alive()
        if kind == "silence":
            assert connection.recv(1) == b""
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


# --- the queue


def test_faults_meet_requests_in_their_order(server: SandboxServer) -> None:
    """Each request takes the next of the queue, None lets one go well, and what is no API takes none."""
    server.exchange.fail(Fault("error"), None, Fault("empty", 502))
    server.exchange.fail(Fault("error", 500))
    assert requests.get(server.url + "/api/v3/ping", timeout=10).status_code == 200
    assert requests.get(server.url + "/sandbox/state", timeout=10).json()["faults"] == 3
    answered = [get(server, path).status_code for path in (TIME, LIQUIDATIONS, CLOSED, "/sapi/none", CLOSED)]
    assert answered == [503, 200, 502, 500, 200]
    assert server.exchange.state()["faults"] == 0


def test_a_fault_waits_for_its_path(server: SandboxServer) -> None:
    """A fault for a path stays at the head, and those behind it wait, until that path is asked for."""
    server.exchange.fail(Fault("error", path="/closed"), Fault("error", 500))
    answered = [get(server, path).status_code for path in (LIQUIDATIONS, TIME, CLOSED, TIME, CLOSED)]
    assert answered == [200, 200, 503, 500, 200]


def test_a_faulty_request_has_its_weight(server: SandboxServer) -> None:
    """A request that goes wrong is weighed like any other."""
    server.exchange.fail(Fault("reset"), Fault("error"))
    heard(server, LIQUIDATIONS)
    assert get(server).headers["X-SAPI-USED-IP-WEIGHT-1M"] == "2"
    assert [request.weight for request in server.exchange.requests] == [1, 1]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"kind": "explosion"}, "kind is one of error, html, empty, redirect, huge, .*, not 'explosion'"),
        ({"status": 600}, "status is a number from 200 to 599, not 600"),
        ({"status": True}, "status is a number from 200 to 599, not True"),
        ({"status": "503"}, "status is a number from 200 to 599, not '503'"),
        ({"code": "-1"}, "code is a whole number, not '-1'"),
        ({"msg": None}, "msg is a text, not None"),
        ({"kind": "redirect", "msg": "/x"}, "msg is the http:// or https:// address of a redirect, not '/x'"),
        (
            {"kind": "redirect", "msg": "http://a\r\nb"},
            "msg is the http:// or https:// address of a redirect",
        ),
        ({"retry_after": -1}, "retry_after is null or a number of seconds, not -1"),
        ({"retry_after": 1.5}, "retry_after is null or a number of seconds, not 1.5"),
        ({"path": 1}, "path is null or the end of a path, not 1"),
        ({"bans": 1}, "bans is true or false, not 1"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(fields: dict[str, Any], text: str) -> None:
    """The error names the field, what it can be and what it was."""
    with pytest.raises(ValueError, match=text):
        Fault(**({"kind": "error"} | fields))


# --- the bans


@pytest.mark.parametrize(
    ("fault", "told_ms"),
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
def test_who_comes_too_early_is_banned(
    server: SandboxServer, clock: Clock, fault: Fault, told_ms: int
) -> None:
    """A millisecond before the told time an address is banned for two minutes, and once more in them."""
    server.exchange.fail(fault, fault)
    assert [get(server, X_Forwarded_For=who).status_code for who in "AB"] == [fault.status] * 2
    clock.now_ms += told_ms - 1
    banned = get(server, CLOSED, X_Forwarded_For="A")
    assert (banned.status_code, banned.headers["Retry-After"]) == (418, "120")
    msg = f"Way too many requests; IP banned until {clock.now_ms + 120_000}."
    assert banned.json() == {"code": -1003, "msg": msg}
    clock.now_ms += 1
    assert [get(server, X_Forwarded_For=who).status_code for who in "AB"] == [418, 200]
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
def test_who_need_not_wait_is_not_banned(server: SandboxServer, fault: Fault) -> None:
    """No wait, no limit or no enforcement: the next request is answered."""
    server.exchange.fail(fault)
    assert [get(server).status_code for _ in range(2)] == [
        302 if fault.kind == "redirect" else fault.status,
        200,
    ]


def test_a_ban_is_for_an_address_and_for_what_is_signed(server: SandboxServer) -> None:
    """The clock and the sandbox's own calls answer a banned address, and so does everything another one."""
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
    """The next fault waits for the next request that is let in, and a long ban is told to its end."""
    server.exchange.fail(Fault("error", 418, retry_after=3600), Fault("error", 500))
    get(server)
    clock.now_ms += 1_500
    banned = get(server)
    assert (banned.headers["Retry-After"], banned.json()["msg"][-14:-1]) == ("3599", str(NOW_MS + 3_600_000))
    assert server.exchange.state()["faults"] == 1
    clock.now_ms = NOW_MS + 3_600_000
    assert get(server).status_code == 500


def test_others_use_up_the_weight(server: SandboxServer, clock: Clock) -> None:
    """What others on the address used counts, until the limit refuses, and who does not wait is banned."""
    server.exchange.behaviour = Behaviour(used_weight=11_999)
    first, second = get(server), get(server)
    assert (first.status_code, first.headers["X-SAPI-USED-IP-WEIGHT-1M"]) == (200, "12000")
    assert (second.status_code, second.headers["X-SAPI-USED-IP-WEIGHT-1M"]) == (429, "12001")
    assert second.headers["Retry-After"] == "40"
    server.exchange.behaviour = Behaviour()
    clock.now_ms += 39_999
    assert get(server).status_code == 418


# --- chance


def drawn(seed: int, rate: float, path: str = LIQUIDATIONS) -> list[Fault | None]:
    """Draw what a thousand requests meet."""
    exchange = Exchange(seed, clock=Clock(), behaviour=Behaviour(fault_rate=rate), history=False)
    return [exchange.next_fault(path) for _ in range(1000)]


def test_chance_is_the_same_for_a_seed() -> None:
    """A seed has its faults, and another one has others."""
    assert drawn(1, 0.5) == drawn(1, 0.5) != drawn(2, 0.5)


@pytest.mark.parametrize(("rate", "least", "most"), [(0, 0, 0), (0.2, 150, 250), (1, 1000, 1000)])
def test_chance_strikes_as_often_as_it_should(rate: float, least: int, most: int) -> None:
    """The rate is the share of requests that go wrong, each in a way that passes."""
    struck = [fault for fault in drawn(1, rate) if fault]
    assert least <= len(struck) <= most
    assert set(struck) == (set(PASSING) if rate else set())


def test_chance_never_asks_too_much() -> None:
    """What passes is no silence, no ban and no refusal but of the clock, which itself is asked unsigned."""
    assert {fault.kind for fault in PASSING}.isdisjoint({"silence", "huge", "garbled", "redirect"})
    assert {fault.code for fault in PASSING if fault.status == 400} == {-1021}
    assert all(fault.closed_until_ms(NOW_MS) == NOW_MS for fault in PASSING)
    assert {fault for fault in drawn(1, 1, TIME) if fault} == {f for f in PASSING if f.code != -1021}


def test_without_a_rate_nothing_is_drawn() -> None:
    """The shuffles of a seed are the same whether or not there could have been faults."""
    orders = []
    for asks in (0, 5):
        exchange = Exchange(clock=Clock(), behaviour=Behaviour(order="random"), history=False)
        exchange.add_unit(1)
        for index in range(30):
            exchange.add_liquidation(1, index)
        for _ in range(asks):
            assert exchange.next_fault(LIQUIDATIONS) is None
        orders.append(
            [row["liquidationStartTime"] for row in exchange.force_liquidations(0, 30, size=30)["rows"]]
        )
    assert orders[0] == orders[1] != sorted(orders[0])


def test_the_queue_comes_before_chance() -> None:
    """While faults are queued, nothing else happens: not to who goes well, nor to another path."""
    exchange = Exchange(clock=Clock(), behaviour=Behaviour(fault_rate=1), history=False)
    exchange.fail(None, Fault("error", path="/closed"))
    assert [exchange.next_fault(path) for path in (TIME, TIME, CLOSED)] == [
        None,
        None,
        Fault("error", path="/closed"),
    ]
    assert exchange.next_fault(LIQUIDATIONS) in PASSING


def test_chance_strikes_over_http(server: SandboxServer) -> None:
    """What is drawn is what the clients meet, and a drawn limit bans nobody."""
    server.exchange.behaviour = Behaviour(fault_rate=1)
    expected = [fault for fault in drawn(1, 1)[:40] if fault]
    for _ in expected:
        with contextlib.suppress(requests.RequestException):
            get(server)
    told = [fault.status if fault.kind in {"error", "html", "empty"} else 200 for fault in expected]
    assert statuses(server) == [
        status if fault.answered else 0 for status, fault in zip(told, expected, strict=True)
    ]
    assert {0, 200, 400, 429, 500, 502, 503} == set(statuses(server))


# --- the admin call


def test_faults_are_ordered_by_an_admin_call(server: SandboxServer) -> None:
    """A call queues a fault as many times as it says, once by default, and tells how many wait."""

    def order(**body: Any) -> Any:
        return requests.post(server.url + "/sandbox/fault", json=body, timeout=10).json()

    assert order(kind="error", status=429, code=-1003, msg="Slow.", retry_after=0, times=2) == {"faults": 2}
    assert order(kind="empty", status=502, path="/closed") == {"faults": 3}
    answers = [get(server) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert (answers[0].json(), answers[0].headers["Retry-After"]) == ({"code": -1003, "msg": "Slow."}, "0")
    assert requests.get(server.url + "/sandbox/state", timeout=10).json()["faults"] == 1
    assert get(server, CLOSED).status_code == 502
