"""The drawings of the page: what is drawn of many samples, where the line ends, and what the axes say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_binance_loan.report.chart import (
    HEIGHT,
    Scale,
    anchor_at,
    build_lane,
    build_ltv_chart,
    thinned,
    time_ticks,
)

MINUTE = 60_000
NOON = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1000)
POINTS = st.lists(st.tuples(st.integers(0, 1000), st.none() | st.floats(0, 2)), max_size=200)


def hours(number: float) -> Scale:
    return Scale(NOON, NOON + int(number * 60 * MINUTE))


@given(points=POINTS)
def test_thinning_keeps_first_last_lowest_and_highest(points: list[tuple[int, float | None]]) -> None:
    """At most four points of each part of the time are kept, in their order, the extremes among them."""
    points.sort(key=lambda point: point[0])
    kept = thinned(points, 3, Scale(0, 1000))
    assert kept == sorted(set(kept))
    assert len(kept) <= 12
    ltvs = [ltv for _, ltv in points if ltv is not None]
    drawn = [points[index][1] for index in kept]
    if points:
        assert {0, len(points) - 1} <= set(kept)
    if ltvs:
        assert {min(ltvs), max(ltvs)} <= set(drawn)


def test_the_line_ends_at_a_pause_and_at_an_unknown_ltv() -> None:
    """No line is drawn across a time without samples; a sample that stands alone is a dot."""
    times = [*range(5), *range(60, 65), 66, 90]
    points = [(NOON + minute * MINUTE, None if minute == 62 else 0.5) for minute in times]
    chart = build_ltv_chart(hours(2), points, [], [])
    assert [len(line.split()) for line in chart.lines] == [5, 2, 3]
    assert (chart.known, chart.drawn, len(chart.dots)) == (11, 11, 11)


def test_enormous_ltvs_are_drawn_at_the_edge_and_counted() -> None:
    """One LTV of a thousand does not press all others into a line."""
    points = [(NOON + number * MINUTE, ltv) for number, ltv in enumerate((0.5, 1000.0, 0.9))]
    chart = build_ltv_chart(hours(1), points, [], ["0.8"])
    assert chart.too_high == 1
    assert [label.text for label in chart.grid][-1] <= "2.0"
    assert all(0 <= down <= HEIGHT for _, down in chart.dots)


def test_labels_of_levels_do_not_lie_upon_one_another() -> None:
    """Levels that are near have their labels beside one another."""
    levels = build_ltv_chart(hours(1), [], [], ["0.80", "0.81", "0.82", "0.3"]).levels
    assert [level.text for level in levels] == ["0.82", "0.81", "0.80", "0.3"]
    assert [level.indent > 0 for level in levels] == [False, True, True, False]
    assert levels[1].indent < levels[2].indent


@pytest.mark.parametrize("length_h", [0, 1e-5, 0.01, 0.5, 1, 3, 8, 24, 60, 24 * 7, 24 * 99, 24 * 3000])
def test_the_time_axis_has_a_few_labels(length_h: float) -> None:
    """However short or long the time is, there are at most six labels, and no two alike."""
    ticks = time_ticks(hours(length_h))
    assert len(ticks) <= 6
    assert len({tick.text for tick in ticks}) == len(ticks)
    assert all(0 <= tick.x <= 100 for tick in ticks)
    assert ticks or length_h < 1


def test_a_label_does_not_leave_the_drawing() -> None:
    """Near an edge a label ends or begins at its place."""
    assert [anchor_at(x, "12:00") for x in (0, 4.9, 5, 50, 95, 95.1, 100)] == [
        "start",
        "start",
        *["middle"] * 3,
        "end",
        "end",
    ]


def test_a_lane_has_a_mark_for_each_event_that_can_be_told_apart() -> None:
    """Events at one time are one mark, unless one of them took no effect; those outside have none."""
    at = [(NOON, True), (NOON + 1, True), (NOON, False), (NOON + 30 * MINUTE, True), (NOON - 1, True)]
    assert build_lane(hours(1), 0, "Repaid", at).marks == [(0.0, False), (0.0, True), (50.0, True)]
