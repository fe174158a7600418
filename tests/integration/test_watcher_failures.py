"""A watcher whose poll, state or store fails: it goes on, says so, loses nothing, and fires nothing twice."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from airflow_provider_binance_loan import fired_events
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.faults import Fault
from tests.support.clock import NOW
from tests.support.watchers import HANDOVER_S, INTERVAL_S, EndingClock, FailingStore, Store, watch

KEY = "binance_loan_fired_96da9fa79c501fbdc1e3fc2215c6538c"  # of the default arguments
NOW_MS = int(NOW.timestamp() * 1000)
PENDING = Fault("error", 400, -1024, "The risk unit is in liquidation.")


@pytest.fixture
def clock() -> EndingClock:
    return EndingClock()


@pytest.fixture(autouse=True)
def connected(connect: Any, exchange: Exchange) -> None:
    """Define the connection to the local Binance, whose clock is the watcher's fake one."""


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that returns the lines of the log that match, since it was called last."""
    return lambda pattern: [line for line in capsys.readouterr().out.splitlines() if re.search(pattern, line)]


def state(**changes: Any) -> dict[str, Any]:
    return {"version": 1, "since_ms": NOW_MS - 1000, "fired": [], **changes}


def stored(value: Any) -> Store:
    store = Store()
    store.values[KEY] = json.dumps(value)
    return store


class TestStore:
    """A state store that fails."""

    def test_fires_once_while_the_store_refuses_writes(
        self, exchange: Exchange, clock: EndingClock, logged: Any
    ) -> None:
        """What was fired stays in memory, polls keep their interval, and each poll tries to write again."""
        store = FailingStore("write")
        exchange.add_liquidation(1, NOW_MS)
        exchange.schedule(9, lambda moved: moved.liquidate(2))
        events = watch(store, clock, polls=30)
        assert [event["group_id"] for event in events] == [1, 2]
        assert [round(wait_s) for wait_s in clock.intervals if wait_s != INTERVAL_S - HANDOVER_S] == [60] * 27
        assert store.writes == 30
        lines = logged("Check Airflow's state store")
        assert 3 <= len(lines) <= 4  # in half an hour, at most one each ten minutes
        for part in ("RuntimeError: database is read-only", "'binance_loan_default'", "'watched'"):
            assert part in lines[0]

    def test_a_slow_refusal_is_part_of_the_wait(self, exchange: Exchange, clock: EndingClock) -> None:
        """Airflow tries for some seconds to write; the next poll comes no later for it."""

        class SlowStore(FailingStore):
            async def aset(self, key: str, value: Any) -> None:
                clock.sleep(10)
                await super().aset(key, value)

        store = SlowStore("write")
        polled_at: list[float] = []
        for number in range(1, 8, 2):
            exchange.schedule(number, lambda _: polled_at.append(clock.monotonic()))
        assert watch(store, clock, polls=4) == []
        assert store.writes == 4
        assert polled_at == pytest.approx([0, 60, 120, 180])

    def test_writes_later_what_could_not_be_written(
        self, exchange: Exchange, clock: EndingClock, logged: Any
    ) -> None:
        """Once the store takes writes, it has what was fired, and a restart repeats nothing."""
        store = FailingStore("write")
        exchange.add_liquidation(1, NOW_MS)
        exchange.schedule(5, lambda _: store.refuses.clear())
        assert len(watch(store, clock, polls=4)) == 1
        assert len(logged("The state store has all events again")) == 1
        assert json.loads(store.values[KEY])["fired"] == [[NOW_MS, 1, False]]
        writes = store.writes
        assert watch(store, clock, polls=3) == []
        assert store.writes == writes

    def test_waits_for_the_handover_before_a_late_write(self, exchange: Exchange, clock: EndingClock) -> None:
        """Where the store cannot even be read after an event, nothing is recorded before it can."""
        store = FailingStore()
        exchange.schedule(1, lambda _: store.refuses.add("read"))
        exchange.add_liquidation(1, NOW_MS)
        assert len(watch(store, clock, polls=3)) == 1
        assert store.writes == 0
        store.refuses.clear()
        assert len(watch(store, clock, polls=2)) == 0

    def test_records_an_event_only_once_airflow_has_it(self, exchange: Exchange, clock: EndingClock) -> None:
        """The store is read, some seconds pass, and it is read again, before an event is recorded.

        The store answers after what the triggerer sent before: at the first read the event may be on its way.
        """
        steps: list[str] = []

        class RecordingStore(Store):
            async def aget(self, key: str) -> Any:
                steps.append("read")
                return await super().aget(key)

            async def aset(self, key: str, value: Any) -> None:
                steps.append("write")
                await super().aset(key, value)

        wait = clock.asleep

        async def asleep(seconds: float) -> None:
            steps.append(f"wait {seconds:.0f}")
            await wait(seconds)

        clock.asleep = asleep  # type: ignore[method-assign]
        exchange.add_liquidation(1, NOW_MS)
        assert len(watch(RecordingStore(), clock, polls=2)) == 1
        assert steps[:5] == ["read", "read", f"wait {HANDOVER_S}", "read", "write"]

    def test_waits_for_a_store_that_cannot_be_read(
        self, exchange: Exchange, clock: EndingClock, logged: Any
    ) -> None:
        """Without its state it neither polls nor fires; what started since the trigger did fires later."""
        store = FailingStore("read")
        assert watch(store, clock, polls=5) == []
        assert clock.intervals == [120, 240, 480, 600]
        assert exchange.requests == []
        (line, *_) = logged(r"Polling again in 120 s \(asset 'watched'\): RuntimeError: API server: 503 xxx")
        assert "(connection 'binance_loan_default')" in line
        assert len(line) < 600

        class RecoveringStore(FailingStore):
            async def aget(self, key: str) -> Any:
                exchange.liquidate(1) if self.refuses else None
                try:
                    return await super().aget(key)
                finally:
                    self.refuses.clear()

        assert [event["group_id"] for event in watch(RecoveringStore("read"), clock, polls=3)] == [1]

    def test_saves_what_was_fired_before_polls_fail(self, exchange: Exchange, clock: EndingClock) -> None:
        """What is not written yet is written even while Binance does not answer."""
        store = FailingStore("write", refused_writes=1)
        exchange.add_liquidation(1, NOW_MS)
        exchange.fail(None, None, *[Fault("error", 401, -2015)] * 9)
        assert len(watch(store, clock, polls=3)) == 1
        assert clock.intervals == [INTERVAL_S - HANDOVER_S, 2 * INTERVAL_S]
        assert store.writes == 2
        assert json.loads(store.values[KEY])["fired"] == [[NOW_MS, 1, False]]


class TestPolls:
    """A poll that fails."""

    @pytest.mark.parametrize(
        ("interval_s", "expected"), [(60, [120, 240, 480, 600]), (1, [2, 4, 8, 16]), (3600, [3600] * 4)]
    )
    def test_backs_off_for_any_exception(
        self, clock: EndingClock, logged: Any, mocker: Any, interval_s: int, expected: list[float]
    ) -> None:
        """An exception of a secrets backend delays the next poll, which never comes before its interval."""
        mocker.patch.object(BinanceLoanHook, "aget_connection", side_effect=RuntimeError("vault is sealed"))
        assert watch(Store(), clock, polls=5, poke_interval=interval_s) == []
        assert clock.intervals == expected
        (line, *_) = logged("Polling again")
        assert "(asset 'watched'): RuntimeError: vault is sealed (connection 'binance_loan_default')" in line

    def test_waits_for_a_connection_that_is_not_found(
        self, clock: EndingClock, exchange: Exchange, logged: Any
    ) -> None:
        """A connection that Airflow does not find is waited for."""
        assert watch(Store(), clock, polls=3, binance_loan_conn_id="missing") == []
        assert clock.intervals == [120, 240]
        assert len(logged("it was not found, or the secrets backend did not answer")) == 3

    def test_keeps_its_interval_during_a_liquidation(self, clock: EndingClock, exchange: Exchange) -> None:
        """While Binance refuses because a risk unit is being liquidated, polls keep their interval."""
        exchange.fail(*[PENDING] * 5 * 4)
        exchange.schedule(1, lambda moved: moved.liquidate(1))
        assert len(watch(Store(), clock, polls=5)) == 1
        assert [INTERVAL_S / 2 < wait_s <= INTERVAL_S for wait_s in clock.intervals] == [True] * 4

    def test_what_begins_during_a_poll_fires(self, clock: EndingClock, exchange: Exchange) -> None:
        """A liquidation that starts when its risk unit was read already fires, however long a poll lasts."""
        limit = Fault("error", 429, -1003, retry_after=30, path="closed")
        exchange.fail(*[None] * 3, limit)

        class LiquidatingClock(EndingClock):
            async def asleep(self, seconds: float) -> None:
                if 20 < seconds <= 31 and not list(exchange.liquidations()):  # for the rate limit
                    exchange.liquidate(1)
                await super().asleep(seconds)

        liquidating = LiquidatingClock()
        exchange.clock = liquidating.time
        assert len(watch(Store(), liquidating, polls=4, lookback=5)) == 1

    def test_a_record_that_fails_loses_no_event(
        self, clock: EndingClock, exchange: Exchange, mocker: Any
    ) -> None:
        """When an event cannot be made, those before it are fired once, and it is fired later."""
        exchange.add_liquidation(1, NOW_MS)
        exchange.add_liquidation(2, NOW_MS + 1)
        store = Store()
        make, failures = fired_events._payload, iter([False, True])

        def make_or_fail(what: str, key: Any) -> Any:
            if next(failures, False):
                raise MemoryError
            return make(what, key)

        mocker.patch.object(fired_events, "_payload", make_or_fail)
        assert [event["group_id"] for event in watch(store, clock, polls=3)] == [1, 2]
        assert len(json.loads(store.values[KEY])["fired"]) == 2

    def test_is_cancelled_at_once(self, clock: EndingClock, exchange: Exchange, mocker: Any) -> None:
        """The triggerer can cancel it, in a poll as well as in a wait."""
        mocker.patch.object(BinanceLoanHook, "aget_window", side_effect=asyncio.CancelledError)
        assert watch(Store(), clock, polls=9) == []
        assert clock.waits == []


class TestUnreadableState:
    """A state that this version cannot read."""

    @pytest.mark.parametrize(
        ("value", "flaw"),
        [
            (state(version=2), "is of version 2, and this package reads version 1"),
            (state(version="1"), "is of version '1'"),
            (state(version=True), "is of version True"),
            (state(since_ms=10**18), "has 1000000000000000000 as since_ms"),
            (state(since_ms=-1), "has -1 as since_ms"),
            (state(since_ms="now"), "has 'now' as since_ms"),
            (state(since_ms=1.5), "has 1.5 as since_ms"),
            ({"version": 1, "fired": []}, "has None as since_ms"),
            (state(fired={}), "has {} as fired"),
            (state(fired=[[NOW_MS, 1, False, 0]]), "in fired"),
            (state(fired=[[NOW_MS, 1]]), "in fired"),
            (state(fired=[[10**18, 1, False]]), "in fired"),
            (state(fired=[[NOW_MS, True, False]]), "in fired"),
            (state(fired=[[NOW_MS, 1, 0]]), "in fired"),
            (state(fired=["abc"]), "in fired"),
            ("text", "is 'text', and should be an object"),
            ([], "is [], and should be an object"),
            ({}, "has None as since_ms"),
            (0, "is 0, and should be an object"),
        ],
        ids=str,
    )
    def test_leaves_the_state_and_says_how_to_reset_it(
        self, exchange: Exchange, clock: EndingClock, logged: Any, value: Any, flaw: str
    ) -> None:
        """It neither polls nor fires, and its error names key, asset and connection."""
        store = stored(value)
        exchange.add_liquidation(1, NOW_MS)
        assert watch(store, clock, polls=3) == []
        assert exchange.requests == []
        assert clock.intervals == [120, 240]
        assert json.loads(store.values[KEY]) == value
        lines = logged(re.escape(flaw))
        assert len(lines) == 3
        for part in (f"Delete '{KEY}' from the state store of asset 'watched'", "'binance_loan_default'"):
            assert part in lines[0]

    def test_starts_anew_when_the_state_is_deleted(self, exchange: Exchange, clock: EndingClock) -> None:
        """Once its state is deleted, the watcher fires for what started since the trigger did."""
        exchange.add_liquidation(1, NOW_MS - 1001)
        exchange.add_liquidation(2, NOW_MS)

        class ResetStore(Store):
            async def aget(self, key: str) -> Any:
                value = await super().aget(key)
                self.values.pop(key, None) if value == {"version": 2} else None
                return value

        store = ResetStore()
        store.values[KEY] = json.dumps({"version": 2})
        assert [event["group_id"] for event in watch(store, clock, polls=3)] == [2]

    def test_reads_a_state_with_events(self, exchange: Exchange, clock: EndingClock) -> None:
        """A state of the present version is continued."""
        exchange.add_liquidation(1, NOW_MS)
        exchange.add_liquidation(2, NOW_MS)
        events = watch(stored(state(fired=[[NOW_MS, 1, False]])), clock, polls=2)
        assert [event["group_id"] for event in events] == [2]


class TestAssetName:
    """A name that is not that of an asset which carries the watcher."""

    def test_names_the_assets_that_there_are(
        self, exchange: Exchange, clock: EndingClock, logged: Any
    ) -> None:
        """The error says which name to give, and comes less and less often."""
        assert watch(Store(), clock, polls=4, asset_name="another") == []
        assert clock.intervals == [120, 240, 480]
        assert exchange.requests == []
        lines = logged("Give asset_name as 'watched', the asset that carries the watcher: it is 'another'")
        assert len(lines) == 4
        assert "binance_loan_default" in lines[0]

    def test_agrees_with_airflow(self, clock: EndingClock, logged: Any) -> None:
        """The names are found in Airflow's own stores, where this version of Airflow has them."""
        context = pytest.importorskip("airflow.sdk.execution_time.context")
        from airflow.sdk import Asset

        stores = context.AssetStateStoreAccessors(inlets=[Asset("first"), Asset("second")])
        assert watch(stores, clock, polls=1, asset_name="another") == []
        assert len(logged("Give asset_name as 'first' or 'second', the asset that carries")) == 1


def test_logs_what_it_fires(exchange: Exchange, clock: EndingClock, logged: Any) -> None:
    """Each event leaves a line that names asset and risk unit."""
    exchange.add_liquidation(1, NOW_MS)
    watch(Store(), clock, polls=2)
    (line,) = logged("Fired for asset 'watched'")
    assert "'group_id': 1" in line
