"""The base of the triggers of deferred sensors: waiting for a condition, and firing once."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, TypedDict

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_binance_loan.client.settings import conn_id_to_show
from airflow_provider_binance_loan.conditions import require_poll_interval
from airflow_provider_binance_loan.exceptions import BadResponseError, ConfigurationError, PermanentError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.polling import (
    MIN_FIRST_WAIT_S,
    is_waited_out,
    one_line,
    rate_limit_s,
)
from airflow_provider_binance_loan.shared_polls import shared_polls
from airflow_provider_binance_loan.validation import LATEST_S, require_seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_binance_loan.client.clock import Clock
    from airflow_provider_binance_loan.conditions import Condition
    from airflow_provider_binance_loan.shared_polls import SharedPolls

# Failed polls in a row, each of several attempts, after which a deferred sensor's trigger gives up.
_MAX_FAILURES = 10


class WaitingArguments(TypedDict, total=False):
    """The arguments of :class:`WaitingTrigger`."""

    poke_interval: float
    exponential_backoff: bool
    max_wait: float | None
    not_before: float | None
    deadline: float | None
    binance_loan_conn_id: str
    clock: Clock | None


class WaitingTrigger(BaseTrigger):
    """Wait for a condition, and fire once: the base of the triggers of deferred sensors.

    The payload of its event is one of:

    - `{"status": "success", …}`, with what the condition found;
    - `{"status": "refused", "message": …}`: no retry can help;
    - `{"status": "timeout"}`: there was nothing until `deadline`.

    All arguments but `clock` are JSON, and are stored in Airflow's database.

    :param poke_interval: the time between two polls, in seconds: one second at least, a week at most.
    :param exponential_backoff: whether to double that time after each poll.
    :param max_wait: the longest time between two polls, in seconds.
    :param not_before: when to poll first, in epoch seconds, where Binance asked to wait.
    :param deadline: until when to wait, in epoch seconds; None to leave that to the sensor's timeout.
    :param binance_loan_conn_id: the connection that holds the API key.
    :param clock: the clock to wait by, for tests; the machine's own by default. It is not stored.
    """

    def __init__(
        self,
        *,
        poke_interval: float = 60,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        not_before: float | None = None,
        deadline: float | None = None,
        binance_loan_conn_id: str = BinanceLoanHook.default_conn_name,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.poke_interval = poke_interval
        self.exponential_backoff = exponential_backoff
        self.max_wait = max_wait
        self.not_before = not_before
        self.deadline = deadline
        self.binance_loan_conn_id = binance_loan_conn_id
        self._clock = clock

    def _condition_arguments(self) -> dict[str, Any]:
        """Return the arguments that describe the condition, as JSON."""
        raise NotImplementedError

    def _parse_condition(self) -> Condition:
        """Return the condition that the arguments describe.

        :raises ConfigurationError: an argument is wrong.
        """
        raise NotImplementedError

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, from which the triggerer rebuilds the trigger."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                **self._condition_arguments(),
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
        async with shared_polls(self.binance_loan_conn_id, self._clock) as polls:
            try:
                self._require_arguments()
                condition = self._parse_condition()
            except ConfigurationError as error:
                await polls.clock.asleep(MIN_FIRST_WAIT_S)
                payload = {"status": "refused", "message": str(error)}
            else:
                payload = await self._wait(polls, condition)
        yield TriggerEvent(payload)

    async def _wait(self, polls: SharedPolls, condition: Condition) -> dict[str, Any]:
        """Poll until the outcome is known, and return it as the payload of the event."""
        clock = polls.clock
        polled = failures = 0
        # On the monotonic clock, so that setting the machine's clock neither ends nor prolongs the wait.
        started_at, now_s = clock.monotonic(), clock.now_ms() / 1000
        not_before = started_at + (self.not_before or 0) - now_s
        ends_at = inf if self.deadline is None else started_at + self.deadline - now_s
        polls_at = max(polls.first_at(self._interval_s(0)), not_before)
        while True:
            is_last = polls_at >= ends_at
            await clock.asleep(max(0, min(polls_at, ends_at) - clock.monotonic()))
            if is_last and not_before > ends_at:
                return {"status": "timeout"}
            wait_s, limit_s = self._interval_s(polled), 0.0
            polled += 1
            try:
                event, reason = await condition.apoll(polls)
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
                log, reason = self.log.warning, one_line(error, conn_id_to_show(self.binance_loan_conn_id))
            else:
                if event:
                    return {"status": "success", **event}
                failures = 0
                log = self.log.info
            if is_last:
                log("This was the last poll, at the sensor's timeout: %s", reason)
                return {"status": "timeout"}
            polls_at = polls.next_at(wait_s, self._interval_s(0), limit_s)
            wait_s = max(0, min(polls_at, ends_at) - clock.monotonic())
            log("Polling again in %.0f s: %s", wait_s, reason)

    def _require_arguments(self) -> None:
        require_poll_interval(self.poke_interval, "poke_interval")
        if self.max_wait is not None:
            require_poll_interval(self.max_wait, "max_wait")
        for name, instant_s in (("not_before", self.not_before), ("deadline", self.deadline)):
            if instant_s is not None:
                require_seconds(instant_s, name, high=LATEST_S)

    def _interval_s(self, polls: int) -> float:
        """Return the time to the next poll after so many polls."""
        interval_s = (
            self.poke_interval * 2 ** min(polls, 30) if self.exponential_backoff else self.poke_interval
        )
        return interval_s if self.max_wait is None else min(interval_s, self.max_wait)
