"""Time ranges in epoch milliseconds, from datetimes and back, and the spans that Binance accepts."""

from __future__ import annotations

from calendar import timegm
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import EPOCH, require_aware

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY_MS = 24 * 60 * 60 * 1000
#: Binance opened in July 2017, so no time of Binance's is before that year.
EARLIEST_MS = 1_483_228_800_000

_MILLISECOND = timedelta(milliseconds=1)


class TimeRange(NamedTuple):
    """A half-open range of time, `[start_ms, end_ms)`, in epoch milliseconds, UTC."""

    start_ms: int
    end_ms: int

    @property
    def start(self) -> datetime:
        """The start as a datetime in UTC."""
        return utc_datetime(self.start_ms)

    @property
    def end(self) -> datetime:
        """The end as a datetime in UTC."""
        return utc_datetime(self.end_ms)

    @property
    def length_ms(self) -> int:
        """How long it is."""
        return self.end_ms - self.start_ms

    @property
    def bounds(self) -> dict[str, str]:
        """Its start and end as a manifest has them: `window_start` and `window_end`, ISO 8601 in UTC."""
        return {"window_start": self.start.isoformat(), "window_end": self.end.isoformat()}

    def __str__(self) -> str:
        return f"[{utc_text(self.start_ms)}, {utc_text(self.end_ms)})"


def epoch_ms(instant: datetime, name: str) -> int:
    """Return the first whole millisecond at or after an instant, in epoch milliseconds.

    Both bounds of a range are rounded up. A record's time is a whole millisecond, so it compares with the
    rounded bound as it does with the exact one.

    :param instant: a datetime with time zone, of the years from 1970 to 2999.
    :param name: what an error message calls it.
    :raises ConfigurationError: it is no such datetime.
    """
    require_aware(instant, name)
    # Not by subtraction, whose result depends on the kind of datetime, pendulum's among them.
    return timegm(instant.utctimetuple()) * 1000 - (-instant.microsecond // 1000)


def utc_datetime(ms: int) -> datetime:
    """Return the UTC datetime of epoch milliseconds, exactly."""
    return EPOCH + ms * _MILLISECOND


def utc_text(ms: int) -> str:
    """Return epoch milliseconds as a line in the log has them: ISO 8601, to the second where it is whole."""
    precision = "milliseconds" if ms % 1000 else "seconds"
    return utc_datetime(ms).isoformat(timespec=precision).replace("+00:00", "Z")


def parse_window(start: datetime, end: datetime) -> TimeRange:
    """Return the window `[start, end)`.

    :param start: a datetime with time zone.
    :param end: likewise, not before `start`.
    :raises ConfigurationError: one of them is no such datetime, or `end` is before `start`.
    """
    window = TimeRange(epoch_ms(start, "start"), epoch_ms(end, "end"))
    if window.end_ms < window.start_ms:
        raise ConfigurationError(
            f"Swap start and end, or correct the schedule: end ({end.isoformat()}) is before start "
            f"({start.isoformat()})."
        )
    return window


def split(window: TimeRange, max_span_ms: int) -> Iterator[TimeRange]:
    """Yield the adjacent spans of a window that Binance accepts, oldest first; none for an empty window."""
    for start_ms in range(window.start_ms, window.end_ms, max_span_ms):
        yield TimeRange(start_ms, min(start_ms + max_span_ms, window.end_ms))
