"""The sandbox refuses whatever Binance would refuse, at every endpoint: no mistake of a client passes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from airflow_provider_binance_loan.sandbox import middleware
from airflow_provider_binance_loan.sandbox.endpoints import ENDPOINTS
from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_KEY, SANDBOX_API_SECRET
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.integration.sandbox.test_server import (
    ACTIVE,
    BORROW_REPAY,
    CLOSED,
    DAY_MS,
    INTEREST,
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
ABOVE_LONG = 2**63  # Binance's numbers are of type LONG

# Which endpoints take a parameter; the others refuse it as unknown.
TAKEN_BY = {
    "groupId": {LIQUIDATIONS, LTV, INTEREST, BORROW_REPAY},
    "asset": {INTEREST, BORROW_REPAY},
    "startTime": {LIQUIDATIONS, TRANSFERS, INTEREST, BORROW_REPAY},
    "endTime": {LIQUIDATIONS, TRANSFERS, INTEREST, BORROW_REPAY},
    "current": {LIQUIDATIONS, CLOSED, TRANSFERS, INTEREST, BORROW_REPAY},
    "size": {LIQUIDATIONS, CLOSED, TRANSFERS, INTEREST, BORROW_REPAY},
    "recvWindow": set(ENDPOINTS),
}
MANDATORY = {BORROW_REPAY: "type=REPAY"}
PARENT_ONLY = {ACTIVE}
NO_NUMBERS = ("-1", "1.0", "1e3", "x", "+1", "1+")
WRONGLY_ENCODED = ("%zz", "%3", "1%0A", "%201", "%2531")

# Queries, to be signed, and the code for each where the parameter is known.
WRONG_PARAMETERS = {
    **{f"{name}=": -1105 for name in TAKEN_BY},
    **dict.fromkeys(TAKEN_BY, -1105),
    **{f"{name}=1&{name}=1": -1101 for name in TAKEN_BY},
    **{f"{name}={value}": -1100 for name in TAKEN_BY for value in NO_NUMBERS + WRONGLY_ENCODED},
    **{f"{name}={ABOVE_LONG}": -1130 for name in TAKEN_BY if name != "asset"},
    **{f"asset={value}": -1100 for value in ("usdt", "US_DT", "A" * 21)},
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


def with_mandatory(path: str, query: str) -> str:
    """Return a query with the parameters that an endpoint must be sent before it."""
    return "&".join(part for part in (MANDATORY.get(path), query) if part)


def wrong_signatures(path: str) -> dict[str, int]:
    """Return queries, to be sent as they are, and the code for each."""
    stamp = with_mandatory(path, STAMP)
    signature = hmac_hex(stamp)
    return {
        "": -1102,
        stamp: -1102,
        f"{stamp}&signature=": -1102,
        f"{stamp}&Signature={signature}": -1102,
        f"signature={hmac_hex('')}": -1102,
        with_signature(with_mandatory(path, "recvWindow=5000")): -1102,
        with_signature(with_mandatory(path, "timestamp=")): -1102,
        with_signature(with_mandatory(path, f"Timestamp={NOW_MS}")): -1102,
        with_signature(f"{stamp}&limit=5"): -1104,
        with_signature(f"{stamp}&GroupId=1"): -1104,
        with_signature(f"{stamp}&{STAMP}"): -1101,
        f"{stamp}&signature={signature}&signature={signature}": -1101,
        f"signature={signature}&{stamp}": -1022,
        f"{stamp}&signature={signature}&recvWindow=5000": -1022,
        f"{stamp}&signature={signature}&": -1022,
        f"{stamp}&&signature={signature}": -1022,
        f"recvWindow=5000&{stamp}&signature={signature}": -1022,
        f"{stamp.replace('timestamp=1', 'timestamp=%31')}&signature={signature}": -1022,
        f"{stamp}&signature=%{ord(signature[0]):x}{signature[1:]}": -1022,
        f"{stamp}&signature={signature[:-1]}": -1022,
        f"{stamp}&signature={hmac_hex(stamp, 'another secret')}": -1022,
    }


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    """A server for all tests, which only read; without a limit, since one request for LTVs weighs 200."""
    with pytest.MonkeyPatch.context() as patch, SandboxServer(new_exchange()) as server:
        patch.setattr(middleware, "WEIGHT_LIMIT", 10**9)
        yield server


def test_every_endpoint_is_below() -> None:
    """No signed endpoint is without the tests below."""
    assert set(ENDPOINTS) == {
        *(LIQUIDATIONS, CLOSED, LTV, TRANSFERS, INTEREST, BORROW_REPAY, ACTIVE, RESTRICTIONS)
    }


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
    sent = {query: code(signed(server, path, with_mandatory(path, query))) for query in expected}
    assert sent == expected


@pytest.mark.parametrize("path", ENDPOINTS)
def test_timestamps_and_signatures_are_checked(server: SandboxServer, path: str) -> None:
    """Every endpoint wants a timestamp, and as the last parameter the signature of the bytes before it."""
    expected = {query: (400, number) for query, number in wrong_signatures(path).items()}
    assert {query: code(get(server, path, query)) for query in expected} == expected


@pytest.mark.parametrize("path", ENDPOINTS)
def test_timestamps_of_another_time_or_unit_are_refused(server: SandboxServer, path: str) -> None:
    """Every endpoint refuses a timestamp that is old, ahead, in seconds, or in microseconds."""
    for at_ms in (NOW_MS - 5001, NOW_MS + 1000, NOW_MS // 1000, NOW_MS * 1000):
        assert code(signed(server, path, MANDATORY.get(path, ""), at_ms=at_ms)) == (400, -1021)


@pytest.mark.parametrize("path", ENDPOINTS)
def test_the_api_key_is_checked(server: SandboxServer, path: str) -> None:
    """Every endpoint refuses a valid signature without the header of the API key, and with an unknown key."""
    expected = {None: (401, -2014), "": (401, -2014), "unknown": (401, -2015)}
    assert {key: code(get(server, path, with_signature(STAMP), key)) for key in expected} == expected


@pytest.mark.parametrize("path", [*ENDPOINTS, *PUBLIC])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD"])
def test_only_get_is_served(server: SandboxServer, path: str, method: str) -> None:
    """Every endpoint refuses the other methods with a query that it accepts of GET."""
    payload = with_mandatory(path, STAMP)
    key, secret = ("parent", "s") if path in PARENT_ONLY else (SANDBOX_API_KEY, SANDBOX_API_SECRET)
    query = f"?{payload}&signature={hmac_hex(payload, secret)}" if path in ENDPOINTS else ""
    headers = {"X-MBX-APIKEY": key}
    assert requests.get(f"{server.url}{path}{query}", headers=headers, timeout=10).status_code == 200
    response = requests.request(method, f"{server.url}{path}{query}", headers=headers, timeout=10)
    assert response.status_code in {404, 405}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", -1102),
        ("type=", -1102),
        ("Type=REPAY", -1102),
        ("type=REPAY&type=REPAY", -1101),
        ("type=borrow", -1130),
        ("type=FORCE_REPAY", -1130),
        ("type=1", -1130),
        ("type=REPAY%20", -1130),
        ("type=REPAY%0A", -1130),
        ("type=REPAY&asset=", -1105),
    ],
)
def test_the_type_is_mandatory(server: SandboxServer, query: str, expected: int) -> None:
    """Records are asked for by their type, which is BORROW or REPAY."""
    assert code(signed(server, BORROW_REPAY, query)) == (400, expected)


@pytest.mark.parametrize("query", ["type=BORROW", "type=REPAY&asset=USDT", "asset=BTC&type=REPAY&groupId=1"])
def test_valid_texts_are_accepted(server: SandboxServer, query: str) -> None:
    """An asset may be any, and the order of the parameters does not matter."""
    assert signed(server, BORROW_REPAY, query).status_code == 200
