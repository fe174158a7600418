"""Watchers without a triggerer: an asset's state store, a clock that ends a run, and the run itself."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, suppress
from typing import Any

from airflow_provider_binance_loan.triggers import BinanceLoanForceLiquidationEventTrigger
from tests.support.clock import FakeClock

INTERVAL_S = 60
# How long a watcher waits between an event and recording it.
HANDOVER_S = 3


class Store:
    """An asset's state store, as Airflow 3.3.2 has it: JSON, and it outlives the trigger."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self._by_name = {"watched": self}

    def __getitem__(self, asset: Any) -> Store:
        return self._by_name[asset.name]

    async def aget(self, key: str) -> Any:
        return json.loads(self.values[key]) if key in self.values else None

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = json.dumps(value)


class OldStore(Store):
    """The same as Airflow 3.3.0 has it: blocking."""

    aget = aset = property(lambda _: (_ for _ in ()).throw(AttributeError()))  # type: ignore[assignment]

    def get(self, key: str) -> Any:
        return json.loads(self.values[key]) if key in self.values else None

    def set(self, key: str, value: Any) -> None:
        self.values[key] = json.dumps(value)


class FailingStore(Store):
    """A state store that refuses what it is told to refuse, by an exception of Airflow's.

    :param refuses: `"read"` and `"write"`.
    :param refused_writes: how many writes are refused before it takes them again.
    """

    def __init__(self, *refuses: str, refused_writes: int = 10**6) -> None:
        super().__init__()
        self.refuses = set(refuses)
        self.refused_writes = refused_writes
        self.writes = 0

    async def aget(self, key: str) -> Any:
        if "read" in self.refuses:
            raise RuntimeError("API server: 503\n" + "x" * 500)
        return await super().aget(key)

    async def aset(self, key: str, value: Any) -> None:
        self.writes += 1
        if "write" in self.refuses and self.writes <= self.refused_writes:
            raise RuntimeError("database is read-only")
        await super().aset(key, value)


class EndingClock(FakeClock):
    """A clock that ends what waits on it, as the triggerer does, after so many waits between two polls.

    The handover of an event to Airflow is a part of the wait that it precedes.
    """

    polls = 0
    interval_s: float = INTERVAL_S

    @property
    def intervals(self) -> list[float]:
        """The waits between two polls, without those of the client and the handover."""
        return [wait_s for wait_s in self.waits if self._is_interval(wait_s)]

    async def asleep(self, seconds: float) -> None:
        if self._is_interval(seconds) and len(self.intervals) >= self.polls:
            raise asyncio.CancelledError
        await super().asleep(seconds)

    def _is_interval(self, seconds: float) -> bool:
        return seconds >= 0.7 * self.interval_s and seconds != HANDOVER_S


async def first_payload(watcher: Any) -> Any:
    """Return the payload of the first event of a watcher, and end it."""
    async with aclosing(watcher.run()) as events:
        return (await anext(events)).payload


def watch(store: Any, clock: EndingClock, polls: int, **arguments: Any) -> list[Any]:
    """Start a watcher, end it after so many further polls, and return the payloads of its events."""
    watcher = BinanceLoanForceLiquidationEventTrigger(
        **{"asset_name": "watched", "poke_interval": INTERVAL_S, **arguments}, clock=clock
    )
    watcher.asset_state_store = store
    clock.interval_s = watcher.poke_interval
    clock.polls = len(clock.intervals) + polls - 1
    payloads: list[Any] = []

    async def run() -> None:
        with suppress(asyncio.CancelledError):
            async for event in watcher.run():
                payloads.append(event.payload)  # noqa: PERF401 - the run is cancelled

    asyncio.run(run())
    return payloads
