"""Faults: each that the local Binance can inject, through both doors, and what it costs.

Whatever happens: all records or an error, no signed query is sent twice, and none while told to wait.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from airflow_provider_binance_loan.binance.fields import record_key
from airflow_provider_binance_loan.binance.reader import read_closed_units
from airflow_provider_binance_loan.client import base as doors
from airflow_provider_binance_loan.client.base import AsyncClient, SyncClient
from airflow_provider_binance_loan.client.throttle import Clock, Standing
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
from tests.conftest import Doors
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.raw import EMPTY, answer, raw_server

NOW_MS = int(NOW.timestamp() * 1000)

BUSY = Fault("error")
LATE = Fault("error", 400, -1021, "Timestamp for this request is outside of the recvWindow.")
TIME_BUSY = Fault("error", path="/time")
HURRIED = Fault("error", 429, -1003, retry_after=0)


def limit(seconds: int | None) -> Fault:
    return Fault("error", 429, -1003, "Too many requests.", retry_after=seconds)


def ban(seconds: int | None, text: str = "Banned.") -> Fault:
    return Fault("error", 418, -1003, text, retry_after=seconds)


def refused(status: int, code: int) -> Fault:
    return Fault("error", status, code, "No.")


class Case(NamedTuple):
    """The faults that requests meet in turn, what comes of it, and at what cost."""

    faults: list[Fault | None]
    outcome: type[BinanceLoanError] | None  # None: all records
    requests: int
    waits: list[float] | int | None = 0  # those told, or how many of the back-off's own; None where it varies
    says: str = ""


# An undisturbed pull is two requests: the records, and the list of closed units.
CASES = {
    "nothing": Case([], None, 2),
    "busy": Case([BUSY], None, 3, 1),
    "busy, twice": Case([BUSY, Fault("html", 502)], None, 4, 2),
    "busy, later": Case([None, BUSY], None, 3, 1),
    "busy for ever": Case([BUSY] * 9, TransientError, 5, 4, "code -1008"),
    "busy for ever, later": Case([None, *[BUSY] * 9], TransientError, 6, 4, "closed answered HTTP 503"),
    **{
        f"code {code}": Case([Fault("error", 400, code, "Busy.")], None, 3, 1)
        for code in (-1000, -1001, -1004, -1006, -1007, -1008, -3000, -3044)
    },
    "error as HTML": Case([Fault("html", 500)], None, 3, 1),
    "error without a word": Case([Fault("empty", 503)], None, 3, 1),
    "request timeout": Case([Fault("empty", 408)], None, 3, 1),
    "data without a word": Case([Fault("empty", 200)], None, 3, 1),
    "reset before the answer": Case([Fault("reset")], None, 3, 1),
    "reset within the body": Case([Fault("reset_in_body")], None, 3, 1),
    "truncated": Case([Fault("truncate")], None, 3, 1),
    "cut, its length not told": Case([Fault("cut")], None, 3, 1),
    "hung up on, kept alive": Case([Fault("hang_up")], None, 2, None),
    "garbled": Case([Fault("garbled")], None, 3, 1),
    "reset for ever": Case([Fault("reset")] * 9, TransientError, 5, 4, "hung up"),
    "truncated for ever": Case([Fault("truncate")] * 9, TransientError, 5, 4, "hung up"),
    "cut for ever": Case([Fault("cut")] * 9, TransientError, 5, 4, "is cut off"),
    "page as HTML": Case([Fault("html", 200)], BadResponseError, 1, 0, "not JSON"),
    "huge": Case([Fault("huge")], BadResponseError, 1, 0, "more than 32 MiB"),
    "firewall": Case([Fault("html", 403)], AuthRefusedError, 1, 0, "web firewall"),
    "redirect": Case([Fault("redirect", msg="http://127.0.0.1:9/")], RequestRefusedError, 1, 0, "redirects"),
    **{
        f"code {code}": Case([refused(400, code)], AuthRefusedError, 1, 0, f"code {code}")
        for code in (-1002, -1022, -1099, -2008, -2014, -2015, -4004)
    },
    **{
        f"code {code}": Case([refused(400, code)], RequestRefusedError, 1, 0, f"code {code}")
        for code in (-3003, -3999, -1100, -1102, -1106, -1108, -1121, -1127, -1128, -1130, -1131, -3026)
    },
    "refused later": Case([None, refused(401, -2015)], AuthRefusedError, 2, 0, "code -2015"),
    "limit": Case([limit(7)], None, 3, [7]),
    "limit, twice": Case([limit(7), limit(60)], None, 4, [7, 60]),
    "limit for ever": Case([limit(30)] * 9, RateLimitedError, 5, [30] * 4, "wait until"),
    "limit of a minute, not told": Case([limit(None)], None, 3, [60]),
    "limit without a wait": Case([HURRIED], None, 3, 1),
    "long limit": Case([limit(61)], RateLimitedError, 1, 0, "wait until 2026-03-01T12:01:01"),
    "limits past the deadline": Case([limit(60)] * 9, RateLimitedError, 4, [60] * 3, "wait until"),
    "ban": Case([ban(300)], RateLimitedError, 1, 0, "banned until 2026-03-01T12:05:00"),
    "short ban": Case([ban(1)], RateLimitedError, 1, 0, "banned until 2026-03-01T12:00:01"),
    "ban, not told": Case([ban(None)], RateLimitedError, 1, 0, "banned until 2026-03-01T12:02:00"),
    "ban in words": Case(
        [ban(None, f"IP banned until {NOW_MS + 3_600_000}.")],
        RateLimitedError,
        1,
        0,
        "banned until 2026-03-01T13:00:00",
    ),
    "clock": Case([LATE], None, 4),
    "clock, for ever": Case([LATE, None, LATE], ClockError, 3, 0, "after a correction by Binance's own time"),
    "clock, time busy": Case([LATE, TIME_BUSY, LATE], None, 6, 1),
}


def started_in_window(exchange: Exchange) -> list[tuple[int, int]]:
    return sorted((one.start_ms, one.group_id) for one in exchange.liquidations())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_recovers_or_fails_as_a_whole(door: Doors, exchange: Exchange, clock: FakeClock, case: Case) -> None:
    """Each fault ends in all records or its error, with so many requests and waits and no more."""
    for number in range(60):
        exchange.add_liquidation(1 + number % 2, NOW_MS - 1000 - number, NOW_MS - 1)
    exchange.fail(*case.faults)
    if case.outcome:
        with pytest.raises(BinanceLoanError, match=re.escape(case.says)) as caught:
            door.pull(NOW - HOUR, NOW)
        assert type(caught.value) is case.outcome
    else:
        assert [record_key(record) for record in door.pull(NOW - HOUR, NOW)] == started_in_window(exchange)
    assert len(exchange.requests) == case.requests
    if isinstance(case.waits, int):
        assert len(clock.waits) == case.waits
        assert all(0 <= wait_s <= 10 for wait_s in clock.waits)
    elif case.waits is not None:
        assert clock.waits == pytest.approx(case.waits, abs=0.01)
    assert_no_query_twice(exchange)
    assert_none_while_told_to_wait(exchange)


def assert_no_query_twice(exchange: Exchange) -> None:
    signed = [request.query for request in exchange.requests if request.path.startswith("/sapi/")]
    assert len(set(signed)) == len(signed)


def assert_none_while_told_to_wait(exchange: Exchange) -> None:
    """The local Binance bans who asks too early after a limit, as the real one does."""
    statuses = [request.status for request in exchange.requests]
    assert (429, 418) not in pairwise(statuses)


def test_a_silent_server_is_given_up_in_time(
    door: Doors, exchange: Exchange, connect: Any, mocker: Any
) -> None:
    """No answer at all is asked for again after the read timeout."""
    mocker.patch.object(doors, "_MAX_TRIES", 2)
    exchange.fail(Fault("silence"), Fault("silence"))
    connect(extra={"timeout": 1})
    with pytest.raises(TransientError, match="gave no answer in time"):
        door.pull(NOW - HOUR, NOW)
    assert len(exchange.requests) == 2


@pytest.mark.parametrize("kind", [SyncClient, AsyncClient])
@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "]
)
def test_an_endless_answer_is_given_up(kind: Any, head: bytes, connect: Any) -> None:
    """Headers or a body that come drop by drop, each in time, end at the deadline all the same."""

    def drip(listener: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(head)
                while True:
                    connection.sendall(b" ")
                    time.sleep(0.01)

    async def ask(door: AsyncClient) -> None:
        async with door:
            await door.run(read_closed_units())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        connect(host=f"http://127.0.0.1:{listener.getsockname()[1]}")
        door = kind(BinanceLoanHook()._settings(), Standing(Clock()), deadline_s=0.3)
        with pytest.raises(TransientError, match="gave no answer in time"):
            door.run(read_closed_units()) if kind is SyncClient else asyncio.run(ask(door))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_refusal_ends_what_runs_beside_it(kind: str, exchange: Exchange, connect: Any) -> None:
    """What is being asked again beside a refused request is given up, and the refusal is what is raised."""
    for number in range(1500):
        exchange.add_liquidation(1, NOW_MS - 2000 * (number + 1), NOW_MS)

    class SlowClock(FakeClock):
        def sleep(self, seconds: float, over: threading.Event | None = None) -> None:
            time.sleep(0.2)

        async def asleep(self, seconds: float) -> None:
            await asyncio.sleep(0.2)

    connect(extra={"max_concurrency": 8})
    exchange.fail(*[None] * 6, *[BUSY] * 4, refused(401, -2015), *[BUSY] * 99)
    with pytest.raises(AuthRefusedError):
        Doors(kind, SlowClock()).pull(NOW - HOUR, NOW)
    after_refusal = [request.status for request in exchange.requests].index(401)
    assert len(exchange.requests) - after_refusal <= 8


def test_nobody_waits_for_a_pull_that_was_given_up(connect: Any) -> None:
    """When something else ends a pull, a timeout of the task for one, the waits beside it end as well."""
    waiting, woken = threading.Event(), []

    class WaitingClock(FakeClock):
        def sleep(self, seconds: float, over: threading.Event | None = None) -> None:
            assert over
            waiting.set()
            woken.append(over.wait(10))

    with raw_server([answer("429 Too Many Requests", "", "Retry-After: 60"), EMPTY]) as (url, lines):
        connect(host=url)
        with (
            ThreadPoolExecutor() as pool,
            suppress(KeyError),
            SyncClient(BinanceLoanHook()._settings(), Standing(WaitingClock())) as door,
        ):
            beside = pool.submit(door.run, read_closed_units())
            assert waiting.wait(10)
            raise KeyError
    assert woken == [True]
    assert isinstance(beside.exception(), TransientError)
    assert len(lines) == 1


def test_keeps_one_connection(door: Doors, exchange: Exchange, connect: Any) -> None:
    """All requests of a pull that go one after another use one connection."""
    with raw_server([EMPTY, EMPTY]) as (url, lines):
        connect(host=url)
        assert door.pull(NOW - HOUR, NOW) == []
    assert len(lines) == 2
    assert len(set(lines.ports)) == 1


class TestGate:
    """What Binance told one request holds for all of the hook."""

    @pytest.fixture
    def busy_hour(self, exchange: Exchange) -> Exchange:
        """More records in an hour than a page holds, so that requests go side by side, on the real clock."""
        exchange.clock = time.time
        exchange.behaviour.latency_s = 0.05
        for number in range(1500):
            exchange.add_liquidation(1, NOW_MS - 2000 * (number + 1), NOW_MS)
        return exchange

    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_none_goes_while_one_waits(self, kind: str, busy_hour: Exchange, connect: Any) -> None:
        """After a 429 amid requests side by side, no further one starts before the wait is over."""
        connect(extra={"max_concurrency": 2})
        busy_hour.fail(*[None] * 6, Fault("error", 429, -1003, retry_after=2, bans=False))
        hook = BinanceLoanHook()
        start, end = NOW - HOUR, NOW
        records = (
            hook.get_force_liquidations(start, end)
            if kind == "sync"
            else asyncio.run(hook.aget_force_liquidations(start, end))
        )
        assert len(records) == 1500
        (told_ms,) = [request.at_ms for request in busy_hour.requests if request.status == 429]
        after = [request.at_ms - told_ms for request in busy_hour.requests if request.at_ms > told_ms]
        assert len([ms for ms in after if ms < 1950]) <= 1  # the other one of two, under way already
        assert len([ms for ms in after if ms >= 1950]) > 5

    def test_the_next_call_keeps_off_too(self, door: Doors, exchange: Exchange, clock: FakeClock) -> None:
        """After a ban the hook asks nothing until it is over, and says so each time."""
        exchange.fail(ban(30))  # shorter than the longest wait, and no wait all the same
        for _ in range(3):
            with pytest.raises(RateLimitedError, match="banned until 2026-03-01T12:00:30"):
                door.pull(NOW - HOUR, NOW)
        assert len(exchange.requests) == 1
        assert clock.waits == []
        clock.sleep(30)
        assert door.pull(NOW - HOUR, NOW) == []

    def test_a_shorter_wait_does_not_end_a_longer_one(self, clock: FakeClock) -> None:
        """Of several waits that requests side by side are told, the one that ends last holds."""
        standing = Standing(clock)
        for seconds in (30, 7, 50, 1):
            standing.close_until(RateLimitedError("Wait.", ends_at_ms=NOW_MS + 1000 * seconds))
        assert next(standing.waits("/path", 60)) == 50

    def test_sits_out_as_much_as_the_connection_says(
        self, door: Doors, exchange: Exchange, connect: Any, clock: FakeClock
    ) -> None:
        """`max_wait` in the connection is the longest wait that a request sits out."""
        connect(extra={"max_wait": 90})
        exchange.fail(limit(90))
        assert door.pull(NOW - HOUR, NOW) == []
        assert clock.waits == [90]
        connect(extra={"max_wait": 5})
        exchange.fail(limit(6))
        with pytest.raises(RateLimitedError) as caught:
            door.pull(NOW - HOUR, NOW)
        assert caught.value.ends_at_ms == NOW_MS + 96_000

    def test_the_end_of_a_wait_is_by_this_machines_clock(
        self, door: Doors, exchange: Exchange, clock: FakeClock
    ) -> None:
        """Who waits until the end that an error names does so by a clock that may be an hour off."""
        exchange.clock = lambda: clock.time() + 3600
        exchange.fail(None, None, None, ban(300))
        with pytest.raises(RateLimitedError) as caught:
            door.pull(NOW - HOUR, NOW)
        assert abs(caught.value.ends_at_ms - (NOW_MS + 300_000)) <= 1000
        exchange.fail(ban(None, f"IP banned until {NOW_MS + 3_600_000 + 900_000}."))
        clock.sleep(301)
        with pytest.raises(RateLimitedError) as caught:
            door.pull(NOW - HOUR, NOW)
        assert abs(caught.value.ends_at_ms - (NOW_MS + 900_000)) <= 1000

    def test_a_wait_outlasts_a_clock_that_jumps(
        self, door: Doors, exchange: Exchange, clock: FakeClock
    ) -> None:
        """Setting the machine's clock ahead does not end a ban."""
        exchange.fail(ban(300))
        with pytest.raises(RateLimitedError):
            door.pull(NOW - HOUR, NOW)
        clock.ms += 3_600_000
        with pytest.raises(RateLimitedError):
            door.pull(NOW - HOUR, NOW)
        assert len(exchange.requests) == 1


class TestWeight:
    """The weight that Binance shows in each answer."""

    @pytest.mark.parametrize(
        ("used", "waits"),
        [
            (0, []),
            (9_500, []),
            (9_700, [60 / 2299]),  # one of the requests is in the figure already
            (11_000, [60 / 999]),
            (11_998, [60]),
        ],
    )
    def test_slows_down_past_four_fifths(
        self, door: Doors, exchange: Exchange, clock: FakeClock, used: int, waits: list[float]
    ) -> None:
        """Past 80 % of a minute's weight, the next request waits for its share of what is left."""
        exchange.behaviour.used_weight = used
        window = (NOW - timedelta(minutes=1), NOW)
        door.pull(*window, risk_units="active")
        assert clock.waits == []
        door.pull(*window, risk_units="active")
        assert clock.waits == []  # the share is reckoned from the request before
        door.pull(*window, risk_units="active")
        assert clock.waits == pytest.approx(waits, rel=0.01)

    def test_is_quick_again_when_the_minute_is_over(
        self, door: Doors, exchange: Exchange, clock: FakeClock
    ) -> None:
        """When the weight is low again, no request waits for what was shown before."""
        window = (NOW - timedelta(minutes=1), NOW)
        for used in (11_998, 0, 0):
            exchange.behaviour.used_weight = used
            door.pull(*window, risk_units="active")
        assert clock.waits == []


class TestClock:
    """A clock that is not Binance's."""

    @pytest.mark.parametrize("hours", [-1, 1])
    def test_a_correction_serves_the_hooks_later_calls(
        self, door: Doors, exchange: Exchange, clock: FakeClock, hours: int
    ) -> None:
        """An hour off costs one refusal and one look at the time, once for the hook."""
        exchange.clock = lambda: clock.time() + hours * 3600
        for _ in range(3):
            door.pull(NOW - HOUR, NOW, risk_units="active")
        assert [request.status for request in exchange.requests] == [400, 200, 200, 200, 200]

    def test_each_jump_costs_one_look(self, door: Doors, exchange: Exchange, clock: FakeClock) -> None:
        """A clock that jumps between two requests is corrected again."""
        exchange.clock = lambda: NOW_MS / 1000
        for number in range(3):
            clock.ms = NOW_MS + (number + 1) * 3_600_000
            door.pull(NOW - HOUR, NOW, risk_units="active")
        assert [request.status for request in exchange.requests] == [400, 200, 200] * 3

    def test_a_jump_amid_requests_side_by_side_costs_one_look(
        self, door: Doors, exchange: Exchange, connect: Any, clock: FakeClock
    ) -> None:
        """However many are refused at once, the time is read once."""
        connect(extra={"max_concurrency": 8})
        for number in range(1500):
            exchange.add_liquidation(1, NOW_MS - 2000 * (number + 1), NOW_MS)
        exchange.schedule(6, lambda _: setattr(clock, "ms", clock.ms + 3_600_000))
        exchange.clock = lambda: NOW_MS / 1000
        assert len(door.pull(NOW - HOUR, NOW)) == 1500
        assert sum(request.path == "/api/v3/time" for request in exchange.requests) == 1
        assert 1 <= sum(request.status == 400 for request in exchange.requests) <= 8
        assert_no_query_twice(exchange)

    def test_reads_the_time_at_the_middle_of_the_round_trip(
        self, door: Doors, connect: Any, clock: FakeClock
    ) -> None:
        """What Binance says is taken as the time half way between asking and hearing, less 250 ms."""
        off = answer("400 Bad Request", '{"code":-1021,"msg":"x"}')
        server_time = answer("200 OK", f'{{"serverTime":{NOW_MS + 60_000}}}')
        sent: list[str] = []

        def slow_time() -> bytes:
            clock.ms += 4000  # the round trip
            return server_time

        with raw_server([off, slow_time, EMPTY, EMPTY]) as (url, lines):
            connect(host=url)
            door.pull(NOW - HOUR, NOW)
            sent += lines
        (first, second) = (int(found[1]) for line in sent[2:] if (found := re.search(r"stamp=(\d+)", line)))
        assert first - NOW_MS == second - NOW_MS == 4000 + 58_000 - 250

    def test_a_wait_before_the_time_is_asked_does_not_count(
        self, door: Doors, connect: Any, clock: FakeClock
    ) -> None:
        """When a limit holds back the look at the time, the round trip begins after it."""
        off = answer("400 Bad Request", '{"code":-1021,"msg":"x"}')
        server_time = answer("200 OK", f'{{"serverTime":{NOW_MS + 23_000}}}')

        def late_and_limited() -> bytes:
            door.hook._standing.close_until(RateLimitedError("Wait.", ends_at_ms=NOW_MS + 20_000))
            return off

        with raw_server([late_and_limited, server_time, EMPTY, EMPTY]) as (url, lines):
            connect(host=url)
            door.pull(NOW - HOUR, NOW)
        assert clock.waits == [20]
        assert all(f"timestamp={NOW_MS + 23_000 - 250}&" in line for line in lines[2:])

    @pytest.mark.parametrize(("hours", "says"), [(1, "3600.0 s behind"), (-1, "3600.0 s ahead")])
    def test_says_how_far_the_clock_is_off(
        self, door: Doors, exchange: Exchange, clock: FakeClock, hours: int, says: str
    ) -> None:
        """A second refusal after the correction is an error that says how far the clock is off."""
        exchange.clock = lambda: clock.time() + hours * 3600
        exchange.fail(None, None, LATE)
        with pytest.raises(ClockError, match=says):
            door.pull(NOW - HOUR, NOW)
        assert len(exchange.requests) == 3
