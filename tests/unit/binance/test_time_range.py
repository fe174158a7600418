"""Time ranges: milliseconds at the edges, and spans without gap or overlap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_binance_loan.binance.time_range import (
    DAY_MS,
    TimeRange,
    epoch_ms,
    parse_window,
    split,
    utc_datetime,
)
from airflow_provider_binance_loan.exceptions import ConfigurationError

MAX_SPAN_MS = 99 * DAY_MS

INSTANTS = st.datetimes(
    min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.timezones()
)


@pytest.mark.parametrize(
    ("instant", "ms"),
    [
        (datetime(2026, 3, 1, tzinfo=UTC), 1_772_323_200_000),
        (datetime(2026, 3, 1, 0, 0, 0, 1000, tzinfo=UTC), 1_772_323_200_001),
        (datetime(2026, 3, 1, 0, 0, 0, 1, tzinfo=UTC), 1_772_323_200_001),
        (datetime(2026, 3, 1, 0, 0, 0, 999, tzinfo=UTC), 1_772_323_200_001),
        (datetime(2026, 3, 1, 8, tzinfo=timezone(timedelta(hours=8))), 1_772_323_200_000),
        (datetime(2024, 2, 29, 12, tzinfo=UTC), 1_709_208_000_000),
        (datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=0), 1_792_888_200_000),
        (datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1), 1_792_891_800_000),
        (pendulum.datetime(2026, 3, 1, 0, 0, 0, 1), 1_772_323_200_001),
        (pendulum.datetime(2026, 3, 1, 8, tz="Asia/Singapore"), 1_772_323_200_000),
    ],
)
def test_counts_milliseconds(instant: datetime, ms: int) -> None:
    """An instant becomes the first whole millisecond at or after it, in any time zone."""
    assert epoch_ms(instant, "start") == ms


@pytest.mark.parametrize(
    ("window", "text"),
    [
        (TimeRange(1_772_323_200_000, 1_772_326_800_000), "[2026-03-01T00:00:00Z, 2026-03-01T01:00:00Z)"),
        (TimeRange(1_772_323_200_000, 1_772_323_200_001), "[2026-03-01T00:00:00Z, 2026-03-01T00:00:00.001Z)"),
    ],
)
def test_is_written_as_briefly_as_it_can_be(window: TimeRange, text: str) -> None:
    """An instant is written to the second, and to the millisecond only where it has one."""
    assert str(window) == text


@given(INSTANTS, st.integers(min_value=0, max_value=4 * 10**12))
def test_rounding_keeps_the_comparison(instant: datetime, ms: int) -> None:
    """A whole millisecond is at or after an instant if and only if it is so for the rounded instant."""
    assert (utc_datetime(ms) >= instant) == (ms >= epoch_ms(instant, "start"))


@given(st.integers(min_value=0, max_value=4 * 10**12))
def test_milliseconds_survive_the_round_trip(ms: int) -> None:
    """Milliseconds to datetime and back is exact."""
    assert epoch_ms(utc_datetime(ms), "start") == ms
    assert (TimeRange(ms, ms + 1).start, TimeRange(0, ms).end) == (utc_datetime(ms), utc_datetime(ms))


@given(INSTANTS, st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=1500)))
def test_spans_cover_the_window_exactly(start: datetime, length: timedelta) -> None:
    """Spans follow one another from the window's start to its end; none is longer than 99 days or empty."""
    start = start.astimezone(UTC)
    window = parse_window(start, start + length)
    cut = list(split(window, MAX_SPAN_MS))
    edges = [edge for span in cut for edge in span]
    assert edges[1:-1:2] == edges[2::2]
    assert [edges[0], edges[-1]] == list(window) if edges else window.start_ms == window.end_ms
    assert all(0 < span.length_ms <= MAX_SPAN_MS for span in cut)


def test_an_empty_window_has_no_span() -> None:
    """A window that ends where it starts holds nothing to ask for."""
    assert list(split(TimeRange(5, 5), MAX_SPAN_MS)) == []


def test_goes_by_the_instants_and_not_by_the_clock_on_the_wall() -> None:
    """Where clocks are put back, an end may read earlier than its start, and a start later than its end."""
    berlin = ZoneInfo("Europe/Berlin")
    before = datetime(2026, 10, 25, 2, 45, tzinfo=berlin)
    after = datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=1)
    window = parse_window(before, after)
    assert window.length_ms == 45 * 60_000
    with pytest.raises(ConfigurationError, match="is before start"):
        parse_window(after, before)
