"""The connection test: one sentence that says what is wrong, within seconds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.sandbox.exchange import ApiKey, Exchange
from airflow_provider_binance_loan.sandbox.faults import Fault
from tests.support.clock import FakeClock
from tests.support.raw import EMPTY, raw_server

KEY, SECRET = "k" * 64, "s" * 64
ACCEPTED = "Binance accepts the key for the institutional loan records of its account."
CLOSED = "/sapi/v1/margin/loan-groups/closed"
UNUSED = "http://127.0.0.1:9"


def test_says_that_the_key_is_accepted(exchange: Exchange, connect: Any, clock: FakeClock) -> None:
    """A key that may read and no more, from listed addresses alone, gives no warning."""
    assert BinanceLoanHook(clock=clock).test_connection() == (True, ACCEPTED)


@pytest.mark.parametrize(
    ("key", "warning"),
    [
        ({"enable_withdrawals": True}, "Warning: the key may withdraw; make one that may read only."),
        (
            {"ip_restrict": False},
            "Warning: the key works from any IP address; restrict it to Airflow's own.",
        ),
    ],
)
def test_warns_of_a_key_that_may_do_too_much(
    exchange: Exchange,
    connect: Any,
    clock: FakeClock,
    capsys: pytest.CaptureFixture[str],
    key: dict[str, Any],
    warning: str,
) -> None:
    """A key that may withdraw, or works from anywhere, is accepted with a warning, which comes first.

    It is logged as well: `airflow connections test` prints nothing else of a test that succeeds.
    """
    exchange.add_key(ApiKey(KEY, SECRET, **key))
    connect(login=KEY, password=SECRET)
    capsys.readouterr()
    assert BinanceLoanHook(clock=clock).test_connection() == (True, f"{warning} {ACCEPTED}")
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "the key" in line)
    assert re.search(rf"\[warning *\] {re.escape(warning)} ", line), line


def test_accepts_the_key_of_a_parent_account(exchange: Exchange, connect: Any, clock: FakeClock) -> None:
    """A parent account reads no liquidations, and the message says so."""
    exchange.add_key(ApiKey(KEY, SECRET, account="parent"))
    connect(login=KEY, password=SECRET)
    accepted, message = BinanceLoanHook(clock=clock).test_connection()
    assert accepted
    assert message.startswith("Binance accepts the key for the LTVs of its risk units, as a parent account's")


def test_refuses_a_key_that_sees_nothing(exchange: Exchange, connect: Any, clock: FakeClock) -> None:
    """Without a risk unit, the key is of another account: the refusal of the records is what is shown."""
    for group_id in (1, 2):
        exchange.close(group_id)
    exchange.add_key(ApiKey(KEY, SECRET, account="parent"))
    connect(login=KEY, password=SECRET)
    accepted, message = BinanceLoanHook(clock=clock).test_connection()
    assert not accepted
    assert message.startswith("Use the key of a credit account that is enabled for institutional loans")


def test_logs_nothing_of_a_key_that_may_only_read(
    exchange: Exchange, connect: Any, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a warning there is no line in the log."""
    capsys.readouterr()
    BinanceLoanHook(clock=clock).test_connection()
    assert "[warning" not in capsys.readouterr().out


def test_accepts_a_key_whose_restrictions_are_unknown(
    exchange: Exchange, connect: Any, clock: FakeClock
) -> None:
    """Permissions that cannot be read are stated as unknown, and the key is accepted."""
    exchange.fail(Fault("error", 400, -1002, "No.", path="apiRestrictions"))
    accepted, text = BinanceLoanHook(clock=clock).test_connection()
    assert accepted
    assert text.startswith("What else the key may do is unknown: Check the key's permissions")
    assert text.endswith(f"(HTTP 400, code -1002, /sapi/v1/account/apiRestrictions). {ACCEPTED}")


@pytest.mark.parametrize(
    ("key", "fields", "faults", "advice", "fact"),
    [
        ({}, {"host": UNUSED}, [], "Check the host, the network and", f"{UNUSED} could not be reached"),
        ({}, {"host": "api..binance.com"}, [], "Give host as a host name or a base URL", "it is neither"),
        ({}, {"login": ""}, [], "Put the API key into login", "it is empty."),
        ({}, {"login": "short"}, [], "Check the API key, its permission to read", "HTTP 401, code -2015"),
        (
            {},
            {},
            [Fault("error", 401, -2014, "Bad.")],
            "Check the API key in the connection's login: Binance says 'Bad'",
            "HTTP 401, code -2014",
        ),
        (
            {},
            {"password": "x" * 64},
            [],
            "Check that the secret or private key belongs to the API key",
            "Binance says 'Signature for this request is not valid' (HTTP 400, code -1022",
        ),
        ({"ip_allowed": False}, {}, [], "its permission to read and its allowed IP", "code -2015"),
        ({"can_read": False}, {}, [], "its permission to read and its allowed IP", "code -2015"),
        (
            {},
            {},
            [Fault("error", 418, -1003, "IP banned until 1772370000000.")],
            "Wait until 2026-03-01T13:00:00",
            "Binance has banned this IP address",
        ),
        (
            {},
            {},
            [Fault("error", 429, -1003, "Wait.", retry_after=30)],
            "Wait until 2026-03-01T12:00:30",
            "Binance limits this IP address, and says 'Wait' (HTTP 429, code -1003",
        ),
        (
            {},
            {},
            [Fault("error", 400, -1021, "Clock."), None, Fault("error", 400, -1021, "Clock.")],
            "Raise recv_window, 5000 ms, on a slow network",
            "HTTP 400, code -1021",
        ),
        ({}, {}, [Fault("html", 404)], "Check the host: Binance has no test network", "HTTP 404"),
        ({}, {}, [Fault("html", 403)], "Use another IP address or region", "firewall refuses this one"),
    ],
)
def test_says_what_is_wrong(
    exchange: Exchange,
    connect: Any,
    clock: FakeClock,
    key: dict[str, Any],
    fields: dict[str, Any],
    faults: list[Fault | None],
    advice: str,
    fact: str,
) -> None:
    """Each mistake has its sentence, on one line, advice first, after a few seconds at most."""
    exchange.add_key(ApiKey(KEY, SECRET, **key))
    exchange.fail(*faults)
    connect(**{"login": KEY, "password": SECRET, **fields})
    accepted, text = BinanceLoanHook(clock=clock).test_connection()
    assert not accepted
    assert 0 <= text.find(advice) < text.find(fact), text
    assert "\n" not in text
    assert "binance_loan_default" not in text  # the form's test button makes up an id
    assert exchange.requests == [] or f"{CLOSED})." in text
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
    assert text.startswith("Check verify, the host, and what intercepts its certificates: ")
    assert re.search(rf"failed its TLS check \((\d attempts, )?{CLOSED}\)\.", text)


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o640, False), (0o644, True)])
def test_warns_of_a_key_file_that_others_can_read(
    exchange: Exchange, connect: Any, clock: FakeClock, tmp_path: Path, mode: int, warns: bool
) -> None:
    """A private key that every user of the machine can read is accepted, with a warning."""
    private_key = Ed25519PrivateKey.generate()
    exchange.add_key(ApiKey(KEY, public_key=private_key.public_key()))
    file = tmp_path / "key.pem"
    file.write_bytes(private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(mode)
    connect(login=KEY, password=None, extra={"private_key_file": str(file)})
    accepted, text = BinanceLoanHook(clock=clock).test_connection()
    assert accepted, text
    assert ("Warning: others on this machine can read private_key_file; restrict it" in text) == warns
