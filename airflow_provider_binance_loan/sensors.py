"""The sensor, which waits for liquidations in a worker, between reschedules, or in the triggerer."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue, conf
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralError,
)

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.time_range import utc_datetime
from airflow_provider_binance_loan.client.settings import conn_id_to_show
from airflow_provider_binance_loan.conditions import (
    DEFAULT_LOOKBACK,
    Condition,
    WaitFor,
    parse_condition,
    require_poll_interval,
)
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
from airflow_provider_binance_loan.windows import parse_instant, refuse_partition, resolve_window

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow.sdk import Context

    from airflow_provider_binance_loan.binance.time_range import TimeRange


# After its deadline the trigger polls once more, and Airflow must have that event before it ends the wait.
_LAST_POLL_S = 60.0


class _PermanentPokeError(BaseException):
    """Carries a permanent error out of poke(): BaseSensorOperator may skip or retry any Exception."""


class BinanceLoanForceLiquidationSensor(BaseSensorOperator):
    """Wait until a liquidation started, or finished, at or after an instant.

    The run for the interval from 2026-03-01 09:00 to 10:00 UTC waits for liquidations since 09:00. At 10:20 a
    risk unit is liquidated; at the next poke the sensor succeeds, and its XCom is `{"count": 1, "group_ids":
    [6], "start": "2026-03-01T10:20:…", "end": …}`, in whichever mode it waits. An operator that is given this
    `start` and `end` pulls exactly these records; where the sensor waited for finished ones, at least these.

    `soft_fail` skips the task on a timeout alone: a refused key or a malformed answer fails it all the same.
    A refusal fails it without retries, whatever `silent_fail` and `never_fail` say.

    :param since: the instant, a datetime or ISO 8601 text, with time zone; empty for the start of the window
        that an operator in the same run would pull. (templated)
    :param wait_for: `"started"` or `"finished"`.
    :param lookback: for liquidations that finish, how long before `since` they may have started.
    :param risk_units: `"all"`, `"active"`, or ids, as a list or separated by commas. (templated)
    :param deferrable: whether to wait in the triggerer.
    :param binance_loan_conn_id: the connection that holds the credit account's API key. (templated)
    """

    template_fields: Sequence[str] = ("since", "risk_units", "binance_loan_conn_id")
    ui_color = "#f8d12f"
    ui_fgcolor = "#1e2026"

    _not_before: datetime | None = None
    _has_logged_wait = False

    def __init__(
        self,
        *,
        since: datetime | str | None = None,
        wait_for: WaitFor = "started",
        lookback: timedelta = DEFAULT_LOOKBACK,
        risk_units: str | int | Iterable[int | str] = "all",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        binance_loan_conn_id: str = BinanceLoanHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.since = since
        self.wait_for = wait_for
        self.lookback = lookback
        self.risk_units = risk_units
        self.deferrable = deferrable
        self.binance_loan_conn_id = binance_loan_conn_id

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

        :param event: the payload of the event of :class:`.BinanceLoanForceLiquidationTrigger`.
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
                    f"Set a longer timeout to wait on: there was no liquidation in {self.timeout:.0f} s."
                )
            case {"status": "refused", "message": message}:
                raise RequestRefusedError(message)
        raise BinanceLoanError(
            f"Run scheduler, triggerer and workers on one version: the trigger sent {shown(event)}.",
            conn_id=conn_id_to_show(self.binance_loan_conn_id),
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Read the window once, and return the event, if there is one."""
        hook = BinanceLoanHook(self.binance_loan_conn_id)
        try:
            condition = self._parse_condition(context)
            self._log_wait(condition)
            event = _poke(hook, condition)
        except PermanentError as error:
            raise _PermanentPokeError(str(error)) from None
        except TransientError as error:
            if not (self.reschedule and _is_long(error)):
                raise
            event = None
            self._not_before = _end_of_wait(error)
            self.log.warning("Poking again %s: %s", self._next_poke(self._not_before), error)
        else:
            if event:
                self._log_found(event)
            else:
                self.log.info("Poking again %s: there is no such liquidation yet.", self._next_poke())
        return PokeReturnValue(is_done=event is not None, xcom_value=event)

    def _execute_deferrable(self, context: Context) -> dict[str, Any]:  # noqa: RET503 - defer() raises
        hook = BinanceLoanHook(self.binance_loan_conn_id)
        deadline_s = hook.clock.now_ms() / 1000 + self.timeout
        condition, not_before = self._parse_condition(context), None
        self._log_wait(condition)
        # In the worker first, so that a wrong key fails at once, and an event that is there already needs no
        # triggerer.
        try:
            event = _poke(hook, condition)
        except TransientError as error:
            if not _is_long(error):
                raise
            event, not_before = None, _end_of_wait(error)
            self.log.warning("Polling in the triggerer %s: %s", self._next_poke(not_before), error)
        else:
            if event:
                self._log_found(event)
                return event
            self.log.info("Polling in the triggerer %s: there is no such liquidation yet.", self._next_poke())

        from airflow_provider_binance_loan.triggers import BinanceLoanForceLiquidationTrigger

        units = condition.risk_units
        self.defer(
            trigger=BinanceLoanForceLiquidationTrigger(
                since=utc_datetime(condition.since_ms).isoformat(),
                wait_for=condition.wait_for,
                risk_units=list(units) if isinstance(units, tuple) else units,
                lookback=self.lookback.total_seconds(),
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

    def _parse_condition(self, context: Context) -> Condition:
        since_ms = parse_instant(self.since, "since")
        if since_ms is None:
            refuse_partition(context, "since", 'since="{{ partition_date }}"')
            since_ms = resolve_window(context).window.start_ms
        return parse_condition(
            since_ms=since_ms, wait_for=self.wait_for, lookback=self.lookback, risk_units=self.risk_units
        )

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

    def _log_found(self, found: dict[str, Any]) -> None:
        self.log.info(
            "Found %s liquidations, of the risk units %s, that started from %s to before %s.",
            found.get("count"),
            ", ".join(map(str, found.get("group_ids", ()))),
            found.get("start"),
            found.get("end"),
        )

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


def _poke(hook: BinanceLoanHook, condition: Condition) -> dict[str, Any] | None:
    window = condition.window(hook.now_ms)
    event = _event_in(hook, condition, window)
    if event is None and hook.now_ms > window.end_ms:  # the clock, which was behind, has been corrected
        event = _event_in(hook, condition, condition.window(hook.now_ms))
    return event


def _event_in(hook: BinanceLoanHook, condition: Condition, window: TimeRange) -> dict[str, Any] | None:
    return condition.event(hook.iter_window(FORCE_LIQUIDATIONS.for_polls, window, condition.risk_units))
