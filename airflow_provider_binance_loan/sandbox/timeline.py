"""The LTV of one risk unit over time: it wanders, rises to the level, and falls while a liquidation repays.

What was said of a time stays true: each path depends on what was known at its beginning alone.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_binance_loan.sandbox.history import (
    HOUR_MS,
    MINUTE_MS,
    Liquidation,
    Unit,
    full_hours,
    next_liquidation,
)
from airflow_provider_binance_loan.sandbox.loans import (
    LIQUIDATION_LTV,
    LTV_ONE,
    Dice,
    Figures,
    book,
    liquidation_ltvs,
    opening_ltv,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

BELOW_LEVEL = LIQUIDATION_LTV - 1000  # the highest LTV, in three decimals, that is not liquidated
LOWEST_WITH_LOANS = 300_000
HALF_LIFE_MS = 5 * MINUTE_MS
# The widths of the waves that the LTV makes, and how high they are.
WAVES = ((30 * MINUTE_MS, 50_000), (3 * MINUTE_MS, 8_000))

_by_start = attrgetter("start_ms")
_by_since = attrgetter("since_ms")


@dataclass(frozen=True, slots=True)
class Push:
    """A move of the LTV from where it is to another one, where it stays."""

    group_id: int
    since_ms: int
    until_ms: int
    from_ltv: int
    to_ltv: int
    opened_ms: int
    borrowed_ms: int

    def ltv(self, at_ms: int) -> int:
        """Return the LTV at a time at which no liquidation runs."""
        length_ms = self.until_ms - self.since_ms
        moved = (self.to_ltv - self.from_ltv) * min(at_ms - self.since_ms, length_ms)
        return min(self.from_ltv + moved // length_ms, BELOW_LEVEL)

    @property
    def liquidation_ms(self) -> int | None:
        """When the LTV reaches the level; None when it stays below it."""
        if self.to_ltv < LIQUIDATION_LTV:
            return None
        rise, length_ms = self.to_ltv - self.from_ltv, self.until_ms - self.since_ms
        return self.since_ms - (self.from_ltv - LIQUIDATION_LTV) * length_ms // rise


class Rest(NamedTuple):
    """The LTV at a time at which no liquidation runs, and which loans it is of (see `Liquidation`)."""

    ltv: int
    opened_ms: int
    borrowed_ms: int


class Segment(NamedTuple):
    """A time, without its end, in which a unit has the same loans, less what a liquidation repays of them."""

    start_ms: int
    end_ms: int
    opened_ms: int
    borrowed_ms: int
    liquidation: Liquidation | None


class Timeline:
    """The liquidations and pushes of a risk unit, in the order of their starts, and its figures at any time.

    Without generated history there is no next liquidation to rise to, so the LTV wanders around where it was;
    a liquidation is then a sudden fall of what the collateral is worth.

    :param history_ms: since when the history is generated; None without history.
    """

    def __init__(self, seed: int, unit: Unit, history_ms: int | None) -> None:
        self.seed = seed
        self.unit = unit
        self.liquidations: list[Liquidation] = []
        self.pushes: list[Push] = []
        self.changes = 0
        self._history_ms = history_ms
        self._latest_ends: list[float] = []  # of each liquidation and those before it

    def insert(self, one: Liquidation) -> None:
        """Add a liquidation."""
        insort(self.liquidations, one, key=_by_start)
        self._latest_ends.clear()
        self.changes += 1

    def remove(self, one: Liquidation) -> None:
        """Take a liquidation away that has not started."""
        self.liquidations.remove(one)
        self._latest_ends.clear()
        self.changes += 1

    def end(self, one: Liquidation, at_ms: int) -> None:
        """End a liquidation."""
        one.end_ms = at_ms
        self._latest_ends.clear()
        self.changes += 1

    def push(self, to_ltv: int, since_ms: int, until_ms: int) -> Push:
        """Move the LTV from where it is at `since_ms` to another one at `until_ms`."""
        # A liquidation may have been finished in the millisecond of its start: the LTV is at the level then.
        from_ltv = min(max(self.ltv(since_ms), LOWEST_WITH_LOANS), BELOW_LEVEL)
        opened_ms, borrowed_ms = self.loans_since(since_ms)
        push = Push(self.unit.group_id, since_ms, until_ms, from_ltv, to_ltv, opened_ms, borrowed_ms)
        insort(self.pushes, push, key=_by_since)
        self.changes += 1
        return push

    def running(self, at_ms: int) -> Liquidation | None:
        """Return the liquidation that runs, the newest when tests have added several; None without one."""
        newest, _ = self._around(at_ms)
        return newest if newest and newest.running(at_ms) else None

    def loans_since(self, at_ms: int) -> tuple[int, int]:
        """Return `opened_ms` and `borrowed_ms` of the loans that a push or liquidation at that time moves."""
        newest, last = self._around(at_ms)
        loans = newest or self._resting(last, at_ms)
        return loans.opened_ms, min(loans.borrowed_ms, at_ms)

    def ltv(self, at_ms: int) -> int:
        """Return the LTV at a time."""
        newest, last = self._around(at_ms)
        return repaying_ltv(self.seed, newest, at_ms) if newest else self._resting(last, at_ms).ltv

    def figures(self, at_ms: int) -> Figures:
        """Return the wallets and loans at a time."""
        newest, last = self._around(at_ms)
        if newest is None:
            rest = self._resting(last, at_ms)
            figures = book(self.seed, self.unit.group_id, rest.opened_ms)
            return figures.after(full_hours(rest.borrowed_ms, at_ms)).at_ltv(rest.ltv)
        figures = newest.initial_figures(self.seed)
        return (
            figures if at_ms == newest.start_ms else figures.repaid_to(repaying_ltv(self.seed, newest, at_ms))
        )

    def segments(self, start_ms: int, end_ms: int) -> Iterator[Segment]:
        """Yield the segments of the life of the unit between two times; the first and last may be cut."""
        start_ms = max(start_ms, self.unit.create_ms)
        end_ms = end_ms if self.unit.close_ms is None else min(end_ms, self.unit.close_ms)
        cuts = {start_ms, end_ms, self._history_ms or start_ms}
        for one in self.between(start_ms, end_ms):
            # A liquidation without length lasts for a millisecond.
            cuts |= {one.start_ms, end_ms if one.end_ms is None else max(one.end_ms, one.start_ms + 1)}
        for first_ms, next_ms in pairwise(sorted(cut for cut in cuts if start_ms <= cut <= end_ms)):
            newest, last = self._around(first_ms)
            loans = newest or self._resting(last, first_ms)
            yield Segment(first_ms, next_ms, loans.opened_ms, loans.borrowed_ms, newest)

    def between(self, start_ms: int, end_ms: int) -> list[Liquidation]:
        """Return all liquidations that run at some time between two times, and maybe earlier ones."""
        first = bisect_left(self._ends(), start_ms)
        return self.liquidations[first : bisect_right(self.liquidations, end_ms, key=_by_start)]

    def corners(self, start_ms: int, end_ms: int) -> Iterator[int]:
        """Yield the times between two times at which the LTV jumps or turns."""
        for one in self.liquidations:
            if one.start_ms <= end_ms and (one.end_ms is None or one.end_ms >= start_ms):
                yield from (one.start_ms - 1, one.start_ms, end_ms if one.end_ms is None else one.end_ms)
        for push in self.pushes:
            yield from (push.since_ms, push.until_ms)

    def _around(self, at_ms: int) -> tuple[Liquidation | None, Liquidation | None]:
        """Return the newest liquidation that runs, or starts in this millisecond, and the last that ended.

        The second is None when there is a first.
        """
        latest_ends = self._ends()
        last, last_end_ms = None, -math.inf
        for index in range(bisect_right(self.liquidations, at_ms, key=_by_start) - 1, -1, -1):
            if latest_ends[index] <= last_end_ms:
                break  # this one and all before it have ended before the last one did
            one = self.liquidations[index]
            if one.end_ms is None or at_ms < one.end_ms or at_ms == one.start_ms:
                return one, None
            if one.end_ms > last_end_ms:
                last, last_end_ms = one, one.end_ms
        return None, last

    def _ends(self) -> list[float]:
        """Return for each liquidation the latest end up to then."""
        if not self._latest_ends:
            ends = (math.inf if one.end_ms is None else one.end_ms for one in self.liquidations)
            self._latest_ends = list(accumulate(ends, max))
        return self._latest_ends

    def _resting(self, last: Liquidation | None, at_ms: int) -> Rest:
        """Return the LTV while no liquidation runs, and the loans of that time."""
        group_id, seed = self.unit.group_id, self.seed
        opened_ms = self.unit.create_ms if last is None or last.end_ms is None else last.end_ms
        first_ltv = None if last is None else liquidation_ltvs(seed, group_id, last.start_ms)[1]
        goal_ms = None
        if self._history_ms is not None and at_ms >= self._history_ms:
            if opened_ms < self._history_ms:
                opened_ms, first_ltv = self._history_ms, None
            goal_ms, _ = next_liquidation(seed, group_id, opened_ms)
        borrowed_ms = borrowing_ms(opened_ms, first_ltv, goal_ms)
        first = bisect_left(self.pushes, opened_ms, key=_by_since)
        if first < len(self.pushes):  # who pushes a unit without loans borrows
            borrowed_ms = min(borrowed_ms, self.pushes[first].since_ms)
        index = bisect_right(self.pushes, at_ms, key=_by_since)
        if index and self.pushes[index - 1].since_ms >= opened_ms:
            push = self.pushes[index - 1]
            return Rest(push.ltv(at_ms), push.opened_ms, borrowed_ms)
        ltv = wandering_ltv(seed, group_id, opened_ms, first_ltv, goal_ms, at_ms)
        return Rest(ltv, opened_ms, borrowed_ms)


def repaying_ltv(seed: int, one: Liquidation, at_ms: int) -> int:
    """Return the LTV of a unit while a liquidation repays its loans."""
    start, end = liquidation_ltvs(seed, one.group_id, one.start_ms)
    elapsed_ms = at_ms - one.start_ms
    if one.planned_end_ms is None:  # nobody knows how long it will take: always closer, and never there
        return end + (start - end) * HALF_LIFE_MS // (HALF_LIFE_MS + elapsed_ms)
    length_ms = max(one.planned_end_ms - one.start_ms, 1)
    return start - (start - end) * min(elapsed_ms, length_ms) // length_ms


def borrowing_ms(opened_ms: int, first_ltv: int | None, goal_ms: int | None) -> int:
    """Return when the loans of a unit that nobody pushes are borrowed; see `wandering_ltv`."""
    if first_ltv != 0:
        return opened_ms
    return opened_ms + (HOUR_MS if goal_ms is None else (goal_ms - opened_ms) // 8)


def wandering_ltv(
    seed: int, group_id: int, opened_ms: int, first_ltv: int | None, goal_ms: int | None, at_ms: int
) -> int:
    """Return the LTV of a unit that nobody pushes, between two liquidations.

    :param opened_ms: when the last liquidation ended, or the unit was created.
    :param first_ltv: the LTV then; 0 when all was repaid, and for a while there are no loans.
    :param goal_ms: when the LTV will have risen to the level; None if it only wanders.
    """
    since_ms = borrowing_ms(opened_ms, first_ltv, goal_ms)
    if at_ms < since_ms:
        return 0
    first_ltv = first_ltv or opening_ltv(seed, group_id, opened_ms)
    elapsed_ms = at_ms - since_ms
    waves = sum(_wave(seed, group_id, opened_ms, elapsed_ms, *wave) for wave in WAVES)
    if goal_ms is None:
        return first_ltv + waves
    # The waves die down, so that the LTV arrives in time.
    length_ms = goal_ms - since_ms
    left_ms = max(length_ms - elapsed_ms, 0)
    risen = (BELOW_LEVEL - first_ltv) * (length_ms - left_ms) ** 2 // length_ms**2
    return max(LOWEST_WITH_LOANS, min(first_ltv + risen + waves * left_ms // length_ms, BELOW_LEVEL))


def _wave(seed: int, group_id: int, opened_ms: int, elapsed_ms: int, width_ms: int, height: int) -> int:
    """Return how far a smooth wave is off 0: it has a seeded height after each width, and 0 at the start."""
    index, rest_ms = divmod(elapsed_ms, width_ms)
    low, high = (_height(seed, group_id, opened_ms, height, number) for number in (index, index + 1))
    part = rest_ms * LTV_ONE // width_ms
    smooth = part * part * (3 * LTV_ONE - 2 * part) // LTV_ONE**2
    return low + (high - low) * smooth // LTV_ONE


@lru_cache(maxsize=65_536)
def _height(seed: int, group_id: int, opened_ms: int, height: int, number: int) -> int:
    return Dice("wave", seed, group_id, opened_ms, height, number)(2 * height + 1) - height if number else 0
