"""The triggers: what a deferred sensor waits in, and what an asset's watcher watches with; neither blocks."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from math import inf
from random import uniform
from typing import Any

from airflow.sdk import Asset
from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from airflow_provider_binance_loan.binance.fields import ForceLiquidation, Key, is_running, record_key
from airflow_provider_binance_loan.binance.reader import RiskUnitsArgument, parse_risk_units
from airflow_provider_binance_loan.binance.time_range import MAX_SPAN_MS, utc_datetime, epoch_ms
from airflow_provider_binance_loan.conditions import DEFAULT_LOOKBACK, WaitFor, Watch, require_poll_interval
from airflow_provider_binance_loan.exceptions import (
    BinanceLoanError,
    ConfigurationError,
    RateLimitedError,
    RequestRefusedError,
    TransientError,
)
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.validation import LATEST_S, require_bool, require_seconds, shown
from airflow_provider_binance_loan.windows import parse_instant

# After so many failed looks in a row, each of several tries, the trigger gives up and says why.
_MAX_FAILURES = 10
# A trigger that fires before the scheduler heard that the worker ended confuses it.
_FIRST_WAIT_S = 6.0
# A yielded event leaves for Airflow's database within a second or two.
_HANDOVER_S = 3.0
# A watcher that fails is started again within seconds, so it waits by itself, at the longest so long.
_LONGEST_BACK_OFF_S = 600.0


class BinanceLoanForceLiquidationTrigger(BaseTrigger):
    """Wait for liquidations at or after an instant, then fire once.

    Its event is `{"status": "success", …}` with what :class:`~.watch.Watch` tells of them,
    `{"status": "refused", "message": …}` when asking again cannot help, or `{"status": "timeout"}`. All
    arguments are JSON.

    :param since: the instant, as ISO 8601 text.
    :param wait_for: `"started"` or `"finished"`.
    :param risk_units: as the hook takes it.
    :param lookback: for finished ones, how long before `since` they may have started, in seconds.
    :param poke_interval: how long to wait between two looks, in seconds: one at least, a week at most.
    :param exponential_backoff: whether to wait twice as long after each look.
    :param max_wait: how long to wait at most then, in seconds.
    :param not_before: when to look first, in epoch seconds, where Binance asked to wait.
    :param deadline: until when to wait, in epoch seconds, where nobody else ends the wait.
    :param binance_loan_conn_id: the connection that holds the credit account's API key.
    """

    def __init__(
        self,
        *,
        since: str,
        wait_for: WaitFor = "started",
        risk_units: str | list[int] = "all",
        lookback: float = DEFAULT_LOOKBACK.total_seconds(),
        poke_interval: float = 60,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        not_before: float | None = None,
        deadline: float | None = None,
        binance_loan_conn_id: str = BinanceLoanHook.default_conn_name,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.since = since
        self.wait_for = wait_for
        self.risk_units = risk_units
        self.lookback = lookback
        self.poke_interval = poke_interval
        self.exponential_backoff = exponential_backoff
        self.max_wait = max_wait
        self.not_before = not_before
        self.deadline = deadline
        self.binance_loan_conn_id = binance_loan_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, from which the triggerer makes the trigger anew."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "since": self.since,
                "wait_for": self.wait_for,
                "risk_units": self.risk_units,
                "lookback": self.lookback,
                "poke_interval": self.poke_interval,
                "exponential_backoff": self.exponential_backoff,
                "max_wait": self.max_wait,
                "not_before": self.not_before,
                "deadline": self.deadline,
                "binance_loan_conn_id": self.binance_loan_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something, and fire.

        :raises BinanceLoanError: an answer is malformed, or too many looks in a row failed.
        """
        try:
            watch = self._watch()
        except ConfigurationError as error:
            await asyncio.sleep(_FIRST_WAIT_S)
            yield TriggerEvent({"status": "refused", "message": str(error)})
            return
        hook = BinanceLoanHook(self.binance_loan_conn_id)
        looks = failures = 0
        told_s = (self.not_before or 0) - hook.now().timestamp()
        wait_s = max(_first_wait_s(self._interval_s(0)), told_s)
        while True:
            left_s = inf if self.deadline is None else self.deadline - hook.now().timestamp()
            await asyncio.sleep(max(0, min(wait_s, left_s)))
            if left_s <= wait_s:
                yield TriggerEvent({"status": "timeout"})
                return
            wait_s = self._interval_s(looks)
            looks += 1
            try:
                if event := await self._look(hook, watch):
                    yield TriggerEvent({"status": "success", **event})
                    return
                failures = 0
            except PermanentError as error:
                yield TriggerEvent({"status": "refused", "message": str(error)})
                return
            except TransientError as error:
                banned = isinstance(error, RateLimitedError) and error.banned
                failures += not banned  # a ban is waited out, however long; here that costs no worker
                if failures == _MAX_FAILURES:
                    raise
                wait_s = max(wait_s, _told_to_wait_s(error, hook))
                self.log.warning("Looking again in %.0f s: %s", wait_s, error)

    def _watch(self) -> Watch:
        since = parse_instant(self.since, "since")
        if since is None:
            raise ConfigurationError("since is empty: give an ISO 8601 instant.")
        require_seconds(self.lookback, "lookback")
        require_poll_interval(self.poke_interval, "poke_interval")
        if self.max_wait is not None:
            require_poll_interval(self.max_wait, "max_wait")
        for name, instant in (("not_before", self.not_before), ("deadline", self.deadline)):
            if instant is not None:
                require_seconds(instant, name, high=LATEST_S)
        watch = Watch(since, self.wait_for, self.risk_units, timedelta(seconds=self.lookback))
        watch.check()
        return watch

    async def _look(self, hook: BinanceLoanHook, watch: Watch) -> dict[str, Any] | None:
        start, end = watch.window(hook.now())
        return watch.event(await hook.aget_force_liquidations(start, end, risk_units=self.risk_units))

    def _interval_s(self, looks: int) -> float:
        """Return how long to wait after so many looks."""
        interval_s = (
            self.poke_interval * 2 ** min(looks, 30) if self.exponential_backoff else self.poke_interval
        )
        return interval_s if self.max_wait is None else min(interval_s, self.max_wait)


class BinanceLoanForceLiquidationEventTrigger(BaseEventTrigger):
    """Fire once for each new liquidation, and if asked once more when it finishes, for an `AssetWatcher`.

    A liquidation that starts on 2026-03-01 at 09:17 UTC becomes an asset event whose payload is
    `{"what": "started", "group_id": 6, "start": "2026-03-01T09:17:…", "end": …}`; an operator that is given
    this start and end as its window pulls the record.

    What was fired is noted in the asset's state store some seconds after the event, when Airflow has it, so
    that a restart of the triggerer loses none; one within those seconds repeats the event. Without a state
    store (Airflow 3.2), each start of the triggerer fires again what started within `lookback`.

    :param asset_name: the name of the asset that is watched. It keeps watchers of several assets apart.
    :param finished: whether to fire again when a liquidation finishes.
    :param risk_units: as the hook takes it.
    :param lookback: how late a record may become visible after its start, in seconds; its finish is waited
        for 99 days longer.
    :param poke_interval: how long to wait between two looks, in seconds: one at least, a week at most.
    :param binance_loan_conn_id: the connection that holds the credit account's API key.
    :raises ConfigurationError: an argument is wrong.
    """

    def __init__(
        self,
        *,
        asset_name: str,
        finished: bool = False,
        risk_units: RiskUnitsArgument = "all",
        lookback: float = DEFAULT_LOOKBACK.total_seconds(),
        poke_interval: float = 60,
        binance_loan_conn_id: str = BinanceLoanHook.default_conn_name,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if not isinstance(asset_name, str) or not asset_name.strip():
            raise ConfigurationError(f"asset_name is {shown(asset_name)}: give the name of the asset.")
        require_bool(finished, "finished")
        require_seconds(lookback, "lookback")
        require_poll_interval(poke_interval, "poke_interval")
        units = parse_risk_units(risk_units)
        self.asset_name = asset_name
        self.finished = finished
        self.risk_units = units if isinstance(units, str) else sorted(units)
        self.lookback = lookback
        self.poke_interval = poke_interval
        self.binance_loan_conn_id = binance_loan_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, from which the triggerer makes the trigger anew."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "asset_name": self.asset_name,
                "finished": self.finished,
                "risk_units": self.risk_units,
                "lookback": self.lookback,
                "poke_interval": self.poke_interval,
                "binance_loan_conn_id": self.binance_loan_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look for ever, and fire for what is new; wait longer and longer while looks fail."""
        hook = BinanceLoanHook(self.binance_loan_conn_id)
        fired: _Fired | None = None
        failures = 0
        while True:
            wait_s = self.poke_interval
            try:
                fired = fired or await self._load(hook.now())
                now = hook.now()
                start, end = Watch(utc_datetime(fired.oldest_ms)).window(now)
                records = await hook.aget_force_liquidations(start, end, risk_units=self.risk_units)
                events = [event for record in records for event in fired.new(record, finished=self.finished)]
                for event in events:
                    yield TriggerEvent(event)
                if events:
                    await self._handed_over()
                # After the look, so that nothing is forgotten that was not looked for.
                if fired.forget_before(self._lookback_from(now), keep_running=self.finished) or events:
                    await self._save(fired)
                failures = 0
            except BinanceLoanError as error:
                # Raising would start the trigger again at once, and more tries invite a ban.
                failures += 1
                wait_s = max(
                    min(wait_s * 2 ** min(failures, 10), _LONGEST_BACK_OFF_S), _told_to_wait_s(error, hook)
                )
                self.log.warning("Looking again in %.0f s: %s", wait_s, error)
            await asyncio.sleep(wait_s)

    def _lookback_from(self, now: datetime) -> int:
        return epoch_ms(now, "now") - int(self.lookback * 1000)

    def _store(self) -> Any:
        stores = getattr(self, "asset_state_store", None)  # Airflow 3.3 and later
        return stores[Asset(self.asset_name)] if stores else None

    @property
    def _state_key(self) -> str:
        # Hashed, since a key must be short, and there may be many ids.
        about = f"{self.binance_loan_conn_id} {self.risk_units} {self.finished}"
        return f"binance_loan_fired_{hashlib.sha256(about.encode()).hexdigest()[:32]}"

    async def _load(self, now: datetime) -> _Fired:
        """Return what was fired before this start of the trigger; nothing yet at the first."""
        store = self._store()
        if store is None:
            self.log.warning(
                "There is no asset state store before Airflow 3.3: what started in the last %.0f h is fired, "
                "perhaps again.",
                self.lookback / 3600,
            )
            return _Fired(self._lookback_from(now))
        value = await self._read(store)
        if value:
            return _Fired.from_json(value)
        fired = _Fired(epoch_ms(now, "now"))
        await self._save(fired)
        return fired

    async def _read(self, store: Any) -> Any:
        # The asynchronous calls exist since 3.3.2; the others block.
        if hasattr(store, "aget"):
            return await store.aget(self._state_key)
        return await asyncio.to_thread(store.get, self._state_key)

    async def _handed_over(self) -> None:
        """Wait until Airflow has what was yielded.

        A yielded event waits in the triggerer's memory; noting it before it is in the database would lose it
        to a restart in between. Each answer of the store follows what the triggerer sent before it.
        """
        store = self._store()
        if store is not None:
            await self._read(store)
            await asyncio.sleep(_HANDOVER_S)
            await self._read(store)

    async def _save(self, fired: _Fired) -> None:
        store = self._store()
        if store is None:
            return
        key, state = self._state_key, fired.to_json()
        await (store.aset(key, state) if hasattr(store, "aset") else asyncio.to_thread(store.set, key, state))


class _Fired:
    """Which liquidations were fired for; it knows those since an instant, and is silent on earlier ones.

    :param since_ms: the instant, in epoch milliseconds.
    :param keys: the natural keys of those that were fired, and whether for their finish too.
    """

    def __init__(self, since_ms: int, keys: dict[Key, bool] | None = None) -> None:
        self.since_ms = since_ms
        self.keys = keys or {}

    @classmethod
    def from_json(cls, value: Any) -> _Fired:
        keys = {(start_ms, group_id): finished for start_ms, group_id, finished in value["fired"]}
        return cls(value["since_ms"], keys)

    def to_json(self) -> dict[str, Any]:
        return {"since_ms": self.since_ms, "fired": [[*key, finished] for key, finished in self.keys.items()]}

    @property
    def oldest_ms(self) -> int:
        """From when on to look."""
        return min([self.since_ms, *(start_ms for start_ms, _ in self.keys)])

    def forget_before(self, ms: int, *, keep_running: bool) -> bool:
        """Forget what started before, but for what may still finish, and tell whether there was any."""
        self.since_ms = max(self.since_ms, ms)
        old = [
            key
            for key, finished in self.keys.items()
            if key[0] < self.since_ms and (finished or not keep_running or key[0] < ms - MAX_SPAN_MS)
        ]
        for key in old:
            del self.keys[key]
        return bool(old)

    def new(self, record: ForceLiquidation, *, finished: bool) -> Iterator[dict[str, Any]]:
        """Note a record, and yield the events that it gives rise to."""
        key = record_key(record)
        if key not in self.keys:
            if key[0] < self.since_ms:
                return
            self.keys[key] = False
            yield _payload("started", key)
        if finished and not self.keys[key] and not is_running(record):
            self.keys[key] = True
            yield _payload("finished", key)


def _payload(what: str, key: Key) -> dict[str, Any]:
    start_ms, group_id = key
    return {
        "what": what,
        "group_id": group_id,
        "start": utc_datetime(start_ms).isoformat(),
        "end": utc_datetime(start_ms + 1).isoformat(),
    }


def _first_wait_s(interval_s: float) -> float:
    """Return how long to wait before the first look: the sensor has just looked, so up to an interval.

    Drawn, since a triggerer that starts has all its triggers start in one moment, and a thousand of them that
    look in one moment hold its loop, then and after every interval.
    """
    return uniform(min(interval_s, _FIRST_WAIT_S), interval_s)  # noqa: S311 - no secret


def _told_to_wait_s(error: BinanceLoanError, hook: BinanceLoanHook) -> float:
    if not isinstance(error, RateLimitedError):
        return 0.0
    # A little longer: a look within the last millisecond is refused, and the next is a whole interval later.
    return error.ends_at_ms / 1000 - hook.now().timestamp() + 0.01
