"""A clock that is wrong for good, or for one moment: nothing that Binance lists is missed for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.time_range import DAY_MS, utc_datetime
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor
from airflow_provider_binance_loan.triggers import BinanceLoanForceLiquidationTrigger
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.runs import run_context
from tests.support.watchers import INTERVAL_S, EndingClock, Store, watch

NOW_MS = int(NOW.timestamp() * 1000)
HOUR_MS = 3_600_000
WRONG_BY = [-30 * DAY_MS, -HOUR_MS, HOUR_MS, 30 * DAY_MS]


class WrongClock(EndingClock):
    """A clock whose time of day is wrong; its waits and its monotonic time are right.

    :param wrong_by: returns by how many milliseconds, for each time that it is asked, counted from 1.
    """

    def __init__(self, wrong_by: Callable[[int], int]) -> None:
        super().__init__()
        self.wrong_by = wrong_by
        self.asked = 0

    def now_ms(self) -> int:
        self.asked += 1
        return self.ms + self.wrong_by(self.asked)


@pytest.fixture
def clock() -> FakeClock:
    """The clock of the local Binance, which is right; a test sets another one for the watcher."""
    return FakeClock()


@pytest.fixture
def use(exchange: Exchange, connect: Any) -> Callable[[WrongClock], WrongClock]:
    """Let the local Binance go by the right time of a wrong clock."""

    def use(wrong: WrongClock) -> WrongClock:
        exchange.clock = wrong.time
        return wrong

    return use


def one_a_minute(exchange: Exchange, count: int) -> None:
    """Let liquidations of unit 1 start in the middle of each interval, from the watcher's start on."""
    for number in range(count):
        exchange.add_liquidation(1, NOW_MS + number * INTERVAL_S * 1000 + 30_000)


@pytest.mark.parametrize("wrong_by", WRONG_BY)
def test_a_watcher_starts_by_the_time_of_binance(wrong_by: int, exchange: Exchange, use: Any) -> None:
    """What started before its first start fires nothing, and all that starts later fires once."""
    exchange.add_liquidation(2, NOW_MS - 60_000)
    one_a_minute(exchange, 3)
    clock = use(WrongClock(lambda _: wrong_by))
    events = watch(Store(), clock, polls=6)
    assert [event["group_id"] for event in events] == [1, 1, 1]


@pytest.mark.parametrize("wrong_by", WRONG_BY)
def test_the_start_counts_also_when_the_first_polls_fail(wrong_by: int, exchange: Exchange, use: Any) -> None:
    """What starts while Binance cannot be reached fires when it can."""
    exchange.add_liquidation(2, NOW_MS - 60_000)
    one_a_minute(exchange, 3)
    store = Store()
    clock = use(WrongClock(lambda _: wrong_by))
    read = store.aget
    failures = [True, True]

    async def fail_at_first(key: str) -> Any:
        if failures:
            failures.pop()
            raise OSError
        return await read(key)

    store.aget = fail_at_first  # type: ignore[method-assign]
    assert [event["group_id"] for event in watch(store, clock, polls=6)] == [1, 1, 1]


@pytest.mark.parametrize("moment", range(1, 41))
@pytest.mark.parametrize("wrong_by", [-30 * DAY_MS, 30 * DAY_MS])
def test_one_wrong_moment_silences_no_watcher(
    wrong_by: int, moment: int, exchange: Exchange, use: Any
) -> None:
    """Whenever a clock jumps ahead, or back, for a moment: nothing is noted later than Binance's time."""
    one_a_minute(exchange, 6)
    clock = use(WrongClock(lambda asked: wrong_by if asked == moment else 0))
    store = Store()
    events = watch(store, clock, polls=10)
    assert [event["start"] for event in events] == [
        utc_datetime(NOW_MS + number * INTERVAL_S * 1000 + 30_000).isoformat() for number in range(6)
    ]
    exchange.add_liquidation(2, clock.ms - 1)
    assert [event["group_id"] for event in watch(store, clock, polls=3)] == [2]  # also after a restart


@pytest.mark.parametrize("wrong_by", WRONG_BY)
def test_a_deferred_sensor_looks_up_to_the_time_of_binance(
    wrong_by: int, exchange: Exchange, use: Any
) -> None:
    """Its second poll at the latest sees what has started by then."""
    exchange.add_liquidation(1, NOW_MS + 1)
    clock = use(WrongClock(lambda _: wrong_by))
    trigger = BinanceLoanForceLiquidationTrigger(
        since=(NOW - 2 * HOUR).isoformat(), poke_interval=INTERVAL_S, clock=clock
    )

    async def fire() -> Any:
        async for event in trigger.run():
            return event.payload
        raise AssertionError("no event")

    clock.polls = 3
    assert asyncio.run(fire())["count"] == 1


@pytest.mark.parametrize("wrong_by", WRONG_BY)
def test_a_poke_looks_up_to_the_time_of_binance(wrong_by: int, exchange: Exchange, connect: Any) -> None:
    """Each poke is a new hook on a worker whose clock may be wrong, so it corrects itself within the poke."""
    ahead = timedelta(milliseconds=-wrong_by)
    exchange.clock = lambda: time.time() + ahead.total_seconds()
    start = datetime.now(UTC) + ahead - timedelta(minutes=5)
    exchange.add_liquidation(1, int(start.timestamp() * 1000) + 1)
    sensor = BinanceLoanForceLiquidationSensor(task_id="wait", since=start - 2 * HOUR, timeout=5)
    assert sensor.poke(run_context()).is_done
