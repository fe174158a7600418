"""How what a watcher remembers survives restarts: in the state store of its asset."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from airflow.sdk import Asset

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.polling import one_line
from airflow_provider_binance_loan.validation import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk.types import Logger

    from airflow_provider_binance_loan.client.clock import Clock

# The version of the JSON that is stored; JSON without a version is of version 1.
STATE_VERSION = 1

# The triggerer sends a yielded event to Airflow's database within a second or two.
_HANDOVER_S = 3.0
# How often the log repeats that the state store fails.
_REPEAT_S = 600.0


class Memory(Protocol):
    """What a watcher remembers."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON, which outlives this version of the package in users' databases."""

    def settle(self) -> None:
        """Note that Airflow has all events that were fired."""


M = TypeVar("M", bound=Memory)


def parse_versioned(value: Any) -> dict[str, Any]:
    """Return the JSON of a memory, if this version of the package can read it.

    :raises ValueError: it cannot; the text says what it is, and goes with "the state".
    """
    if not isinstance(value, dict):
        raise ValueError(f"is {shown(value)}, and should be an object")  # noqa: TRY004 - one error for all
    version = value.get("version", STATE_VERSION)
    if version != STATE_VERSION or type(version) is not int:
        raise ValueError(f"is of version {shown(version)}, and this package reads version {STATE_VERSION}")
    return value


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


class WatcherState(Generic[M]):
    """What a watcher has fired: in memory, and as soon as it can be written, in the asset's state store.

    What fired stays in memory whether or not the store takes it, so nothing fires twice while
    the trigger runs. What could not be written is written the next time.

    :param stores: the state stores of the assets that carry the watcher; None where Airflow has none.
    :param key: the key of the state.
    :param parse: returns the memory from the JSON of the state; its ValueError says what is wrong with it.
    :param asset_name: the name of the asset, as the trigger was given it.
    :param conn_id: the id of the connection, as it may be shown.
    :param clock: the clock to wait by.
    :param log: where the lines go.
    """

    def __init__(
        self,
        stores: Any,
        key: str,
        parse: Callable[[Any], M],
        *,
        asset_name: str,
        conn_id: str,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._stores = stores
        self._key = key
        self._parse_json = parse
        self._asset_name = asset_name
        self._conn_id = conn_id
        self._clock = clock
        self._log = log
        self._store: StateStore | None = None
        self._memory: M | None = None
        self._is_written = self._is_sent = True
        self._fails = False
        self._repeat_at = -inf
        self._began_at = clock.monotonic()

    @property
    def age_ms(self) -> int:
        """How long ago the watcher started, in milliseconds."""
        return int((self._clock.monotonic() - self._began_at) * 1000)

    async def load(self) -> M | None:
        """Return what was fired, as an earlier start of the watcher stored it; None at the first start.

        :raises ConfigurationError: the asset does not carry the watcher, or the state cannot be read; it is
            left as it is.
        """
        if self._memory is None:
            self._store = self._find_store()
            value = None if self._store is None else await self._store.read()
            self._memory = None if value is None else self._parse(value)
        return self._memory

    def begin(self, memory: M, *, without_store: str) -> M:
        """Take a memory for the first start, and return it.

        :param memory: the memory.
        :param without_store: what happens at each start where Airflow has no state store, for the log.
        """
        if self._store is None:
            self._log.warning(
                "Upgrade to Airflow 3.3, whose asset state store prevents repeated events: %s "
                "(connection %r, asset %r).",
                without_store,
                self._conn_id,
                self._asset_name,
            )
        self._memory = memory
        self._is_written = False
        return memory

    @property
    def has_store(self) -> bool:
        """Whether Airflow has a state store; it is known once the state is loaded."""
        return self._store is not None

    def note_event(self) -> None:
        """Note that an event was fired, which the triggerer has yet to send to Airflow's database."""
        self._is_written = self._is_sent = False

    def note_change(self) -> None:
        """Note that something else than an event changed."""
        self._is_written = False

    async def save(self) -> None:
        """Write what is not written yet. When the store refuses it, log that, but not each time."""
        if self._is_written or self._store is None or self._memory is None:
            return
        try:
            if not self._is_sent:
                await self._wait_until_sent(self._store)
                self._is_sent = True
                self._memory.settle()
            await self._store.write(self._memory.to_json())
        except Exception as error:  # noqa: BLE001 - of the store, the API server or the database
            self._log_refusal(error)
            return
        self._is_written = True
        if self._fails:
            self._fails = False
            self._log.info(
                "The state store has all events again (connection %r, asset %r).",
                self._conn_id,
                self._asset_name,
            )

    async def announce(self) -> None:
        """Write what is about to be fired, before it is. When the store refuses it, fire all the same."""
        if self._store is None or self._memory is None:
            return
        self._is_written = False
        try:
            await self._store.write(self._memory.to_json())
        except Exception as error:  # noqa: BLE001 - of the store, the API server or the database
            self._log_refusal(error)

    def _log_refusal(self, error: Exception) -> None:
        self._fails = True
        if self._clock.monotonic() >= self._repeat_at:
            self._repeat_at = self._clock.monotonic() + _REPEAT_S
            self._log.warning(
                "Check Airflow's state store: the watcher polls on, but repeats events if it restarts "
                "before they are written (asset %r): %s",
                self._asset_name,
                one_line(error, self._conn_id),
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

    def _parse(self, value: Any) -> M:
        try:
            return self._parse_json(value)
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
