"""The window of a run: never an empty one for lack of an interval, never one that depends on now."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import lazy_object_proxy
import pendulum
import pytest

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.windows import resolve_window

RUN_AFTER = datetime(2026, 3, 8, 10, 5, tzinfo=UTC)


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


def context(**keys: Any) -> dict[str, Any]:
    """Return a context as Airflow makes it: without an interval, the keys are absent."""
    return {"dag_run": SimpleNamespace(run_after=RUN_AFTER), **keys}


def interval(start: datetime, end: datetime, last: datetime | None = None) -> dict[str, Any]:
    proxy = lazy_object_proxy.Proxy(lambda: last and pendulum.instance(last))
    return context(data_interval_start=start, data_interval_end=end, prev_data_interval_end_success=proxy)


WIDE = interval(at(8, 9), at(8, 10), last=at(8, 8))
FLAT = interval(at(8, 10), at(8, 10), last=at(8, 7))
FIRST = interval(at(8, 10), at(8, 10))


@pytest.mark.parametrize(
    ("run", "given", "start", "end", "rule"),
    [
        (WIDE, {}, at(8, 9), at(8, 10), "the run's data interval"),
        (FLAT, {}, at(8, 7), at(8, 10), "since the last success"),
        (FIRST, {}, at(1, 10), at(8, 10), "seven days"),
        (interval(at(8, 10), at(8, 10), last=at(8, 10)), {}, at(1, 10), at(8, 10), "seven days"),
        (interval(at(8, 10), at(8, 10), last=at(9)), {}, at(1, 10), at(8, 10), "seven days"),
        (context(), {}, at(1, 10, 5), at(8, 10, 5), "seven days"),
        (
            context(data_interval_start=None, data_interval_end=None),
            {},
            at(1, 10, 5),
            at(8, 10, 5),
            "seven days",
        ),
        (WIDE, {"start": at(2), "end": at(3)}, at(2), at(3), "given on the task"),
        (WIDE, {"start": at(2)}, at(2), at(8, 10), "given on the task"),
        (WIDE, {"end": at(8, 9, 30)}, at(8, 9), at(8, 9, 30), "end given, the run's data"),
        (context(), {"end": at(3)}, at(3) - timedelta(days=7), at(3), "end given, seven"),
        (WIDE, {"start": "", "end": "None"}, at(8, 9), at(8, 10), "the run's data interval"),
        (WIDE, {"start": "2026-03-02T00:00:00Z", "end": "2026-03-03 01:00:00+01:00"}, at(2), at(3), "given"),
        (WIDE, {"start": "20260302T000000Z", "end": "2026-03-03T00:00:00.000+00:00"}, at(2), at(3), "given"),
        (WIDE, {"start": at(2).astimezone(timezone(timedelta(hours=8)))}, at(2), at(8, 10), "given"),
        (WIDE, {"start": pendulum.datetime(2026, 3, 2, tz="Asia/Tokyo")}, at(1, 15), at(8, 10), "given"),
        (
            WIDE,
            {"lookback": timedelta(days=2)},
            at(6, 9),
            at(8, 10),
            "the run's data interval, lookback 2 days",
        ),
        (WIDE, {"start": at(2), "lookback": timedelta(days=1)}, at(1), at(8, 10), "task, lookback 1 day"),
        (FLAT, {"lookback": timedelta(hours=1)}, at(8, 6), at(8, 10), "success, lookback 1:00:00"),
    ],
)
def test_chooses_the_window(
    run: dict[str, Any], given: dict[str, Any], start: datetime, end: datetime, rule: str
) -> None:
    """The first rule that applies chooses the window, in UTC, and is named."""
    window, chosen_by = resolve_window(run, **given)
    assert (window.start, window.end) == (start, end)
    assert window.start.tzinfo == window.end.tzinfo == UTC
    assert rule in chosen_by


def test_rounds_up_to_whole_milliseconds() -> None:
    """Fractions of a millisecond are rounded up at both ends, so adjacent windows stay adjacent."""
    edge = at(8, 9) + timedelta(microseconds=1)
    first, _ = resolve_window({}, start=at(8), end=edge)
    second, _ = resolve_window({}, start=edge, end=at(9))
    assert first.end_ms == second.start_ms == int(at(8, 9).timestamp() * 1000) + 1


PARTITION = context(partition_key="2026-03-01T08:00:00", partition_date=pendulum.datetime(2026, 3, 1, 8))


@pytest.mark.parametrize("given", [{}, {"start": at(2)}, {"end": at(3)}, {"lookback": timedelta(days=1)}])
def test_refuses_a_partitioned_run_without_start_and_end(given: dict[str, Any]) -> None:
    """A partition has no length, and seven other days must not land under its key."""
    says = re.escape('start="{{ partition_date }}", end="{{ partition_date.add(days=1) }}"')
    with pytest.raises(ConfigurationError, match=f"^Give {says} for days: .*2026-03-01T08:00:00"):
        resolve_window(PARTITION, **given)


def test_refuses_a_partitioned_run_of_airflow_3_2() -> None:
    """Its context has no key of its own, and its templates no partition_date."""
    run = {"dag_run": SimpleNamespace(run_after=RUN_AFTER, partition_key="2026-03-01")}
    with pytest.raises(ConfigurationError, match=r"^Give start and end, made from dag_run\.partition_key: "):
        resolve_window(run)
    assert resolve_window(run, start=at(1), end=at(2)).window.start == at(1)


def test_takes_the_window_of_a_partition_as_given() -> None:
    """With both arguments a partitioned run pulls just that window."""
    window, rule = resolve_window(PARTITION, start=at(1), end=at(2))
    assert (window.start, window.end, rule) == (at(1), at(2), "given on the task")


@pytest.mark.parametrize("partition", [None, "absent"])
def test_a_run_without_partition_is_not_partitioned(partition: str | None) -> None:
    """Airflow gives the key to all runs, as None to those without a partition."""
    run = context() if partition == "absent" else context(partition_key=partition)
    assert resolve_window(run).rule.startswith("seven days")


@pytest.mark.parametrize(
    ("more", "lookback"),
    [(timedelta(), timedelta(days=7)), (timedelta(milliseconds=123), timedelta())],
    ids=["lookback", "milliseconds"],
)
@pytest.mark.parametrize(
    ("run", "given"),
    [
        (WIDE, {"start": at(2)}),
        (WIDE, {}),
        (FLAT, {}),
        (FIRST, {}),
        (WIDE, {"end": at(8, 9, 30)}),
        (context(), {"end": at(3)}),
    ],
    ids=["given", "interval", "success", "default", "end", "end and default"],
)
def test_the_rule_is_seen_on_the_log_page(
    run: dict[str, Any], given: dict[str, Any], more: timedelta, lookback: timedelta
) -> None:
    """The line with the window and its rule fits in the hundred characters that the log page shows."""
    run, given = later(run, more), later(given, more)
    line = f"Window {resolve_window(run, **given, lookback=lookback)}."
    assert len(line.removesuffix(" days.")) <= 100


def later(instants: dict[str, Any], more: timedelta) -> dict[str, Any]:
    """Return a context or arguments with all their instants moved."""
    return {key: value + more if isinstance(value, datetime) else value for key, value in instants.items()}
