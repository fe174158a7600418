"""The window that a run pulls: from the task's arguments and the run's context, never from the clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pendulum

from airflow_provider_binance_loan.binance.time_range import DAY_MS, TimeRange, epoch_ms, utc_datetime
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import described, require_duration, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

# Binance's own default for a request without times.
# https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/trade#get-risk-unit-force-liquidation-record
DEFAULT_LENGTH_MS = 7 * DAY_MS

_MILLISECOND = timedelta(milliseconds=1)


class ResolvedWindow(NamedTuple):
    """The window that a run pulls, and the rule that chose it.

    The log page cuts a line after about a hundred characters, so the rule is a few words.
    """

    window: TimeRange
    rule: str

    def __str__(self) -> str:
        return f"{self.window}: {self.rule}"


def resolve_window(
    context: Mapping[str, Any],
    *,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    lookback: timedelta = timedelta(),
) -> ResolvedWindow:
    """Return the window of a run. It is the same for a retry, unless an earlier run succeeded in between.

    What is given on the task wins, and a partitioned run must be given both. Otherwise it is the run's data
    interval; where that has no width, as with Airflow's default cron and timedelta schedules, it starts at
    the end of the last successful run's; and where there is no such run or no interval, it is the seven days
    before the run.

    :param context: the task's context.
    :param start: as given on the task: a datetime or an ISO 8601 instant, with time zone; empty for unset.
    :param end: likewise.
    :param lookback: how much earlier to start, to fetch again what was still running last time.
    :raises ConfigurationError: a value is not an instant or has no time zone, the window is empty, or the run
        is partitioned and start or end is missing.
    """
    require_duration(lookback, "lookback")
    given_start_ms, given_end_ms = parse_instant(start, "start"), parse_instant(end, "end")
    interval_start_ms = parse_instant(context.get("data_interval_start"), "data_interval_start")
    interval_end_ms = parse_instant(context.get("data_interval_end"), "data_interval_end")

    if interval_end_ms is None and (given_start_ms is None or given_end_ms is None):
        refuse_partition(
            context,
            "start and end",
            """start="{{ partition_date }}", end="{{ partition_date.add(days=1) }}" for days""",
        )
    ends = (given_end_ms, interval_end_ms, _run_after(context))
    end_ms = next((end_ms for end_ms in ends if end_ms is not None), None)
    if end_ms is None:
        raise ConfigurationError("Give start and end: the run has neither a data interval nor run_after.")
    if given_start_ms is not None:
        start_ms, rule = given_start_ms, "given on the task"
    elif interval_start_ms is not None and interval_start_ms != interval_end_ms:
        start_ms, rule = interval_start_ms, "the run's data interval"
    elif interval_end_ms is not None and (last_ms := _last_success(context)) and last_ms < end_ms:
        start_ms, rule = last_ms, "since the last success"
    else:
        start_ms, rule = end_ms - DEFAULT_LENGTH_MS, "seven days by default"
    if given_end_ms is not None and given_start_ms is None:
        rule = f"end given, {rule}"
    if lookback:
        rule += f", lookback {str(lookback).removesuffix(', 0:00:00')}"

    if start_ms >= end_ms:
        raise ConfigurationError(
            "Give an end after the start, or let CronDataIntervalTimetable set both: the window "
            f"{TimeRange(start_ms, end_ms)} is empty ({rule})."
        )
    return ResolvedWindow(TimeRange(shift_back(start_ms, lookback, "start"), end_ms), rule)


def refuse_partition(context: Mapping[str, Any], names: str, templates: str) -> None:
    """Return for a run without partition.

    A partition has a date at most, and never a length, so only the DAG's author knows which window it means.

    :param context: the task's context.
    :param names: the arguments that the author must add.
    :param templates: the same, with templates.
    :raises ConfigurationError: the run has a partition.
    """
    partition, advice = context.get("partition_key"), templates
    if partition is None:
        # The context of Airflow 3.2 has neither partition_key nor partition_date.
        partition = getattr(context.get("dag_run"), "partition_key", None)
        advice = f"{names}, made from dag_run.partition_key"
    if partition is not None:
        raise ConfigurationError(
            f"Give {advice}: the run is of partition {shown(partition)}, which has no data interval."
        )


def parse_instant(value: Any, name: str) -> int | None:
    """Return an instant in epoch milliseconds, UTC; None for None and the texts that templates render for it.

    :param value: a datetime or an ISO 8601 text, with time zone, of the years from 1970 to 2999. Fractions
        of a millisecond are rounded up, which keeps a half-open window exact.
    :param name: what an error message calls it.
    :raises ConfigurationError: it is not such an instant.
    """
    if value is None or value in ("", "None"):
        return None
    instant = value
    if isinstance(value, str):
        try:
            # Only texts that begin with a digit: pendulum parses "now" as well, and a retry must not move.
            instant = pendulum.parse(value, exact=True, tz=None) if value[:1].isdigit() else None
        except ValueError:
            instant = None
    if not isinstance(instant, datetime):
        raise ConfigurationError(
            f"Give {name} as a datetime or ISO 8601 text such as 2026-03-01T09:00:00Z: it is "
            f"{described(value)}."
        )
    return epoch_ms(instant, name)


def shift_back(instant_ms: int, lookback: timedelta, name: str) -> int:
    """Return the instant that is a lookback earlier, in epoch milliseconds.

    :raises ConfigurationError: it is before 1970.
    """
    shifted_ms = instant_ms - lookback // _MILLISECOND
    if shifted_ms < 0:
        raise ConfigurationError(
            f"Give a shorter lookback: {name} ({utc_datetime(instant_ms).isoformat()}) less lookback "
            f"({lookback}) is before 1970."
        )
    return shifted_ms


def _run_after(context: Mapping[str, Any]) -> int | None:
    return parse_instant(getattr(context.get("dag_run"), "run_after", None), "run_after")


def _last_success(context: Mapping[str, Any]) -> int | None:
    # In a task this is a lazy proxy, which is not None even when it stands for None.
    last = context.get("prev_data_interval_end_success")
    return parse_instant(last, "prev_data_interval_end_success") if isinstance(last, datetime) else None
