"""What a watcher remembers across polls and restarts: the liquidations that it has fired events for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS, is_finished
from airflow_provider_binance_loan.binance.time_range import utc_datetime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_binance_loan.binance.declaration import Key
    from airflow_provider_binance_loan.binance.fields import Record

# The version of the JSON that `FiredEvents.to_json` returns; JSON without a version is of version 1.
STATE_VERSION = 1


class FiredEvents:
    """The liquidations that a watcher has fired events for, among those since an instant.

    :param since_ms: the instant, in epoch milliseconds, UTC; earlier liquidations fire no event.
    :param keys: the natural keys of those that were fired for, each with whether its finish was too.
    """

    def __init__(self, since_ms: int, keys: dict[Key, bool] | None = None) -> None:
        self.since_ms = since_ms
        self.keys = keys or {}

    @classmethod
    def from_json(cls, value: Any) -> FiredEvents:
        """Return what :meth:`to_json` returned, also before it had a version."""
        keys = {(start_ms, group_id): finished for start_ms, group_id, finished in value["fired"]}
        return cls(value["since_ms"], keys)

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON, which outlives this version of the package in users' databases."""
        return {
            "version": STATE_VERSION,
            "since_ms": self.since_ms,
            "fired": [[*key, finished] for key, finished in self.keys.items()],
        }

    @property
    def oldest_ms(self) -> int:
        """From when on to read, in epoch milliseconds."""
        starts_ms: list[int] = [start_ms for start_ms, _ in self.keys]
        return min([self.since_ms, *starts_ms])

    def add(self, record: Record, *, finished: bool) -> Iterator[dict[str, Any]]:
        """Add a record, and yield the payloads of the events that it gives rise to.

        :param record: a liquidation as it is now.
        :param finished: whether the finish of a liquidation is an event too.
        """
        key = FORCE_LIQUIDATIONS.key(record)
        if key not in self.keys:
            if key[0] < self.since_ms:
                return
            self.keys[key] = False
            yield _payload("started", key)
        if finished and not self.keys[key] and is_finished(record):
            self.keys[key] = True
            yield _payload("finished", key)

    def forget_before(self, instant_ms: int, *, keep_running: bool) -> bool:
        """Forget liquidations that started before an instant, and return whether there were any.

        :param instant_ms: the instant, in epoch milliseconds.
        :param keep_running: whether to keep those whose finish is still an event to come, for as long as one
            request may span.
        """
        self.since_ms = max(self.since_ms, instant_ms)
        oldest_running_ms = instant_ms - FORCE_LIQUIDATIONS.max_span_ms
        old = [
            key
            for key, finished in self.keys.items()
            if key[0] < self.since_ms and (finished or not keep_running or key[0] < oldest_running_ms)
        ]
        for key in old:
            del self.keys[key]
        return bool(old)


class StateStore:
    """One value in an asset's state store.

    :param store: the asset's store, as Airflow 3.3 and later hands it to a trigger.
    :param key: the key of the value.
    """

    def __init__(self, store: Any, key: str) -> None:
        self._store = store
        self._key = key

    async def read(self) -> Any:
        """Return the value; None where there is none yet."""
        # Only since 3.3.2 are there asynchronous calls; the others block, so they run in a thread.
        if hasattr(self._store, "aget"):
            return await self._store.aget(self._key)
        return await asyncio.to_thread(self._store.get, self._key)

    async def write(self, value: Any) -> None:
        """Store a JSON value."""
        if hasattr(self._store, "aset"):
            await self._store.aset(self._key, value)
        else:
            await asyncio.to_thread(self._store.set, self._key, value)


def _payload(what: str, key: Key) -> dict[str, Any]:
    start_ms, group_id = key
    return {
        "what": what,
        "group_id": group_id,
        "start": utc_datetime(start_ms).isoformat(),
        "end": utc_datetime(start_ms + 1).isoformat(),
    }
