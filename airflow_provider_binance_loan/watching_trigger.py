"""The base of the triggers of asset watchers: polling and firing without end."""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Required, TypedDict

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_binance_loan.client.settings import conn_id_to_show
from airflow_provider_binance_loan.conditions import require_poll_interval
from airflow_provider_binance_loan.exceptions import ConfigurationError, PermanentError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.polling import back_off_s, is_waited_out, one_line, rate_limit_s
from airflow_provider_binance_loan.shared_polls import shared_polls
from airflow_provider_binance_loan.validation import described, shown
from airflow_provider_binance_loan.watcher_state import M, WatcherState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from airflow_provider_binance_loan.client.clock import Clock
    from airflow_provider_binance_loan.shared_polls import SharedPolls


# Airflow's scheduler makes a run of an event within a second or two, and within ten if it is busy.
_SPACING_S = 10.0


class WatchingArguments(TypedDict, total=False):
    """The arguments of :class:`WatchingTrigger`."""

    asset_name: Required[str]
    poke_interval: float
    binance_loan_conn_id: str
    queue: str | None
    clock: Clock | None


class WatchingTrigger(BaseEventTrigger, Generic[M]):
    """Fire asset events without end, for an `AssetWatcher`: the base of the triggers that do.

    What was fired is recorded in the asset's state store some seconds later, when Airflow has the events in
    its database. So a restart of the triggerer loses none, and repeats those of the last seconds.

    A failed poll never ends the trigger, whatever failed: it leaves a line in the triggerer's log, and the
    next poll comes after twice the time, up to ten minutes, or when Binance's rate limit or ban ends. What
    was fired stays in memory while the state store refuses it. A state that cannot be read is left as it is,
    and no event fires until it is deleted, or this package is upgraded.

    :param asset_name: the name of the asset that is watched. It keeps the watchers of several assets apart.
    :param poke_interval: the time between two polls, in seconds: one second at least, a week at most.
    :param binance_loan_conn_id: the connection that holds the API key.
    :param queue: the queue of triggerers that run the watcher. It is for Airflow, and versions whose watchers
        have no queue ignore it.
    :param clock: the clock to wait by, for tests; the machine's own by default. It is not stored.
    :raises ConfigurationError: an argument is wrong.
    """

    #: What the key of the state begins with.
    _state_kind: ClassVar[str]

    def __init__(
        self,
        *,
        asset_name: str,
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
        require_poll_interval(poke_interval, "poke_interval")
        self.asset_name = asset_name
        self.poke_interval = poke_interval
        self.binance_loan_conn_id = binance_loan_conn_id
        self._clock = clock

    def _own_arguments(self) -> dict[str, Any]:
        """Return the arguments that say what is watched, as JSON."""
        raise NotImplementedError

    @property
    def _watched(self) -> str:
        """What is watched: watchers of one asset and connection that watch the same share a state."""
        raise NotImplementedError

    @staticmethod
    def _parse_memory(value: Any) -> M:
        """Return what the watcher remembers, from its JSON.

        :raises ValueError: it is something else; the text says what, and goes with "the state".
        """
        raise NotImplementedError

    def _poll(self, polls: SharedPolls, state: WatcherState[M]) -> AsyncGenerator[dict[str, Any]]:
        """Poll once, and yield the payloads of the events, each when the memory has it.

        :raises Exception: the poll failed.
        """
        raise NotImplementedError

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, from which the triggerer rebuilds the trigger."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "asset_name": self.asset_name,
                **self._own_arguments(),
                "poke_interval": self.poke_interval,
                "binance_loan_conn_id": self.binance_loan_conn_id,
                **self._base_arguments,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll without end, and yield the events; back off while polls fail."""
        async with shared_polls(self.binance_loan_conn_id, self._clock) as polls:
            clock = polls.clock
            conn_id = conn_id_to_show(self.binance_loan_conn_id)
            state = self._open_state(clock, conn_id)
            failures = 0
            fired_at = -inf
            while True:
                try:
                    async with aclosing(_spaced(self._poll(polls, state), clock, fired_at)) as payloads:
                        async for payload in payloads:
                            state.note_event()
                            self.log.info("Fired for asset %r: %s", self.asset_name, payload)
                            fired_at = clock.monotonic()
                            yield TriggerEvent(payload)
                    failures = 0
                    polls_at = polls.next_at(self.poke_interval, self.poke_interval)
                except Exception as error:  # noqa: BLE001 - the triggerer restarts a trigger that raises at once
                    failures += not is_waited_out(error)
                    wait_s = back_off_s(self.poke_interval, failures)
                    polls_at = polls.next_at(wait_s, self.poke_interval, rate_limit_s(error, clock))
                    log = self.log.error if isinstance(error, PermanentError) else self.log.warning
                    log(
                        "Polling again in %.0f s (asset %r): %s",
                        polls_at - clock.monotonic(),
                        self.asset_name,
                        one_line(error, conn_id),
                    )
                # Airflow tries for ten seconds to write what its database refuses; that is part of the wait.
                await state.save()
                await clock.asleep(max(0.0, polls_at - clock.monotonic()))

    def _open_state(self, clock: Clock, conn_id: str) -> WatcherState[M]:
        return WatcherState(
            getattr(self, "asset_state_store", None),  # Airflow 3.3 and later
            self._state_key,
            self._parse_memory,
            asset_name=self.asset_name,
            conn_id=conn_id,
            clock=clock,
            log=self.log,
        )

    @property
    def _state_key(self) -> str:
        # Hashed, since a key must be short, and there may be many ids.
        about = f"{self.binance_loan_conn_id} {self._watched}"
        return f"{self._state_kind}_{hashlib.sha256(about.encode()).hexdigest()[:32]}"


async def _spaced(
    payloads: AsyncGenerator[dict[str, Any]], clock: Clock, fired_at: float
) -> AsyncGenerator[dict[str, Any]]:
    """Yield payloads, and wait before the last one until Airflow has made a run of what was fired before.

    Airflow hands a run the events up to the first one that was fired since the run before. Those that follow
    while that run is not made yet are left to the next run, so the last of them would wait for an event that
    may come much later.

    :param payloads: the payloads of a poll.
    :param clock: the clock to wait by.
    :param fired_at: when the last event of an earlier poll was fired, on the monotonic clock.
    """
    async with aclosing(payloads):
        last: dict[str, Any] | None = None
        failure: Exception | None = None
        try:
            async for payload in payloads:
                if last is not None:
                    yield last
                    fired_at = clock.monotonic()
                last = payload
        except Exception as error:  # noqa: BLE001 - raised below: what is in the memory is fired first
            failure = error
        if last is not None:
            wait_s = fired_at + _SPACING_S - clock.monotonic()
            if wait_s > 0:
                await clock.asleep(wait_s)
            yield last
        if failure is not None:
            raise failure
