"""The triggers: they poll without blocking, fire once for each new liquidation, and survive restarts."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from datetime import datetime
from typing import Any

import pytest
from airflow.triggers.base import BaseEventTrigger, BaseTrigger

from airflow_provider_binance_loan import connections, hooks
from airflow_provider_binance_loan.binance.messages import LIQUIDATION_CODES
from airflow_provider_binance_loan.client.settings import parse_connection
from airflow_provider_binance_loan.exceptions import BadResponseError, TransientError
from airflow_provider_binance_loan.polling import first_wait_s
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.triggers import (
    BinanceLoanForceLiquidationEventTrigger,
    BinanceLoanForceLiquidationTrigger,
)
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.raw import EMPTY, answer, error, raw_server
from tests.support.watchers import OldStore, Store

BUSY = answer("503 Service Unavailable", error(-1008))
BAN = answer("418 I'm a teapot", error(-1003), "Retry-After: 300")
REFUSED = answer("401 Unauthorized", error(-2015))
MINUTE_MS = 60_000
# The waits before the first poll are random, and these are their bounds for a poll_interval of a minute.
FIRST_WAIT_S, INTERVAL_S = 6, 60


@pytest.fixture(autouse=True)
def connected(connect: Any, exchange: Exchange) -> None:
    """Define the connection to the local Binance, whose clock is the triggers' fake one."""


def trigger(clock: FakeClock, **arguments: Any) -> BinanceLoanForceLiquidationTrigger:
    return BinanceLoanForceLiquidationTrigger(
        **{"since": NOW.isoformat(), "poke_interval": INTERVAL_S, **arguments}, clock=clock
    )


async def first(waiting: BaseTrigger) -> Any:
    """Return the payload of the only event: Airflow iterates on until a trigger ends."""
    (event,) = [event async for event in waiting.run()]
    return event.payload


class Watcher:
    """An event trigger as the triggerer runs it: rebuilt from its row at each start."""

    def __init__(self, store: Any, clock: FakeClock, **arguments: Any) -> None:
        made = BinanceLoanForceLiquidationEventTrigger(
            asset_name="watched", **{"poke_interval": INTERVAL_S, **arguments}, clock=clock
        )
        assert isinstance(made, BaseEventTrigger)
        path, self.kwargs = made.serialize()
        assert path.endswith(".triggers.BinanceLoanForceLiquidationEventTrigger")
        self.store = store
        self.clock = clock

    async def events(self, exchange: Exchange, polls: int = 3) -> list[Any]:
        """Start, collect the payloads of some polls, and end as a killed triggerer does."""
        running = BinanceLoanForceLiquidationEventTrigger(
            **json.loads(json.dumps(self.kwargs)), clock=self.clock
        )
        running.asset_state_store = self.store
        payloads: list[Any] = []
        done = len(exchange.requests) + 2 * polls

        async def collect() -> None:
            async for event in running.run():
                payloads.append(json.loads(json.dumps(event.payload)))  # noqa: PERF401 - it is cancelled

        task = asyncio.create_task(collect())
        while not task.done() and len(exchange.requests) < done:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return payloads


class TestWaiting:
    """The trigger that a sensor defers to."""

    def test_polls_until_there_is_something(self, exchange: Exchange, clock: FakeClock) -> None:
        """It waits its interval between two polls, and fires a small JSON value."""
        exchange.schedule(5, lambda moved: moved.liquidate(1))
        event = asyncio.run(first(trigger(clock)))
        assert event | {"start": "", "end": ""} == {
            "status": "success",
            "count": 1,
            "group_ids": [1],
            "start": "",
            "end": "",
        }
        assert FIRST_WAIT_S <= clock.waits[0] <= INTERVAL_S
        assert clock.waits[1:] == pytest.approx([60, 60])

    def test_spreads_the_first_polls_over_an_interval(self) -> None:
        """Triggers that start at once poll at different times, after a little while and in time."""
        waits = [first_wait_s(60) for _ in range(1000)]
        assert min(waits) >= 6
        assert max(waits) <= 60
        assert max(Counter(int(wait) for wait in waits).values()) < 100
        assert first_wait_s(2) == 2

    def test_ends_at_its_deadline(self, exchange: Exchange, clock: FakeClock) -> None:
        """Where nobody else ends the wait, the trigger does, at the deadline and not after."""
        event = asyncio.run(first(trigger(clock, poke_interval=10, deadline=clock.time() + 30)))
        assert event == {"status": "timeout"}
        assert sum(clock.waits) == pytest.approx(30, abs=0.01)
        assert len(clock.waits) == 4
        assert len(exchange.requests) == 2 * 4

    def test_polls_once_more_at_its_deadline(self, exchange: Exchange, clock: FakeClock) -> None:
        """What happens after the last poll of an interval, and before the deadline, is found."""
        exchange.add_liquidation(1, int(NOW.timestamp() * 1000) + 1000)
        event = asyncio.run(first(trigger(clock, poke_interval=4, deadline=clock.time() + 3)))
        assert (event["status"], event["group_ids"]) == ("success", [1])
        assert clock.waits == [3]

    @pytest.mark.parametrize("days", [-400, -1, 1, 400])
    def test_waits_as_long_when_the_clock_is_set(
        self, exchange: Exchange, clock: FakeClock, days: int
    ) -> None:
        """Setting the machine's clock neither ends the wait nor prolongs it."""
        waiting = trigger(clock, poke_interval=10, deadline=clock.time() + 30)

        class SetClock(FakeClock):
            async def asleep(self, seconds: float) -> None:
                self.ms += days * 24 * 3_600_000 if not self.waits else 0
                await super().asleep(seconds)

        waiting._clock = set_clock = SetClock()
        assert asyncio.run(first(waiting)) == {"status": "timeout"}
        assert sum(set_clock.waits) == pytest.approx(30, abs=0.01)

    @pytest.mark.parametrize("not_before_s", [31, 3000])
    def test_does_not_poll_at_a_deadline_before_it_may(
        self, exchange: Exchange, clock: FakeClock, not_before_s: float
    ) -> None:
        """A ban that outlasts the deadline leaves no poll."""
        now_s = clock.time()
        waiting = trigger(clock, deadline=now_s + 30, not_before=now_s + not_before_s)
        assert asyncio.run(first(waiting)) == {"status": "timeout"}
        assert exchange.requests == []

    @pytest.mark.parametrize("failure", [BUSY, BAN])
    def test_times_out_when_the_last_poll_fails(self, connect: Any, clock: FakeClock, failure: bytes) -> None:
        """A fault at the deadline ends the wait as a timeout, which soft_fail may skip."""
        with raw_server([failure] * 5) as (url, lines):
            connect(host=url)
            event = asyncio.run(first(trigger(clock, deadline=clock.time() + 1)))
        assert event == {"status": "timeout"}
        assert lines

    def test_a_refusal_at_the_deadline_is_a_refusal(self, connect: Any, clock: FakeClock) -> None:
        """A refused key is no timeout."""
        with raw_server([REFUSED]) as (url, _):
            connect(host=url)
            event = asyncio.run(first(trigger(clock, deadline=clock.time() + 1)))
        assert event["status"] == "refused"

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({"exponential_backoff": True}, [60, 120, 240, 480]),
            ({"exponential_backoff": True, "max_wait": 150}, [60, 120, 150, 150]),
            ({"max_wait": 30}, [30, 30, 30, 30]),
        ],
    )
    def test_backs_off_as_the_sensor_says(
        self, exchange: Exchange, clock: FakeClock, arguments: Any, expected: list[float]
    ) -> None:
        """Exponential back-off and its bound hold in the triggerer too."""
        exchange.schedule(9, lambda moved: moved.liquidate(1))
        asyncio.run(first(trigger(clock, **arguments)))
        assert FIRST_WAIT_S <= clock.waits[0] <= expected[0]
        assert clock.waits[1:] == pytest.approx(expected)

    def test_waits_out_passing_faults(
        self, connect: Any, clock: FakeClock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Passing faults are waited out, ten failed polls in a row at most; then it raises."""
        attempts = 5
        with raw_server([BUSY] * 10 * attempts) as (url, lines):
            connect(host=url)
            with pytest.raises(TransientError, match=r"connection 'binance_loan_default', .*-1008"):
                asyncio.run(first(trigger(clock)))
        assert len(lines) == 10 * attempts
        # A poll begins an interval after the one before, whose attempts took some seconds.
        waits = [wait_s for wait_s in clock.waits[1:] if wait_s > 10]
        assert [INTERVAL_S / 2 < wait_s <= INTERVAL_S for wait_s in waits] == [True] * 9
        logged = [line for line in capsys.readouterr().out.splitlines() if "Polling again in " in line]
        assert len(logged) == 9
        assert all("connection 'binance_loan_default'" in line for line in logged)

    def test_counts_failures_in_a_row(self, connect: Any, clock: FakeClock) -> None:
        """A poll that succeeds starts the count of failed polls again."""
        failed = [BUSY] * 5
        with raw_server([*failed * 9, EMPTY, EMPTY, *failed * 9, REFUSED]) as (url, lines):
            connect(host=url)
            event = asyncio.run(first(trigger(clock)))
        assert event["status"] == "refused"
        assert len(lines) == 2 * 45 + 2 + 1

    def test_waits_out_a_ban(self, connect: Any, clock: FakeClock) -> None:
        """A ban is waited out to its end, and does not count as a failure."""
        with raw_server([BAN] * 12 + [answer("400 Bad Request", error(-1102))]) as (url, lines):
            connect(host=url)
            event = asyncio.run(first(trigger(clock)))
        assert event["status"] == "refused"
        assert len(lines) == 13
        assert [300 < wait <= 305.01 for wait in clock.waits[1:]] == [True] * 12

    @pytest.mark.parametrize("code", sorted(LIQUIDATION_CODES))
    def test_waits_out_a_liquidation(self, connect: Any, clock: FakeClock, code: int) -> None:
        """While Binance refuses since a risk unit is being liquidated, it polls on at its interval."""
        with raw_server([answer("400 Bad Request", error(code))] * 5 * 12 + [REFUSED]) as (url, lines):
            connect(host=url)
            event = asyncio.run(first(trigger(clock)))
        assert event["status"] == "refused"
        assert len(lines) == 5 * 12 + 1
        waits = [wait_s for wait_s in clock.waits[1:] if wait_s > 10]
        assert [INTERVAL_S / 2 < wait_s <= INTERVAL_S for wait_s in waits] == [True] * 12

    @pytest.mark.parametrize("failed", [1, 9])
    def test_waits_for_a_connection_that_is_not_found(
        self, exchange: Exchange, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, failed: int
    ) -> None:
        """A secrets backend that does not answer for some polls does not end the wait."""
        exchange.add_liquidation(1, int(NOW.timestamp() * 1000))
        name = "AIRFLOW_CONN_BINANCE_LOAN_DEFAULT"
        connection = os.environ[name]
        monkeypatch.delenv(name)

        class UnsealingClock(FakeClock):
            async def asleep(self, seconds: float) -> None:
                await super().asleep(seconds)
                if len(self.waits) > failed:
                    monkeypatch.setenv(name, connection)

        waiting = trigger(clock)
        waiting._clock = UnsealingClock()
        assert asyncio.run(first(waiting))["status"] == "success"
        assert len(waiting._clock.waits) == failed + 1

    def test_gives_up_a_connection_that_stays_away(
        self, clock: FakeClock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A connection that is not found in ten polls in a row fails the trigger, whose task is retried."""
        with pytest.raises(TransientError, match="the secrets backend did not answer") as caught:
            asyncio.run(first(trigger(clock, binance_loan_conn_id="missing")))
        assert caught.value.conn_id == "missing"
        assert clock.waits[1:] == pytest.approx([INTERVAL_S] * 9)
        assert capsys.readouterr().out.count("Polling again in 60 s: Add the binance_loan connection") == 9

    def test_waits_out_any_exception(
        self, clock: FakeClock, mocker: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An exception of a secrets backend counts as a failed poll; ten in a row are raised."""
        text = "vault is\nsealed " + "x" * 500
        mocker.patch.object(hooks.BinanceLoanHook, "aget_connection", side_effect=OSError(text))
        with pytest.raises(OSError, match="vault"):
            asyncio.run(first(trigger(clock)))
        assert clock.waits[1:] == pytest.approx([INTERVAL_S] * 9)
        lines = [line for line in capsys.readouterr().out.splitlines() if "Polling again in 60 s: " in line]
        assert len(lines) == 9
        assert f"OSError: vault is sealed {'x' * 184}… (connection 'binance_loan_default')" in lines[0]

    def test_can_be_cancelled(self, clock: FakeClock, mocker: Any) -> None:
        """A cancellation is no failed poll."""
        mocker.patch.object(hooks.BinanceLoanHook, "aget_window", side_effect=asyncio.CancelledError)
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(first(trigger(clock)))
        assert len(clock.waits) == 1

    def test_logs_each_poll(
        self, exchange: Exchange, clock: FakeClock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Each poll that finds nothing leaves a line with the wait that follows."""
        exchange.schedule(5, lambda moved: moved.liquidate(1))
        asyncio.run(first(trigger(clock)))
        logged = capsys.readouterr().out
        assert logged.count("Polling again in 60 s: there is no such liquidation yet.") == 2

    def test_does_not_poll_before_it_may(self, exchange: Exchange, clock: FakeClock) -> None:
        """A wait that Binance asked the sensor for holds in the triggerer."""
        exchange.liquidate(1)
        since = (NOW - HOUR).isoformat()
        asyncio.run(first(trigger(clock, since=since, not_before=clock.time() + 300)))
        assert clock.waits == [300]

    def test_raises_on_a_malformed_answer(self, connect: Any, clock: FakeClock) -> None:
        """An answer that is not what Binance documents ends the wait with an error."""
        with raw_server([answer("200 OK", "{}")]) as (url, _):
            connect(host=url)
            with pytest.raises(BadResponseError):
                asyncio.run(first(trigger(clock)))

    @pytest.mark.parametrize("arguments", [{"since": ""}, {"risk_units": "six"}, {"poke_interval": 0}])
    def test_fires_no_earlier_for_a_wrong_argument(self, clock: FakeClock, arguments: Any) -> None:
        """A wrong argument is reported after the first wait, when the scheduler has recorded the deferral."""
        event = asyncio.run(first(trigger(clock, **arguments)))
        assert event["status"] == "refused"
        assert clock.waits == [FIRST_WAIT_S]

    def test_never_blocks_the_loop(self, exchange: Exchange, clock: FakeClock, mocker: Any) -> None:
        """While Binance takes its time, and while the connection is read, the event loop goes on."""
        readers: list[threading.Thread] = []
        went_on: list[bool] = []

        def read(connection: Any) -> Any:
            readers.append(threading.current_thread())
            return parse_connection(connection)

        async def poll() -> Any:
            loop = asyncio.get_running_loop()

            def answer_late(_: Exchange) -> None:
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(10)
                went_on.append(True)

            exchange.schedule(1, answer_late)
            return await first(trigger(clock, since="2023-01-01T00:00:00Z"))

        mocker.patch.object(connections, "parse_connection", read)
        exchange.liquidate(1)
        assert asyncio.run(poll())["status"] == "success"
        assert went_on == [True]
        assert readers
        assert threading.main_thread() not in readers


class TestWatching:
    """The trigger that an asset's watcher runs."""

    @pytest.mark.parametrize("store", [Store, OldStore])
    def test_fires_once_for_each(self, exchange: Exchange, clock: FakeClock, store: type[Store]) -> None:
        """Each liquidation since the first start fires once, whenever the triggerer is restarted."""
        watcher = Watcher(store(), clock)
        exchange.add_liquidation(2, exchange.now_ms() - MINUTE_MS)
        assert asyncio.run(watcher.events(exchange)) == []
        fired = []
        for _ in range(4):
            exchange.liquidate(1)
            fired += asyncio.run(watcher.events(exchange))
            exchange.finish(1)
        starts = [one.start_ms for one in exchange.liquidations() if one.group_id == 1]
        assert [event["group_id"] for event in fired] == [1] * 4
        windows = [datetime.fromisoformat(event["start"]) for event in fired]
        assert [round(window.timestamp() * 1000) for window in windows] == starts

    def test_fires_again_for_the_finish_when_asked(self, exchange: Exchange, clock: FakeClock) -> None:
        """A liquidation that finishes fires once more, also long after its start."""
        watcher = Watcher(Store(), clock, finished=True, lookback=0.0)
        assert asyncio.run(watcher.events(exchange)) == []
        exchange.liquidate(1)
        assert [event["what"] for event in asyncio.run(watcher.events(exchange))] == ["started"]
        assert asyncio.run(watcher.events(exchange)) == []
        exchange.finish(1)
        assert [event["what"] for event in asyncio.run(watcher.events(exchange))] == ["finished"]
        assert asyncio.run(watcher.events(exchange)) == []

    def test_fires_for_what_becomes_visible_late(self, exchange: Exchange, clock: FakeClock) -> None:
        """A record that appears after a newer one still fires."""
        watcher = Watcher(Store(), clock)
        asyncio.run(watcher.events(exchange))
        newer = exchange.liquidate(1)
        assert len(asyncio.run(watcher.events(exchange))) == 1
        exchange.add_liquidation(2, newer.start_ms - 1)
        assert [event["group_id"] for event in asyncio.run(watcher.events(exchange))] == [2]

    def test_repeats_rather_than_loses(self, exchange: Exchange, clock: FakeClock) -> None:
        """When the triggerer dies between firing and recording it, the event comes again."""
        store = Store()
        watcher = Watcher(store, clock)
        asyncio.run(watcher.events(exchange))
        exchange.liquidate(1)
        recorded = dict(store.values)
        assert len(asyncio.run(watcher.events(exchange))) == 1
        store.values = recorded
        assert len(asyncio.run(watcher.events(exchange))) == 1

    def test_records_an_event_once_airflow_has_it(self, exchange: Exchange, clock: FakeClock) -> None:
        """The state is written some seconds after the event, between which the store has answered twice."""
        calls: list[tuple[str, float]] = []

        class NotingStore(Store):
            async def aget(self, key: str) -> Any:
                calls.append(("read", clock.time()))
                return await super().aget(key)

            async def aset(self, key: str, value: Any) -> None:
                calls.append(("write", clock.time()))
                await super().aset(key, value)

        watcher = Watcher(NotingStore(), clock)
        asyncio.run(watcher.events(exchange))
        exchange.liquidate(1)
        calls.clear()
        fired_at = clock.time()
        assert len(asyncio.run(watcher.events(exchange))) == 1
        assert calls == [
            ("read", fired_at),
            ("read", fired_at),
            ("read", fired_at + 3),
            ("write", fired_at + 3),
        ]

    def test_keeps_its_state_small(self, exchange: Exchange, clock: FakeClock) -> None:
        """What started before the lookback is forgotten, and not fired again."""
        store = Store()
        watcher = Watcher(store, clock, lookback=3600)
        asyncio.run(watcher.events(exchange))
        now_ms = exchange.now_ms()
        for number in range(21):
            exchange.add_liquidation(1, now_ms - number)
        assert len(asyncio.run(watcher.events(exchange))) == 21
        clock.sleep(4000)
        exchange.liquidate(2)
        assert len(asyncio.run(watcher.events(exchange))) == 1
        (state,) = store.values.values()
        assert [group_id for _, group_id, _ in json.loads(state)["fired"]] == [2]

    def test_fires_for_the_lookback_where_there_is_no_store(
        self, exchange: Exchange, clock: FakeClock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Without a state store each start fires what started within the lookback, and says so."""
        exchange.add_liquidation(1, exchange.now_ms() - 120 * MINUTE_MS)
        exchange.add_liquidation(2, exchange.now_ms() - 30 * MINUTE_MS)
        watcher = Watcher(None, clock, lookback=3600)
        for _ in range(2):
            assert [event["group_id"] for event in asyncio.run(watcher.events(exchange))] == [2]
        logged = capsys.readouterr().out
        assert "Upgrade to Airflow 3.3, whose asset state store prevents repeated events" in logged
        assert "(connection 'binance_loan_default', asset 'watched')" in logged

    def test_backs_off_by_itself(
        self, connect: Any, clock: FakeClock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It never raises, which would start it again at once; it waits longer and longer, and says so."""
        with raw_server([REFUSED] * 6 + [EMPTY] * 2) as (url, lines):
            connect(host=url)
            watcher = BinanceLoanForceLiquidationEventTrigger(
                asset_name="watched", poke_interval=60, clock=clock
            )

            async def poll() -> None:
                running = asyncio.create_task(first(watcher))
                while len(lines) < 8:
                    await asyncio.wait([running], timeout=0.01)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

            asyncio.run(poll())
        assert clock.waits[:6] == [120, 240, 480, 600, 600, 600]
        # The watcher goes on until it is cancelled, so it may log the same wait again after the server ended.
        lines_of_log = capsys.readouterr().out.splitlines()
        line, *_ = (text for text in lines_of_log if "Polling again in 240 s" in text)
        assert "Polling again in 240 s (asset 'watched'): " in line
        assert line.count("connection 'binance_loan_default'") == 1

    def test_keeps_one_short_key_for_the_same_units(self) -> None:
        """The state is found again however the units are written, and its key is short."""
        made = [
            BinanceLoanForceLiquidationEventTrigger(asset_name="a", risk_units=units)._state_key
            for units in ([7, 6], "6,7", {6, 7}, range(10**6, 10**6 + 100))
        ]
        assert made[0] == made[1] == made[2] != made[3]
        assert max(map(len, made)) < 60

    def test_continues_where_version_0_1_0_ended(self, exchange: Exchange, clock: FakeClock) -> None:
        """With the state that 0.1.0 left, only what it had not fired yet fires; the state gets a version."""
        now_ms = exchange.now_ms()
        first_ms, second_ms, third_ms = (now_ms - minutes * MINUTE_MS for minutes in (9, 8, 7))
        for group_id, start_ms in (
            (1, first_ms),
            (2, second_ms),
            (2, third_ms),
            (1, now_ms - 11 * MINUTE_MS),
        ):
            exchange.add_liquidation(group_id, start_ms, start_ms + 1000)
        store = Store()
        # The key of the default connection, of all units, with finishes.
        key = "binance_loan_fired_5798b4561621fb0e7c0ae958fe80238a"
        fired = [[first_ms, 1, False], [second_ms, 2, True]]
        store.values[key] = json.dumps({"since_ms": now_ms - 10 * MINUTE_MS, "fired": fired})
        events = asyncio.run(Watcher(store, clock, finished=True).events(exchange))
        assert [(event["what"], event["group_id"]) for event in events] == [
            ("finished", 1),
            ("started", 2),
            ("finished", 2),
        ]
        state = json.loads(store.values[key])
        assert state["version"] == 1
        assert state["fired"] == [[first_ms, 1, True], [second_ms, 2, True], [third_ms, 2, True]]

    def test_keeps_watchers_apart(self) -> None:
        """Watchers of different assets have different rows, since Airflow runs equal ones as one."""
        one, other = (
            BinanceLoanForceLiquidationEventTrigger(asset_name=name).serialize() for name in ("a", "b")
        )
        assert one != other


def test_stores_no_clock(clock: FakeClock) -> None:
    """The clock of a test is no part of the row in Airflow's database."""
    watcher = BinanceLoanForceLiquidationEventTrigger(asset_name="a", clock=clock)
    assert "clock" not in {**trigger(clock).serialize()[1], **watcher.serialize()[1]}


def test_no_figures_and_no_addresses_in_events(exchange: Exchange, clock: FakeClock) -> None:
    """What goes through Airflow's database holds no amount and no e-mail address."""
    exchange.add_liquidation(1, exchange.now_ms() - MINUTE_MS)
    event = json.dumps(asyncio.run(first(trigger(clock, since=(NOW - HOUR).isoformat()))))
    assert "@" not in event
    assert "test.com" not in event
    assert json.loads(event).keys() == {"status", "count", "group_ids", "start", "end"}


def test_imports_the_http_client_off_the_event_loop(connect: Any) -> None:
    """The first poll of a triggerer imports httpcore in a thread, so that it holds up no other trigger."""
    script = """
import asyncio, sys, threading
from datetime import UTC, datetime
from airflow_provider_binance_loan.hooks import BinanceLoanHook

imported_by = []

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("airflow_provider_binance_loan.client.asynchronous"):
            imported_by.append(threading.current_thread() is threading.main_thread())

sys.meta_path.insert(0, Finder())
now = datetime(2026, 3, 1, tzinfo=UTC)
asyncio.run(BinanceLoanHook().aget_force_liquidations(now, now))
print("imported by the main thread:", *imported_by)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "imported by the main thread: False\n" in run.stdout
