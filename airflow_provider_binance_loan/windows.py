"""Which window a run pulls: from the task's arguments and the run's context, never from the clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pendulum

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import check_duration, check_instant, shown

# What Binance itself takes for a request without times.
# https://developers.binance.com/docs/institutional_loan/trade
DEFAULT_LENGTH = timedelta(days=7)


class Window(NamedTuple):
    """The window `[start, end)` that a run pulls, in UTC, and the rule that chose it."""

    start: pendulum.DateTime
    end: pendulum.DateTime
    rule: str


def resolve_window(
    context: Mapping[str, Any],
    *,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    lookback: timedelta = timedelta(),
) -> Window:
    """Return the window of a run. It is the same for a retry, unless an earlier run succeeded meanwhile.

    What is given on the task wins. Else it is the run's data interval; where that has no width, as with
    Airflow's default cron and timedelta schedules, it reaches back to the end of the last successful run's;
    and where there is no such run or no interval, it is the seven days up to the run.

    :param context: the task's context.
    :param start: as given on the task: a datetime or an ISO 8601 instant, with time zone; empty for unset.
    :param end: likewise.
    :param lookback: how much earlier to start, to fetch again what was still running last time.
    :raises ConfigurationError: a value is no instant or has no time zone, or the window is empty.
    """
    check_duration(lookback, "lookback")
    given_start, given_end = to_instant(start, "start"), to_instant(end, "end")
    interval_start = to_instant(context.get("data_interval_start"), "data_interval_start")
    interval_end = to_instant(context.get("data_interval_end"), "data_interval_end")

    window_end = given_end or interval_end or _run_after(context)
    if window_end is None:
        raise ConfigurationError("The run has neither a data interval nor run_after: give start and end.")
    if given_start:
        window_start, rule = given_start, "given on the task"
    elif interval_start and interval_start != interval_end:
        window_start, rule = interval_start, "the run's data interval"
    elif interval_end and (last := _last_success(context)) and last < window_end:
        window_start, rule = last, "since the last successful run, as this run's data interval has no width"
    else:
        window_start, rule = window_end - DEFAULT_LENGTH, "seven days, as the run has no interval to go by"
    if given_end and not given_start:
        rule = f"end given on the task, start: {rule}"
    if lookback:
        rule += f", with a lookback of {lookback}"

    if window_start >= window_end:
        raise ConfigurationError(
            f"The window from {window_start.isoformat()} to {window_end.isoformat()} ({rule}) is empty: the "
            "end must come after the start. On a schedule whose data interval has no width, leave out start "
            "and end, or use CronDataIntervalTimetable."
        )
    check_instant(window_start - lookback, "start less lookback")
    return Window(window_start - lookback, window_end, rule)


def to_instant(value: Any, name: str) -> pendulum.DateTime | None:
    """Return an instant in UTC; None for None, and for the texts that templates render for it.

    :raises ConfigurationError: it is no instant with time zone from 1970 to 2999.
    """
    if value is None or value in ("", "None"):
        return None
    instant = value
    if isinstance(value, str):
        try:
            # Digits only at the front: pendulum takes "now" as well, and a retry must not move.
            instant = pendulum.parse(value, exact=True, tz=None) if value[:1].isdigit() else None
        except ValueError:
            instant = None
    if not isinstance(instant, datetime):
        raise ConfigurationError(
            f"{name} is {shown(value)}: give a datetime or an ISO 8601 instant such as 2026-03-01T09:00:00Z."
        )
    check_instant(instant, name)
    return pendulum.instance(instant).in_timezone("UTC")


def _run_after(context: Mapping[str, Any]) -> pendulum.DateTime | None:
    return to_instant(getattr(context.get("dag_run"), "run_after", None), "run_after")


def _last_success(context: Mapping[str, Any]) -> pendulum.DateTime | None:
    # In a task this is a lazy proxy, which is not None even when it stands for None.
    last = context.get("prev_data_interval_end_success")
    return to_instant(last, "prev_data_interval_end_success") if isinstance(last, datetime) else None
