"""The triggers, which poll in the triggerer: one for a deferred sensor, one for the watcher of an asset."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.risk_units import RiskUnitsArgument, parse_risk_units
from airflow_provider_binance_loan.client.settings import conn_id_to_show
from airflow_provider_binance_loan.conditions import (
    DEFAULT_LOOKBACK,
    Condition,
    WaitFor,
    parse_condition,
    require_poll_interval,
)
from airflow_provider_binance_loan.exceptions import BadResponseError, ConfigurationError, PermanentError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.polling import (
    MIN_FIRST_WAIT_S,
    back_off_s,
    first_wait_s,
    is_waited_out,
    one_line,
    rate_limit_s,
)
from airflow_provider_binance_loan.validation import LATEST_S, described, require_bool, require_seconds, shown
from airflow_provider_binance_loan.watcher_state import WatcherState
from airflow_provider_binance_loan.windows import parse_instant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_binance_loan.client.clock import Clock

# Failed polls in a row, each of several attempts, after which a deferred sensor's trigger gives up.
_MAX_FAILURES = 10


class BinanceLoanForceLiquidationTrigger(BaseTrigger):
    """Wait for liquidations that started, or finished, at or after an instant, and fire once.

    The payload of its event is one of:

    - `{"status": "success", "count": 1, "group_ids": [6], "start": "2026-03-01T09:17:…", "end": …}`: the
      liquidations, and a window that holds their records;
    - `{"status": "refused", "message": …}`: no retry can help;
    - `{"status": "timeout"}`: there was none until `deadline`.

    All arguments but `clock` are JSON, and are stored in Airflow's database.

    :param since: the instant, as ISO 8601 text with time zone.
    :param wait_for: `"started"` or `"finished"`.
    :param risk_units: `"all"`, `"active"`, or ids.
    :param lookback: for liquidations that finish, how long before `since` they may have started, in seconds.
    :param poke_interval: the time between two polls, in seconds: one second at least, a week at most.
    :param exponential_backoff: whether to double that time after each poll.
    :param max_wait: the longest time between two polls, in seconds.
    :param not_before: when to poll first, in epoch seconds, where Binance asked to wait.
    :param deadline: until when to wait, in epoch seconds; None to leave that to the sensor's timeout.
    :param binance_loan_conn_id: the connection that holds the credit account's API key.
    :param clock: the clock to wait by, for tests; the machine's own by default. It is not stored.
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
        clock: Clock | None = None,
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
        self._clock = clock

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, from which the triggerer rebuilds the trigger."""
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
        """Poll until the outcome is known, and yield it as one event.

        :raises BadResponseError: an answer is malformed.
        :raises Exception: ten polls in a row failed; the error of the last one.
        """
        hook = BinanceLoanHook(self.binance_loan_conn_id, clock=self._clock)
        try:
            condition = self._parse_arguments()
        except ConfigurationError as error:
            await hook.clock.asleep(MIN_FIRST_WAIT_S)
            yield TriggerEvent({"status": "refused", "message": str(error)})
            return
        yield TriggerEvent(await self._wait(hook, condition))

    async def _wait(self, hook: BinanceLoanHook, condition: Condition) -> dict[str, Any]:
        """Poll until the outcome is known, and return it as the payload of the event."""
        clock = hook.clock
        polls = failures = 0
        # On the monotonic clock, so that setting the machine's clock neither ends nor prolongs the wait.
        started_at, now_s = clock.monotonic(), clock.now_ms() / 1000
        not_before = started_at + (self.not_before or 0) - now_s
        ends_at = inf if self.deadline is None else started_at + self.deadline - now_s
        wait_s = max(first_wait_s(self._interval_s(0)), not_before - started_at)
        while True:
            left_s = ends_at - clock.monotonic()
            is_last = wait_s >= left_s
            await clock.asleep(max(0, min(wait_s, left_s)))
            if is_last and not_before > ends_at:
                return {"status": "timeout"}
            wait_s = self._interval_s(polls)
            polls += 1
            try:
                window = condition.window(hook.now_ms)
                records = await hook.aget_window(FORCE_LIQUIDATIONS.for_polls, window, condition.risk_units)
            except PermanentError as error:
                return {"status": "refused", "message": str(error)}
            except BadResponseError:
                raise
            except Exception as error:
                failures += not is_waited_out(error)
                if failures == _MAX_FAILURES and not is_last:
                    raise
                limit_s = rate_limit_s(error, clock)
                not_before = clock.monotonic() + limit_s
                wait_s = max(wait_s, limit_s)
                log, reason = self.log.warning, one_line(error, conn_id_to_show(self.binance_loan_conn_id))
            else:
                if event := condition.event(records):
                    return {"status": "success", **event}
                failures = 0
                log, reason = self.log.info, "there is no such liquidation yet."
            if is_last:
                log("This was the last poll, at the sensor's timeout: %s", reason)
                return {"status": "timeout"}
            log("Polling again in %.0f s: %s", min(wait_s, ends_at - clock.monotonic()), reason)

    def _parse_arguments(self) -> Condition:
        since_ms = parse_instant(self.since, "since")
        if since_ms is None:
            raise ConfigurationError("Give since as an ISO 8601 instant: it is empty.")
        require_seconds(self.lookback, "lookback")
        require_poll_interval(self.poke_interval, "poke_interval")
        if self.max_wait is not None:
            require_poll_interval(self.max_wait, "max_wait")
        for name, instant_s in (("not_before", self.not_before), ("deadline", self.deadline)):
            if instant_s is not None:
                require_seconds(instant_s, name, high=LATEST_S)
        return parse_condition(
            since_ms=since_ms,
            wait_for=self.wait_for,
            lookback=timedelta(seconds=self.lookback),
            risk_units=self.risk_units,
        )

    def _interval_s(self, polls: int) -> float:
        """Return the time to the next poll after so many polls."""
        interval_s = (
            self.poke_interval * 2 ** min(polls, 30) if self.exponential_backoff else self.poke_interval
        )
        return interval_s if self.max_wait is None else min(interval_s, self.max_wait)


class BinanceLoanForceLiquidationEventTrigger(BaseEventTrigger):
    """Fire once for each new liquidation, and if asked once more when it finishes, for an `AssetWatcher`.

    A liquidation that starts on 2026-03-01 at 09:17 UTC becomes an asset event whose payload is
    `{"what": "started", "group_id": 6, "start": "2026-03-01T09:17:…", "end": …}`; an operator that is given
    this start and end as its window pulls the record.

    The events that were fired are recorded in the asset's state store some seconds later, when Airflow has
    them in its database. So a restart of the triggerer loses none, and repeats those of the last seconds.
    Without a state store (Airflow 3.2), each start of the triggerer fires again for the liquidations that
    started within `lookback`.

    A failed poll never ends the trigger, whatever failed: it leaves a line in the triggerer's log, and the
    next poll comes after twice the time, up to ten minutes, or when Binance's rate limit or ban ends. What
    was fired stays in memory while the state store refuses it. A state that cannot be read is left as it is,
    and no event fires until it is deleted, or this package is upgraded.

    :param asset_name: the name of the asset that is watched. It keeps the watchers of several assets apart.
    :param finished: whether to fire again when a liquidation finishes.
    :param risk_units: `"all"`, `"active"`, or ids, as a list or separated by commas.
    :param lookback: how late a record may become visible after its start, in seconds; its finish is waited
        for 99 days longer.
    :param poke_interval: the time between two polls, in seconds: one second at least, a week at most.
    :param binance_loan_conn_id: the connection that holds the credit account's API key.
    :param queue: the queue of triggerers that run the watcher. It is for Airflow, and versions whose watchers
        have no queue ignore it.
    :param clock: the clock to wait by, for tests; the machine's own by default. It is not stored.
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
        queue: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        # Left out where it is not set, since Airflow tells watchers apart by what they serialize to.
        self._base_arguments = {} if queue is None else {"queue": queue}
        super().__init__(**self._base_arguments)  # type: ignore[no-untyped-call]
        if not isinstance(asset_name, str) or not asset_name.strip():
            raise ConfigurationError(
                f"Give asset_name as the name of the asset: it is {described(asset_name)}."
            )
        if queue is not None and (not isinstance(queue, str) or not queue.strip()):
            raise ConfigurationError(
                f"Give queue as the name of a triggerer queue, or leave it out: it is {shown(queue)}."
            )
        require_bool(finished, "finished")
        require_seconds(lookback, "lookback")
        require_poll_interval(poke_interval, "poke_interval")
        self._risk_units = parse_risk_units(risk_units)
        self.asset_name = asset_name
        self.finished = finished
        self.risk_units = self._risk_units if isinstance(self._risk_units, str) else sorted(self._risk_units)
        self.lookback = lookback
        self.poke_interval = poke_interval
        self.binance_loan_conn_id = binance_loan_conn_id
        self._clock = clock

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, from which the triggerer rebuilds the trigger."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "asset_name": self.asset_name,
                "finished": self.finished,
                "risk_units": self.risk_units,
                "lookback": self.lookback,
                "poke_interval": self.poke_interval,
                "binance_loan_conn_id": self.binance_loan_conn_id,
                **self._base_arguments,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll without end, and yield an event for each new liquidation; back off while polls fail."""
        hook = BinanceLoanHook(self.binance_loan_conn_id, clock=self._clock)
        conn_id = conn_id_to_show(self.binance_loan_conn_id)
        state = WatcherState(
            getattr(self, "asset_state_store", None),  # Airflow 3.3 and later
            self._state_key,
            asset_name=self.asset_name,
            conn_id=conn_id,
            clock=hook.clock,
            log=self.log,
        )
        lookback_ms = int(self.lookback * 1000)
        began_at = hook.clock.monotonic()
        failures = 0
        while True:
            wait_s = self.poke_interval
            try:
                fired = await state.load()
                oldest_ms = fired.oldest_ms if fired else max(0, hook.now_ms - lookback_ms)
                window = Condition(since_ms=oldest_ms).window(hook.now_ms)
                records = await hook.aget_window(FORCE_LIQUIDATIONS.for_polls, window, self._risk_units)
                if fired is None:
                    # By Binance's clock, less how long ago the watcher started, as polls may have failed.
                    elapsed_ms = int((hook.clock.monotonic() - began_at) * 1000)
                    fired = state.begin(hook.passed_ms - elapsed_ms, lookback_ms)
                records.sort(key=FORCE_LIQUIDATIONS.key)  # so that events come in the order of the starts
                for record in records:
                    for payload in fired.add(record, finished=self.finished):
                        state.note_event()
                        self.log.info("Fired for asset %r: %s", self.asset_name, payload)
                        yield TriggerEvent(payload)
                # Only after the poll, so that nothing is forgotten that this poll did not cover; and by what
                # Binance's clock has passed, since one wrong moment of this machine's would be kept for good.
                if fired.forget_before(hook.passed_ms - lookback_ms, keep_running=self.finished):
                    state.note_change()
                failures = 0
            except Exception as error:  # noqa: BLE001 - the triggerer restarts a trigger that raises at once
                failures += not is_waited_out(error)
                wait_s = max(back_off_s(wait_s, failures), rate_limit_s(error, hook.clock))
                log = self.log.error if isinstance(error, PermanentError) else self.log.warning
                line = one_line(error, conn_id)
                log("Polling again in %.0f s (asset %r): %s", wait_s, self.asset_name, line)
            # Airflow tries for ten seconds to write what its database refuses; that is part of the wait.
            polls_at = hook.clock.monotonic() + wait_s
            await state.save()
            await hook.clock.asleep(max(0.0, polls_at - hook.clock.monotonic()))

    @property
    def _state_key(self) -> str:
        # Hashed, since a key must be short, and there may be many ids.
        about = f"{self.binance_loan_conn_id} {self.risk_units} {self.finished}"
        return f"binance_loan_fired_{hashlib.sha256(about.encode()).hexdigest()[:32]}"
