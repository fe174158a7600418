"""Leaks: no key, secret, passphrase, PEM or signature in any log, error, variable, XCom or trigger.

Every way to fail runs with all loggers at DEBUG; then everything that could be seen is searched.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import logging
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
import requests
import urllib3
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.log import redact
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

import airflow_provider_binance_loan
from airflow_provider_binance_loan.client import base, redaction
from airflow_provider_binance_loan.client.throttle import forget_shared_throttles
from airflow_provider_binance_loan.exceptions import BinanceLoanError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sandbox.exchange import ApiKey, Exchange
from airflow_provider_binance_loan.sandbox.faults import Fault
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor
from airflow_provider_binance_loan.triggers import BinanceLoanForceLiquidationTrigger
from tests.integration.client.test_faults import CASES
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.errors import with_causes
from tests.support.hook_client import HookClient
from tests.support.raw import EMPTY, answer, raw_server
from tests.support.relay import TunnelProxy
from tests.support.runs import run_context

PACKAGE = str(Path(airflow_provider_binance_loan.__file__).parent)

API_KEY = "LeakTestApiKey" * 4
SECRET = "LeakTestSecret" * 4
PASSPHRASE = "leak test passphrase"
PRIVATE_KEY = Ed25519PrivateKey.generate()
PEM = PRIVATE_KEY.private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE.encode())
).decode()
PLAIN_PEM = PRIVATE_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

FORMS = {
    "as it is": PEM,
    "line ends written out": PEM.replace("\n", "\\n"),
    "on one line": PEM.replace("\n", " "),
    "without line ends": PEM.replace("\n", ""),
    "wrapped": base64.b64encode(PEM.encode()).decode(),
    "wrapped in lines": base64.encodebytes(PEM.encode()).decode(),
}

# Texts that give a secret away; those of a PEM are its lines.
SECRETS = [API_KEY, SECRET, PASSPHRASE, *PEM.splitlines()[1:-1], *PLAIN_PEM.splitlines()[1:-1]]

CONNECTIONS: dict[str, dict[str, Any]] = {
    "hmac": {"password": SECRET},
    "pem": {"password": None, "extra": {"private_key": PEM, "private_key_passphrase": PASSPHRASE}},
}


@dataclass
class Seen:
    """All that could be seen from outside, as texts."""

    records: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def error(self, error: BaseException) -> None:
        """Collect an error, those that it was raised from, and the variables of our frames on its way."""
        for each in with_causes(error):
            self.others += [str(each), repr(each), repr(vars(each)), repr(each.args)]
            self.others += traceback.format_exception(each)
            for frame, _ in traceback.walk_tb(each.__traceback__):
                if frame.f_code.co_filename.startswith(PACKAGE):
                    self.others += [f"{name} = {value!r}" for name, value in frame.f_locals.items()]

    def show(self, *values: Any) -> None:
        """Collect values by their `repr`."""
        self.others += [repr(value) for value in values]

    def leaks(self, exchange: Exchange, secrets: list[str]) -> list[str]:
        signatures = {dict(request.params).get("signature", "") for request in exchange.requests} - {""}
        quoted = {request.query.rpartition("signature=")[2] for request in exchange.requests} - {""}
        signs = {*secrets, *signatures, *quoted, *(unquote(text) for text in quoted)}
        return [text for text in (*self.records, *self.others) if any(sign in text for sign in signs)]


@pytest.fixture
def seen() -> Iterator[Seen]:
    """What all loggers log at DEBUG, before Airflow masks anything, and what a test adds."""
    seen = Seen()
    formatter = logging.Formatter()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.records.append(f"{record.name}: {record.getMessage()} {record.args!r} {record.msg!r}")
            if record.exc_info:
                seen.records.append(formatter.formatException(record.exc_info))

    handler, root = Handler(), logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in root.manager.loggerDict)]
    before = [(logger, logger.level, logger.disabled, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.disabled, logger.propagate = False, True
    root.addHandler(handler)
    yield seen
    root.removeHandler(handler)
    for logger, *state in before:
        logger.level, logger.disabled, logger.propagate = state
    root.manager._clear_cache()  # type: ignore[attr-defined]


@pytest.fixture(params=CONNECTIONS)
def connected(request: pytest.FixtureRequest, exchange: Exchange, connect: Any) -> Callable[..., None]:
    """Define the connection with the secrets of this test."""
    public_key = None if request.param == "hmac" else PRIVATE_KEY.public_key()
    exchange.add_key(ApiKey(API_KEY, SECRET if request.param == "hmac" else None, public_key))

    def define(**fields: Any) -> None:
        mine = CONNECTIONS[request.param]
        extra = {**mine.get("extra", {}), **fields.pop("extra", {})}
        connect(**{"login": API_KEY, **mine, **fields, "extra": extra})

    define()
    return define


def run_everything(seen: Seen, clock: FakeClock) -> None:
    """Call everything that is public, and collect what it returns or raises."""
    hook = BinanceLoanHook(clock=clock)
    seen.show(hook, vars(hook))
    calls: list[Callable[[], Any]] = [
        lambda: hook.get_force_liquidations(NOW - HOUR, NOW),
        lambda: asyncio.run(hook.aget_force_liquidations(NOW - HOUR, NOW)),
        hook.test_connection,
        lambda: BinanceLoanForceLiquidationOperator(task_id="pull").execute(run_context()),
        lambda: BinanceLoanForceLiquidationSensor(task_id="wait", timeout=0).execute(run_context()),
        lambda: BinanceLoanForceLiquidationSensor(task_id="wait", deferrable=True).execute(run_context()),
    ]
    for call in calls:
        forget_shared_throttles()  # a ban that one call met would keep the others from sending anything
        try:
            seen.show(call())
        except TaskDeferred as deferred:
            seen.show(deferred.trigger.serialize(), deferred.kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is searched
            seen.error(error)


@pytest.fixture
def hooks_on_the_fake_clock(mocker: Any, clock: FakeClock) -> None:
    """Let the hooks that operators and sensors create go by the fake clock."""
    mocker.patch("airflow_provider_binance_loan.base_hook.SYSTEM_CLOCK", clock)


FAILING = {name: case for name, case in CASES.items() if case.faults}


@pytest.mark.parametrize("name", FAILING)
@pytest.mark.usefixtures("hooks_on_the_fake_clock")
def test_nothing_is_seen_when_requests_fail(
    name: str, seen: Seen, connected: Any, exchange: Exchange, clock: FakeClock
) -> None:
    """Whatever goes wrong, no log, error, variable, XCom or trigger argument holds a secret."""
    exchange.add_liquidation(1, int(NOW.timestamp() * 1000) - 5000)
    exchange.fail(*FAILING[name].faults * 3)
    run_everything(seen, clock)
    assert any("signature" in text or "GET" in text for text in seen.records), "requests were logged"
    assert seen.leaks(exchange, SECRETS) == []


@pytest.mark.usefixtures("hooks_on_the_fake_clock")
def test_nothing_is_seen_when_answers_quote_the_request(
    seen: Seen, connected: Any, exchange: Exchange, clock: FakeClock
) -> None:
    """An answer that quotes the key, or a signature as it was decoded, is not passed on."""
    signature = base64.b64encode(bytes(range(64))).decode()
    msg = f"Bad request: X-MBX-APIKEY: {API_KEY} sig {signature} &signature=abc%2Fdef"
    body = json.dumps({"code": -1022, "msg": msg})
    there = "https://127.0.0.1:9/?timestamp=1772366400000&signature=abc%2Fdef"
    quoting = [f"Location: {there}", f"Location: /login?to={quote(there, safe='')}"] * 3
    answers = [answer("400 Bad", body)] * 6
    answers += [answer("302 Found", f"<{API_KEY}>", location) for location in quoting]
    answers += [answer("302 Found", "", "no header", f"Location: {there}")]  # logged with its traceback
    with raw_server(answers) as (url, lines):
        connected(host=url)
        run_everything(seen, clock)
        run_everything(seen, clock)
        with suppress(BinanceLoanError):
            BinanceLoanHook(clock=clock).get_force_liquidations(NOW - HOUR, NOW)
    assert len(lines) == 13
    assert seen.leaks(exchange, [*SECRETS, signature, "abc%2Fdef", "abc%252Fdef"]) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "http://127.0.0.1:9"},
        {"host": "http://api.example"},
        {"host": f"https://{API_KEY}@api.example"},
        {"host": f"https://api.example/?{API_KEY}"},
        {"login": f" {API_KEY}"},
        {"login": f"{API_KEY}é"},
        {"password": f"{SECRET} "},
        {"password": f"{SECRET}\x00", "extra": {"private_key": None}},
        {"password": SECRET, "extra": {"private_key": PEM}},
        {"extra": {"private_key_passphrase": f"not {PASSPHRASE}"}},
        {"password": None, "extra": {"private_key": PEM, "private_key_passphrase": None}},
        {"password": None, "extra": {"private_key": PEM[:90] + PEM[100:]}},
        {"password": None, "extra": {"private_key": [PEM]}},
        {"password": None, "extra": {"private_key": None, "private_key_file": PEM}},
        {"host": f"https://user:{SECRET}@api.example:x"},
        {"extra": {"unknown": PASSPHRASE}},
        {"extra": {"timeout": "x"}},
        {"extra": {"proxies": f"http://user:{SECRET}@[::1"}},
        {"extra": {"proxies": f"http://user:{SECRET}@127.0.0.1:9"}},
        {"host": "https://127.0.0.1:9", "extra": {"proxies": f"http://user:{SECRET}@127.0.0.1:9"}},
        {"extra": {"verify": "/no/such"}},
    ],
    ids=repr,
)
@pytest.mark.usefixtures("hooks_on_the_fake_clock")
def test_nothing_is_seen_when_the_connection_is_wrong(
    fields: dict[str, Any], seen: Seen, connected: Any, exchange: Exchange, clock: FakeClock
) -> None:
    """A wrong field is named, and neither the text nor the variables on the error's way hold a secret."""
    connected(**fields)
    run_everything(seen, clock)
    assert seen.others
    assert seen.leaks(exchange, SECRETS) == []


@pytest.mark.usefixtures("hooks_on_the_fake_clock")
def test_nothing_is_seen_when_the_environments_proxy_is_wrong(
    seen: Seen, connected: Any, exchange: Exchange, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's password is in no variable on the error's way."""
    monkeypatch.setenv("HTTPS_PROXY", f"socks5://user:{PASSPHRASE.replace(' ', '')}@proxy")
    connected(host="https://127.0.0.1:9")
    run_everything(seen, clock)
    assert any("HTTPS_PROXY" in text for text in seen.others)
    assert seen.leaks(exchange, [*SECRETS, PASSPHRASE.replace(" ", "")]) == []


def test_nothing_is_seen_of_a_trigger(
    seen: Seen, connected: Any, exchange: Exchange, clock: FakeClock
) -> None:
    """What a trigger is stored as, fires, or raises holds no secret."""
    passing = 10 * 5  # polls, each of so many attempts, after which the trigger raises

    async def first(waiting: BinanceLoanForceLiquidationTrigger) -> Any:
        async for event in waiting.run():
            return event
        return None

    for fault, times in (
        (Fault("error", 401, -2015), 1),
        (Fault("reset"), passing),
        (Fault("html", 200), 1),
        (None, 1),
    ):
        exchange.fail(*[fault] * times)
        waiting = BinanceLoanForceLiquidationTrigger(since=(NOW - HOUR).isoformat(), clock=clock)
        seen.show(waiting, waiting.serialize())

        exchange.add_liquidation(1, int(clock.time() * 1000) - len(exchange.requests))
        try:
            event = asyncio.run(first(waiting))
            seen.show(event, event.payload)
        except BinanceLoanError as error:
            seen.error(error)
    assert len(exchange.requests) >= 5
    assert seen.leaks(exchange, SECRETS) == []


def test_nothing_is_seen_when_the_task_times_out(connected: Callable[..., None], exchange: Exchange) -> None:
    """A task timeout is raised wherever the main thread is: no frame of any library shows a secret there."""

    class TaskTimeout(BaseException):
        """As Airflow's, which is no Exception."""

    def time_out(*_: object) -> None:
        raise TaskTimeout

    def time_out_amid_a_request() -> None:
        while not exchange.requests:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    connected(extra={"timeout": 5})
    exchange.fail(*[Fault("silence")] * 9)
    BinanceLoanHook().get_conn().close()  # imports the HTTP client, amid which a signal may be lost
    before = signal.signal(signal.SIGALRM, time_out)
    timer = threading.Thread(target=time_out_amid_a_request, daemon=True)
    timer.start()
    try:
        with pytest.raises(TaskTimeout) as caught:
            BinanceLoanHook().get_force_liquidations(NOW - HOUR, NOW)
    finally:
        timer.join()
        signal.signal(signal.SIGALRM, before)
    frames = [
        f"{frame.f_code.co_filename} {name} = {value!r}"
        for frame, _ in traceback.walk_tb(caught.value.__traceback__)
        if "/tests/" not in frame.f_code.co_filename
        for name, value in frame.f_locals.items()
    ]
    assert frames
    assert exchange.requests
    seen = Seen(others=frames)
    assert seen.leaks(exchange, SECRETS) == []


@pytest.mark.parametrize("way", ["direct", "through a proxy", "by the hook's session"])
def test_nothing_is_printed_while_http_is_debugged(
    way: str,
    client: HookClient,
    connect: Any,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`http.client`, told to print what is sent, as people do to debug requests, prints nothing of ours."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    monkeypatch.setattr(urllib3.connection.HTTPConnection, "debuglevel", 1)
    caplog.set_level(logging.DEBUG, "http.client")
    with raw_server([EMPTY] * 4, certificate) as (url, lines), TunnelProxy(url) as proxy:
        through = proxy.url.replace("//", f"//user:{SECRET}@")
        extra = {"verify": str(certificate)} | ({"proxies": through} if way == "through a proxy" else {})
        connect(host=url, login=API_KEY, password=SECRET, extra=extra)
        capsys.readouterr()
        if way == "by the hook's session":
            client.hook.get_conn().get(f"{url}/?signature=abc")
        else:
            client.pull(NOW - HOUR, NOW)
        ours = capsys.readouterr()
        requests.get(url, headers={"X-MBX-APIKEY": API_KEY}, verify=str(certificate), timeout=9)
    printed = "".join(ours)
    assert [secret for secret in (API_KEY, SECRET, "signature", "GET ", "CONNECT") if secret in printed] == []
    assert len(lines) in {2, 4}
    assert len(proxy.heads) == (way == "through a proxy")
    assert API_KEY in capsys.readouterr().out, "others still see what they ask for"


def test_a_connection_takes_no_debug_level(connect: Any) -> None:
    """A connection that is told to print does not."""
    session = BinanceLoanHook().get_conn()
    (adapter,) = session.adapters.values()
    connection = adapter.poolmanager.connection_from_url("http://127.0.0.1:9")._new_conn()
    connection.set_debuglevel(1)
    assert connection.debuglevel == 0


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (
            "GET /a?x=1&timestamp=17&signature=Ab%2Fc%3D HTTP/1.1",
            "GET /a?x=1&timestamp=17&signature=*** HTTP/1.1",
        ),
        ("<GET 'https://h/a?timestamp=17&signature=ab'>", "<GET 'https://h/a?timestamp=17&signature=***'>"),
        ("/a?timestamp=-250&signature=ab", "/a?timestamp=-250&signature=***"),
        ("/a?timestamp=17&signature=ab&b=1", "/a?timestamp=17&signature=***&b=1"),
        (
            "?to=%2Fa%3Ftimestamp%3D17%26signature%3Dab%252Fc%26b",
            "?to=%2Fa%3Ftimestamp%3D17%26signature%3D***%26b",
        ),
        ("?to=timestamp%253d17%2526signature%253dab%25252Fc", "?to=timestamp%253d17%2526signature%253d***"),
        ("/bucket/key?X-Amz-Signature=ab", "/bucket/key?X-Amz-Signature=ab"),  # not this package's
    ],
)
def test_removes_signatures_from_logs(said: str, left: str) -> None:
    """A signature is removed wherever an HTTP client logs it, also in a quoted address; the rest stays."""
    record = logging.LogRecord("urllib3", logging.DEBUG, "", 0, "HTTP: %s", (said,), None)
    assert redaction._remove_signature(record)
    assert record.getMessage() == f"HTTP: {left}"


def test_would_see_a_signature(
    seen: Seen, connected: Any, exchange: Exchange, clock: FakeClock, mocker: Any
) -> None:
    """Without the filter on the HTTP clients' loggers, this search finds signatures in their logs."""
    loggers = [logging.getLogger(name) for name in redaction._HTTP_LOGGERS]
    for logger in loggers:
        logger.removeFilter(redaction._remove_signature)
    mocker.patch.object(base, "hide_signatures")
    run_everything(seen, clock)
    assert seen.leaks(exchange, SECRETS)


@pytest.mark.parametrize("form", FORMS)
def test_airflow_masks_each_form(form: str, exchange: Exchange, connect: Any, clock: FakeClock) -> None:
    """After a connection is read, Airflow's masker hides each secret in each form it may be printed in."""
    connect(
        login=API_KEY,
        password=None,
        extra={"private_key": FORMS[form], "private_key_passphrase": PASSPHRASE},
    )
    with suppress(BinanceLoanError):  # the key is not known there
        BinanceLoanHook(clock=clock).get_force_liquidations(NOW - HOUR, NOW)
    for text in (API_KEY, PASSPHRASE, PEM, *FORMS.values(), json.dumps(PEM), repr(PEM)):
        printed = str(redact(f"before {text} after"))
        assert not any(secret in printed for secret in (API_KEY, PASSPHRASE, *PEM.splitlines()[1:-2])), text
