"""The base of the sensors: waiting in a worker, between reschedules, or in the triggerer."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseSensorOperator, PokeReturnValue, conf
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralError,
)

from airflow_provider_binance_loan.binance.time_range import utc_datetime
from airflow_provider_binance_loan.client.settings import conn_id_to_show
from airflow_provider_binance_loan.conditions import require_poll_interval
from airflow_provider_binance_loan.exceptions import (
    BinanceLoanError,
    PermanentError,
    RateLimitedError,
    RequestRefusedError,
    TransientError,
)
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.polling import is_waited_out
from airflow_provider_binance_loan.validation import require_bool, require_seconds, shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from airflow.sdk import Context

    from airflow_provider_binance_loan.conditions import Condition
    from airflow_provider_binance_loan.waiting_trigger import WaitingTrigger

# After its deadline the trigger polls once more, and Airflow must have that event before it ends the wait.
_LAST_POLL_S = 60.0


class _PermanentPokeError(BaseException):
    """Carries a permanent error out of poke(): BaseSensorOperator may skip or retry any Exception."""


class BinanceLoanBaseSensor(BaseSensorOperator):
    """Wait for a condition: the base of the sensors, which say what they wait for.

    In whichever mode it waits, the sensor's XCom is the event that ended the wait.

    `soft_fail` skips the task on a timeout alone: a refused key or a malformed answer fails it all the same.
    A refusal fails it without retries, whatever `silent_fail` and `never_fail` say.

    :param deferrable: whether to wait in the triggerer.
    :param binance_loan_conn_id: the connection that holds the API key. (templated)
    """

    template_fields: Sequence[str] = ("binance_loan_conn_id",)
    ui_color = "#f8d12f"
    ui_fgcolor = "#1e2026"

    #: What there was not when the sensor timed out, for the error.
    missing: ClassVar[str]

    _not_before: datetime | None = None
    _has_logged_wait = False

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        binance_loan_conn_id: str = BinanceLoanHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.binance_loan_conn_id = binance_loan_conn_id

    def _parse_condition(self, context: Context) -> Condition:
        """Return the condition that the arguments describe.

        :raises ConfigurationError: an argument is wrong.
        """
        raise NotImplementedError

    def _build_trigger(self, condition: Condition, **waiting: Any) -> WaitingTrigger:
        """Return the trigger that waits for the condition.

        :param waiting: the arguments of every trigger that waits.
        """
        raise NotImplementedError

    def _describe_found(self, event: dict[str, Any]) -> str:
        """Return what ended the wait, for a line in the log."""
        raise NotImplementedError

    def execute(self, context: Context) -> Any:
        """Wait, and return the event.

        :raises AirflowFailException: an argument or the connection is wrong, or Binance refuses the request
            or the key, whatever `soft_fail` says.
        :raises BadResponseError: an answer is malformed.
        :raises TransientError: a fault outlasted the hook's retries.
        """
        self._not_before = None
        self._has_logged_wait = False
        try:
            self._check_intervals()
            return self._execute_deferrable(context) if self.deferrable else super().execute(context)
        except (PermanentError, _PermanentPokeError) as error:
            raise AirflowFailException(str(error)) from None
        except AirflowRescheduleException as reschedule:
            if self._not_before and self._not_before > reschedule.reschedule_date:
                raise AirflowRescheduleException(self._not_before) from None
            raise

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after the trigger, as Airflow does, except that `soft_fail` skips on a timeout alone."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except PermanentError as error:
            raise AirflowFailException(str(error)) from None
        except AirflowSkipException as skip:
            if isinstance(skip.__cause__, TaskDeferralError):
                raise BinanceLoanError(
                    "Read the trigger's error in this log: the trigger failed.",
                    conn_id=conn_id_to_show(self.binance_loan_conn_id),
                ) from skip.__cause__
            raise

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return the event that the trigger found.

        :param event: the payload of the event of :class:`.WaitingTrigger`.
        :raises AirflowSensorTimeout: the trigger found nothing in time.
        :raises RequestRefusedError: Binance refused the trigger's request, or an argument is wrong.
        :raises BinanceLoanError: the event is of another version of this package.
        """
        match event:
            case {"status": "success", **found}:
                self._log_found(found)
                return found
            case {"status": "timeout"}:
                raise AirflowSensorTimeout(
                    f"Set a longer timeout to wait on: there was {self.missing} in {self.timeout:.0f} s."
                )
            case {"status": "refused", "message": message}:
                raise RequestRefusedError(message)
        raise BinanceLoanError(
            f"Run scheduler, triggerer and workers on one version: the trigger sent {shown(event)}.",
            conn_id=conn_id_to_show(self.binance_loan_conn_id),
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once, and return the event, if there is one."""
        hook = BinanceLoanHook(self.binance_loan_conn_id)
        event: dict[str, Any] | None = None
        try:
            condition = self._parse_condition(context)
            self._log_wait(condition)
            event, reason = condition.poll(hook)
        except PermanentError as error:
            raise _PermanentPokeError(str(error)) from None
        except TransientError as error:
            if not (self.reschedule and _is_long(error)):
                raise
            self._not_before = _end_of_wait(error)
            self.log.warning("Poking again %s: %s", self._next_poke(self._not_before), error)
        else:
            if event:
                self._log_found(event)
            else:
                self.log.info("Poking again %s: %s", self._next_poke(), reason)
        return PokeReturnValue(is_done=event is not None, xcom_value=event)

    def _execute_deferrable(self, context: Context) -> dict[str, Any]:  # noqa: RET503 - defer() raises
        hook = BinanceLoanHook(self.binance_loan_conn_id)
        deadline_s = hook.clock.now_ms() / 1000 + self.timeout
        condition, not_before = self._parse_condition(context), None
        self._log_wait(condition)
        # In the worker first, so that a wrong key fails at once, and an event that is there already needs no
        # triggerer.
        try:
            event, reason = condition.poll(hook)
        except TransientError as error:
            if not _is_long(error):
                raise
            not_before = _end_of_wait(error)
            self.log.warning("Polling in the triggerer %s: %s", self._next_poke(not_before), error)
        else:
            if event:
                self._log_found(event)
                return event
            self.log.info("Polling in the triggerer %s: %s", self._next_poke(), reason)
        self.defer(
            trigger=self._build_trigger(
                condition,
                poke_interval=self.poke_interval,
                exponential_backoff=self.exponential_backoff,
                max_wait=self.max_wait.total_seconds() if self.max_wait else None,
                not_before=not_before.timestamp() if not_before else None,
                deadline=deadline_s,
                binance_loan_conn_id=self.binance_loan_conn_id,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, deadline_s - hook.clock.now_ms() / 1000) + _LAST_POLL_S),
        )

    def _check_intervals(self) -> None:
        require_bool(self.deferrable, "deferrable")
        require_poll_interval(self.poke_interval, "poke_interval")
        if self.max_wait:
            require_poll_interval(self.max_wait.total_seconds(), "max_wait")
        require_seconds(self.timeout, "timeout")

    def _log_wait(self, condition: Condition) -> None:
        """Log what the sensor waits for, once in an execution."""
        if self._has_logged_wait:
            return
        self._has_logged_wait = True
        self.log.info(
            "Waiting for %s (connection %r, for %.0f s at most).",
            condition,
            conn_id_to_show(self.binance_loan_conn_id),
            self.timeout,
        )

    def _log_found(self, event: dict[str, Any]) -> None:
        self.log.info("Found %s.", self._describe_found(event))

    def _next_poke(self, not_before: datetime | None = None) -> str:
        """Return when the next poke or poll is, for a line in the log."""
        interval = f"every {self.poke_interval:.0f} s" + (" at first" if self.exponential_backoff else "")
        return f"{interval}, from {not_before.isoformat(timespec='seconds')} on" if not_before else interval


def _is_long(error: TransientError) -> bool:
    """Return whether an error lasts for so long that a worker should not wait for its end."""
    return isinstance(error, RateLimitedError) or is_waited_out(error)


def _end_of_wait(error: TransientError) -> datetime | None:
    """Return until when Binance asks to wait; None where it does not say."""
    return utc_datetime(error.ends_at_ms) if isinstance(error, RateLimitedError) else None
