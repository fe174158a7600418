"""The sandbox refuses whatever Binance would refuse, at every endpoint: no mistake of a client passes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from airflow_provider_binance_loan.sandbox import middleware
from airflow_provider_binance_loan.sandbox.endpoints import ENDPOINTS
from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_KEY
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.integration.sandbox.test_server import (
    CLOSED,
    DAY_MS,
    LIQUIDATIONS,
    LTV,
    NOW_MS,
    RESTRICTIONS,
    TRANSFERS,
    code,
    get,
    hmac_hex,
    new_exchange,
    signed,
)

PUBLIC = ("/api/v3/ping", "/api/v3/time")
STAMP = f"timestamp={NOW_MS}"
SIGNATURE = hmac_hex(STAMP)
ABOVE_LONG = 2**63  # Binance's numbers are of type LONG

# Which endpoints take a parameter; the others refuse it as unknown.
TAKEN_BY = {
    "groupId": {LIQUIDATIONS, LTV},
    "startTime": {LIQUIDATIONS, TRANSFERS},
    "endTime": {LIQUIDATIONS, TRANSFERS},
    "current": {LIQUIDATIONS, CLOSED, TRANSFERS},
    "size": {LIQUIDATIONS, CLOSED, TRANSFERS},
    "recvWindow": {LIQUIDATIONS, CLOSED, LTV, TRANSFERS, RESTRICTIONS},
}
NO_NUMBERS = ("-1", "1.0", "1e3", "x", "+1", "1+")
WRONGLY_ENCODED = ("%zz", "%3", "1%0A", "%201", "%2531")

# Queries, to be signed, and the code for each where the parameter is known.
WRONG_PARAMETERS = {
    **{f"{name}=": -1105 for name in TAKEN_BY},
    **dict.fromkeys(TAKEN_BY, -1105),
    **{f"{name}=1&{name}=1": -1101 for name in TAKEN_BY},
    **{f"{name}={value}": -1100 for name in TAKEN_BY for value in NO_NUMBERS + WRONGLY_ENCODED},
    **{f"{name}={ABOVE_LONG}": -1130 for name in TAKEN_BY},
    **{f"{name}=0": -1130 for name in ("current", "size")},
    "size=101": -1130,
    **{f"recvWindow={value}": -1131 for value in (0, 60_000, 60_001)},
    "startTime=2&endTime=1": -1127,
    f"startTime={NOW_MS + 1}": -1127,
    f"startTime=1&endTime={100 * DAY_MS + 2}": -1127,
}


def with_signature(payload: str) -> str:
    """Return a query with the signature of what is before it."""
    return f"{payload}&signature={hmac_hex(payload)}"


# Queries, to be sent as they are, and the code for each.
WRONG_SIGNATURES = {
    "": -1102,
    STAMP: -1102,
    f"{STAMP}&signature=": -1102,
    f"{STAMP}&Signature={SIGNATURE}": -1102,
    f"signature={hmac_hex('')}": -1102,
    with_signature("recvWindow=5000"): -1102,
    with_signature("timestamp="): -1102,
    with_signature(f"Timestamp={NOW_MS}"): -1102,
    with_signature(f"{STAMP}&limit=5"): -1104,
    with_signature(f"{STAMP}&GroupId=1"): -1104,
    with_signature(f"{STAMP}&{STAMP}"): -1101,
    f"{STAMP}&signature={SIGNATURE}&signature={SIGNATURE}": -1101,
    f"signature={SIGNATURE}&{STAMP}": -1022,
    f"{STAMP}&signature={SIGNATURE}&recvWindow=5000": -1022,
    f"{STAMP}&signature={SIGNATURE}&": -1022,
    f"{STAMP}&&signature={SIGNATURE}": -1022,
    f"recvWindow=5000&{STAMP}&signature={SIGNATURE}": -1022,
    f"timestamp=%31{str(NOW_MS)[1:]}&signature={SIGNATURE}": -1022,
    f"{STAMP}&signature=%{ord(SIGNATURE[0]):x}{SIGNATURE[1:]}": -1022,
    f"{STAMP}&signature={SIGNATURE[:-1]}": -1022,
    f"{STAMP}&signature={hmac_hex(STAMP, 'another secret')}": -1022,
}


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    """A server for all tests, which only read; without a limit, since one request for LTVs weighs 200."""
    with pytest.MonkeyPatch.context() as patch, SandboxServer(new_exchange()) as server:
        patch.setattr(middleware, "WEIGHT_LIMIT", 10**9)
        yield server


def test_every_endpoint_is_below() -> None:
    """No signed endpoint is without the tests below."""
    assert set(ENDPOINTS) == TAKEN_BY["recvWindow"]


@pytest.mark.parametrize("path", PUBLIC)
@pytest.mark.parametrize("key", [None, SANDBOX_API_KEY])
@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("limit=5", 1),
        ("recvWindow=5000", 1),
        ("timestamp", 1),
        (STAMP, 1),
        (f"{STAMP}&{STAMP}", 2),
        (with_signature(STAMP), 2),
        (with_signature(f"recvWindow=5000&{STAMP}"), 3),
    ],
)
def test_public_endpoints_take_no_parameters(
    server: SandboxServer, path: str, key: str | None, query: str, count: int
) -> None:
    """A request for the time with any parameter, so a signed one too, is refused; the count is stated."""
    response = get(server, path, query, key)
    assert code(response) == (400, -1101)
    assert response.json()["msg"] == f"Too many parameters; expected '0' and received '{count}'."


@pytest.mark.parametrize("path", PUBLIC)
@pytest.mark.parametrize("key", [None, "", "unknown", SANDBOX_API_KEY])
def test_public_endpoints_ignore_the_api_key(server: SandboxServer, path: str, key: str | None) -> None:
    """The header with the API key does no harm, whatever it holds."""
    assert get(server, path, key=key).status_code == 200


@pytest.mark.parametrize("path", ENDPOINTS)
def test_parameters_are_checked(server: SandboxServer, path: str) -> None:
    """Every endpoint refuses each wrong value of a parameter that it takes, and all other parameters."""

    def is_known(query: str) -> bool:
        return all(path in TAKEN_BY[part.partition("=")[0]] for part in query.split("&"))

    expected = {
        query: (400, number if is_known(query) else -1104) for query, number in WRONG_PARAMETERS.items()
    }
    assert {query: code(signed(server, path, query)) for query in expected} == expected


@pytest.mark.parametrize("path", ENDPOINTS)
def test_timestamps_and_signatures_are_checked(server: SandboxServer, path: str) -> None:
    """Every endpoint wants a timestamp, and as the last parameter the signature of the bytes before it."""
    expected = {query: (400, number) for query, number in WRONG_SIGNATURES.items()}
    assert {query: code(get(server, path, query)) for query in expected} == expected


@pytest.mark.parametrize("path", ENDPOINTS)
def test_timestamps_of_another_time_or_unit_are_refused(server: SandboxServer, path: str) -> None:
    """Every endpoint refuses a timestamp that is old, ahead, in seconds, or in microseconds."""
    for at_ms in (NOW_MS - 5001, NOW_MS + 1000, NOW_MS // 1000, NOW_MS * 1000):
        assert code(signed(server, path, at_ms=at_ms)) == (400, -1021)


@pytest.mark.parametrize("path", ENDPOINTS)
def test_the_api_key_is_checked(server: SandboxServer, path: str) -> None:
    """Every endpoint refuses a valid signature without the header of the API key, and with an unknown key."""
    expected = {None: (401, -2014), "": (401, -2014), "unknown": (401, -2015)}
    assert {key: code(get(server, path, with_signature(STAMP), key)) for key in expected} == expected


@pytest.mark.parametrize("path", [*ENDPOINTS, *PUBLIC])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD"])
def test_only_get_is_served(server: SandboxServer, path: str, method: str) -> None:
    """Every endpoint refuses the other methods with a query that it accepts of GET."""
    query = f"?{with_signature(STAMP)}" if path in ENDPOINTS else ""
    headers = {"X-MBX-APIKEY": SANDBOX_API_KEY}
    assert requests.get(f"{server.url}{path}{query}", headers=headers, timeout=10).status_code == 200
    response = requests.request(method, f"{server.url}{path}{query}", headers=headers, timeout=10)
    assert response.status_code in {404, 405}
