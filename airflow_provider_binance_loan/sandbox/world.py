"""The risk units of the sandbox and their liquidations, and what tests and admin calls change about them."""

from __future__ import annotations

import random
import threading
from bisect import bisect_right, insort
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from operator import attrgetter
from typing import TYPE_CHECKING

from airflow_provider_binance_loan.sandbox.history import (
    EXAMPLE,
    EXAMPLE_MS,
    HISTORY_START_MS,
    MINUTE_MS,
    UNITS,
    Liquidation,
    Unit,
    next_liquidation,
)
from airflow_provider_binance_loan.sandbox.loans import LIQUIDATION_LTV, LTV_ONE, liquidation_ltvs
from airflow_provider_binance_loan.sandbox.rows import format_ltv
from airflow_provider_binance_loan.sandbox.timeline import Push, Timeline, borrowing_ms

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_PUSH_S = 3600
CURVE_POINTS = 240

_by_start = attrgetter("start_ms")


class World:
    """Risk units and their liquidations, as a seed generates them and as tests and admin calls change them.

    The history depends on the seed alone, so the liquidations of 2026-03-01T04:00Z are the same today and
    next year. A liquidation is listed from the millisecond in which it starts.

    All times are epoch milliseconds, UTC. Changes raise LookupError for an unknown unit, and ValueError when
    they are impossible in the present state.

    :param seed: the seed of the generated history.
    :param clock: a function that returns the time in epoch seconds.
    :param history: whether to generate units and liquidations.
    """

    def __init__(self, seed: int, clock: Callable[[], float], *, history: bool) -> None:
        self.seed = seed
        self.clock = clock
        self._lock = threading.RLock()  # scheduled actions call back
        self._units: dict[int, Unit] = {}
        self._timelines: dict[int, Timeline] = {}
        self._list: list[Liquidation] = []  # of all units, oldest start first; some may start after now
        self._history = history
        self._plans: dict[int, Liquidation] = {}  # the next liquidation of each unit, unless tests add others
        self._random = random.Random(seed)  # noqa: S311
        if history:
            for unit in UNITS:
                self.add_unit(unit.group_id, unit.create_ms, unit.close_ms)
                self._plan(unit.group_id, self._next(unit.group_id, max(unit.create_ms, HISTORY_START_MS)))
            self.add_liquidation(6, *EXAMPLE_MS, **EXAMPLE)

    def now_ms(self) -> int:
        """Return the time of the exchange's clock."""
        return int(self.clock() * 1000)

    def add_unit(self, group_id: int, create_ms: int = 0, close_ms: int | None = None) -> Unit:
        """Create a risk unit."""
        with self._lock:
            if group_id in self._units:
                msg = f"Choose another group_id: unit {group_id} exists already."
                raise ValueError(msg)
            unit = self._units[group_id] = Unit(group_id, create_ms, close_ms)
            self._timelines[group_id] = Timeline(self.seed, unit, HISTORY_START_MS if self._history else None)
            return unit

    def add_liquidation(
        self, group_id: int, start_ms: int, end_ms: int | None = None, **fields: object
    ) -> Liquidation:
        """Add a liquidation to a unit; `fields`, known or not, are written as given (see `number`).

        It has loans of its own, which are borrowed in the millisecond of its start, and may overlap others
        of the unit.
        """
        with self._lock:
            self._unit(group_id)
            self._require_no_start(group_id, start_ms)
            liquidation = Liquidation(group_id, start_ms, end_ms, start_ms, start_ms, fields)
            self._insert(liquidation)
            return liquidation

    def liquidate(self, group_id: int | None = None) -> Liquidation:
        """Let the collateral of a given unit, or of any, lose its worth: a liquidation starts now.

        It runs until it is finished, and the LTV falls.
        """
        with self._lock:
            now_ms = self._extend_history()
            if group_id is None:
                idle = [
                    one for one in sorted(self._active(now_ms)) if not self._timelines[one].running(now_ms)
                ]
                if not idle:
                    msg = "There is no active unit that could be liquidated now."
                    raise LookupError(msg)
                group_id = self._random.choice(idle)
            timeline = self._idle(group_id, now_ms)
            self._require_no_start(group_id, now_ms)
            liquidation = Liquidation(group_id, now_ms, None, *timeline.loans_since(now_ms))
            self._plan(group_id, None)
            self._insert(liquidation)
            return liquidation

    def push(self, group_id: int, ltv: Decimal | str | float | None = None, seconds: int = 60) -> Push:
        """Move the LTV of a unit, within some seconds, to another one, where it stays.

        When the LTV reaches the level a liquidation starts, which takes as many seconds.

        :param ltv: the LTV to move to, above 0 and below 2; that of the level by default.
        :param seconds: how long the way takes, up to an hour.
        """
        with self._lock:
            to_ltv = LIQUIDATION_LTV if ltv is None else _parse_ltv(ltv)
            if type(seconds) is not int or not 1 <= seconds <= LONGEST_PUSH_S:
                msg = f"seconds must be a whole number from 1 to {LONGEST_PUSH_S}, not {seconds!r}."
                raise ValueError(msg)
            now_ms = self._extend_history()
            push = self._idle(group_id, now_ms).push(to_ltv, now_ms, now_ms + 1000 * seconds)
            start_ms, plan = push.liquidation_ms, None
            if start_ms is not None:
                end_ms = start_ms + 1000 * seconds
                plan = self._within_life(group_id, start_ms, end_ms, push.opened_ms, push.borrowed_ms)
            self._plan(group_id, plan)
            return push

    def finish(self, group_id: int, start_ms: int | None = None) -> Liquidation:
        """End a running liquidation of a unit now: the newest, or the one that started at `start_ms`."""
        with self._lock:
            now_ms = self._extend_history()
            self._unit(group_id)
            for one in reversed(self._list[: self._count_started(now_ms)]):
                if one.group_id == group_id and one.running(now_ms) and start_ms in (None, one.start_ms):
                    self._timelines[group_id].end(one, now_ms)
                    self._plan(group_id, self._next(group_id, now_ms, one) if self._history else None)
                    return one
            start = "" if start_ms is None else f" that started at {start_ms}"
            msg = f"Unit {group_id} has no running liquidation{start}."
            raise LookupError(msg)

    def close(self, group_id: int) -> Unit:
        """Close a unit now, and end its running liquidations: the query without `groupId` omits its rows."""
        with self._lock:
            now_ms = self._extend_history()
            unit = self._unit(group_id)
            if not unit.active(now_ms):
                msg = f"Unit {group_id} is not active."
                raise ValueError(msg)
            unit.close_ms = now_ms
            self._plan(group_id, None)
            for one in self._timelines[group_id].liquidations[:]:
                if one.start_ms > now_ms:
                    self._remove(one)
                elif one.running(now_ms):
                    self._timelines[group_id].end(one, now_ms)
            return unit

    def liquidations(self) -> list[Liquidation]:
        """Return every liquidation that has started, also of closed units, oldest first."""
        with self._lock:
            now_ms = self._extend_history()
            return self._list[: self._count_started(now_ms)]

    def ltvs(self, minutes: int) -> dict[int, list[tuple[int, str]]]:
        """Return the curves of the LTVs of the active units over the last minutes: times and LTVs."""
        with self._lock:
            now_ms = self._extend_history()
            start_ms, step_ms = now_ms - minutes * MINUTE_MS, minutes * MINUTE_MS // CURVE_POINTS
            # Whole steps, so that a curve does not change its form as time goes by.
            steps = range(start_ms - start_ms % step_ms + step_ms, now_ms, step_ms)
            curves = {}
            for group_id in sorted(self._active(now_ms)):
                timeline = self._timelines[group_id]
                times = {start_ms, now_ms, *steps, *timeline.corners(start_ms, now_ms)}
                first_ms = max(start_ms, timeline.unit.create_ms)
                curves[group_id] = [
                    (at_ms, format_ltv(timeline.ltv(at_ms)))
                    for at_ms in sorted(times)
                    if first_ms <= at_ms <= now_ms
                ]
            return curves

    # Internals

    def _unit(self, group_id: int) -> Unit:
        if group_id not in self._units:
            known = ", ".join(map(str, sorted(self._units))) or "none"
            msg = f"Choose another group_id: there is no unit {group_id} (units: {known})."
            raise LookupError(msg)
        return self._units[group_id]

    def _active(self, at_ms: int) -> set[int]:
        return {unit.group_id for unit in self._units.values() if unit.active(at_ms)}

    def _count_started(self, at_ms: int) -> int:
        """Return how many liquidations have started by that time."""
        return bisect_right(self._list, at_ms, key=_by_start)

    def _idle(self, group_id: int, now_ms: int) -> Timeline:
        """Return the timeline of a unit that is active and not being liquidated."""
        if not self._unit(group_id).active(now_ms):
            msg = f"Unit {group_id} is not active."
            raise ValueError(msg)
        timeline = self._timelines[group_id]
        if timeline.running(now_ms):
            msg = f"Finish its liquidation first: unit {group_id} is being liquidated."
            raise ValueError(msg)
        return timeline

    def _require_no_start(self, group_id: int, start_ms: int) -> None:
        """Refuse a second liquidation of a unit in one millisecond: the two are the key of a record."""
        same_ms = self._list[self._count_started(start_ms - 1) : self._count_started(start_ms)]
        if any(other.group_id == group_id for other in same_ms):
            msg = f"Choose another start: unit {group_id} has a liquidation that started at {start_ms}."
            raise ValueError(msg)

    def _insert(self, one: Liquidation) -> None:
        insort(self._list, one, key=_by_start)
        self._timelines[one.group_id].insert(one)

    def _remove(self, one: Liquidation) -> None:
        self._list.remove(one)
        self._timelines[one.group_id].remove(one)

    def _plan(self, group_id: int, plan: Liquidation | None) -> None:
        """Replace the liquidation of a unit that has not started yet by another one, or by none."""
        if old := self._plans.pop(group_id, None):
            self._remove(old)
        if plan:
            self._plans[group_id] = plan
            self._insert(plan)

    def _next(self, group_id: int, opened_ms: int, last: Liquidation | None = None) -> Liquidation | None:
        """Return the generated liquidation that follows the last one of a unit."""
        start_ms, end_ms = next_liquidation(self.seed, group_id, opened_ms)
        first_ltv = None if last is None else liquidation_ltvs(self.seed, group_id, last.start_ms)[1]
        borrowed_ms = borrowing_ms(opened_ms, first_ltv, start_ms)
        return self._within_life(group_id, start_ms, end_ms, opened_ms, borrowed_ms)

    def _within_life(
        self, group_id: int, start_ms: int, end_ms: int, opened_ms: int, borrowed_ms: int
    ) -> Liquidation | None:
        """Return a liquidation that ends with its unit at the latest; None if that is closed before."""
        close_ms = self._units[group_id].close_ms
        if close_ms is not None:
            if start_ms >= close_ms:
                return None
            end_ms = min(end_ms, close_ms)
        return Liquidation(group_id, start_ms, end_ms, opened_ms, borrowed_ms)

    def _extend_history(self) -> int:
        """Plan the liquidation after each that was planned and has started, and return the time."""
        now_ms = self.now_ms()
        added: list[Liquidation] = []
        for group_id, first in list(self._plans.items()):
            plan: Liquidation | None = first
            while plan and plan.end_ms is not None and plan.start_ms <= now_ms:
                plan = self._next(group_id, plan.end_ms, plan) if self._history else None
                if plan:
                    self._timelines[group_id].insert(plan)
                    added.append(plan)
            if plan:
                self._plans[group_id] = plan
            else:
                del self._plans[group_id]
        if added:
            self._list += added
            self._list.sort(key=_by_start)  # nearly sorted, and so faster than many insertions
        return now_ms


def _parse_ltv(ltv: object) -> int:
    """Return an LTV, rounded to the three decimals that Binance shows."""
    try:
        parsed = Decimal(str(ltv)).quantize(Decimal("0.001"), ROUND_HALF_UP)
    except InvalidOperation:
        parsed = Decimal("NaN")
    if not (parsed.is_finite() and 0 < parsed < 2):
        msg = f"ltv must be a decimal number above 0 and below 2, not {ltv!r}."
        raise ValueError(msg)
    return int(parsed * LTV_ONE)
