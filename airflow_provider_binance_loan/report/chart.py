"""The drawings of the page: where lines, marks and labels go.

Across, a place is a percentage of the width, so that labels keep their size on a screen of any width; down,
it is a number of pixels. Places are floats, and no figure that the page states is made from them.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, floor
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_binance_loan.binance.time_range import utc_datetime

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

HEIGHT, TOP, BOTTOM = 280, 30, 28
LANE_HEIGHT = 46
#: An LTV above this is drawn at the upper edge.
HIGHEST_LTV = 2.0

_BUCKETS = 300  # of each at most four samples are drawn
_LONGEST_PAUSE = 5  # the line ends where no sample follows for this many times the usual interval
_SHORTEST_PAUSE_MS = 5 * 60_000
_MAX_DOTS = 80
_LABEL_HEIGHT = 14
_S, _MIN, _H, _DAY = 1000, 60_000, 3_600_000, 86_400_000
_STEPS_MS = [
    *(_S * n for n in (1, 2, 5, 10, 15, 30)),
    *(_MIN * n for n in (1, 2, 5, 10, 15, 30)),
    *(_H * n for n in (1, 2, 3, 6, 12)),
    *(_DAY * n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)),
]

#: A time in epoch milliseconds, and the LTV then; None where it is unknown.
Point = tuple[int, float | None]


class Label(NamedTuple):
    """A text at a place, and which of its ends is there: `start`, `middle` or `end`."""

    x: float
    y: float
    text: str
    anchor: str = "start"


class Level(NamedTuple):
    """A level: where its line is, the level as text, and how many pixels its label is from the right edge."""

    y: float
    text: str
    indent: int = 0


class Scale(NamedTuple):
    """The time that a drawing covers, in epoch milliseconds."""

    start_ms: int
    end_ms: int

    def x(self, at_ms: int) -> float:
        """Return where a time is, as a percentage of the width."""
        return round(100 * (at_ms - self.start_ms) / max(1, self.end_ms - self.start_ms), 3)

    def holds(self, at_ms: int) -> bool:
        """Return whether a time is within the drawing."""
        return self.start_ms <= at_ms <= self.end_ms


class LtvChart(NamedTuple):
    """The LTV over time: pixels down, percentages across.

    `lines` are the points of polylines, through `drawn` of the `known` samples. `too_high` of the samples are
    above the upper edge, and drawn at it. `sampled` counts all samples of the time, also those without an
    LTV.
    """

    grid: list[Label]
    ticks: list[Label]
    levels: list[Level]
    lines: list[str]
    dots: list[tuple[float, float]]
    stated: list[Label]
    sampled: int
    known: int
    drawn: int
    too_high: int


class Lane(NamedTuple):
    """A line of marks for one kind of event; a mark is its place, and whether the event took effect."""

    y: float
    text: str
    marks: list[tuple[float, bool]]


def build_ltv_chart(
    scale: Scale, points: Sequence[Point], stated: Sequence[tuple[int, float, str]], levels: Iterable[str]
) -> LtvChart:
    """Return the drawing of the LTV.

    :param points: the samples, in the order of time.
    :param stated: times, LTVs and labels of single marks.
    :param levels: the levels, as decimal texts.
    """
    inside = [point for point in points if scale.holds(point[0])]
    kept = set(thinned(inside, _BUCKETS, scale))
    stretches = [[index for index in stretch if index in kept] for stretch in _without_pauses(inside)]
    known = [ltv for _, ltv in inside if ltv is not None]
    low, high = _bounds([*known, *(ltv for _, ltv, _ in stated), *map(float, levels)])

    def y(ltv: float) -> float:
        ltv = min(ltv, high)
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (ltv - low) / (high - low), 2)

    lines, dots = [], []
    for stretch in stretches:
        places = [(scale.x(inside[index][0]), y(inside[index][1] or 0)) for index in stretch]
        if len(places) == 1 or len(known) <= _MAX_DOTS:
            dots += places
        if len(places) > 1:
            lines.append(" ".join(f"{x:g},{down:g}" for x, down in places))
    count = round((high - low) * 10)
    every = -(-count // 5)
    return LtvChart(
        grid=[Label(0, y(low + n / 10), f"{low + n / 10:.1f}") for n in range(0, count + 1, every)],
        ticks=time_ticks(scale),
        levels=_spread([Level(y(float(level)), level) for level in levels]),
        lines=lines,
        dots=dots,
        stated=[
            Label(scale.x(at_ms), y(ltv), text, anchor_at(scale.x(at_ms), text))
            for at_ms, ltv, text in stated
            if scale.holds(at_ms)
        ],
        sampled=len(inside),
        known=len(known),
        drawn=sum(map(len, stretches)),
        too_high=sum(ltv > HIGHEST_LTV for ltv in known),
    )


def build_lane(scale: Scale, number: int, text: str, events: Iterable[tuple[int, bool]]) -> Lane:
    """Return one line of the time line; events that cannot be told apart are one mark.

    :param number: how many lines are above it.
    :param events: the time of each, in epoch milliseconds, and whether it took effect.
    """
    places = {(round(scale.x(at_ms), 1), effective) for at_ms, effective in events if scale.holds(at_ms)}
    return Lane(LANE_HEIGHT * (number + 1) - 12, text, sorted(places))


def thinned(points: Sequence[Point], buckets: int, scale: Scale) -> list[int]:
    """Return the indexes of points that stand for all: of each bucket of time first, last, lowest, highest.

    A point without an LTV is kept where it is the first or the last of its bucket.
    """
    if len(points) <= 4 * buckets:
        return list(range(len(points)))
    width_ms = max(1, -(-(scale.end_ms - scale.start_ms + 1) // buckets))
    members: dict[int, list[int]] = {}
    for index, (at_ms, _) in enumerate(points):
        members.setdefault((at_ms - scale.start_ms) // width_ms, []).append(index)
    kept: set[int] = set()
    for indexes in members.values():
        kept |= {indexes[0], indexes[-1]}
        ltvs = [(ltv, index) for index in indexes if (ltv := points[index][1]) is not None]
        if ltvs:
            kept |= {min(ltvs)[1], max(ltvs)[1]}
    return sorted(kept)


def time_ticks(scale: Scale) -> list[Label]:
    """Return the labels of the time axis: at most six times of day, or four with dates or seconds."""
    length_ms = max(1, scale.end_ms - scale.start_ms)
    fitting = (step for step in _STEPS_MS if length_ms // step < (4 if step >= 6 * _H or step < _MIN else 6))
    step_ms = next(fitting, length_ms)
    form = "%Y-%m-%d" if step_ms >= _DAY else "%m-%d %H:%M" if step_ms >= 6 * _H else "%H:%M"
    form = "%H:%M:%S" if step_ms < _MIN else form
    first_ms = -(-scale.start_ms // step_ms) * step_ms
    return [
        Label(scale.x(at_ms), 0, text, anchor_at(scale.x(at_ms), text))
        for at_ms in range(first_ms, scale.end_ms + 1, step_ms)
        if (text := f"{utc_datetime(at_ms):{form}}")
    ]


def anchor_at(x: float, text: str) -> str:
    """Return which end of a label is at its place, so that it does not leave a drawing on a phone."""
    half = len(text)  # half of a character is a percent of the width there
    return "start" if x < half else "end" if x > 100 - half else "middle"


def _without_pauses(points: Sequence[Point]) -> Iterator[list[int]]:
    """Yield the indexes of stretches of samples without an unknown one, or a pause, between them."""
    usual_ms = median([later[0] - earlier[0] for earlier, later in pairwise(points)] or [0])
    longest_ms = max(_LONGEST_PAUSE * usual_ms, _SHORTEST_PAUSE_MS)
    stretch: list[int] = []
    for index, (at_ms, ltv) in enumerate(points):
        if stretch and (ltv is None or at_ms - points[stretch[-1]][0] > longest_ms):
            yield stretch
            stretch = []
        if ltv is not None:
            stretch.append(index)
    if stretch:
        yield stretch


def _bounds(ltvs: Iterable[float]) -> tuple[float, float]:
    """Return the lowest and the highest LTV of the axis, which are tenths."""
    inside = [min(ltv, HIGHEST_LTV) for ltv in ltvs] or [0, 1]
    low, high = floor(round(10 * min(inside), 6)), ceil(round(10 * max(inside), 6))
    return low / 10, max(high, low + 1) / 10


def _spread(levels: Iterable[Level]) -> list[Level]:
    """Return levels, highest first, with labels that are not written over one another."""
    spread: list[Level] = []
    for level in sorted(levels):
        above = spread[-1] if spread else None
        is_near = above is not None and level.y - above.y < _LABEL_HEIGHT
        indent = above.indent + 12 + 8 * len(above.text) if above and is_near else 0
        spread.append(level._replace(indent=indent))
    return spread
