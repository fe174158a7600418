"""What a watcher remembers across polls and restarts: the liquidations that it has fired events for."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any, TypeGuard

from airflow.sdk import Asset

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS, is_finished
from airflow_provider_binance_loan.binance.time_range import utc_datetime
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.polling import one_line
from airflow_provider_binance_loan.validation import LATEST_S, is_number, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk.types import Logger

    from airflow_provider_binance_loan.binance.declaration import Key
    from airflow_provider_binance_loan.binance.fields import Record
    from airflow_provider_binance_loan.client.clock import Clock

# The version of the JSON that `FiredEvents.to_json` returns; JSON without a version is of version 1.
STATE_VERSION = 1

_LATEST_MS = LATEST_S * 1000
# The triggerer sends a yielded event to Airflow's database within a second or two.
_HANDOVER_S = 3.0
# How often the log repeats that the state store fails.
_REPEAT_S = 600.0


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
        """Return what :meth:`to_json` returned, also before it had a version.

        :raises ValueError: it is something else; the text says what, and goes with "the state".
        """
        if not isinstance(value, dict):
            raise ValueError(f"is {shown(value)}, and should be an object")  # noqa: TRY004 - one error for all
        version = value.get("version", STATE_VERSION)
        if version != STATE_VERSION or type(version) is not int:
            raise ValueError(
                f"is of version {shown(version)}, and this package reads version {STATE_VERSION}"
            )
        since_ms, fired = value.get("since_ms"), value.get("fired")
        if not _is_instant(since_ms):
            raise ValueError(f"has {shown(since_ms)} as since_ms, which is not a time")
        if not isinstance(fired, list):
            raise ValueError(f"has {shown(fired)} as fired, which is not a list")  # noqa: TRY004
        keys: dict[Key, bool] = {}
        for item in fired:
            match item:
                case [start_ms, group_id, bool(finished)] if _is_instant(start_ms) and type(group_id) is int:
                    keys[(start_ms, group_id)] = finished
                case _:
                    raise ValueError(f"has {shown(item)} in fired, which is not start, id and finish")
        return cls(since_ms, keys)

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
            payload = _payload("started", key)
            self.keys[key] = False
            yield payload
        if finished and not self.keys[key] and is_finished(record):
            payload = _payload("finished", key)
            self.keys[key] = True
            yield payload

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


class WatcherState:
    """What a watcher has fired: in memory, and as soon as it can be written, in the asset's state store.

    A liquidation that fired stays in memory whether or not the store takes it, so nothing fires twice while
    the trigger runs. What could not be written is written the next time.

    :param stores: the state stores of the assets that carry the watcher; None where Airflow has none.
    :param key: the key of the state.
    :param asset_name: the name of the asset, as the trigger was given it.
    :param conn_id: the id of the connection, as it may be shown.
    :param clock: the clock to wait by.
    :param log: where the lines go.
    """

    def __init__(
        self, stores: Any, key: str, *, asset_name: str, conn_id: str, clock: Clock, log: Logger
    ) -> None:
        self._stores = stores
        self._key = key
        self._asset_name = asset_name
        self._conn_id = conn_id
        self._clock = clock
        self._log = log
        self._store: StateStore | None = None
        self._fired: FiredEvents | None = None
        self._is_written = self._is_sent = True
        self._fails = False
        self._repeat_at = -inf

    async def load(self) -> FiredEvents | None:
        """Return what was fired, as an earlier start of the watcher stored it; None at the first start.

        :raises ConfigurationError: the asset does not carry the watcher, or the state cannot be read; it is
            left as it is.
        """
        if self._fired is None:
            self._store = self._find_store()
            value = None if self._store is None else await self._store.read()
            self._fired = None if value is None else self._parse(value)
        return self._fired

    def begin(self, started_ms: int, lookback_ms: int) -> FiredEvents:
        """Return an empty state, for the first start: what started before it fires no event.

        :param started_ms: when the watcher started, in epoch milliseconds.
        :param lookback_ms: how much earlier a liquidation that fires may have started without a store.
        """
        if self._store is None:
            self._log.warning(
                "Upgrade to Airflow 3.3, whose asset state store prevents repeated events: liquidations that "
                "started in the last %.0f h fire now, perhaps again (connection %r, asset %r).",
                lookback_ms / 3_600_000,
                self._conn_id,
                self._asset_name,
            )
            started_ms -= lookback_ms
        self._fired = FiredEvents(started_ms)
        self._is_written = False
        return self._fired

    def note_event(self) -> None:
        """Note that an event was fired, which the triggerer has yet to send to Airflow's database."""
        self._is_written = self._is_sent = False

    def note_change(self) -> None:
        """Note that something else than an event changed."""
        self._is_written = False

    async def save(self) -> None:
        """Write what is not written yet. When the store refuses it, log that, but not each time."""
        if self._is_written or self._store is None or self._fired is None:
            return
        try:
            if not self._is_sent:
                await self._wait_until_sent(self._store)
                self._is_sent = True
            await self._store.write(self._fired.to_json())
        except Exception as error:  # noqa: BLE001 - of the store, the API server or the database
            self._fails = True
            if self._clock.monotonic() >= self._repeat_at:
                self._repeat_at = self._clock.monotonic() + _REPEAT_S
                self._log.warning(
                    "Check Airflow's state store: the watcher polls on, but repeats events if it restarts "
                    "before they are written (asset %r): %s",
                    self._asset_name,
                    one_line(error, self._conn_id),
                )
            return
        self._is_written = True
        if self._fails:
            self._fails = False
            self._log.info(
                "The state store has all events again (connection %r, asset %r).",
                self._conn_id,
                self._asset_name,
            )

    def _find_store(self) -> StateStore | None:
        if not self._stores:
            return None
        try:
            return StateStore(self._stores[Asset(self._asset_name)], self._key)
        except KeyError:
            # Airflow has no public way to list the names.
            names = " or ".join(map(repr, getattr(self._stores, "_by_name", ()))) or str(self._stores)
        raise ConfigurationError(
            f"Give asset_name as {names}, the asset that carries the watcher: it is {self._asset_name!r}. "
            "Until then no event fires.",
            conn_id=self._conn_id,
        )

    def _parse(self, value: Any) -> FiredEvents:
        try:
            return FiredEvents.from_json(value)
        except ValueError as error:
            flaw = str(error)
        raise ConfigurationError(
            f"Delete {self._key!r} from the state store of asset {self._asset_name!r} to start anew, or "
            f"upgrade this package: the watcher's state {flaw}. Until then no event fires.",
            conn_id=self._conn_id,
        )

    async def _wait_until_sent(self, store: StateStore) -> None:
        """Wait until the triggerer has sent the yielded events to the database.

        A yielded event is in the triggerer's memory at first. Recording it as fired before it is in the
        database would lose it in a restart in between. The store answers only after what the triggerer sent
        before.
        """
        await store.read()
        await self._clock.asleep(_HANDOVER_S)
        await store.read()


def _is_instant(value: Any) -> TypeGuard[int]:
    return is_number(value, 0, _LATEST_MS, whole=True)


def _payload(what: str, key: Key) -> dict[str, Any]:
    start_ms, group_id = key
    return {
        "what": what,
        "group_id": group_id,
        "start": utc_datetime(start_ms).isoformat(),
        "end": utc_datetime(start_ms + 1).isoformat(),
    }
