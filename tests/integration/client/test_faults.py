"""Faults: each that the sandbox can inject, through both clients, with its outcome and its cost.

A pull ends in all records or in an error; no signed query is sent twice, and none during a wait that Binance
asked for.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.messages import TIME
from airflow_provider_binance_loan.binance.reader import read_closed_units
from airflow_provider_binance_loan.client.asynchronous import AsyncClient
from airflow_provider_binance_loan.client.base import RetryPolicy
from airflow_provider_binance_loan.client.sync import SyncClient
from airflow_provider_binance_loan.exceptions import (
    AuthRefusedError,
    BadResponseError,
    BinanceLoanError,
    ClockError,
    RateLimitedError,
    RequestRefusedError,
    TransientError,
)
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.faults import Fault
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.descriptions import DESCRIBED, Described, Windowed
from tests.support.hook_client import HookClient
from tests.support.raw import EMPTY, answer, raw_server
from tests.support.worlds import fill_calmly, use_account

NOW_MS = int(NOW.timestamp() * 1000)

BUSY = Fault("error")
CLOCK_REFUSED = Fault("error", 400, -1021, "Timestamp for this request is outside of the recvWindow.")
TIME_BUSY = Fault("error", path="/time")
LIMIT_WITHOUT_WAIT = Fault("error", 429, -1003, retry_after=0)


def limit(seconds: int | None) -> Fault:
    return Fault("error", 429, -1003, "Too many requests.", retry_after=seconds)


def ban(seconds: int | None, text: str = "Banned.") -> Fault:
    return Fault("error", 418, -1003, text, retry_after=seconds)


def refused(status: int, code: int) -> Fault:
    return Fault("error", status, code, "No.")


class Outcome(NamedTuple):
    """The error that a pull ends in.

    :param error: its type.
    :param message: a part of its message.
    :param status: the HTTP status that it states.
    :param code: Binance's code that it states.
    :param path: the path that it states; that of the request that met the first fault by default.
    """

    error: type[BinanceLoanError]
    message: str = ""
    status: int | None = None
    code: int | None = None
    path: str = ""


class Case(NamedTuple):
    """The faults that a pull's requests meet in turn, its outcome, and its cost.

    :param faults: the faults; None lets a request pass.
    :param outcome: the error; None when the pull returns all records.
    :param requests: how many requests are sent; for a pull that returns all records, besides those of an
        undisturbed one. One for Binance's time that comes first is not counted.
    :param waits: the seconds of each wait, or the number of back-offs; None where it varies.
    """

    faults: list[Fault | None]
    outcome: Outcome | None
    requests: int
    waits: list[float] | int | None = 0


def limited(message: str) -> Outcome:
    return Outcome(RateLimitedError, message, 429, -1003)


def banned(message: str) -> Outcome:
    return Outcome(RateLimitedError, message, 418, -1003)


HUNG_UP = Outcome(TransientError, "hung up")

CASES = {
    "nothing": Case([], None, 0),
    "busy": Case([BUSY], None, 1, 1),
    "busy, twice": Case([BUSY, Fault("html", 502)], None, 2, 2),
    "busy for ever": Case([BUSY] * 9, Outcome(TransientError, "Try again later", 503, -1008), 5, 4),
    **{
        f"code {code}": Case([Fault("error", 400, code, "Busy.")], None, 1, 1)
        for code in (-1000, -1001, -1004, -1006, -1007, -1008, -3000, -3044)
    },
    "error as HTML": Case([Fault("html", 500)], None, 1, 1),
    "error without a body": Case([Fault("empty", 503)], None, 1, 1),
    "request timeout": Case([Fault("empty", 408)], None, 1, 1),
    "data without a body": Case([Fault("empty", 200)], None, 1, 1),
    "reset before the answer": Case([Fault("reset")], None, 1, 1),
    "reset within the body": Case([Fault("reset_in_body")], None, 1, 1),
    "truncated": Case([Fault("truncate")], None, 1, 1),
    "cut off, without a length": Case([Fault("cut")], None, 1, 1),
    "hung up on, kept alive": Case([Fault("hang_up")], None, 0, None),
    "garbled": Case([Fault("garbled")], None, 1, 1),
    "reset for ever": Case([Fault("reset")] * 9, HUNG_UP, 5, 4),
    "truncated for ever": Case([Fault("truncate")] * 9, HUNG_UP, 5, 4),
    "cut off for ever": Case([Fault("cut")] * 9, Outcome(TransientError, "is cut off", 200), 5, 4),
    "page as HTML": Case([Fault("html", 200)], None, 1, 1),
    "page as HTML for ever": Case(
        [Fault("html", 200)] * 9, Outcome(BadResponseError, "is not JSON", 200), 5, 4
    ),
    "huge": Case([Fault("huge")], Outcome(BadResponseError, "more than 32 MiB", 200), 1),
    "firewall": Case([Fault("html", 403)], Outcome(AuthRefusedError, "firewall", 403), 1),
    "redirect": Case(
        [Fault("redirect", msg="http://127.0.0.1:9/")], Outcome(RequestRefusedError, "redirects", 302), 1
    ),
    **{
        f"code {code}": Case([refused(400, code)], Outcome(AuthRefusedError, "'No'", 400, code), 1)
        for code in (-1002, -1022, -1099, -2008, -2014, -2015, -4004)
    },
    **{
        f"code {code}": Case([refused(400, code)], Outcome(RequestRefusedError, "'No'", 400, code), 1)
        for code in (-3003, -3999, -1100, -1102, -1106, -1108, -1121, -1127, -1128, -1130, -1131, -3026)
    },
    "limit": Case([limit(7)], None, 1, [7]),
    "limit, twice": Case([limit(7), limit(60)], None, 2, [7, 60]),
    "limit for ever": Case([limit(30)] * 9, limited("Wait until 2026-03-01T12:02:30"), 5, [30] * 4),
    "limit without a time": Case([limit(None)], None, 1, [60]),
    "limit without a wait": Case([LIMIT_WITHOUT_WAIT], None, 1, 1),
    "long limit": Case([limit(61)], limited("Wait until 2026-03-01T12:01:01"), 1),
    "limits past the deadline": Case([limit(60)] * 9, limited("Wait until 2026-03-01T12:04:00"), 4, [60] * 3),
    "ban": Case([ban(300)], banned("Wait until 2026-03-01T12:05:00"), 1),
    "short ban": Case([ban(1)], banned("Wait until 2026-03-01T12:00:01"), 1),
    "ban without a time": Case([ban(None)], banned("Wait until 2026-03-01T12:02:00"), 1),
    "ban with its end in the text": Case(
        [ban(None, f"IP banned until {NOW_MS + 3_600_000}.")], banned("Wait until 2026-03-01T13:00:00"), 1
    ),
    "clock": Case([CLOCK_REFUSED], None, 2),
    "clock, for ever": Case(
        [CLOCK_REFUSED, None, CLOCK_REFUSED],
        Outcome(ClockError, "also after a correction by its own time", 400, -1021),
        3,
    ),
    "clock, time busy": Case([CLOCK_REFUSED, TIME_BUSY, CLOCK_REFUSED], None, 4, 1),
    "clock, time busy for ever": Case(
        [CLOCK_REFUSED, TIME_BUSY] * 9,
        Outcome(TransientError, "Try again later", 503, -1008, TIME.path),
        10,
        4,
    ),
    "clock, time as HTML": Case([CLOCK_REFUSED, Fault("html", 200, path="/time")], None, 2, 1),
}
# Faults of the second request for data, for datasets whose read takes more than one.
LATER = {
    "busy": Case([None, BUSY], None, 1, 1),
    "busy for ever": Case([None, *[BUSY] * 9], Outcome(TransientError, "", 503, -1008), 6, 4),
    "refused": Case([None, refused(401, -2015)], Outcome(AuthRefusedError, "", 401, -2015), 2),
}
OF_ALL = [(described, case) for described in DESCRIBED for case in CASES.items()]
OF_SEVERAL = [
    (described, (f"{name}, later", case))
    for described in DESCRIBED
    if len(described.data_requests) > 1
    for name, case in LATER.items()
]


@pytest.mark.parametrize(
    ("described", "case"),
    [
        pytest.param(described, case, id=f"{described}-{name}")
        for described, (name, case) in [*OF_ALL, *OF_SEVERAL]
    ],
)
def test_recovers_or_fails_as_a_whole(
    client: HookClient, exchange: Exchange, connect: Any, clock: FakeClock, described: Described, case: Case
) -> None:
    """Each fault ends in all records or its error, with so many requests and waits and no more."""
    connect(extra={"max_concurrency": 1})
    use_account(exchange, described)
    fill_calmly(exchange)
    window = described.window(described.calm) if isinstance(described, Windowed) else ()
    time_requests = len(described.requests) - len(described.data_requests)
    exchange.fail(*[None] * time_requests, *case.faults)
    if case.outcome:
        with pytest.raises(BinanceLoanError, match=re.escape(case.outcome.message) or None) as caught:
            described.read(client, *window)
        error = caught.value
        before = next(number for number, fault in enumerate(case.faults) if fault)
        assert (type(error), error.status, error.code, error.path) == (
            case.outcome.error,
            case.outcome.status,
            case.outcome.code,
            case.outcome.path or described.data_requests[before],
        )
        assert error.conn_id == "binance_loan_default"
        assert len(exchange.requests) == time_requests + case.requests
    else:
        records = described.read(client, *window)
        # By now, since some figures are of the moment when they are asked for.
        expected = described.shown(exchange, *window)
        assert described.contents(records) == described.contents(expected) != []
        # A clock that was corrected by Binance's time needs no more of it.
        spared = described.data_requests.count(TIME.path) if case.faults[-1:] == [CLOCK_REFUSED] else 0
        assert len(exchange.requests) == len(described.requests) - spared + case.requests
    if not any(case.faults):
        assert [request.path for request in exchange.requests] == list(described.requests)
    if isinstance(case.waits, int):
        assert len(clock.waits) == case.waits
        assert all(0 <= wait_s <= 10 for wait_s in clock.waits)
    elif case.waits is not None:
        assert clock.waits == pytest.approx(case.waits, abs=0.01)
    # The clock stands still, so a request that was dated before is signed as before.
    if not (time_requests and CLOCK_REFUSED in case.faults):
        assert_signed_anew(exchange, case)
    assert_none_during_a_wait(exchange)


def test_logs_what_it_waits_for(
    client: HookClient, exchange: Exchange, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each retry of a pull leaves a line in the log of its task; its error says how often it was tried."""
    exchange.fail(limit(7), *[BUSY] * 4)
    with pytest.raises(TransientError, match="code -1008, 5 attempts, /sapi") as caught:
        client.pull(NOW - HOUR, NOW)
    lines = re.findall(r"Sending again at (\S+), in \S+ s, attempt (\d) of 5: (\w+)", capsys.readouterr().out)
    assert lines[0] == ("2026-03-01T12:00:07+00:00", "2", "Wait")
    assert [attempt for _, attempt, _ in lines] == ["2", "3", "4", "5"]
    assert caught.value.attempts == 5


def assert_signed_anew(exchange: Exchange, case: Case) -> None:
    """A request that is sent again is signed anew; two equal ones of a read are not, if the clock stands."""
    signed = [request.query for request in exchange.requests if request.path.startswith("/sapi/")]
    before = next((number for number, fault in enumerate(case.faults) if fault), 0)
    faults = sum(fault is not None and fault.path is None for fault in case.faults)
    attempts = signed[before:] if case.outcome else signed[before:][: 1 + min(faults, case.requests)]
    assert len(set(attempts)) == len(attempts)


def assert_none_during_a_wait(exchange: Exchange) -> None:
    """Like Binance, the sandbox bans a client that sends a request too early after a limit."""
    statuses = [request.status for request in exchange.requests]
    assert (429, 418) not in pairwise(statuses)


def test_gives_up_a_silent_server_in_time(
    client_kind: str, exchange: Exchange, connect: Any, clock: FakeClock
) -> None:
    """A request without any answer is sent again after the read timeout."""
    exchange.fail(Fault("silence"), Fault("silence"))
    connect(extra={"timeout": 1})
    client = HookClient(client_kind, clock=clock, retry_policy=RetryPolicy(max_attempts=2))
    with pytest.raises(TransientError, match="gave no answer in time") as caught:
        client.pull(NOW - HOUR, NOW)
    assert (caught.value.path, caught.value.status) == (FORCE_LIQUIDATIONS.path, None)
    assert len(exchange.requests) == 2


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "]
)
def test_gives_up_an_endless_answer(client_kind: str, head: bytes, connect: Any) -> None:
    """Headers or a body that arrive byte by byte, each in time, end at the deadline all the same."""

    def drip(listener: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(head)
                while True:
                    connection.sendall(b" ")
                    time.sleep(0.01)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        connect(host=f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(TransientError, match="gave no answer in time"):
            read_closed_units_with(client_kind, retry_policy=RetryPolicy(deadline_s=0.3))


def read_closed_units_with(client_kind: str, **arguments: Any) -> list[Any]:
    """Return the closed risk units, read with one of the clients."""
    settings = BinanceLoanHook()._settings()

    async def read() -> list[Any]:
        async with AsyncClient(settings, **arguments) as client:
            return await client.run(read_closed_units())

    if client_kind == "async":
        return asyncio.run(read())
    with SyncClient(settings, **arguments) as client:
        return client.run(read_closed_units())


def test_a_refusal_cancels_concurrent_requests(client_kind: str, exchange: Exchange, connect: Any) -> None:
    """Requests that back off while another one is refused are given up, and the refusal is raised."""
    for number in range(1500):
        exchange.add_liquidation(1, NOW_MS - 2000 * (number + 1), NOW_MS)

    class SlowClock(FakeClock):
        def sleep(self, seconds: float, cancelled: threading.Event | None = None) -> None:
            time.sleep(0.2)

        async def asleep(self, seconds: float) -> None:
            await asyncio.sleep(0.2)

    connect(extra={"max_concurrency": 8})
    exchange.fail(*[None] * 6, *[BUSY] * 4, refused(401, -2015), *[BUSY] * 99)
    with pytest.raises(AuthRefusedError) as caught:
        HookClient(client_kind, clock=SlowClock()).pull(NOW - HOUR, NOW)
    assert (caught.value.code, caught.value.conn_id) == (-2015, "binance_loan_default")
    after_refusal = [request.status for request in exchange.requests].index(401)
    assert len(exchange.requests) - after_refusal <= 8


def test_the_end_of_a_sync_client_ends_its_waits(connect: Any) -> None:
    """When something else ends a pull, such as a timeout of the task, concurrent waits end as well."""
    waiting, woken = threading.Event(), []

    class WaitingClock(FakeClock):
        def sleep(self, seconds: float, cancelled: threading.Event | None = None) -> None:
            assert cancelled
            waiting.set()
            woken.append(cancelled.wait(10))

    with raw_server([answer("429 Too Many Requests", "", "Retry-After: 60"), EMPTY]) as (url, lines):
        connect(host=url)
        with (
            ThreadPoolExecutor() as pool,
            suppress(KeyError),
            SyncClient(BinanceLoanHook()._settings(), clock=WaitingClock()) as client,
        ):
            concurrent = pool.submit(client.run, read_closed_units())
            assert waiting.wait(10)
            raise KeyError
    assert woken == [True]
    assert isinstance(concurrent.exception(), TransientError)
    assert len(lines) == 1


def test_cancelling_an_async_client_ends_its_waits(connect: Any) -> None:
    """When the triggerer cancels a trigger, its requests are given up while they wait."""

    async def cancel_while_waiting() -> None:
        waiting = asyncio.Event()

        class WaitingClock(FakeClock):
            async def asleep(self, seconds: float) -> None:
                waiting.set()
                await asyncio.sleep(10)

        async with AsyncClient(BinanceLoanHook()._settings(), clock=WaitingClock()) as client:
            run = asyncio.ensure_future(client.run(read_closed_units()))
            await asyncio.wait_for(waiting.wait(), 10)
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run
            assert asyncio.all_tasks() == {asyncio.current_task()}

    with raw_server([answer("429 Too Many Requests", "", "Retry-After: 60"), EMPTY]) as (url, lines):
        connect(host=url)
        asyncio.run(cancel_while_waiting())
    assert len(lines) == 1


def test_a_cancelled_request_waits_no_more(connect: object, clock: FakeClock) -> None:
    """Once a request has failed, the others send nothing, and raise its error."""
    with SyncClient(BinanceLoanHook()._settings(), clock=clock) as client:
        client._cancel(TransientError("of the other"))
        with pytest.raises(TransientError, match="of the other"):
            client._perform(TIME)
    assert clock.waits == []


def test_keeps_one_connection(client: HookClient, exchange: Exchange, connect: Any) -> None:
    """All requests of a pull that are sent one after another use one connection."""
    with raw_server([EMPTY] * 3) as (url, lines):
        connect(host=url)
        assert client.pull(NOW - HOUR, NOW) == []
    assert len(lines) == 3
    assert len(set(lines.ports)) == 1
