"""Windows of time: datetimes to epoch milliseconds, and spans that Binance accepts. Reads no clock."""

from __future__ import annotations

from calendar import timegm
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import EPOCH, check_instant

# Binance refuses a span of more than 100 days and does not say whether exactly 100 passes.
# https://developers.binance.com/docs/institutional_loan/trade
MAX_SPAN_MS = 99 * 24 * 60 * 60 * 1000

_MILLISECOND = timedelta(milliseconds=1)


class Span(NamedTuple):
    """A half-open stretch of time, `[start_ms, end_ms)`, in epoch milliseconds, UTC."""

    start_ms: int
    end_ms: int


def to_ms(instant: datetime, name: str) -> int:
    """Return the first whole millisecond at or after an instant.

    Rounding both ends up keeps a half-open window exact: a record's time is a whole millisecond `t`, and
    `t >= start` or `t < end` hold if and only if they hold for the end rounded up.

    :raises ConfigurationError: it is no datetime with time zone, from 1970 to 2999; the message calls it
        `name`.
    """
    check_instant(instant, name)
    # Not by subtraction: what that gives depends on the kind of datetime, pendulum's among them.
    return timegm(instant.utctimetuple()) * 1000 - (-instant.microsecond // 1000)


def to_datetime(ms: int) -> datetime:
    """Return the UTC datetime of epoch milliseconds, exactly."""
    return EPOCH + ms * _MILLISECOND


def to_window(start: datetime, end: datetime) -> Span:
    """Return the window `[start, end)` in milliseconds.

    :raises ConfigurationError: one of them is no such time, or `end` is before `start`.
    """
    window = Span(to_ms(start, "start"), to_ms(end, "end"))
    # In UTC: two times of one zone are compared by the clock on the wall, which is put back once a year.
    if end.astimezone(UTC) < start.astimezone(UTC):
        raise ConfigurationError(
            f"end is {end.isoformat()}, before start, {start.isoformat()}: swap them or mend the schedule."
        )
    return window


def spans(window: Span) -> Iterator[Span]:
    """Cut a window into neighbouring spans that Binance accepts, oldest first; none for an empty window."""
    for start_ms in range(window.start_ms, window.end_ms, MAX_SPAN_MS):
        yield Span(start_ms, min(start_ms + MAX_SPAN_MS, window.end_ms))
