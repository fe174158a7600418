"""Bad input: each wrong field or argument has its own sentence, and Binance is not asked."""

from __future__ import annotations

import asyncio
import base64
import json
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Connection
from airflow.sdk._shared.secrets_masker import reset_secrets_masker
from airflow.sdk.exceptions import AirflowFailException
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from airflow_provider_binance_loan.binance.fields import parse_liquidations
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.client.settings import parse_connection
from airflow_provider_binance_loan.exceptions import AuthRefusedError, BadResponseError, ConfigurationError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sandbox.exchange import ApiKey, Exchange
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor
from airflow_provider_binance_loan.triggers import (
    BinanceLoanForceLiquidationEventTrigger,
    BinanceLoanForceLiquidationTrigger,
)
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.hook_client import KINDS, HookClient
from tests.support.raw import EMPTY, answer, error, raw_server
from tests.support.runs import run_context

# In every secret below that is no PEM, and in no sentence.
HUSH = "hush"


@pytest.fixture(autouse=True)
def forgetful() -> None:
    """Let Airflow's masker forget: each of so many secrets would slow each line of the log that follows."""
    reset_secrets_masker()


@pytest.fixture(scope="module")
def unasked() -> Iterator[SandboxServer]:
    """A local Binance that all tests share, since none of them asks it."""
    with SandboxServer(Exchange(clock=FakeClock().time, history=False)) as server:
        yield server


@pytest.fixture
def connect(unasked: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Define the default connection, right but for the fields that are given."""

    def define(**fields: Any) -> None:
        right = {
            "conn_type": "binance_loan",
            "host": unasked.url,
            "login": f"{HUSH}-key",
            "password": f"{HUSH}-secret",
        }
        monkeypatch.setenv("AIRFLOW_CONN_BINANCE_LOAN_DEFAULT", json.dumps(right | fields))

    define()
    return define


@pytest.fixture
def refused(unasked: SandboxServer) -> Any:
    """Expect an error: its class, its whole text, no secret in it or behind it, and no request."""
    unasked.exchange.requests.clear()

    @contextmanager
    def expect(kind: type[Exception], text: str, secrets: Iterable[str] = (HUSH,)) -> Iterator[None]:
        with pytest.raises(kind) as caught:
            yield
        assert (type(caught.value), str(caught.value)) == (kind, text)
        told = "".join(traceback.format_exception(caught.value))
        assert [secret for secret in secrets if secret in told] == []
        assert unasked.exchange.requests == []

    return expect


@pytest.fixture(params=KINDS)
def pull(request: pytest.FixtureRequest, connect: object) -> Callable[..., Any]:
    return HookClient(request.param, clock=FakeClock()).pull


def operator(**arguments: Any) -> BinanceLoanForceLiquidationOperator:
    return BinanceLoanForceLiquidationOperator(task_id="pull", **arguments)


# Connections

KNOWN = (
    "recv_window, timeout, max_wait, private_key, private_key_passphrase, private_key_file, proxies, verify, "
    "max_concurrency"
)
NOT_SHOWN = "too long, or has an @, to be shown"
VERIFY = "give true, false, or the path of a CA bundle."
NO_HOST = "host is not a host name or a base URL such as https://api.binance.com."
HTTP_PROXY = (
    "proxies is filled in, and host is plain http, to this machine: a proxy would be given the API key in "
    "the clear; leave it empty, or use https."
)
NO_PROXY = "proxies is not the URL of an http or https proxy."
AROUND = "has white space around it: paste it again without."
WITHIN = "has a character that no Binance key has: paste it again."
LOGIN, PASSWORD = "login (the API key)", "password (the HMAC secret)"
UNDEFINED = "is not defined, or in no form that Airflow can parse: add it, of type binance_loan."
UNREADABLE = "is JSON with half of a character, a number too long, or too many levels: mend it."
BARE = (
    "password is a key without its first and last line: paste all of the private key, from -----BEGIN to "
    "-----END and the dashes after it."
)
DAMAGED = "cannot be read: the PEM is damaged or of a kind that is not supported."
OPENSSH = (
    "holds a key in the format of OpenSSH, which Binance does not take: make one with openssl genpkey "
    "-algorithm ed25519."
)
NUMERALS = "give a number from 1 to 600."
IN_THE_CLEAR = (
    "plain http would send the API key in the clear, and is taken for this machine's own addresses only; "
    "use https."
)
NONE = "holds no private key: paste the PEM that begins with -----BEGIN PRIVATE KEY-----"
NO_KEY = "password is empty: put the HMAC secret there, or a private key into private_key."

CONNECTIONS: list[tuple[dict[str, Any], str]] = [
    ({"login": None}, "login is empty: put the API key there."),
    ({"login": ""}, "login is empty: put the API key there."),
    ({"login": " "}, f"{LOGIN} {AROUND}"),
    ({"login": "hush "}, f"{LOGIN} {AROUND}"),
    ({"login": "\thush"}, f"{LOGIN} {AROUND}"),
    ({"login": "hush\n"}, f"{LOGIN} {AROUND}"),
    ({"login": "hush\u00a0"}, f"{LOGIN} {AROUND}"),
    ({"login": "hu\nsh"}, f"{LOGIN} {WITHIN}"),
    ({"login": "hush hush"}, f"{LOGIN} {WITHIN}"),
    ({"login": "húsh-hush"}, f"{LOGIN} {WITHIN}"),
    ({"login": "hush\u200bhush"}, f"{LOGIN} {WITHIN}"),
    ({"login": "\ufeffhush"}, f"{LOGIN} {WITHIN}"),
    ({"login": '"hush"'}, f"{LOGIN} {WITHIN}"),
    ({"login": "None"}, f"{LOGIN} says None: put the key there."),
    ({"login": "null"}, f"{LOGIN} says null: put the key there."),
    ({"login": "{{ var.value.hush }}"}, f"{LOGIN} {WITHIN}"),
    ({"password": None}, NO_KEY),
    ({"password": ""}, NO_KEY),
    ({"password": "\thush"}, f"{PASSWORD} {AROUND}"),
    ({"password": "hush\r\n"}, f"{PASSWORD} {AROUND}"),
    ({"password": "hush\x00hush"}, f"{PASSWORD} {WITHIN}"),
    ({"password": "hush hush"}, f"{PASSWORD} {WITHIN}"),
    ({"password": "ssh-ed25519 hush user@host"}, f"{PASSWORD} {WITHIN}"),
    ({"password": "null"}, f"{PASSWORD} says null: put the key there."),
    ({"password": f"MIIE{HUSH * 99}"}, BARE),
    ({"password": "MC4CAQAwBQYDK2VwBCIEIhush"}, BARE),
    ({"password": "MCowBQYDK2VwAyEAhush"}, BARE),
    ({"password": f"MIGb{HUSH * 40}"}, BARE),
    ({"password": "-----BEGIN PRIVATE KEY-----\nhush\n"}, f"password {DAMAGED}"),
    ({"password": "----BEGIN PRIVATE KEY----\nhush\n"}, f"password {NONE}."),
    ({"conn_type": "http"}, "conn_type is 'http': give one of type binance_loan."),
    ({"schema": "https"}, "schema is not used: leave it empty and put https:// into host."),
    ({"host": "http://api.binance.com"}, f"host is 'http://api.binance.com': {IN_THE_CLEAR}"),
    ({"host": "HTTP://api.binance.com"}, f"host is 'HTTP://api.binance.com': {IN_THE_CLEAR}"),
    ({"host": "http://127.0.0.1.example.com"}, f"host is 'http://127.0.0.1.example.com': {IN_THE_CLEAR}"),
    ({"host": "http://0.0.0.0"}, f"host is 'http://0.0.0.0': {IN_THE_CLEAR}"),
    ({"host": "http://10.0.0.1:80"}, f"host is 'http://10.0.0.1:80': {IN_THE_CLEAR}"),
    ({"host": "ftp://api.binance.com"}, "host has the scheme 'ftp': use https."),
    ({"host": "wss://api.binance.com"}, "host has the scheme 'wss': use https."),
    ({"host": "https://user:hush@api.binance.com"}, NO_HOST),
    ({"host": "user:hush@api.binance.com"}, NO_HOST),
    ({"host": "http://hush@127.0.0.1"}, NO_HOST),
    ({"host": "https://api.binance.com?hush=1"}, NO_HOST),
    ({"host": "https://api.binance.com#hush"}, NO_HOST),
    ({"host": "https:/api.binance.com"}, NO_HOST),
    ({"host": "https//api.binance.com"}, NO_HOST),
    ({"host": "https://https://api.binance.com"}, NO_HOST),
    ({"host": "https"}, NO_HOST),
    ({"host": "api.bin\nance.com"}, NO_HOST),
    ({"host": "api.bin\tance.com"}, NO_HOST),
    ({"host": "http://[::1].com"}, NO_HOST),
    ({"host": "api.binance.com:0"}, NO_HOST),
    ({"host": "api.binance.com:"}, NO_HOST),
    ({"host": "a." * 126 + "com"}, NO_HOST),
    ({"host": "https://api.binance.com/hu sh"}, NO_HOST),
    ({"host": f"ftp{'p' * 999}://a"}, f"host has the scheme {NOT_SHOWN}: use https."),
    ({"host": "https://"}, NO_HOST),
    ({"host": "//api.binance.com"}, NO_HOST),
    ({"host": "api binance com"}, NO_HOST),
    ({"host": "a..b.com"}, NO_HOST),
    ({"host": "-a.com"}, NO_HOST),
    ({"host": "*.binance.com"}, NO_HOST),
    ({"host": "xn--a.éxample"}, NO_HOST),
    ({"host": "https://api.binance.com\\@example.com"}, NO_HOST),
    ({"host": "a" * 64 + ".com"}, NO_HOST),
    ({"host": "file:///etc/passwd"}, NO_HOST),
    ({"host": "api.binance.com:http"}, NO_HOST),
    ({"host": "api.binance.com:99999"}, NO_HOST),
    ({"host": "https://[::1"}, NO_HOST),
    ({"host": f"{HUSH}:{HUSH}"}, NO_HOST),
    ({"host": f"https://user:{HUSH}@api.binance.com:x"}, NO_HOST),
    ({"host": "api.binance.com:1", "port": 2}, "port is 2, and host says 1: give one of them."),
    ({"port": 70000}, "port is 70000: give one from 1 to 65535, or leave it empty."),
    ({"port": -1}, "port is -1: give one from 1 to 65535, or leave it empty."),
    ({"extra": "{"}, "extra is not JSON."),
    ({"extra": "{'timeout': 5}"}, "extra is not JSON."),
    ({"extra": "timeout=5"}, "extra is not JSON."),
    ({"extra": "[]"}, "extra is not a JSON object."),
    ({"extra": '"hush"'}, "extra is not a JSON object."),
    ({"extra": "null"}, "extra is not a JSON object."),
    ({"conn_type": HUSH * 16}, f"conn_type is {NOT_SHOWN}: give one of type binance_loan."),
    (
        {"extra": {"recv_window": HUSH * 16}},
        f"recv_window is {NOT_SHOWN}: give a whole number from 1 to 59999.",
    ),
    ({"extra": {"verify": "http://u:hush@h:1"}}, f"verify is {NOT_SHOWN}: {VERIFY}"),
    (
        {"extra": {"proxies": {"http://u:hush@h:1": None}}},
        f"proxies has {NOT_SHOWN}: it knows http, https only.",
    ),
    ({"extra": {"t" * 999: 1}}, f"extra has {NOT_SHOWN}: it knows {KNOWN} only."),
    ({"extra": {"recvWindow": 1}}, f"extra has 'recvWindow': it knows {KNOWN} only."),
    ({"extra": {"api_key": "hush"}}, f"extra has 'api_key': it knows {KNOWN} only."),
    ({"extra": {"b": 1, "a": 1, "timeout": 1}}, f"extra has 'a': it knows {KNOWN} only."),
    ({"extra": {"recv_window": 0}}, "recv_window is 0: give a whole number from 1 to 59999."),
    ({"extra": {"recv_window": 60000}}, "recv_window is 60000: give a whole number from 1 to 59999."),
    ({"extra": {"recv_window": 1.5}}, "recv_window is 1.5: give a whole number from 1 to 59999."),
    ({"extra": {"recv_window": "soon"}}, "recv_window is 'soon': give a whole number from 1 to 59999."),
    ({"extra": {"recv_window": True}}, "recv_window is True: give a whole number from 1 to 59999."),
    ({"extra": {"recv_window": []}}, "recv_window is []: give a whole number from 1 to 59999."),
    ({"extra": {"recv_window": float("nan")}}, "recv_window is nan: give a whole number from 1 to 59999."),
    ({"extra": {"timeout": 0}}, "timeout is 0: give a number from 1 to 600."),
    ({"extra": {"timeout": 600.1}}, "timeout is 600.1: give a number from 1 to 600."),
    ({"extra": {"timeout": "nan"}}, "timeout is 'nan': give a number from 1 to 600."),
    ({"extra": {"timeout": "\u0665"}}, f"timeout is '\u0665': {NUMERALS}"),
    ({"extra": {"timeout": "5_0"}}, f"timeout is '5_0': {NUMERALS}"),
    ({"extra": {"timeout": "1e1"}}, f"timeout is '1e1': {NUMERALS}"),
    ({"extra": {"timeout": "9" * 400}}, f"timeout is {NOT_SHOWN}: {NUMERALS}"),
    ({"extra": {"timeout": "5s"}}, "timeout is '5s': give a number from 1 to 600."),
    ({"extra": {"timeout": [1]}}, "timeout is [1]: give a number from 1 to 600."),
    ({"extra": {"timeout": float("inf")}}, "timeout is inf: give a number from 1 to 600."),
    ({"extra": {"max_wait": -1}}, "max_wait is -1: give a number from 0 to 3600."),
    ({"extra": {"max_wait": 3601}}, "max_wait is 3601: give a number from 0 to 3600."),
    ({"extra": {"max_wait": "1m"}}, "max_wait is '1m': give a number from 0 to 3600."),
    ({"extra": {"max_wait": False}}, "max_wait is False: give a number from 0 to 3600."),
    ({"extra": {"max_concurrency": 0}}, "max_concurrency is 0: give a whole number from 1 to 32."),
    ({"extra": {"max_concurrency": 33}}, "max_concurrency is 33: give a whole number from 1 to 32."),
    ({"extra": {"max_concurrency": "2.5"}}, "max_concurrency is '2.5': give a whole number from 1 to 32."),
    ({"extra": {"max_concurrency": {}}}, "max_concurrency is {}: give a whole number from 1 to 32."),
    (
        {"extra": {"max_concurrency": 10**400}},
        f"max_concurrency is {NOT_SHOWN}: give a whole number from 1 to 32.",
    ),
    (
        {"extra": {"verify": "/no/such/file"}},
        "verify is '/no/such/file': give true, false, or the path of a CA bundle.",
    ),
    ({"extra": {"verify": "/"}}, "verify is '/': give true, false, or the path of a CA bundle."),
    (
        {"extra": {"verify": "v" * 300}},
        f"verify is {NOT_SHOWN}: give true, false, or the path of a CA bundle.",
    ),
    (
        {"extra": {"verify": "a\x00b"}},
        r"verify is 'a\x00b': give true, false, or the path of a CA bundle.",
    ),
    ({"extra": {"verify": 1}}, "verify is 1: give true, false, or the path of a CA bundle."),
    ({"extra": {"verify": "no"}}, "verify is 'no': give true, false, or the path of a CA bundle."),
    ({"extra": {"verify": []}}, "verify is []: give true, false, or the path of a CA bundle."),
    ({"extra": {"proxies": "hush:3128"}}, NO_PROXY),
    ({"extra": {"proxies": "ftp://hush"}}, NO_PROXY),
    ({"extra": {"proxies": "socks5://user:hush@proxy"}}, NO_PROXY),
    ({"extra": {"proxies": "http://user:hush@proxy:abc"}}, NO_PROXY),
    ({"extra": {"proxies": "http://:3128"}}, NO_PROXY),
    ({"extra": {"proxies": "http://[::1"}}, NO_PROXY),
    ({"extra": {"proxies": " http://proxy:3128"}}, NO_PROXY),
    ({"extra": {"proxies": "http://proxy:3128\n"}}, NO_PROXY),
    ({"extra": {"proxies": "http://pro\txy"}}, NO_PROXY),
    ({"extra": {"proxies": "http://proxy:0"}}, NO_PROXY),
    ({"extra": {"proxies": "http://user:hush@hush@proxy"}}, NO_PROXY),
    ({"extra": {"proxies": "http://proxy/hush"}}, NO_PROXY),
    (
        {"extra": {"proxies": "http://hush@proxy"}},
        "proxies has a user without a password: write user:password@.",
    ),
    (
        {"extra": {"proxies": "http://hush:%C3%A9@proxy"}},
        "proxies has a user or password beyond ASCII: give the proxy another.",
    ),
    ({"extra": {"proxies": 3128}}, NO_PROXY),
    (
        {"host": "http://127.0.0.1:8099", "extra": {"proxies": "http://proxy:3128"}},
        HTTP_PROXY,
    ),
    ({"extra": {"proxies": False}}, NO_PROXY),
    ({"extra": {"proxies": ["http://proxy"]}}, NO_PROXY),
    ({"extra": {"proxies": {"http": 3128}}}, NO_PROXY),
    ({"extra": {"proxies": "{hush"}}, "proxies is not JSON."),
    (
        {"extra": {"proxies": {"all": "http://hush", "HTTP": "http://hush"}}},
        "proxies has 'HTTP': it knows http, https only.",
    ),
    (
        {"extra": {"private_key": "hush"}},
        "password and private_key are both filled in: keep one, the one that belongs to the API key.",
    ),
    (
        {"password": None, "extra": {"private_key": "hush", "private_key_file": "/k"}},
        "private_key and private_key_file are both filled in: keep one, the one that belongs to the API key.",
    ),
    (
        {"extra": {"private_key_passphrase": "hush-passphrase"}},
        "private_key_passphrase is filled in, but there is no private key.",
    ),
    ({"password": None, "extra": {"private_key_passphrase": "hush-passphrase"}}, NO_KEY),
    ({"password": None, "extra": {"private_key": "hush"}}, f"private_key {NONE}."),
    ({"password": None, "extra": {"private_key": 5}}, "private_key is not a text."),
    ({"password": None, "extra": {"private_key": ["hush"]}}, "private_key is not a text."),
    (
        {"password": None, "extra": {"private_key": "hush", "private_key_passphrase": 5}},
        "private_key_passphrase is not a text.",
    ),
    (
        {"password": None, "extra": {"private_key_file": "MC4CAQAwBQYDK2VwBCIEIhush"}},
        "private_key_file cannot be read: No such file or directory.",
    ),
    ({"password": None, "extra": {"private_key_file": 5}}, "private_key_file is not a text."),
    (
        {"password": None, "extra": {"private_key_file": "/run/secrets/missing.pem"}},
        "private_key_file '/run/secrets/missing.pem' cannot be read: No such file or directory.",
    ),
    (
        {"password": None, "extra": {"private_key_file": f"/{HUSH * 16}"}},
        f"private_key_file {NOT_SHOWN} cannot be read: No such file or directory.",
    ),
    (
        {"password": None, "extra": {"private_key_file": "{folder}"}},
        "private_key_file '{folder}' cannot be read: Is a directory.",
    ),
    (
        {"password": None, "extra": {"private_key_file": "{folder}/loop"}},
        "private_key_file '{folder}/loop' cannot be read: Too many levels of symbolic links.",
    ),
    (
        {"password": None, "extra": {"private_key_file": "{folder}/binary"}},
        "private_key_file '{folder}/binary' cannot be read: it is no text in UTF-8, or no path.",
    ),
    (
        {"password": None, "extra": {"private_key_file": "{folder}/\x00"}},
        "private_key_file '{folder}/\\x00' cannot be read: it is no text in UTF-8, or no path.",
    ),
    (
        {"password": None, "extra": {"private_key_file": "~nobody-here/key"}},
        "private_key_file '~nobody-here/key' cannot be read: it is no text in UTF-8, or no path.",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files that hold no key."""
    made = tmp_path_factory.mktemp("keys")
    (made / "binary").write_bytes(b"\xff\x00hush")
    (made / "loop").symlink_to(made / "loop")
    return made


def within(folder: Path, value: Any) -> Any:
    """Return a value with the folder in place of its name."""
    if isinstance(value, dict):
        return {key: within(folder, item) for key, item in value.items()}
    return value.replace("{folder}", str(folder)) if isinstance(value, str) else value


@pytest.mark.parametrize(("fields", "text"), CONNECTIONS)
def test_says_which_field_of_the_connection_is_wrong(
    fields: dict[str, Any], text: str, folder: Path, connect: Any, refused: Any
) -> None:
    """Each wrong field has its sentence, the same in every way of asking, which names it and no secret.

    It begins with the connection, but not where that is what is tested.
    """
    connect(**within(folder, fields))
    text = within(folder, text)
    named = f"Connection 'binance_loan_default': {text}"
    for kind in ("sync", "async"):
        with refused(ConfigurationError, named):
            HookClient(kind, clock=FakeClock()).pull(NOW - HOUR, NOW)
    with refused(AirflowFailException, named):
        operator().execute(run_context())
    assert BinanceLoanHook().test_connection() == (False, text)
    extra = fields.get("extra")
    names = [*fields, *(extra if isinstance(extra, dict) else ())]
    assert any(name in text for name in names)


@pytest.mark.parametrize(
    "extra",
    [
        "[" * 100_000,
        r'{"private_key_passphrase": "\ud800"}',
        f'{{"timeout": {"9" * 5000}}}',
        f'{{"timeout": {"[" * 980}{"]" * 980}}}',
    ],
    ids=["too deep", "half of a character", "too many digits", "too deep to write"],
)
def test_says_which_extras_cannot_be_read(extra: str, refused: Any) -> None:
    """What Airflow keeps as it was saved, and no program can hold, has a sentence too."""
    with refused(ConfigurationError, f"Connection 'c': extra {UNREADABLE}"):
        parse_connection(Connection(conn_id="c", conn_type="binance_loan", login=HUSH, extra=extra))


@pytest.mark.parametrize(
    ("conn_id", "shown"),
    [
        ("missing", "'missing'"),
        ("", "''"),
        (None, "None"),
        ("a b", "'a b'"),
        (5, "5"),
        ("\ud800", r"'\ud800'"),
        ("x" * 9999, NOT_SHOWN),
        ("binance-loan://hush:hush@", NOT_SHOWN),
    ],
)
def test_says_which_connection_is_missing(conn_id: Any, shown: str, connect: object, refused: Any) -> None:
    """A connection that is not there is named, and its type too."""
    text = f"Connection {shown} {UNDEFINED}"
    with refused(ConfigurationError, text):
        BinanceLoanHook(conn_id).get_force_liquidations(NOW - HOUR, NOW)
    with refused(ConfigurationError, text):
        asyncio.run(BinanceLoanHook(conn_id).aget_force_liquidations(NOW - HOUR, NOW))
    with refused(AirflowFailException, text):
        operator(binance_loan_conn_id=conn_id).execute(run_context())


def test_a_rotated_key_works_on_the_next_call(connect: Any, sandbox: SandboxServer) -> None:
    """The connection is read anew for each call and each task, by a hook that was made before as well."""
    clock = FakeClock()
    clients = [HookClient("sync", clock=clock), HookClient("async", clock=clock)]
    sandbox.exchange.keys = {"k" * 64: ApiKey("k" * 64, "old")}
    connect(host=sandbox.url, login="k" * 64, password="old")
    for client in clients:
        assert client.pull(NOW - HOUR, NOW) == []
    sandbox.exchange.keys = {"r" * 64: ApiKey("r" * 64, "new")}
    for client in clients:
        with pytest.raises(AuthRefusedError):
            client.pull(NOW - HOUR, NOW)
    connect(host=sandbox.url, login="r" * 64, password="new")
    for client in clients:
        assert client.pull(NOW - HOUR, NOW) == []
    sandbox.exchange.clock = lambda: datetime.now(UTC).timestamp()
    assert operator().execute(run_context()) == []


# Keys


def pem_of(key: Any, form: PrivateFormat = PrivateFormat.PKCS8, passphrase: bytes | None = None) -> str:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return str(key.private_bytes(Encoding.PEM, form, encryption).decode())


def certificate_of(key: ed25519.Ed25519PrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mine")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .sign(key, None)
    )
    return made.public_bytes(Encoding.PEM).decode()


ED25519 = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)
ED25519_PEM, RSA_PEM = pem_of(ED25519), pem_of(RSA)
SHORT_RSA_PEM = pem_of(rsa.generate_private_key(65537, 1024))
PASSPHRASE = "hush-passphrase"
ENCRYPTED = pem_of(ED25519, passphrase=PASSPHRASE.encode())
TRADITIONAL = PrivateFormat.TraditionalOpenSSL
PUBLIC = ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
WRONG = "cannot be read with this private_key_passphrase: the PEM is damaged, or the passphrase is wrong."
ANOTHER = "Binance accepts Ed25519 and RSA private keys."

# a name, the PEM, the passphrase, and the key that it is
KEYS: dict[str, tuple[str, str | None, Any]] = {
    "ed25519": (ED25519_PEM, None, ED25519),
    "rsa": (RSA_PEM, None, RSA),
    "old-style rsa": (pem_of(RSA, TRADITIONAL), None, RSA),
    "behind its certificate": (certificate_of(ED25519) + ED25519_PEM, None, ED25519),
    "with a byte order mark": ("\ufeff" + ED25519_PEM, None, ED25519),
    "encrypted ed25519": (ENCRYPTED, PASSPHRASE, ED25519),
    "encrypted rsa": (pem_of(RSA, passphrase=PASSPHRASE.encode()), PASSPHRASE, RSA),
    "old-style encrypted rsa": (pem_of(RSA, TRADITIONAL, PASSPHRASE.encode()), PASSPHRASE, RSA),
}

# a name, the PEM, the passphrase, and what is said of it after the field's name
WRONG_KEYS: dict[str, tuple[str, str | None, str]] = {
    "public": (PUBLIC, None, f"{NONE}, not the public key."),
    "certificate": (certificate_of(ED25519), None, f"{NONE}."),
    "ec": (pem_of(ec.generate_private_key(ec.SECP256R1())), None, f"holds a key of type EC: {ANOTHER}"),
    "dsa": (pem_of(dsa.generate_private_key(1024)), None, f"holds a key of type DSA: {ANOTHER}"),
    "ed448": (pem_of(ed448.Ed448PrivateKey.generate()), None, f"holds a key of type Ed448: {ANOTHER}"),
    "openssh": (pem_of(ED25519, PrivateFormat.OpenSSH), None, OPENSSH),
    "short rsa": (SHORT_RSA_PEM, None, "holds an RSA key of 1024 bits: Binance accepts 2048 and 4096."),
    "damaged": (ED25519_PEM.replace("MC", "MD"), None, DAMAGED),
    "cut short": (ED25519_PEM.replace(ED25519_PEM[60:70], ""), None, DAMAGED),
    "empty": ("-----BEGIN PRIVATE KEY-----\n\n-----END PRIVATE KEY-----\n", None, DAMAGED),
    "mislabelled": (ED25519_PEM.replace(" PRIVATE", " RSA PRIVATE"), None, DAMAGED),
    "no passphrase": (ENCRYPTED, None, "is encrypted: fill in private_key_passphrase."),
    "wrong passphrase": (ENCRYPTED, "hush", WRONG),
    "wrong passphrase of old style": (pem_of(RSA, TRADITIONAL, PASSPHRASE.encode()), "hush", WRONG),
    "spaced passphrase": (ENCRYPTED, f"{PASSPHRASE} ", WRONG),
    "needless passphrase": (
        ED25519_PEM,
        PASSPHRASE,
        "is not encrypted: leave private_key_passphrase empty.",
    ),
}

# as people paste it
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda pem: pem,
    "no last line end": lambda pem: pem.strip(),
    "of windows": lambda pem: pem.replace("\n", "\r\n"),
    "written out": lambda pem: pem.replace("\n", "\\n"),
    "written out, of windows": lambda pem: pem.replace("\n", "\\r\\n"),
    "spaces": lambda pem: pem.replace("\n", " "),
    "joined": lambda pem: pem.replace("\n", ""),
    "indented": lambda pem: textwrap.indent(f"\n{pem}\n", "    "),
    "quoted": json.dumps,
    "base64": lambda pem: base64.b64encode(pem.encode()).decode(),
    "base64 without padding": lambda pem: base64.b64encode(pem.encode()).decode().rstrip("="),
    "base64 lines": lambda pem: base64.encodebytes(pem.encode()).decode(),
}
# each form in each field that it may be pasted into, and a file
PASTED = [
    *(
        pytest.param(place, form, id=f"{name} in {place}")
        for name, form in FORMS.items()
        for place in ("password", "private_key")
    ),
    pytest.param("private_key_file", FORMS["as it is"], id="file"),
]


@pytest.fixture
def unmasked(mocker: Any) -> None:
    """Leave the masker out: it would take longer over the lines of so many keys than all else does."""
    mocker.patch("airflow_provider_binance_loan.client.redaction.mask_secret")


def put(place: str, pem: str, passphrase: str | None, folder: Path) -> dict[str, Any]:
    """Return a connection's fields with a PEM in one of the places for it."""
    extra = {"private_key_passphrase": passphrase}
    if place == "password":
        return {"password": pem, "extra": extra}
    if place == "private_key_file":
        file = folder / "key.pem"
        file.write_text(pem)
        pem = str(file)
    return {"password": None, "extra": {**extra, place: pem}}


@pytest.mark.usefixtures("unmasked")
@pytest.mark.parametrize(("place", "form"), PASTED)
@pytest.mark.parametrize(("pem", "passphrase", "key"), KEYS.values(), ids=KEYS)
def test_takes_a_key_as_people_paste_it(
    pem: str, passphrase: str | None, key: Any, form: Any, place: str, folder: Path, connect: Any
) -> None:
    """A private key signs the same in whatever form a form field left it, and in whichever field it is."""
    connect(**put(place, form(pem), passphrase, folder))
    signature = base64.b64decode(BinanceLoanHook()._settings().credentials.sign(b"payload"))
    scheme = (padding.PKCS1v15(), SHA256()) if key is RSA else ()
    key.public_key().verify(signature, b"payload", *scheme)


@pytest.mark.usefixtures("unmasked")
@pytest.mark.parametrize(("place", "form"), PASTED)
@pytest.mark.parametrize(("pem", "passphrase", "says"), WRONG_KEYS.values(), ids=WRONG_KEYS)
def test_says_what_is_wrong_with_a_key(
    pem: str,
    passphrase: str | None,
    says: str,
    form: Any,
    place: str,
    folder: Path,
    connect: Any,
    refused: Any,
) -> None:
    """Each wrong key has its sentence in whatever form it comes, which tells nothing of the key."""
    pasted = form(pem)
    connect(**put(place, pasted, passphrase, folder))
    secrets = [line for line in f"{pem}\n{pasted}".split() if len(line) > 16 and "-----" not in line]
    with refused(ConfigurationError, f"Connection 'binance_loan_default': {place} {says}", [HUSH, *secrets]):
        BinanceLoanHook().get_force_liquidations(NOW - HOUR, NOW)


# Arguments

ELEVEN, NOON = "2026-03-01T11:00:00+00:00", "2026-03-01T12:00:00+00:00"
NAIVE = "which has no time zone: add one, for example UTC."
YEARS = "give a time of the years from 1970 to 2999."
DURATION = "give a timedelta from 0 to 3650 days."
INTERVAL = "give a number of seconds from 1 to 604800."
SECONDS = "give a number of seconds from 0 to 315360000."
EPOCH_SECONDS = "give a number of seconds from 0 to 32503680000."
FLAG = "give True or False."
XCOMS = "give a whole number from 0 to 1000000."


class Endless:
    """What cannot be written out."""

    def __repr__(self) -> str:
        raise RecursionError


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        (
            datetime(2026, 3, 1),
            NOW,
            f"start is 2026-03-01T00:00:00, {NAIVE}",
        ),
        (
            NOW,
            datetime(2026, 3, 2),
            f"end is 2026-03-02T00:00:00, {NAIVE}",
        ),
        (
            NOW,
            NOW - HOUR,
            f"end is {ELEVEN}, before start, {NOON}: swap them or mend the schedule.",
        ),
        (
            datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
            NOW,
            f"start is 1969-12-31T23:59:59: {YEARS}",
        ),
        ("2026-03-01T00:00:00Z", NOW, "start is '2026-03-01T00:00:00Z': give a datetime with time zone."),
        (None, NOW, "start is None: give a datetime with time zone."),
        (NOW, 1772323200000, "end is 1772323200000: give a datetime with time zone."),
        (
            date(2026, 3, 1),
            NOW,
            "start is datetime.date(2026, 3, 1): give a datetime with time zone.",
        ),
        (Endless(), NOW, "start is something of type Endless: give a datetime with time zone."),
        ("5" * 5000, NOW, f"start is '{'5' * 199}…: give a datetime with time zone."),
        (
            NOW,
            datetime.max.replace(tzinfo=timezone(-HOUR)),
            f"end is 9999-12-31T23:59:59.999999: {YEARS}",
        ),
        (datetime.min.replace(tzinfo=timezone(HOUR)), NOW, f"start is 0001-01-01T00:00:00: {YEARS}"),
        (NOW, datetime(3000, 1, 1, tzinfo=UTC), f"end is 3000-01-01T00:00:00: {YEARS}"),
    ],
)
def test_says_what_is_wrong_with_a_window_of_the_hook(
    start: Any, end: Any, text: str, pull: Any, refused: Any
) -> None:
    """A window without time zone, or one that ends before it starts, is an error in both doors."""
    with refused(ConfigurationError, text):
        pull(start, end)


NO_UNITS = "use 'all', 'active', or ids of risk units, as a list or separated by commas."
THING = object()

RISK_UNITS: list[tuple[Any, str]] = [
    ("", f"risk_units holds '': {NO_UNITS}"),
    ("ALL", f"risk_units holds 'ALL': {NO_UNITS}"),
    (" all", f"risk_units holds ' all': {NO_UNITS}"),
    ("6,", f"risk_units holds '': {NO_UNITS}"),
    ("6;7", f"risk_units holds '6;7': {NO_UNITS}"),
    ("6\n7", f"risk_units holds '6\\n7': {NO_UNITS}"),
    ("[6, 7]", f"risk_units holds '[6': {NO_UNITS}"),
    ("all,6", f"risk_units holds 'all': {NO_UNITS}"),
    ("None", f"risk_units holds 'None': {NO_UNITS}"),
    ("-6", f"risk_units holds '-6': {NO_UNITS}"),
    ("٦", f"risk_units holds '٦': {NO_UNITS}"),
    ([10**5000], f"risk_units holds something of type int: {NO_UNITS}"),
    (2**63, f"risk_units holds {2**63}: {NO_UNITS}"),
    ("9" * 5000, f"risk_units holds '{'9' * 199}…: {NO_UNITS}"),
    (["all"], f"risk_units holds 'all': {NO_UNITS}"),
    (["6,7"], f"risk_units holds '6,7': {NO_UNITS}"),
    ([[6]], f"risk_units holds [6]: {NO_UNITS}"),
    ([6.5], f"risk_units holds 6.5: {NO_UNITS}"),
    ([None], f"risk_units holds None: {NO_UNITS}"),
    ([True], f"risk_units holds True: {NO_UNITS}"),
    (True, f"risk_units holds True: {NO_UNITS}"),
    (-1, f"risk_units holds -1: {NO_UNITS}"),
    ([], "risk_units is an empty list: use 'all', 'active', or name at least one id."),
    ((), "risk_units is an empty list: use 'all', 'active', or name at least one id."),
    (None, "risk_units is None: use 'all', 'active', or ids of risk units."),
    (6.5, "risk_units is 6.5: use 'all', 'active', or ids of risk units."),
    (b"6", "risk_units is b'6': use 'all', 'active', or ids of risk units."),
    (THING, f"risk_units is {THING!r}: use 'all', 'active', or ids of risk units."),
]


@pytest.mark.parametrize(("risk_units", "text"), RISK_UNITS)
def test_says_what_is_wrong_with_risk_units(
    risk_units: Any, text: str, connect: object, refused: Any
) -> None:
    """What names no unit is refused with the same sentence wherever it is given."""
    for kind in ("sync", "async"):
        with refused(ConfigurationError, text):
            HookClient(kind, clock=FakeClock()).pull(NOW - HOUR, NOW, risk_units=risk_units)
    with refused(ConfigurationError, text):
        BinanceLoanForceLiquidationEventTrigger(asset_name="a", risk_units=risk_units)
    with refused(AirflowFailException, text):
        operator(risk_units=risk_units).execute(run_context())
    with refused(AirflowFailException, text):
        BinanceLoanForceLiquidationSensor(task_id="wait", risk_units=risk_units).execute(run_context())


def instant(name: str, came: str) -> str:
    return f"{name} is {came}: give a datetime or an ISO 8601 instant such as 2026-03-01T09:00:00Z."


def empty(start: str, end: str, rule: str = "given on the task") -> str:
    return (
        f"The window from {start} to {end} ({rule}) is empty: the end must come after the start. On a "
        "schedule whose data interval has no width, leave out start and end, or use "
        "CronDataIntervalTimetable."
    )


EMPTY_NOW = empty(NOON, NOON)
BACKWARDS = timedelta(hours=-1)
ONE_OF_TWO = "s3_bucket is 'lake' and s3_key is a URL, 's3://lake/a': give one of them."
NO_TEXT = "give a text; a template may have rendered nothing."
NO_KEY_OF_S3 = "give a key of printable characters, 1024 bytes at the most."
WRONG_IN_URLS = "leave out a slash at its start, ? and #, which readers of s3:// URLs get wrong."
NO_OBJECT = "give the key of an object, not of a folder."

OPERATORS: list[tuple[dict[str, Any], str]] = [
    ({"start": "yesterday"}, instant("start", "'yesterday'")),
    ({"start": "now"}, instant("start", "'now'")),
    ({"start": " "}, instant("start", "' '")),
    ({"start": "null"}, instant("start", "'null'")),
    ({"start": "{{ ds }}"}, instant("start", "'{{ ds }}'")),
    ({"start": "2026-03-01"}, instant("start", "'2026-03-01'")),
    ({"start": "12:00"}, instant("start", "'12:00'")),
    ({"start": "2026-02-30T00:00:00Z"}, instant("start", "'2026-02-30T00:00:00Z'")),
    ({"start": "2026-03-01T24:00:00Z"}, instant("start", "'2026-03-01T24:00:00Z'")),
    ({"start": "2026-03-01T00:00:00Z\n"}, instant("start", "'2026-03-01T00:00:00Z\\n'")),
    ({"start": "2026-03-01T09:00:00 UTC"}, instant("start", "'2026-03-01T09:00:00 UTC'")),
    (
        {"start": "2026-03-01T00:00:00Z/2026-03-02T00:00:00Z"},
        instant("start", "'2026-03-01T00:00:00Z/2026-03-02T00:00:00Z'"),
    ),
    ({"start": "1772323200000"}, instant("start", "'1772323200000'")),
    ({"start": 1772323200000}, instant("start", "1772323200000")),
    ({"start": False}, instant("start", "False")),
    ({"start": date(2026, 3, 1)}, instant("start", "datetime.date(2026, 3, 1)")),
    ({"end": "tomorrow"}, instant("end", "'tomorrow'")),
    ({"end": []}, instant("end", "[]")),
    (
        {"start": datetime(2026, 3, 1)},
        f"start is 2026-03-01T00:00:00, {NAIVE}",
    ),
    (
        {"end": "2026-03-02T00:00:00"},
        f"end is 2026-03-02T00:00:00, {NAIVE}",
    ),
    (
        {"start": "0001-01-01T00:00:00+05:00"},
        f"start is 0001-01-01T00:00:00: {YEARS}",
    ),
    (
        {"start": "2026-03-01T00:00:00+24:00"},
        "start is 2026-03-01T00:00:00 in a time zone a day or more from UTC: mend the zone.",
    ),
    (
        {"end": datetime.max.replace(tzinfo=timezone(-HOUR))},
        f"end is 9999-12-31T23:59:59.999999: {YEARS}",
    ),
    (
        {"start": "1960-01-01T00:00:00Z"},
        f"start is 1960-01-01T00:00:00: {YEARS}",
    ),
    ({"start": NOW, "end": NOW}, EMPTY_NOW),
    ({"start": NOW}, EMPTY_NOW),
    (
        {"start": NOW, "end": NOW - HOUR},
        empty(NOON, ELEVEN),
    ),
    (
        {"end": "2026-03-01T11:00:00Z"},
        empty(
            ELEVEN,
            ELEVEN,
            "end given on the task, start: the run's data interval",
        ),
    ),
    ({"lookback": 5}, f"lookback is 5: {DURATION}"),
    ({"lookback": None}, f"lookback is None: {DURATION}"),
    ({"lookback": BACKWARDS}, f"lookback is {BACKWARDS!r}: {DURATION}"),
    (
        {"lookback": timedelta(days=999_999)},
        f"lookback is datetime.timedelta(days=999999): {DURATION}",
    ),
    ({"s3_bucket": "lake"}, "s3_bucket is 'lake' without s3_key: add the key."),
    ({"flatten": True}, "flatten is True without s3_key: add the key."),
    ({"file_format": "parquet"}, "file_format is 'parquet' without s3_key: add the key."),
    ({"encrypt": True}, "encrypt is True without s3_key: add the key."),
    ({"acl_policy": "private"}, "acl_policy is 'private' without s3_key: add the key."),
    (
        {"s3_extra_args": {"Tagging": "a=b"}},
        "s3_extra_args is {'Tagging': 'a=b'} without s3_key: add the key.",
    ),
    ({"s3_key": ""}, "s3_key is '' without a bucket: add s3_bucket, or give a whole s3://bucket/key."),
    ({"s3_key": "a/b"}, "s3_key is 'a/b' without a bucket: add s3_bucket, or give a whole s3://bucket/key."),
    (
        {"s3_key": "s3:///a"},
        "s3_key is 's3:///a' without a bucket: add s3_bucket, or give a whole s3://bucket/key.",
    ),
    ({"s3_key": "s3://lake/a", "s3_bucket": "lake"}, ONE_OF_TWO),
    ({"s3_key": "https://lake/a"}, "s3_key is 'https://lake/a': give s3://bucket/key."),
    ({"s3_key": "S3://lake/a"}, "s3_key is 'S3://lake/a': give s3://bucket/key."),
    ({"s3_key": "s3://lake"}, f"s3_key is 's3://lake': {NO_OBJECT}"),
    ({"s3_key": "s3://lake/a\n.jsonl"}, rf"s3_key is 's3://lake/a\n.jsonl': {NO_KEY_OF_S3}"),
    ({"s3_key": "s3://lake/\ud800.jsonl"}, rf"s3_key is 's3://lake/\ud800.jsonl': {NO_KEY_OF_S3}"),
    ({"s3_key": f"s3://lake/{'é' * 513}"}, f"s3_key is 's3://lake/{'é' * 189}…: {NO_KEY_OF_S3}"),
    ({"s3_key": "", "s3_bucket": "lake"}, f"s3_key is '': {NO_OBJECT}"),
    ({"s3_key": "a/", "s3_bucket": "lake"}, f"s3_key is 'a/': {NO_OBJECT}"),
    ({"s3_key": "None", "s3_bucket": "lake"}, f"s3_key is 'None': {NO_TEXT}"),
    ({"s3_key": "s3://lake//a"}, f"s3_key is 's3://lake//a': {WRONG_IN_URLS}"),
    ({"s3_key": "/a", "s3_bucket": "lake"}, f"s3_key is '/a': {WRONG_IN_URLS}"),
    ({"s3_key": "a?b", "s3_bucket": "lake"}, f"s3_key is 'a?b': {WRONG_IN_URLS}"),
    ({"s3_key": "a#b", "s3_bucket": "lake"}, f"s3_key is 'a#b': {WRONG_IN_URLS}"),
    ({"s3_key": 5, "s3_bucket": "lake"}, f"s3_key is 5: {NO_TEXT}"),
    ({"s3_key": "a", "s3_bucket": "None"}, f"s3_bucket is 'None': {NO_TEXT}"),
    ({"s3_key": "a", "s3_bucket": b"lake"}, f"s3_bucket is b'lake': {NO_TEXT}"),
    ({"max_xcom_records": -1}, f"max_xcom_records is -1: {XCOMS}"),
    ({"max_xcom_records": None}, f"max_xcom_records is None: {XCOMS}"),
    ({"max_xcom_records": "5"}, f"max_xcom_records is '5': {XCOMS}"),
    ({"max_xcom_records": 5.0}, f"max_xcom_records is 5.0: {XCOMS}"),
    ({"max_xcom_records": True}, f"max_xcom_records is True: {XCOMS}"),
    ({"max_xcom_records": 10**30}, f"max_xcom_records is {10**30}: {XCOMS}"),
    ({"max_xcom_records": 10**5000}, f"max_xcom_records is something of type int: {XCOMS}"),
    ({"replace": "no"}, f"replace is 'no': {FLAG}"),
    ({"flatten": 1}, f"flatten is 1: {FLAG}"),
    ({"skip_if_empty": "false"}, f"skip_if_empty is 'false': {FLAG}"),
    ({"encrypt": None}, f"encrypt is None: {FLAG}"),
]


@pytest.mark.parametrize(("arguments", "text"), OPERATORS)
def test_says_what_is_wrong_with_the_operator(
    arguments: dict[str, Any], text: str, connect: object, refused: Any
) -> None:
    """A wrong argument fails the task without a retry, and the sentence names it."""
    with refused(AirflowFailException, text):
        operator(**arguments).execute(run_context())
    assert any(name in text for name in arguments)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (
            {"data_interval_start": NOW, "data_interval_end": NOW - HOUR},
            empty(NOON, ELEVEN, "the run's data interval"),
        ),
        (
            {
                "data_interval_end": None,
                "data_interval_start": None,
                "dag_run": SimpleNamespace(run_after=None),
            },
            "The run has neither a data interval nor run_after: give start and end.",
        ),
        (
            {"data_interval_start": datetime(2026, 3, 1)},
            f"data_interval_start is 2026-03-01T00:00:00, {NAIVE}",
        ),
    ],
)
def test_says_what_is_wrong_with_a_run(keys: Any, text: str, connect: object, refused: Any) -> None:
    """A run whose interval is no window fails its task, and its sensor, with the same sentence."""
    with refused(AirflowFailException, text):
        operator().execute(run_context(**keys))
    with refused(AirflowFailException, text):
        BinanceLoanForceLiquidationSensor(task_id="wait").execute(run_context(**keys))


SENSORS: list[tuple[dict[str, Any], str]] = [
    ({"since": "yesterday"}, instant("since", "'yesterday'")),
    ({"since": "2026-03-01"}, instant("since", "'2026-03-01'")),
    ({"since": 1772323200000}, instant("since", "1772323200000")),
    (
        {"since": datetime(2026, 3, 1)},
        f"since is 2026-03-01T00:00:00, {NAIVE}",
    ),
    (
        {"since": "2026-03-01T09:00:00"},
        f"since is 2026-03-01T09:00:00, {NAIVE}",
    ),
    ({"wait_for": "ended"}, "wait_for is 'ended': give 'started' or 'finished'."),
    ({"wait_for": None}, "wait_for is None: give 'started' or 'finished'."),
    ({"lookback": 7}, f"lookback is 7: {DURATION}"),
    ({"lookback": BACKWARDS}, f"lookback is {BACKWARDS!r}: {DURATION}"),
    ({"since": "0001-01-01T00:00:00Z"}, f"since is 0001-01-01T00:00:00: {YEARS}"),
    ({"since": "9999-12-31T23:59:59Z"}, f"since is 9999-12-31T23:59:59: {YEARS}"),
    ({"since": "1969-12-31T00:00:00Z"}, f"since is 1969-12-31T00:00:00: {YEARS}"),
    (
        {"since": "1970-01-02T00:00:00Z", "wait_for": "finished"},
        f"since less lookback is 1969-12-26T00:00:00: {YEARS}",
    ),
    (
        {"lookback": timedelta(days=800_000)},
        f"lookback is datetime.timedelta(days=800000): {DURATION}",
    ),
    ({"deferrable": "no"}, f"deferrable is 'no': {FLAG}"),
    ({"poke_interval": 0}, f"poke_interval is 0.0: {INTERVAL}"),
    ({"poke_interval": timedelta(days=8)}, f"poke_interval is 691200.0: {INTERVAL}"),
    ({"max_wait": 0.5}, f"max_wait is 0.5: {INTERVAL}"),
    ({"timeout": timedelta(days=4000)}, f"timeout is 345600000.0: {SECONDS}"),
    ({"risk_units": "six"}, f"risk_units holds 'six': {NO_UNITS}"),
    (
        {"binance_loan_conn_id": "missing"},
        f"Connection 'missing' {UNDEFINED}",
    ),
]


@pytest.mark.parametrize("flags", [{}, {"soft_fail": True}, {"silent_fail": True}, {"never_fail": True}])
@pytest.mark.parametrize("mode", ["poke", "reschedule", "deferrable"])
@pytest.mark.parametrize(("arguments", "text"), SENSORS)
def test_says_what_is_wrong_with_the_sensor(
    arguments: dict[str, Any], text: str, mode: str, flags: Any, connect: object, refused: Any
) -> None:
    """A wrong argument fails the task without a retry in every mode, whatever flag is set."""
    sensor = BinanceLoanForceLiquidationSensor(
        task_id="wait",
        mode="reschedule" if mode == "reschedule" else "poke",
        **{"deferrable": mode == "deferrable", "poke_interval": 1, "timeout": 0, **flags, **arguments},
    )
    with refused(AirflowFailException, text):
        sensor.execute(run_context())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"since": ""}, "since is empty: give an ISO 8601 instant."),
        ({"since": "yesterday"}, instant("since", "'yesterday'")),
        (
            {"since": "2026-03-01T09:00:00"},
            f"since is 2026-03-01T09:00:00, {NAIVE}",
        ),
        ({"since": "0001-01-01T00:00:00Z"}, f"since is 0001-01-01T00:00:00: {YEARS}"),
        ({"since": "9999-12-31T23:59:59Z"}, f"since is 9999-12-31T23:59:59: {YEARS}"),
        ({"wait_for": "ended"}, "wait_for is 'ended': give 'started' or 'finished'."),
        ({"lookback": "60"}, f"lookback is '60': {SECONDS}"),
        ({"lookback": None}, f"lookback is None: {SECONDS}"),
        ({"lookback": 1e300}, f"lookback is 1e+300: {SECONDS}"),
        ({"poke_interval": 0}, f"poke_interval is 0: {INTERVAL}"),
        ({"poke_interval": -1}, f"poke_interval is -1: {INTERVAL}"),
        ({"poke_interval": float("nan")}, f"poke_interval is nan: {INTERVAL}"),
        ({"poke_interval": "60"}, f"poke_interval is '60': {INTERVAL}"),
        ({"max_wait": 0}, f"max_wait is 0: {INTERVAL}"),
        ({"max_wait": "60"}, f"max_wait is '60': {INTERVAL}"),
        ({"not_before": "now"}, f"not_before is 'now': {EPOCH_SECONDS}"),
        ({"not_before": 1e300}, f"not_before is 1e+300: {EPOCH_SECONDS}"),
        ({"deadline": float("nan")}, f"deadline is nan: {EPOCH_SECONDS}"),
        ({"deadline": NOW}, f"deadline is {NOW!r}: {EPOCH_SECONDS}"),
        ({"risk_units": "six"}, f"risk_units holds 'six': {NO_UNITS}"),
        ({"risk_units": []}, "risk_units is an empty list: use 'all', 'active', or name at least one id."),
        (
            {"binance_loan_conn_id": "missing"},
            f"Connection 'missing' {UNDEFINED}",
        ),
    ],
)
def test_says_what_is_wrong_with_the_trigger(
    arguments: dict[str, Any], text: str, connect: object, unasked: SandboxServer
) -> None:
    """A wrong argument ends the wait with an event that says so, from which the sensor fails its task."""
    trigger = BinanceLoanForceLiquidationTrigger(**{"since": NOW.isoformat(), **arguments}, clock=FakeClock())

    async def events() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    assert asyncio.run(events()) == [{"status": "refused", "message": text}]
    assert unasked.exchange.requests == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"lookback": HOUR}, f"lookback is {HOUR!r}: {SECONDS}"),
        ({"lookback": "60"}, f"lookback is '60': {SECONDS}"),
        ({"lookback": None}, f"lookback is None: {SECONDS}"),
        ({"lookback": -1}, f"lookback is -1: {SECONDS}"),
        ({"lookback": float("nan")}, f"lookback is nan: {SECONDS}"),
        ({"lookback": float("inf")}, f"lookback is inf: {SECONDS}"),
        ({"lookback": 10**400}, f"lookback is 1{'0' * 199}…: {SECONDS}"),
        ({"poke_interval": HOUR}, f"poke_interval is {HOUR!r}: {INTERVAL}"),
        ({"poke_interval": 0}, f"poke_interval is 0: {INTERVAL}"),
        ({"poke_interval": 0.9}, f"poke_interval is 0.9: {INTERVAL}"),
        ({"poke_interval": float("inf")}, f"poke_interval is inf: {INTERVAL}"),
        ({"poke_interval": True}, f"poke_interval is True: {INTERVAL}"),
        ({"asset_name": None}, "asset_name is None: give the name of the asset."),
        ({"asset_name": " "}, "asset_name is ' ': give the name of the asset."),
        ({"asset_name": 5}, "asset_name is 5: give the name of the asset."),
        ({"finished": "no"}, f"finished is 'no': {FLAG}"),
    ],
)
def test_says_what_is_wrong_with_the_event_trigger(
    arguments: dict[str, Any], text: str, refused: Any
) -> None:
    """A wrong argument fails where the DAG is parsed, and not again and again in the triggerer."""
    with refused(ConfigurationError, text):
        BinanceLoanForceLiquidationEventTrigger(**{"asset_name": "a", **arguments})


# Answers

START = {"groupId": 1, "liquidationStartTime": 1772323200000}
CLOCK = answer("400 Bad Request", error(-1021))
NOT_AS_DOCUMENTED = "The answer is not what Binance documents: rows[0]."
UNUSED = "Nothing of it was used."


def rows(*found: Any) -> bytes:
    return answer("200 OK", json.dumps({"total": len(found), "rows": found}))


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        (
            [rows(START | {"liquidationStartTime": -1})],
            f"{NOT_AS_DOCUMENTED}liquidationStartTime is -1, and should be a whole number. {UNUSED}",
        ),
        (
            [rows(START | {"liquidationEndTime": -1})],
            f"{NOT_AS_DOCUMENTED}liquidationEndTime is -1, and should be a whole number. {UNUSED}",
        ),
        (
            [rows(START | {"groupId": -(2**62)})],
            f"{NOT_AS_DOCUMENTED}groupId is {-(2**62)}, and should be a whole number. {UNUSED}",
        ),
        (
            [EMPTY, rows({"groupId": 1, "enabled": "yes"})],
            f"{NOT_AS_DOCUMENTED}enabled is 'yes', and should be true or false. {UNUSED}",
        ),
        (
            [CLOCK, answer("200 OK", json.dumps({"serverTime": 10**30}))],
            f"/api/v3/time gave the serverTime {10**30}, which is no time: check the host.",
        ),
        (
            [CLOCK, answer("200 OK", '{"serverTime": -1}')],
            "/api/v3/time gave the serverTime -1, which is no time: check the host.",
        ),
        (
            [CLOCK, answer("200 OK", "[]")],
            "/api/v3/time gave the serverTime None, which is no time: check the host.",
        ),
    ],
)
def test_says_what_is_wrong_with_an_answer(
    answers: list[bytes], text: str, connect: Any, pull: Any, refused: Any
) -> None:
    """An answer with what cannot be is an error that names it, in both doors."""
    with raw_server(answers) as (url, _):
        connect(host=url)
        with refused(BadResponseError, text):
            pull(NOW - HOUR, NOW)


@pytest.mark.parametrize("weight", ["9" * 5000, "\u0665", "-1", "1e3", ""])
def test_takes_no_notice_of_a_weight_that_is_none(weight: str, connect: Any, pull: Any) -> None:
    """The weight is a help; one that cannot be read hinders nothing."""
    body = '{"total":0,"rows":[]}'
    heavy = answer("200 OK", body, f"X-SAPI-USED-IP-WEIGHT-1M: {weight}")
    with raw_server([heavy, heavy]) as (url, _):
        connect(host=url)
        assert pull(NOW - HOUR, NOW) == []


@pytest.mark.parametrize("depth", range(900, 1000, 2))
def test_says_what_is_wrong_however_deep_it_nests(depth: int) -> None:
    """What can just be read, but not be written out, is refused as any other."""
    body = f'{{"rows":[{{"groupId":{"[" * depth}{"]" * depth}}}]}}'.encode()
    with pytest.raises(BadResponseError):
        parse_liquidations(Response(Request("/"), 200, {}, body, 0).payload)
