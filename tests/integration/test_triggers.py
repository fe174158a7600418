"""The triggers: they wait without blocking, fire once for each new liquidation, and survive restarts."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.triggers.base import BaseEventTrigger, BaseTrigger

from airflow_provider_binance_loan import conditions, hooks, triggers
from airflow_provider_binance_loan.client.settings import parse_connection
from airflow_provider_binance_loan.client.throttle import Clock
from airflow_provider_binance_loan.exceptions import BadResponseError, TransientError
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.triggers import (
    BinanceLoanForceLiquidationEventTrigger,
    BinanceLoanForceLiquidationTrigger,
)
from tests.support.raw import EMPTY, answer, error, raw_server

FIRST_WAIT_S = triggers._first_wait_s
BUSY = answer("503 Service Unavailable", error(-1008))
MINUTE_MS = 60_000


@pytest.fixture(autouse=True)
def real_time(connect: Any, exchange: Exchange, mocker: Any) -> None:
    """Let the local Binance share the trigger's clock, and leave out the waits for Airflow."""
    exchange.clock = time.time
    mocker.patch.object(triggers, "_first_wait_s", return_value=0)
    mocker.patch.object(conditions, "_LEAST_INTERVAL_S", 0)
    mocker.patch.object(triggers, "_HANDOVER_S", 0)


@pytest.fixture
def waits(mocker: Any, exchange: Exchange) -> list[float]:
    """What the trigger waits between its looks; all clocks jump over the waits."""
    waited: list[float] = []

    class JumpingClock(Clock):
        def now_ms(self) -> int:
            return super().now_ms() + round(sum(waited) * 1000)

        def monotonic(self) -> float:
            return super().monotonic() + sum(waited)

    async def note(seconds: float) -> None:
        waited.append(seconds)
        await asyncio.sleep(0)

    mocker.patch.object(hooks, "Clock", JumpingClock)
    exchange.clock = lambda: JumpingClock().now_ms() / 1000

    # Not in asyncio itself, by which the local Binance lives as well.
    mocker.patch.object(triggers, "asyncio", SimpleNamespace(sleep=note, to_thread=asyncio.to_thread))
    return waited


def trigger(**arguments: Any) -> BinanceLoanForceLiquidationTrigger:
    return BinanceLoanForceLiquidationTrigger(
        **{"since": datetime.now(UTC).isoformat(), "poke_interval": 60, **arguments}
    )


async def first(waiting: BaseTrigger) -> Any:
    async for event in waiting.run():
        return event.payload
    raise AssertionError("no event")


class Store:
    """An asset's state store, as Airflow 3.3.2 has it: JSON, and it outlives the trigger."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.fails = False

    def __getitem__(self, asset: Any) -> Store:
        assert asset.name == "watched"
        return self

    async def aget(self, key: str) -> Any:
        return json.loads(self.values[key]) if key in self.values else None

    async def aset(self, key: str, value: Any) -> None:
        if self.fails:
            raise KeyboardInterrupt
        self.values[key] = json.dumps(value)


class OldStore(Store):
    """The same as Airflow 3.3.0 has it: blocking."""

    aget = aset = property(lambda _: (_ for _ in ()).throw(AttributeError()))  # type: ignore[assignment]

    def get(self, key: str) -> Any:
        return json.loads(self.values[key]) if key in self.values else None

    def set(self, key: str, value: Any) -> None:
        self.values[key] = json.dumps(value)


class Watcher:
    """An event trigger as the triggerer runs it: made anew from its row at each start."""

    def __init__(self, store: Any, **arguments: Any) -> None:
        made = BinanceLoanForceLiquidationEventTrigger(
            asset_name="watched", **{"poke_interval": 0.01, **arguments}
        )
        assert isinstance(made, BaseEventTrigger)
        path, self.kwargs = made.serialize()
        assert path.endswith(".triggers.BinanceLoanForceLiquidationEventTrigger")
        self.store = store

    async def events(self, exchange: Exchange, looks: int = 3) -> list[Any]:
        """Start, collect what comes during some looks, and end as a killed triggerer does."""
        running = BinanceLoanForceLiquidationEventTrigger(**json.loads(json.dumps(self.kwargs)))
        running.asset_state_store = self.store
        payloads: list[Any] = []
        done = len(exchange.requests) + 2 * looks

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

    def test_looks_until_there_is_something(self, exchange: Exchange, waits: list[float]) -> None:
        """It waits its interval between two looks, and tells what came in a small JSON value."""
        exchange.schedule(5, lambda moved: moved.liquidate(1))
        event = asyncio.run(first(trigger()))
        assert event | {"start": "", "end": ""} == {
            "status": "success",
            "count": 1,
            "group_ids": [1],
            "start": "",
            "end": "",
        }
        assert waits == [0, 60, 60]

    def test_spreads_the_first_looks_over_an_interval(self) -> None:
        """Triggers that start in one moment look at different ones, after a little while and in time."""
        waits = [FIRST_WAIT_S(60) for _ in range(1000)]
        assert min(waits) >= 6
        assert max(waits) <= 60
        assert max(Counter(int(wait) for wait in waits).values()) < 100
        assert FIRST_WAIT_S(2) == 2

    def test_ends_at_its_deadline(self, exchange: Exchange, waits: list[float]) -> None:
        """Where nobody else ends the wait, the trigger does, at the deadline and not after."""
        event = asyncio.run(first(trigger(deadline=time.time() + 30)))
        assert event == {"status": "timeout"}
        assert [round(wait) for wait in waits] == [0, 30]

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({"exponential_backoff": True}, [60, 120, 240, 480]),
            ({"exponential_backoff": True, "max_wait": 150}, [60, 120, 150, 150]),
            ({"max_wait": 30}, [30, 30, 30, 30]),
        ],
    )
    def test_backs_off_as_the_sensor_says(
        self, exchange: Exchange, waits: list[float], arguments: Any, expected: list[float]
    ) -> None:
        """Exponential back-off and its bound hold in the triggerer too."""
        exchange.schedule(9, lambda moved: moved.liquidate(1))
        asyncio.run(first(trigger(**arguments)))
        assert waits == [0, *expected]

    def test_is_patient_with_what_passes(
        self, exchange: Exchange, connect: Any, waits: list[float], mocker: Any
    ) -> None:
        """Faults that pass are waited out, ten looks in a row at most; then it raises."""
        mocker.patch("airflow_provider_binance_loan.client.base._MAX_TRIES", 1)
        with raw_server([BUSY] * 10) as (url, lines):
            connect(host=url)
            with pytest.raises(TransientError, match="-1008"):
                asyncio.run(first(trigger()))
        assert len(lines) == 10
        assert waits == [0, *[60] * 9]

    def test_waits_out_a_ban(self, exchange: Exchange, connect: Any, waits: list[float]) -> None:
        """A ban is waited out to its end, and does not count as a failure."""
        ban = answer("418 I'm a teapot", error(-1003), "Retry-After: 300")
        with raw_server([ban] * 12 + [answer("400 Bad Request", error(-1102))]) as (url, lines):
            connect(host=url)
            event = asyncio.run(first(trigger()))
        assert event["status"] == "refused"
        assert len(lines) == 13
        assert [290 < wait <= 300.01 for wait in waits[1:]] == [True] * 12

    def test_does_not_look_before_it_may(self, exchange: Exchange, waits: list[float]) -> None:
        """A wait that Binance asked the sensor for holds in the triggerer."""
        exchange.liquidate(1)
        since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        asyncio.run(first(trigger(since=since, not_before=time.time() + 300)))
        assert [round(wait) for wait in waits] == [300]

    def test_raises_on_a_malformed_answer(self, exchange: Exchange, connect: Any) -> None:
        """An answer that is not what Binance documents ends the wait with an error."""
        with raw_server([answer("200 OK", "{}")]) as (url, _):
            connect(host=url)
            with pytest.raises(BadResponseError):
                asyncio.run(first(trigger()))

    def test_never_holds_the_loop(self, exchange: Exchange, mocker: Any) -> None:
        """While Binance takes its time, and while the connection is read, the event loop goes on."""
        readers: list[threading.Thread] = []
        went_on: list[bool] = []

        def read(connection: Any) -> Any:
            readers.append(threading.current_thread())
            return parse_connection(connection)

        async def look() -> Any:
            loop = asyncio.get_running_loop()

            def answer_late(_: Exchange) -> None:
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(10)
                went_on.append(True)

            exchange.schedule(1, answer_late)
            return await first(trigger(since="2023-01-01T00:00:00Z"))

        mocker.patch.object(hooks, "parse_connection", read)
        exchange.liquidate(1)
        assert asyncio.run(look())["status"] == "success"
        assert went_on == [True]
        assert readers
        assert threading.main_thread() not in readers


class TestWatching:
    """The trigger that an asset's watcher runs."""

    @pytest.mark.parametrize("store", [Store, OldStore])
    def test_fires_once_for_each(self, exchange: Exchange, store: type[Store]) -> None:
        """Each liquidation since the first start fires once, whenever the triggerer is restarted."""
        watcher = Watcher(store())
        exchange.add_liquidation(2, exchange.now_ms() - MINUTE_MS)
        assert asyncio.run(watcher.events(exchange)) == []
        fired = []
        for _ in range(4):
            exchange.liquidate(1)
            fired += asyncio.run(watcher.events(exchange))
        starts = [one.start_ms for one in exchange.liquidations() if one.group_id == 1]
        assert [event["group_id"] for event in fired] == [1] * 4
        windows = [datetime.fromisoformat(event["start"]) for event in fired]
        assert [round(window.timestamp() * 1000) for window in windows] == starts

    def test_fires_again_for_the_finish_when_asked(self, exchange: Exchange) -> None:
        """A liquidation that finishes fires once more, also long after its start."""
        watcher = Watcher(Store(), finished=True, lookback=0.0)
        assert asyncio.run(watcher.events(exchange)) == []
        exchange.liquidate(1)
        assert [event["what"] for event in asyncio.run(watcher.events(exchange))] == ["started"]
        assert asyncio.run(watcher.events(exchange)) == []
        exchange.finish(1)
        assert [event["what"] for event in asyncio.run(watcher.events(exchange))] == ["finished"]
        assert asyncio.run(watcher.events(exchange)) == []

    def test_fires_for_what_becomes_visible_late(self, exchange: Exchange) -> None:
        """A record that appears after a newer one still fires."""
        watcher = Watcher(Store())
        asyncio.run(watcher.events(exchange))
        newer = exchange.liquidate(1)
        assert len(asyncio.run(watcher.events(exchange))) == 1
        exchange.add_liquidation(2, newer.start_ms - 1)
        assert [event["group_id"] for event in asyncio.run(watcher.events(exchange))] == [2]

    def test_repeats_rather_than_loses(self, exchange: Exchange) -> None:
        """When the triggerer dies between firing and noting it, the event comes again."""
        store = Store()
        watcher = Watcher(store)
        asyncio.run(watcher.events(exchange))
        exchange.liquidate(1)
        noted = dict(store.values)
        assert len(asyncio.run(watcher.events(exchange))) == 1
        store.values = noted
        assert len(asyncio.run(watcher.events(exchange))) == 1

    def test_keeps_its_state_small(self, exchange: Exchange) -> None:
        """What started before the look-back is forgotten, and not fired again."""
        store = Store()
        watcher = Watcher(store, lookback=0.2)
        asyncio.run(watcher.events(exchange))
        now_ms = exchange.now_ms()
        for number in range(20):
            exchange.add_liquidation(1, now_ms - number)
        assert len(asyncio.run(watcher.events(exchange))) > 10
        exchange.clock = lambda: time.time() + 1
        exchange.liquidate(2)
        assert len(asyncio.run(watcher.events(exchange, looks=100))) == 1
        (state,) = store.values.values()
        assert len(json.loads(state)["fired"]) <= 1

    def test_looks_back_where_there_is_no_store(
        self, exchange: Exchange, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Without a state store each start fires what started within the look-back, and says so."""
        exchange.add_liquidation(1, exchange.now_ms() - 2 * MINUTE_MS)
        exchange.add_liquidation(2, exchange.now_ms() - MINUTE_MS // 2)
        watcher = Watcher(None, lookback=60.0)
        for _ in range(2):
            assert [event["group_id"] for event in asyncio.run(watcher.events(exchange))] == [2]
        assert "There is no asset state store before Airflow 3.3" in capsys.readouterr().out

    def test_backs_off_by_itself(self, exchange: Exchange, connect: Any, waits: list[float]) -> None:
        """It never raises, which would start it again at once; it waits longer and longer."""
        refused = answer("401 Unauthorized", error(-2015))
        with raw_server([refused] * 6 + [EMPTY] * 2) as (url, lines):
            connect(host=url)
            watcher = BinanceLoanForceLiquidationEventTrigger(asset_name="watched", poke_interval=60)

            async def look() -> None:
                running = asyncio.create_task(first(watcher))
                while len(lines) < 8:
                    await asyncio.wait([running], timeout=0.01)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

            asyncio.run(look())
        assert waits[:6] == [120, 240, 480, 600, 600, 600]

    def test_keeps_one_short_key_for_the_same_units(self) -> None:
        """The state is found again however the units are written, and its key is short."""
        made = [
            BinanceLoanForceLiquidationEventTrigger(asset_name="a", risk_units=units)._state_key
            for units in ([7, 6], "6,7", {6, 7}, range(10**6, 10**6 + 100))
        ]
        assert made[0] == made[1] == made[2] != made[3]
        assert max(map(len, made)) < 60

    def test_continues_where_version_0_1_0_ended(self, exchange: Exchange) -> None:
        """With the state that 0.1.0 left, only what it had not fired yet is fired."""
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
        events = asyncio.run(Watcher(store, finished=True).events(exchange))
        assert [(event["what"], event["group_id"]) for event in events] == [
            ("finished", 1),
            ("started", 2),
            ("finished", 2),
        ]
        state = json.loads(store.values[key])
        assert state["fired"] == [[first_ms, 1, True], [second_ms, 2, True], [third_ms, 2, True]]

    def test_keeps_watchers_apart(self) -> None:
        """Watchers of different assets have different rows, since Airflow runs equal ones as one."""
        one, other = (
            BinanceLoanForceLiquidationEventTrigger(asset_name=name).serialize() for name in ("a", "b")
        )
        assert one != other


def test_no_figures_and_no_addresses_in_events(exchange: Exchange) -> None:
    """What goes through Airflow's database holds no amount and no e-mail address."""
    exchange.add_liquidation(1, exchange.now_ms() - MINUTE_MS)
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    event = json.dumps(asyncio.run(first(trigger(since=since))))
    assert "@" not in event
    assert "test.com" not in event
    assert json.loads(event).keys() == {"status", "count", "group_ids", "start", "end"}
