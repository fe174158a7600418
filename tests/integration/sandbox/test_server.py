"""The sandbox over real HTTP: checks of requests, responses, weight limit, admin calls and the server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import logging
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from airflow_provider_binance_loan.sandbox.exchange import (
    SANDBOX_API_KEY,
    SANDBOX_API_SECRET,
    ApiKey,
    Behaviour,
    Exchange,
)
from airflow_provider_binance_loan.sandbox.server import SandboxServer, airflow_connection

NOW_MS = 1_775_000_000_000  # 2026-03-31T23:33:20Z
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

LIQUIDATIONS = "/sapi/v1/margin/loan-group/force-liquidation"
CLOSED = "/sapi/v1/margin/loan-groups/closed"
LTV = "/sapi/v1/margin/loan-group/ltv-details"
TRANSFERS = "/sapi/v1/margin/loan-group/force-liquidation-transfer-record"
INTEREST = "/sapi/v1/margin/loan-group/interest-history"
BORROW_REPAY = "/sapi/v1/margin/loan-group/borrow-repay"
ACTIVE = "/sapi/v1/margin/loan-groups/activated"
RESTRICTIONS = "/sapi/v1/account/apiRestrictions"

RSA_KEY = rsa.generate_private_key(65537, 2048)
ED25519_KEY = ed25519.Ed25519PrivateKey.generate()


@dataclass
class Clock:
    """A clock that stands still unless a test moves it."""

    now_ms: int = NOW_MS

    def __call__(self) -> float:
        """Return epoch seconds, as `time.time` does."""
        return self.now_ms / 1000


def new_exchange(clock: Clock | None = None, **behaviour: Any) -> Exchange:
    """Return an exchange with two units, one liquidation, and API keys of each kind."""
    exchange = Exchange(clock=clock or Clock(), behaviour=Behaviour(**behaviour), history=False)
    exchange.add_unit(1)
    exchange.add_unit(2)
    exchange.add_liquidation(1, NOW_MS - DAY_MS, NOW_MS - DAY_MS + 5)
    exchange.add_key(ApiKey("rsa", public_key=RSA_KEY.public_key()))
    exchange.add_key(ApiKey("ed25519", public_key=ED25519_KEY.public_key()))
    exchange.add_key(ApiKey("parent", "s", account="parent", enable_withdrawals=True))
    exchange.add_key(ApiKey("elsewhere", "s", ip_allowed=False))
    exchange.add_key(ApiKey("blind", "s", can_read=False))
    return exchange


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    """A server for all tests that only read."""
    with SandboxServer(new_exchange()) as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    """The clock of `own`."""
    return Clock()


@pytest.fixture
def own(clock: Clock) -> Iterator[SandboxServer]:
    """A server for one test."""
    with SandboxServer(new_exchange(clock)) as server:
        yield server


def hmac_hex(payload: str, secret: str = SANDBOX_API_SECRET) -> str:
    """Return the HMAC signature."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def rsa_base64(payload: str) -> str:
    """Return the RSA signature."""
    return base64.b64encode(RSA_KEY.sign(payload.encode(), padding.PKCS1v15(), SHA256())).decode()


def ed25519_base64(payload: str) -> str:
    """Return the Ed25519 signature."""
    return base64.b64encode(ED25519_KEY.sign(payload.encode())).decode()


def get(
    server: SandboxServer, path: str, query: str = "", key: str | None = SANDBOX_API_KEY
) -> requests.Response:
    """Send a query string byte for byte; requests would normalise it."""
    headers = {} if key is None else {"X-MBX-APIKEY": key}
    with requests.Session() as session:
        request = session.prepare_request(requests.Request("GET", server.url, headers))
        request.url = f"{server.url}{path}?{query}" if query else server.url + path
        return session.send(request, timeout=10)


def signed(
    server: SandboxServer,
    path: str = LIQUIDATIONS,
    query: str = "",
    key: str = SANDBOX_API_KEY,
    secret: str = SANDBOX_API_SECRET,
    at_ms: int = NOW_MS,
) -> requests.Response:
    """Send a query string with a timestamp and a signature."""
    payload = f"{query}&timestamp={at_ms}" if query else f"timestamp={at_ms}"
    return get(server, path, f"{payload}&signature={hmac_hex(payload, secret)}", key)


def code(response: requests.Response) -> tuple[int, int]:
    """Return the HTTP status and Binance's code."""
    assert set(response.json()) == {"code", "msg"}
    return response.status_code, response.json()["code"]


# --- checks of requests


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        (LIQUIDATIONS, "size=10&limit=5", (400, -1104)),
        (CLOSED, "startTime=1", (400, -1104)),
        (LTV, "size=10", (400, -1104)),
        (RESTRICTIONS, "groupId=1", (400, -1104)),
        (LIQUIDATIONS, "size=10&size=10", (400, -1101)),
        (LIQUIDATIONS, "timestamp=1", (400, -1101)),
        (LIQUIDATIONS, "groupId=", (400, -1105)),
        (LIQUIDATIONS, "groupId", (400, -1105)),
        (LIQUIDATIONS, "groupId=six", (400, -1100)),
        (LIQUIDATIONS, "startTime=-5", (400, -1100)),
        (LIQUIDATIONS, "startTime=1.5", (400, -1100)),
        (LIQUIDATIONS, "recvWindow=0", (400, -1131)),
        (LIQUIDATIONS, "recvWindow=60000", (400, -1131)),
        (LIQUIDATIONS, "size=0", (400, -1130)),
        (LIQUIDATIONS, "size=101", (400, -1130)),
        (TRANSFERS, "current=0", (400, -1130)),
        (LIQUIDATIONS, "startTime=2&endTime=1", (400, -1127)),
        (LIQUIDATIONS, f"startTime={NOW_MS + 1}", (400, -1127)),
        (LIQUIDATIONS, f"startTime=1&endTime={100 * DAY_MS + 2}", (400, -1127)),
        (TRANSFERS, f"startTime={NOW_MS - 100 * DAY_MS - 1}", (400, -1127)),
        (INTEREST, f"startTime={NOW_MS - 101 * DAY_MS}&endTime={NOW_MS}", (400, -1127)),
        (BORROW_REPAY, f"type=REPAY&startTime={NOW_MS - 101 * DAY_MS}", (400, -1127)),
        (ACTIVE, "size=1", (400, -1104)),
    ],
)
def test_invalid_parameters_are_refused(
    server: SandboxServer, path: str, query: str, expected: tuple[int, int]
) -> None:
    """Each kind of invalid parameter has its code, although the signature is valid."""
    assert code(signed(server, path, query)) == expected


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (LIQUIDATIONS, ""),
        (LIQUIDATIONS, "recvWindow=59999&size=100&current=1"),
        (LIQUIDATIONS, f"startTime=1&endTime={100 * DAY_MS + 1}"),
        (LIQUIDATIONS, "startTime=1&endTime=1"),
        (CLOSED, "current=100000&size=1"),
        (LTV, "groupId=1"),
        (TRANSFERS, "size=100"),
        (RESTRICTIONS, "recvWindow=1"),
    ],
)
def test_valid_parameters_are_accepted(server: SandboxServer, path: str, query: str) -> None:
    """Parameters at the limits are valid."""
    assert signed(server, path, query).status_code == 200


@pytest.mark.parametrize(
    ("key", "query", "expected"),
    [
        (None, "", (401, -2014)),
        ("", "", (401, -2014)),
        ("unknown", "", (401, -2015)),
        (SANDBOX_API_KEY, "", (400, -1102)),
        (SANDBOX_API_KEY, "signature=1", (400, -1102)),
        (SANDBOX_API_KEY, "timestamp=&signature=1", (400, -1102)),
        (SANDBOX_API_KEY, "timestamp=now&signature=1", (400, -1102)),
        (SANDBOX_API_KEY, f"timestamp={NOW_MS}", (400, -1102)),
        (SANDBOX_API_KEY, f"timestamp={NOW_MS}&signature=", (400, -1102)),
        (SANDBOX_API_KEY, f"timestamp={NOW_MS}&signature=1", (400, -1022)),
        (SANDBOX_API_KEY, f"timestamp={NOW_MS}&signature=%FF", (400, -1022)),
        (SANDBOX_API_KEY, f"timestamp={NOW_MS}&signature=\u00e9", (400, -1022)),
    ],
)
def test_key_timestamp_and_signature_are_mandatory(
    server: SandboxServer, key: str | None, query: str, expected: tuple[int, int]
) -> None:
    """A request without a known key, a timestamp and a valid signature is refused."""
    assert code(get(server, LIQUIDATIONS, query, key)) == expected


@pytest.mark.parametrize(
    ("at_ms", "query", "accepted"),
    [
        (NOW_MS + 999, "", True),
        (NOW_MS + 1000, "", False),
        (NOW_MS + 1000, "recvWindow=59999", False),
        (NOW_MS - 5000, "", True),
        (NOW_MS - 5001, "", False),
        (NOW_MS - 59_999, "recvWindow=59999", True),
        (NOW_MS - 2, "recvWindow=1", False),
    ],
)
def test_the_timestamp_must_be_recent(
    server: SandboxServer, at_ms: int, query: str, *, accepted: bool
) -> None:
    """A request may be as old as its recvWindow, and less than a second ahead."""
    response = signed(server, query=query, at_ms=at_ms)
    assert response.status_code == 200 if accepted else code(response) == (400, -1021)


@pytest.mark.parametrize(("key", "sign"), [("rsa", rsa_base64), ("ed25519", ed25519_base64)])
def test_base64_signatures_are_percent_encoded(server: SandboxServer, key: str, sign: Any) -> None:
    """An RSA or Ed25519 signature is accepted percent-encoded, but not raw, altered or in hex."""
    payload, raw = next(
        (payload, sign(payload))
        for payload in (f"timestamp={NOW_MS - age}" for age in range(1000))
        if "+" in sign(payload) and "/" in sign(payload)
    )
    encoded = quote(raw, safe="")
    assert get(server, LIQUIDATIONS, f"{payload}&signature={encoded}", key).status_code == 200
    swapped = quote(raw.swapcase(), safe="")
    for wrong in (raw, encoded.replace("%2B", "+"), swapped, base64.b64decode(raw).hex(), "AAAA"):
        assert code(get(server, LIQUIDATIONS, f"{payload}&signature={wrong}", key)) == (400, -1022)


@pytest.mark.parametrize(
    ("signed_payload", "sent"),
    [
        (f"size=5&timestamp={NOW_MS}", f"timestamp={NOW_MS}&size=5&signature=SIGNATURE"),
        (f"size=5&timestamp={NOW_MS}", f"size=%35&timestamp={NOW_MS}&signature=SIGNATURE"),
        (f"size=5&timestamp={NOW_MS}", f"size=6&timestamp={NOW_MS}&signature=SIGNATURE"),
        (f"size=5&timestamp={NOW_MS}", f"size=5&signature=SIGNATURE&timestamp={NOW_MS}"),
        (f"size=5&timestamp={NOW_MS}", f"signature=SIGNATURE&size=5&timestamp={NOW_MS}"),
    ],
)
def test_the_signature_covers_the_sent_bytes(server: SandboxServer, signed_payload: str, sent: str) -> None:
    """The same parameters in another order or encoding, or after the signature, are refused."""
    query = sent.replace("SIGNATURE", hmac_hex(signed_payload))
    assert code(get(server, LIQUIDATIONS, query)) == (400, -1022)


def test_the_signature_covers_the_encoded_bytes(server: SandboxServer) -> None:
    """A percent-encoded query is signed in its encoded form, and the signature's case does not matter."""
    payload = f"size=%35&timestamp={NOW_MS}"
    assert get(server, LIQUIDATIONS, f"{payload}&signature={hmac_hex(payload)}").status_code == 200
    assert get(server, LIQUIDATIONS, f"{payload}&signature={hmac_hex(payload).upper()}").status_code == 200


@pytest.mark.parametrize(
    ("key", "path", "expected"),
    [
        ("parent", LIQUIDATIONS, (400, -3999)),
        ("parent", CLOSED, (400, -3999)),
        ("parent", TRANSFERS, (400, -3999)),
        ("parent", INTEREST, (400, -3999)),
        (SANDBOX_API_KEY, ACTIVE, (400, -3999)),
        ("elsewhere", LIQUIDATIONS, (401, -2015)),
        ("blind", LIQUIDATIONS, (401, -2015)),
        ("blind", RESTRICTIONS, (401, -2015)),
    ],
)
def test_keys_without_permission_are_refused(
    server: SandboxServer, key: str, path: str, expected: tuple[int, int]
) -> None:
    """A key of the wrong account, one for other IP addresses, and one without reading are refused."""
    secret = SANDBOX_API_SECRET if key == SANDBOX_API_KEY else "s"
    assert code(signed(server, path, key=key, secret=secret)) == expected


@pytest.mark.parametrize("path", [LTV, ACTIVE, RESTRICTIONS])
def test_a_parent_key_reads_what_is_not_for_credit_accounts(server: SandboxServer, path: str) -> None:
    """Endpoints that are not for credit accounts alone accept the key of a parent account."""
    assert signed(server, path, key="parent", secret="s").status_code == 200


@pytest.mark.parametrize(
    ("key", "query", "expected"),
    [
        ("unknown", "", -2015),
        (SANDBOX_API_KEY, "limit=1&size=&recvWindow=0", -1102),
        (SANDBOX_API_KEY, "limit=1&limit=1&timestamp=1&signature=1", -1104),
        (SANDBOX_API_KEY, "size=&size=&timestamp=1&signature=1", -1101),
        (SANDBOX_API_KEY, "size=&current=x&timestamp=1&signature=1", -1105),
        (SANDBOX_API_KEY, "current=x&recvWindow=0&timestamp=1&signature=1", -1100),
        (SANDBOX_API_KEY, "recvWindow=0&size=0&timestamp=1&signature=1", -1131),
        (SANDBOX_API_KEY, "size=0&startTime=2&endTime=1&timestamp=1&signature=1", -1130),
        (SANDBOX_API_KEY, "startTime=2&endTime=1&timestamp=1&signature=1", -1127),
        (SANDBOX_API_KEY, "timestamp=1&signature=1", -1021),
        ("parent", f"timestamp={NOW_MS}&signature=1", -1022),
    ],
)
def test_checks_run_in_binances_order(server: SandboxServer, key: str, query: str, expected: int) -> None:
    """A request with several errors is refused for the first one in Binance's order."""
    assert get(server, LIQUIDATIONS, query, key).json()["code"] == expected


@pytest.mark.parametrize(
    "path", ["/sapi/v1/margin/loan-group/other", LIQUIDATIONS + "/", "/sapi/", "/api/v3/order"]
)
def test_unknown_paths_are_404(server: SandboxServer, path: str) -> None:
    """An unknown path is 404, and so is another method on a known path."""
    assert signed(server, path).status_code == 404
    assert requests.post(server.url + LIQUIDATIONS, timeout=10).status_code == 404


# --- responses


def test_the_clock_needs_no_key(server: SandboxServer) -> None:
    """Time and ping need no key."""
    assert get(server, "/api/v3/time", key=None).json() == {"serverTime": NOW_MS}
    assert get(server, "/api/v3/ping", key=None).json() == {}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [7, 1]),
        (f"endTime={NOW_MS}", [7, 1]),
        (f"endTime={NOW_MS - 1 * DAY_MS}", [8, 7, 1]),
        (f"endTime={NOW_MS - 8 * DAY_MS}", [9, 8]),
        (f"startTime={NOW_MS - 8 * DAY_MS}", [8, 7, 1]),
        (f"startTime={NOW_MS - 9 * DAY_MS}&endTime={NOW_MS - 8 * DAY_MS}", [9, 8]),
        ("size=1", [1]),
        ("size=1&current=2", [7]),
    ],
)
def test_windows_have_the_documented_defaults(own: SandboxServer, query: str, expected: list[int]) -> None:
    """The default end is now, and the default start seven days before the end."""
    for days in (7, 8, 9):
        own.exchange.add_liquidation(1, NOW_MS - days * DAY_MS, NOW_MS - days * DAY_MS + 1)
    rows = signed(own, query=query).json()["rows"]
    assert [(NOW_MS - row["liquidationStartTime"]) // DAY_MS for row in rows] == sorted(expected)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", (7, 0)),
        (f"startTime={NOW_MS - 8 * DAY_MS}", (8, 0)),
        (f"startTime={NOW_MS - 400 * DAY_MS}", (30, 0)),
        (f"endTime={NOW_MS - 2 * DAY_MS}", (9, 2)),
        (f"startTime={NOW_MS - 50 * DAY_MS}&endTime={NOW_MS - 40 * DAY_MS}", (50, 40)),
    ],
)
def test_the_interest_history_has_the_documented_defaults(
    server: SandboxServer, query: str, expected: tuple[int, int]
) -> None:
    """With startTime alone up to 30 days are returned, else the defaults are those of other endpoints."""
    first_ms, last_ms = (NOW_MS - days * DAY_MS for days in expected)
    hours = range(first_ms + -first_ms % HOUR_MS, last_ms + 1, HOUR_MS)
    rows: list[dict[str, Any]] = []
    for page in range(1, 10):
        part = f"groupId=2&asset=USDT&size=100&current={page}"
        rows += signed(server, INTEREST, f"{query}&{part}" if query else part).json()["rows"]
    assert [row["interestTimestamp"] for row in rows] == list(reversed(hours))


def test_amounts_of_interest_are_json_numbers(server: SandboxServer) -> None:
    """The interest, principals and rates are written as in the example of the page: as numbers."""
    text = signed(server, INTEREST, "size=1&groupId=2").text
    pattern = (
        r'{"total":1,"rows":\[{"groupId":2,"assetName":"USD[TC]","principal":[0-9]+\.[0-9]{1,8},'
        r'"interestRate":0\.000[0-9]{2,5},"interest":[0-9]+\.[0-9]{1,8},"interestTimestamp":[0-9]{13}}\]}'
    )
    assert re.fullmatch(pattern, text)


@pytest.mark.parametrize(("path", "query"), [(INTEREST, ""), (BORROW_REPAY, "type=REPAY")])
def test_the_weight_of_reading_the_loan_is_ten(own: SandboxServer, path: str, query: str) -> None:
    """Each request for interest, or for what was borrowed or repaid, weighs ten."""
    assert signed(own, path, query).headers["X-SAPI-USED-IP-WEIGHT-1M"] == "10"
    assert signed(own, path, query).headers["X-SAPI-USED-IP-WEIGHT-1M"] == "20"
    assert signed(own, ACTIVE, key="parent", secret="s").headers["X-SAPI-USED-IP-WEIGHT-1M"] == "10"


def test_a_page_has_ten_rows_by_default(own: SandboxServer) -> None:
    """The default page size is ten, also for closed units."""
    for group_id in range(10, 22):
        own.exchange.add_unit(group_id, 1, 2)
        own.exchange.add_liquidation(1, NOW_MS - group_id)
    assert len(signed(own).json()["rows"]) == 10
    assert len(signed(own, CLOSED).json()["rows"]) == 10
    assert len(signed(own, CLOSED, "size=100").json()["rows"]) == 12


def test_restrictions_are_those_of_the_key(server: SandboxServer) -> None:
    """The permissions are those of the key that signed, in Binance's fields."""
    own = signed(server, RESTRICTIONS).json()
    assert (own["ipRestrict"], own["enableReading"], own["enableWithdrawals"]) == (True, True, False)
    assert signed(server, RESTRICTIONS, key="parent", secret="s").json()["enableWithdrawals"] is True


def test_responses_are_gzipped_on_request(own: SandboxServer) -> None:
    """A long response is gzipped for a client that accepts gzip, with the same content."""
    for index in range(50):
        own.exchange.add_liquidation(2, NOW_MS - index - 1, NOW_MS)
    payload = f"size=100&timestamp={NOW_MS}"
    url = f"{own.url}{LIQUIDATIONS}?{payload}&signature={hmac_hex(payload)}"
    headers = {"X-MBX-APIKEY": SANDBOX_API_KEY}
    zipped = requests.get(url, headers=headers | {"Accept-Encoding": "gzip"}, timeout=10)
    plain = requests.get(url, headers=headers | {"Accept-Encoding": "identity"}, timeout=10)
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert int(zipped.headers["Content-Length"]) < len(plain.content) / 3
    assert zipped.content == plain.content


def test_connections_are_kept_alive(server: SandboxServer) -> None:
    """Two requests use one HTTP/1.1 connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    sockets = []
    for _ in range(2):
        connection.request("GET", "/api/v3/time")
        response = connection.getresponse()
        assert (response.version, json.loads(response.read())) == (11, {"serverTime": NOW_MS})
        sockets.append(connection.sock)
    connection.close()
    assert sockets[0] is sockets[1] is not None


# --- weight and log


def test_weight_is_counted_and_limited(own: SandboxServer, clock: Clock) -> None:
    """Each endpoint has its own count, refusals included; above 12,000 it is 429 until the minute ends."""
    clock.now_ms = NOW_MS // 60_000 * 60_000 + 12_345
    assert signed(own, at_ms=clock.now_ms).headers["X-SAPI-USED-IP-WEIGHT-1M"] == "1"
    refused = get(own, LIQUIDATIONS)
    assert (refused.status_code, refused.headers["X-SAPI-USED-IP-WEIGHT-1M"]) == (400, "2")
    for request in range(1, 61):
        response = signed(own, LTV, at_ms=clock.now_ms)
        assert response.status_code == 200
        assert response.headers["X-SAPI-USED-IP-WEIGHT-1M"] == str(200 * request)
    response = signed(own, LTV, at_ms=clock.now_ms)
    assert code(response) == (429, -1003)
    assert response.headers["Retry-After"] == "48"
    clock.now_ms += 48_000
    again = signed(own, LTV, at_ms=clock.now_ms)
    assert (again.status_code, again.headers["X-SAPI-USED-IP-WEIGHT-1M"]) == (200, "200")


def test_every_request_is_logged(own: SandboxServer) -> None:
    """The log has the method, path, raw query, parameters in their order, status, weight and time."""
    query = "size=%35&groupId=&size=1"
    assert get(own, LIQUIDATIONS, query).status_code == 400
    signed(own, LTV)
    requests.post(own.url + "/sandbox/liquidate", timeout=10)
    first, second, third = own.exchange.requests
    assert (first.method, first.path, first.query, first.status) == ("GET", LIQUIDATIONS, query, 400)
    assert first.params == [("size", "5"), ("groupId", ""), ("size", "1")]
    assert (second.path, second.status, second.weight, second.at_ms) == (LTV, 200, 200, NOW_MS)
    assert (third.method, third.path, third.status, third.weight) == ("POST", "/sandbox/liquidate", 200, 0)


def test_scheduled_actions_count_data_requests(own: SandboxServer) -> None:
    """Refused requests and those for the time or the key's restrictions are not data requests."""
    own.exchange.schedule(2, lambda exchange: exchange.close(1))
    signed(own, query="size=0")
    signed(own, RESTRICTIONS)
    get(own, "/api/v3/time")
    assert len(signed(own).json()["rows"]) == 1
    assert len(signed(own).json()["rows"]) == 0


# --- admin calls


def test_admin_calls_change_the_exchange(own: SandboxServer, clock: Clock) -> None:
    """liquidate, finish and close change the exchange, with arguments in the query or in the body."""
    row = requests.post(own.url + "/sandbox/liquidate?group_id=2", timeout=10).json()
    assert (row["groupId"], row["liquidationStartTime"], row["liquidationEndTime"]) == (2, NOW_MS, None)
    assert signed(own).json()["rows"][0] == row
    clock.now_ms += 7
    row = requests.post(
        own.url + "/sandbox/finish", json={"group_id": 2, "start_ms": NOW_MS}, timeout=10
    ).json()
    assert row["liquidationEndTime"] == NOW_MS + 7
    assert requests.post(own.url + "/sandbox/close", json={"group_id": "2"}, timeout=10).json() == {
        "group_id": 2,
        "create_ms": 0,
        "close_ms": NOW_MS + 7,
    }
    assert [each["groupId"] for each in signed(own).json()["rows"]] == [1]
    assert [each["groupId"] for each in signed(own, CLOSED).json()["rows"]] == [2]
    assert requests.post(own.url + "/sandbox/liquidate", timeout=10).json()["groupId"] == 1
    state = requests.get(own.url + "/sandbox/state", timeout=10).json()
    assert (state["liquidations"], state["running"], state["serverTime"]) == (3, 1, NOW_MS + 7)
    assert [unit["active"] for unit in state["units"]] == [True, False]


@pytest.mark.parametrize("body", [None, {"group_id": 2, "ltv": 0.8, "seconds": 10}])
def test_push_moves_the_ltv_of_a_unit(own: SandboxServer, clock: Clock, body: dict[str, Any] | None) -> None:
    """The call takes its arguments from the query or the body, and returns what will happen."""
    query = "" if body else "?group_id=2&ltv=0.8&seconds=10"
    before = signed(own, LTV, "groupId=2").json()[0]["ltv"]
    push = requests.post(own.url + f"/sandbox/push{query}", json=body, timeout=10).json()
    assert push == {
        "groupId": 2,
        "fromLtv": before,
        "toLtv": "0.8",
        "untilTime": NOW_MS + 10_000,
        "liquidationStartTime": None,
    }
    clock.now_ms += 10_000
    assert signed(own, LTV, "groupId=2", at_ms=clock.now_ms).json()[0]["ltv"] == "0.8"
    push = requests.post(own.url + "/sandbox/push?group_id=2", timeout=10).json()
    assert (push["toLtv"], push["liquidationStartTime"]) == ("0.9", NOW_MS + 70_000)


@pytest.mark.parametrize(
    ("account", "group_id", "query", "expected"),
    [
        ("parent", None, "", [1, 2]),
        ("parent", None, "groupId=2", [2]),
        ("parent", 1, "", [1, 2]),
        ("credit", None, "", [1, 2]),
        ("credit", 1, "", [1]),
        ("credit", 1, "groupId=1", [1]),
        ("credit", 1, "groupId=2", []),
        ("credit", 9, "", []),
        ("other", None, "", []),
        ("other", None, "groupId=1", []),
        ("other", 1, "", []),
    ],
)
def test_a_key_sees_the_ltvs_of_its_units(
    own: SandboxServer, account: Any, group_id: int | None, query: str, expected: list[int]
) -> None:
    """A parent account sees all units, a credit account its own, until that is closed, and others none."""
    own.exchange.add_key(ApiKey("seeing", "s", account=account, group_id=group_id))
    rows = signed(own, LTV, query, key="seeing", secret="s").json()
    assert [row["groupId"] for row in rows] == expected
    own.exchange.close(1)
    rows = signed(own, LTV, query, key="seeing", secret="s").json()
    assert [row["groupId"] for row in rows] == [group for group in expected if group != 1]


def test_a_key_of_another_account_reads_no_liquidations(own: SandboxServer) -> None:
    """An account that is no credit account is refused."""
    own.exchange.add_key(ApiKey("seeing", "s", account="other"))
    response = signed(own, key="seeing", secret="s")
    assert (response.status_code, response.json()["code"]) == (400, -3999)


def test_a_behaviour_is_set_by_an_admin_call(own: SandboxServer) -> None:
    """The given fields change the responses, and the others keep their values."""
    requests.post(own.url + "/sandbox/behaviour", json={"total": "zero"}, timeout=10)
    behaviour = requests.post(
        own.url + "/sandbox/behaviour", json={"snapshot_shape": "null"}, timeout=10
    ).json()
    assert (behaviour["total"], behaviour["snapshot_shape"]) == ("zero", "null")
    body = signed(own).json()
    assert (body["total"], body["rows"][0]["liquidationSnapshot"]) == (0, None)
    assert requests.get(own.url + "/sandbox/state", timeout=10).json()["behaviour"] == behaviour


@pytest.mark.parametrize(
    ("call", "body", "status", "text"),
    [
        ("liquidate", '{"group_id": 77}', 404, "there is no unit 77"),
        ("liquidate?group_id=six", "", 400, "group_id must be a whole number, not 'six'"),
        ("liquidate", '{"group_id": true}', 400, "group_id must be a whole number"),
        ("liquidate", '{"group": 1}', 400, "Give liquidate only group_id: it does not know group."),
        ("liquidate", "[1]", 400, "The body must be a JSON object"),
        ("liquidate", "{", 400, "The body must be a JSON object"),
        ("finish", "", 400, "Give a group_id: finish has no default"),
        ("finish?group_id=1", "", 404, "Unit 1 has no running liquidation"),
        ("finish?group_id=1&start_ms=5", "", 404, "Unit 1 has no running liquidation that started at 5"),
        ("push", '{"ltv": 0.8}', 400, "Give a group_id: push has no default"),
        ("push?group_id=77", "", 404, "there is no unit 77"),
        ("push?group_id=1&ltv=high", "", 400, "ltv must be a decimal number above 0 and below 2, not 'high'"),
        ("push", '{"group_id": 1, "ltv": 2}', 400, "ltv must be a decimal number above 0 and below 2, not 2"),
        ("push", '{"group_id": 1, "ltv": [1]}', 400, "ltv must be a decimal number"),
        ("push?group_id=1&seconds=1.5", "", 400, "seconds must be a whole number, not '1.5'"),
        ("push?group_id=1&seconds=0", "", 400, "seconds must be a whole number from 1 to 3600, not 0"),
        ("push", '{"group_id": 1, "level": 1}', 400, "Give push only group_id, ltv, seconds"),
        ("close", "", 400, "Give a group_id: close has no default"),
        ("close?group_id=77", "", 404, "there is no unit 77"),
        (
            "explode",
            "",
            404,
            "Choose an action from liquidate, push, finish, close, behaviour, fault: there is no action",
        ),
        ("behaviour", '{"totals": "rows"}', 400, "it does not know totals"),
        ("behaviour", '{"total": "all"}', 400, "total must be one of units"),
        ("behaviour", '{"latency_s": "slow"}', 400, "latency_s must be a number of seconds"),
        ("behaviour", '{"fault_rate": 1.1}', 400, "fault_rate must be a number from 0 to 1, not 1.1"),
        ("behaviour", '{"used_weight": -1}', 400, "used_weight must be a number from 0, not -1"),
        ("fault", "", 400, "Give a kind: a fault has no default."),
        ("fault", '{"kind": "boom"}', 400, "kind must be one of error, html, "),
        ("fault", '{"kind": ["error"]}', 400, "not ['error']."),
        ("fault", '{"kind": "error", "status": 99}', 400, "status must be a number from 200 to 599, not 99."),
        ("fault", '{"kind": "error", "times": 0}', 400, "times must be a number from 1 to 10000, not 0."),
        (
            "fault",
            '{"kind": "error", "times": true}',
            400,
            "times must be a number from 1 to 10000, not True.",
        ),
        ("fault", '{"kind": "error", "time": 1}', 400, "Give fault only kind, status, code"),
    ],
)
def test_invalid_admin_calls_are_refused(
    server: SandboxServer, call: str, body: str, status: int, text: str
) -> None:
    """The response to an invalid admin call names the problem, and nothing changes."""
    response = requests.post(f"{server.url}/sandbox/{call}", data=body, timeout=10)
    assert response.status_code == status
    assert text in response.json()["error"]
    assert server.exchange.state()["faults"] == 0


# --- the server


def test_latency_delays_only_signed_requests(own: SandboxServer) -> None:
    """A client with a short timeout gives up on a slow response, while the time is answered at once."""
    own.exchange.behaviour = Behaviour(latency_s=30)
    payload = f"timestamp={NOW_MS}"
    url = f"{own.url}{LIQUIDATIONS}?{payload}&signature={hmac_hex(payload)}"
    with pytest.raises(requests.ReadTimeout):
        requests.get(url, headers={"X-MBX-APIKEY": SANDBOX_API_KEY}, timeout=(5, 0.05))
    assert get(own, "/api/v3/time").status_code == 200


def test_a_port_in_use_is_named(server: SandboxServer) -> None:
    """A second server on the same port raises an error that names the port."""
    with pytest.raises(OSError, match=f"The sandbox cannot listen on 127.0.0.1, port {server.port}: "):
        SandboxServer(new_exchange(), port=server.port).__enter__()


def test_a_stopped_server_frees_its_port_and_thread() -> None:
    """After the block no thread is left, and another server can use the port."""
    threads = threading.active_count()
    with SandboxServer(new_exchange()) as server:
        assert get(server, "/api/v3/ping").status_code == 200
    assert threading.active_count() == threads
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0
    with SandboxServer(new_exchange(), port=server.port) as again:
        assert get(again, "/api/v3/ping").status_code == 200


def test_a_server_starts_in_any_thread() -> None:
    """A server can be started outside of the main thread."""
    statuses: list[int] = []

    def serve() -> None:
        with SandboxServer(new_exchange()) as server:
            statuses.append(get(server, "/api/v3/ping").status_code)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    assert statuses == [200]


def test_a_server_leaves_logging_alone(server: SandboxServer, caplog: pytest.LogCaptureFixture) -> None:
    """The server logs no request to Python's logging, and adds no handler."""
    with caplog.at_level(logging.DEBUG):
        get(server, "/api/v3/ping")
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []
    assert logging.getLogger("uvicorn").handlers == []


def test_the_connection_is_for_the_server(server: SandboxServer) -> None:
    """The JSON of the connection has the URL and the API key of the sandbox."""
    assert json.loads(airflow_connection(server.url)) == {
        "conn_type": "binance_loan",
        "host": server.url,
        "login": SANDBOX_API_KEY,
        "password": SANDBOX_API_SECRET,
    }
    assert (len(SANDBOX_API_KEY), len(SANDBOX_API_SECRET)) == (64, 64)


def test_the_sandbox_imports_nothing_of_the_client() -> None:
    """The server loads no module of the client, and not Airflow either."""
    program = (
        "import sys, airflow_provider_binance_loan.sandbox.server;"
        "ours = ('airflow_provider_binance_loan.', 'airflow.');"
        "print(sorted(name for name in sys.modules if name.startswith(ours)))"
    )
    names = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    package = "airflow_provider_binance_loan.sandbox"
    modules = [
        f"{package}.{name}"
        for name in (
            *(
                "behaviour",
                "dashboard",
                "endpoints",
                "exchange",
                "extra",
                "fault_delivery",
                "faults",
                "history",
            ),
            *("ledger", "loans", "middleware", "repayments", "rows", "server", "timeline", "world"),
        )
    ]
    assert names.strip() == str([package, *modules])
