"""The sensor: wait for new liquidations, in a worker, between reschedules, or in the triggerer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

from airflow_provider_binance_loan.binance.reader import parse_risk_units
from airflow_provider_binance_loan.binance.time_range import utc_datetime
from airflow_provider_binance_loan.conditions import DEFAULT_LOOKBACK, WaitFor, Watch, require_poll_interval
from airflow_provider_binance_loan.exceptions import (
    BinanceLoanError,
    ConfigurationError,
    RateLimitedError,
    RequestRefusedError,
)
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.validation import require_bool, require_seconds, shown
from airflow_provider_binance_loan.windows import resolve_window, parse_instant

if TYPE_CHECKING:
    from airflow.sdk import Context


class _RefusedError(BaseException):
    """Carry a refusal out of a poke: the base class would skip, repeat or swallow any other exception."""


class BinanceLoanForceLiquidationSensor(BaseSensorOperator):
    """Wait until a liquidation started, or finished, at or after an instant.

    The run for the interval from 2026-03-01 09:00 to 10:00 UTC waits since 09:00. At 10:20 a risk unit is
    liquidated; at the next look the sensor succeeds, and its XCom is `{"count": 1, "group_ids": [6],
    "start": "2026-03-01T10:20:…", "end": …}`, in whichever mode it waits. An operator that is given this
    `start` and `end` pulls just these records (for finished ones: at least these).

    `soft_fail` skips on a timeout alone: a refused key or a malformed answer fails the task all the same, and
    a refusal fails it without retries, whatever `silent_fail` and `never_fail` say.

    :param since: the instant, a datetime or ISO 8601 text, with time zone; empty for the start of the window
        that an operator in the same run would pull. (templated)
    :param wait_for: `"started"` or `"finished"`.
    :param lookback: for finished ones, how long before `since` they may have started.
    :param risk_units: `"all"`, `"active"`, or ids, as a list or separated by commas. (templated)
    :param deferrable: whether to wait in the triggerer.
    :param binance_loan_conn_id: the connection that holds the credit account's API key. (templated)
    """

    template_fields: Sequence[str] = ("since", "risk_units", "binance_loan_conn_id")
    ui_color = "#f8d12f"
    ui_fgcolor = "#1e2026"

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
        """Wait, and return what happened.

        :raises AirflowFailException: an argument or the connection is wrong, or Binance refuses the request
            or the key, whatever `soft_fail` says.
        :raises BinanceLoanError: an answer is malformed, or a fault did not pass.
        """
        self._not_before: datetime | None = None
        try:
            self._check_waits()
            return self._execute_deferrable(context) if self.deferrable else super().execute(context)
        except PermanentError as error:
            raise AirflowFailException(str(error)) from error
        except _RefusedError as refused:
            raise AirflowFailException(str(refused)) from refused.__cause__
        except AirflowRescheduleException as again:
            if self._not_before and self._not_before > again.reschedule_date:
                raise AirflowRescheduleException(self._not_before) from None
            raise

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the trigger, as Airflow does, but for what `soft_fail` must not hide."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except PermanentError as error:
            raise AirflowFailException(str(error)) from error
        except AirflowSkipException as skip:
            if isinstance(skip.__cause__, TaskDeferralError):
                raise BinanceLoanError("The trigger failed; its error is in this log.") from skip.__cause__
            raise

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Return what the trigger found.

        :param event: the payload of the event of :class:`.BinanceLoanForceLiquidationTrigger`.
        :raises AirflowSensorTimeout: it found nothing in time.
        :raises RequestRefusedError: it was refused.
        :raises BinanceLoanError: the event is not one that this version knows.
        """
        match event:
            case {"status": "success", **found}:
                return found
            case {"status": "timeout"}:
                raise AirflowSensorTimeout(f"No liquidation came within the timeout of {self.timeout:.0f} s.")
            case {"status": "refused", "message": message}:
                raise RequestRefusedError(message)
        raise BinanceLoanError(
            f"The trigger sent {shown(event)}: run scheduler, triggerer and workers on one version."
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        try:
            event = self._look(self._watch(context))
        except PermanentError as error:
            raise _RefusedError(str(error)) from error
        except RateLimitedError as error:
            if not self.reschedule:
                raise
            self.log.warning("Not looking again before it ends: %s", error)
            self._not_before = utc_datetime(error.ends_at_ms)
            event = None
        return PokeReturnValue(is_done=event is not None, xcom_value=event)

    def _execute_deferrable(self, context: Context) -> dict[str, Any]:  # noqa: RET503 - defer() raises
        hook = BinanceLoanHook(self.binance_loan_conn_id)
        deadline = hook.now().timestamp() + self.timeout
        watch, not_before = self._watch(context), None
        # Here first, so that a wrong key fails at once, and what is there already needs no triggerer.
        try:
            event = self._look(watch)
        except RateLimitedError as error:
            self.log.warning("Waiting in the triggerer: %s", error)
            event, not_before = None, error.ends_at_ms / 1000
        if event:
            return event

        from airflow_provider_binance_loan.triggers import BinanceLoanForceLiquidationTrigger

        self.defer(
            trigger=BinanceLoanForceLiquidationTrigger(
                since=watch.since.isoformat(),
                wait_for=watch.wait_for,
                risk_units=watch.risk_units,
                lookback=watch.lookback.total_seconds(),
                poke_interval=self.poke_interval,
                exponential_backoff=self.exponential_backoff,
                max_wait=self.max_wait.total_seconds() if self.max_wait else None,
                not_before=not_before,
                deadline=deadline,
                binance_loan_conn_id=self.binance_loan_conn_id,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(1.0, deadline - hook.now().timestamp())),
        )

    def _check_waits(self) -> None:
        require_bool(self.deferrable, "deferrable")
        require_poll_interval(self.poke_interval, "poke_interval")
        if self.max_wait:
            require_poll_interval(self.max_wait.total_seconds(), "max_wait")
        require_seconds(self.timeout, "timeout")

    def _watch(self, context: Context) -> Watch:
        since = parse_instant(self.since, "since") or resolve_window(context).start
        units = parse_risk_units(self.risk_units)
        watch = Watch(since, self.wait_for, units if isinstance(units, str) else list(units), self.lookback)
        watch.check()
        return watch

    def _look(self, watch: Watch) -> dict[str, Any] | None:
        hook = BinanceLoanHook(self.binance_loan_conn_id)
        start, end = watch.window(hook.now())
        return watch.event(hook.iter_force_liquidations(start, end, risk_units=watch.risk_units))
