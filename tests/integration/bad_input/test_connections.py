"""Connections: a wrong field is named, in each way of asking, and Binance is not asked."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_binance_loan.client.settings import parse_connection
from airflow_provider_binance_loan.exceptions import AuthRefusedError, ConfigurationError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sandbox.exchange import ApiKey
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.support.bad_input import (
    HUSH,
    PULLS,
    Case,
    Environment,
    case,
    cases,
    extras,
    pull_sync,
)
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.runs import run_context

CONN_ID = "binance_loan_default"
NO_HOSTS = (
    "https://user:hush@api.binance.com",
    "user:hush@api.binance.com",
    "http://hush@127.0.0.1",
    "https://api.binance.com?hush=1",
    "https://api.binance.com#hush",
    "https:/api.binance.com",
    "https//api.binance.com",
    "https://https://api.binance.com",
    "https",
    "api.bin\nance.com",
    "api.bin\tance.com",
    "http://[::1].com",
    "api.binance.com:0",
    "api.binance.com:",
    "a." * 126 + "com",
    "https://api.binance.com/hu sh",
    "https://",
    "//api.binance.com",
    "api binance com",
    "a..b.com",
    "-a.com",
    "*.binance.com",
    "xn--a.éxample",
    "https://api.binance.com\\@example.com",
    "a" * 64 + ".com",
    "file:///etc/passwd",
    "api.binance.com:http",
    "api.binance.com:99999",
    "https://[::1",
    f"{HUSH}:{HUSH}",
    f"https://user:{HUSH}@api.binance.com:x",
)
NO_PROXIES = (
    "hush:3128",
    "ftp://hush",
    "socks5://user:hush@proxy",
    "http://user:hush@proxy:abc",
    "http://:3128",
    "http://[::1",
    " http://proxy:3128",
    "http://proxy:3128\n",
    "http://pro\txy",
    "http://proxy:0",
    "http://user:hush@hush@proxy",
    "http://proxy/hush",
    3128,
    False,
    ["http://proxy"],
    {"http": 3128},
)

CASES = [
    *cases("conn_type", "http", HUSH * 16),
    *cases("login", None, ""),
    *cases("login", " ", "hush ", "\thush", "hush\n", "hush\u00a0"),
    *cases("login", "hu\nsh", "hush hush", "húsh-hush", "hush\u200bhush", "\ufeffhush", '"hush"'),
    *cases("login", "{{ var.value.hush }}", "None", "null"),
    *cases("password", None, ""),
    *cases("password", "\thush", "hush\r\n"),
    *cases("password", "hush\x00hush", "hush hush", "ssh-ed25519 hush user@host", "null"),
    *cases("password", f"MIIE{HUSH * 99}", "MC4CAQAwBQYDK2VwBCIEIhush", "MCowBQYDK2VwAyEAhush"),
    *cases("password", f"MIGb{HUSH * 40}"),
    *cases("password", "-----BEGIN PRIVATE KEY-----\nhush\n", "----BEGIN PRIVATE KEY----\nhush\n"),
    *cases("schema", "https"),
    *cases("host", "http://api.binance.com", "HTTP://api.binance.com", "http://127.0.0.1.example.com"),
    *cases("host", "http://0.0.0.0", "http://10.0.0.1:80"),
    *cases("host", "ftp://api.binance.com", "wss://api.binance.com", f"ftp{'p' * 999}://a"),
    *cases("host", *NO_HOSTS),
    case("port", host="api.binance.com:1", port=2),
    *cases("port", 70000, -1),
    *cases("extra", "{", "{'timeout': 5}", "timeout=5", "[]", '"hush"', "null"),
    *extras("recvWindow", 1),
    *extras("api_key", "hush"),
    case("'a'", extra={"b": 1, "a": 1, "timeout": 1}),
    case("extra", extra={"t" * 999: 1}),
    *extras("recv_window", 0, 60000, 1.5, "soon", True, [], float("nan"), HUSH * 16),
    *extras("timeout", 0, 600.1, "nan", "\u0665", "5_0", "1e1", "9" * 400, "5s", [1], float("inf")),
    *extras("max_wait", -1, 3601, "1m", False),
    *extras("max_concurrency", 0, 65, "2.5", {}, 10**400),
    *extras("verify", "/no/such/file", "/", "v" * 300, "a\x00b", 1, "no", [], "http://u:hush@h:1"),
    *extras("verify", "{folder}/binary", host="https://127.0.0.1:9"),
    *extras("proxies", *NO_PROXIES),
    *extras("proxies", "http://hush@proxy", "http://hush:%C3%A9@proxy", "{hush"),
    *extras("proxies", {"http://u:hush@h:1": None}, {"all": "http://hush", "HTTP": "http://hush"}),
    *extras("proxies", "http://proxy:3128", host="http://127.0.0.1:8099"),
    *extras("private_key", "hush"),
    *extras("private_key", "hush", 5, ["hush"], password=None),
    case("private_key_file", password=None, extra={"private_key": "hush", "private_key_file": "/k"}),
    *extras("private_key_passphrase", "hush-passphrase"),
    case("password", password=None, extra={"private_key_passphrase": "hush-passphrase"}),
    case(
        "private_key_passphrase",
        password=None,
        extra={"private_key": "hush", "private_key_passphrase": 5},
    ),
    *extras("private_key_file", 5, "MC4CAQAwBQYDK2VwBCIEIhush", f"/{HUSH * 16}", password=None),
    *extras("private_key_file", "/run/secrets/missing.pem", "~nobody-here/key", password=None),
    *extras("private_key_file", "-----BEGIN PRIVATE KEY-----\nhush\n", password=None),
    *extras("private_key_file", "{folder}", "{folder}/loop", password=None),
    *extras("private_key_file", "{folder}/binary", "{folder}/\x00", password=None),
    *extras("private_key_file", "{folder}/pipe", "{folder}/link", "{folder}/large", password=None),
    *extras("private_key_file", "/dev/zero", "/dev/full", "***", password=None),
    *cases("login", "***"),
    *cases("password", "***", "********"),
    *extras("private_key", "***", password=None),
    case(
        "private_key_passphrase",
        password=None,
        extra={"private_key": "-----BEGIN ENCRYPTED PRIVATE KEY-----", "private_key_passphrase": "***"},
    ),
    *extras("proxies", "http://user:***@proxy", "socks5h://proxy:1080", "SOCKS4://user:hush@proxy"),
]


def provoke(case: Case, environment: Environment) -> None:
    """Run into the error of a case."""
    with environment.connection(**case.given):
        pull_sync()


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_names_the_field_of_the_connection(case: Case, environment: Environment, refused: Any) -> None:
    """Each way of asking says the same of a wrong field, and names the connection where it has a name."""
    with environment.connection(**case.given):
        errors = [refused(ConfigurationError, case.field, pull) for pull in PULLS]
        task = BinanceLoanForceLiquidationOperator(task_id="pull")
        failure = refused(AirflowFailException, case.field, lambda: task.execute(run_context()))
        tested = BinanceLoanHook().test_connection()
    assert [(error.conn_id, error.status, error.code, error.path) for error in errors] == [
        (CONN_ID, None, None, None)
    ] * 2
    assert len({str(error) for error in (*errors, failure)}) == 1
    assert tested == (False, errors[0].message)


# Airflow stores such extras as they are saved, though no program can use them.
UNREADABLE = [
    Case("too many levels", "extra", {"extra": "[" * 100_000}),
    Case("unpaired surrogate", "extra", {"extra": r'{"private_key_passphrase": "\ud800"}'}),
    Case("too many digits", "extra", {"extra": f'{{"timeout": {"9" * 5000}}}'}),
]
# Whether it can be read depends on how deep the stack is, so it is not in the golden file.
TOO_DEEP_TO_WRITE = Case("too deep to write", "extra", {"extra": f'{{"timeout": {"[" * 980}{"]" * 980}}}'})


def provoke_unreadable(case: Case, environment: Environment) -> None:
    """Run into the error of extras that cannot be read."""
    parse_connection(Connection(conn_id=CONN_ID, conn_type="binance_loan", login=HUSH, **case.given))


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.id) for case in [*UNREADABLE, TOO_DEEP_TO_WRITE]]
)
def test_names_extras_that_cannot_be_read(case: Case, environment: Environment, refused: Any) -> None:
    """Extras that no program can hold are an error as any other."""
    error = refused(ConfigurationError, case.field, lambda: provoke_unreadable(case, environment))
    assert error.conn_id == CONN_ID


def test_a_rotated_key_works_on_the_next_call(environment: Environment, sandbox: SandboxServer) -> None:
    """The connection is read again for each call and each task, also by a hook that was made before."""
    exchange, hook = sandbox.exchange, BinanceLoanHook(clock=FakeClock())
    window = NOW - HOUR, NOW
    exchange.keys = {"k" * 64: ApiKey("k" * 64, "old")}
    with environment.connection(host=sandbox.url, login="k" * 64, password="old"):
        assert hook.get_force_liquidations(*window) == []
        assert asyncio.run(hook.aget_force_liquidations(*window)) == []
        exchange.keys = {"r" * 64: ApiKey("r" * 64, "new")}
        with pytest.raises(AuthRefusedError):
            hook.get_force_liquidations(*window)
        with pytest.raises(AuthRefusedError):
            asyncio.run(hook.aget_force_liquidations(*window))
    with environment.connection(host=sandbox.url, login="r" * 64, password="new"):
        assert hook.get_force_liquidations(*window) == []
        assert asyncio.run(hook.aget_force_liquidations(*window)) == []
        exchange.clock = lambda: datetime.now(UTC).timestamp()
        assert BinanceLoanForceLiquidationOperator(task_id="pull").execute(run_context()) == []
