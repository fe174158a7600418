"""The connection test: one sentence that says which thing is wrong, within seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.sandbox.exchange import ApiKey, Exchange
from airflow_provider_binance_loan.sandbox.faults import Fault
from tests.support.clock import FakeClock
from tests.support.raw import EMPTY, raw_server

KEY, SECRET = "k" * 64, "s" * 64
ACCEPTED = "Binance accepts the key for the institutional loan records of its account."
CLOSED = "/sapi/v1/margin/loan-groups/closed"


def test_says_that_the_key_is_accepted(exchange: Exchange, connect: Any, clock: FakeClock) -> None:
    """A key that may read and no more, from listed addresses alone, gives no warning."""
    assert BinanceLoanHook(clock=clock).test_connection() == (True, ACCEPTED)


@pytest.mark.parametrize(
    ("key", "warning"),
    [
        ({"enable_withdrawals": True}, " Warning: the key may withdraw; make one that may read only."),
        (
            {"ip_restrict": False},
            " Warning: the key works from any IP address; restrict it to Airflow's own.",
        ),
    ],
)
def test_warns_of_a_key_that_may_too_much(
    exchange: Exchange, connect: Any, clock: FakeClock, key: dict[str, Any], warning: str
) -> None:
    """A key that may withdraw, or works from anywhere, is accepted with a warning."""
    exchange.add_key(ApiKey(KEY, SECRET, **key))
    connect(login=KEY, password=SECRET)
    assert BinanceLoanHook(clock=clock).test_connection() == (True, ACCEPTED + warning)


def test_accepts_a_key_whose_restrictions_are_not_told(
    exchange: Exchange, connect: Any, clock: FakeClock
) -> None:
    """What cannot be read of the key's permissions is said, and does not make the key wrong."""
    exchange.fail(Fault("error", 400, -1002, "No.", path="apiRestrictions"))
    accepted, text = BinanceLoanHook(clock=clock).test_connection()
    assert accepted
    assert text.startswith(f"{ACCEPTED} What else the key may do is not known: /sapi/v1/account/apiRes")


@pytest.mark.parametrize(
    ("key", "fields", "faults", "says"),
    [
        ({}, {"host": "http://127.0.0.1:9"}, [], f"http://127.0.0.1:9{CLOSED} could not be reached"),
        ({}, {"host": "api..binance.com"}, [], "host is not a host name"),
        ({}, {"login": ""}, [], "login is empty: put the API key there."),
        ({}, {"login": "short"}, [], "code -2015: Invalid API-key, IP, or permissions for action; check the"),
        (
            {},
            {},
            [Fault("error", 401, -2014, "Bad.")],
            "code -2014: Bad; check the API key in the conn",
        ),
        ({}, {"password": "x" * 64}, [], "code -1022: Signature for this request is not valid; check that"),
        ({"ip_allowed": False}, {}, [], "its permission to read, and its list of allowed IP addresses"),
        ({"can_read": False}, {}, [], "its permission to read, and its list of allowed IP addresses"),
        ({"account": "parent"}, {}, [], "the key must be the credit account's own"),
        (
            {},
            {},
            [Fault("error", 418, -1003, "IP banned until 1772370000000.")],
            "this IP address is banned until 2026-03-01T13:00:00",
        ),
        ({}, {}, [Fault("error", 429, -1003, "Wait.", retry_after=30)], "wait until 2026-03-01T12:00:30"),
        (
            {},
            {},
            [Fault("error", 400, -1021, "Clock."), None, Fault("error", 400, -1021, "Clock.")],
            "this machine's clock is 0.0 s behind",
        ),
        ({}, {}, [Fault("html", 404)], "check the host: Binance has no test network for these endpoints"),
        ({}, {}, [Fault("html", 403)], "Binance's web firewall refuses this IP address or region"),
    ],
)
def test_says_what_is_wrong(
    exchange: Exchange,
    connect: Any,
    clock: FakeClock,
    key: dict[str, Any],
    fields: dict[str, Any],
    faults: list[Fault | None],
    says: str,
) -> None:
    """Each thing that may be wrong has its sentence, on one line, after a few seconds at the most."""
    exchange.add_key(ApiKey(KEY, SECRET, **key))
    exchange.fail(*faults)
    connect(**{"login": KEY, "password": SECRET, **fields})
    accepted, text = BinanceLoanHook(clock=clock).test_connection()
    assert (accepted, says in text) == (False, True), text
    assert "\n" not in text
    assert "binance_loan_default" not in text  # the form's test button makes up an id
    assert sum(clock.waits) <= 5


def test_says_that_the_certificate_is_wrong(
    connect: Any, clock: FakeClock, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that nobody vouches for is named as such."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with raw_server([EMPTY] * 5, certificate) as (url, lines):
        connect(host=url)
        accepted, text = BinanceLoanHook(clock=clock).test_connection()
    assert (accepted, lines) == (False, [])
    assert "failed its TLS check: check verify" in text
