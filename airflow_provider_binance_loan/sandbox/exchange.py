"""A model of Binance's institutional loans: risk units, liquidations, API keys, and undocumented behaviour.

Holds the data, and the rules by which it is listed. No HTTP (see `server.py`), no Airflow, and no code of the
client: a client and the server that tests it must not share their mistakes.
"""

from __future__ import annotations

import random
import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections import Counter, deque
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from airflow_provider_binance_loan.sandbox.behaviour import Behaviour
from airflow_provider_binance_loan.sandbox.faults import TRANSIENT_FAULTS, Fault
from airflow_provider_binance_loan.sandbox.history import (
    EXAMPLE,
    EXAMPLE_MS,
    HISTORY_START_MS,
    HOUR_MS,
    MINUTE_MS,
    UNITS,
    Liquidation,
    Unit,
    next_liquidation,
)
from airflow_provider_binance_loan.sandbox.loans import LIQUIDATION_LTV, LTV_ONE, liquidation_ltvs
from airflow_provider_binance_loan.sandbox.rows import (
    Row,
    closed_row,
    format_ltv,
    liquidation_row,
    ltv_row,
    number,
    transfers_row,
    write_json,
)
from airflow_provider_binance_loan.sandbox.timeline import Push, Timeline, repaying_ltv

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

__all__ = [
    "HISTORY_START_MS",
    "HOUR_MS",
    "LOGGED_REQUESTS",
    "MINUTE_MS",
    "SANDBOX_API_KEY",
    "SANDBOX_API_SECRET",
    "ApiKey",
    "Behaviour",
    "Exchange",
    "Liquidation",
    "LoggedRequest",
    "Push",
    "Unit",
    "number",
    "split_query",
    "write_json",
]

SANDBOX_API_KEY = ("SandboxApiKey" * 5)[:64]
SANDBOX_API_SECRET = ("NotASecret" * 7)[:64]
LOGGED_REQUESTS = 100_000  # the newest are kept
LONGEST_PUSH_S = 3600
CURVE_POINTS = 240


def split_query(query: str) -> list[tuple[str, str]]:
    """Return all parameters of a raw query string; a web framework's parser would drop or merge some."""
    pairs = (part.partition("=") for part in query.split("&") if part)
    return [(unquote(name), unquote(value)) for name, _, value in pairs]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key with its account and permissions."""

    key: str
    secret: str | None = None
    public_key: Ed25519PublicKey | RSAPublicKey | None = None
    account: Literal["credit", "parent", "other"] = "credit"
    ip_allowed: bool = True
    can_read: bool = True
    enable_withdrawals: bool = False
    ip_restrict: bool = True
    group_id: int | None = None
    """The unit of a credit account, the only one that it sees in ltv-details; None for all units."""


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A request as received, the status of its response (0 without one), its weight, and its time."""

    method: str
    path: str
    query: str
    status: int
    weight: int
    at_ms: int

    @property
    def params(self) -> list[tuple[str, str]]:
        """The parameters of the query, in their order."""
        return split_query(self.query)


_by_start = attrgetter("start_ms")


class Exchange:
    """An exchange in memory: the risk units, their liquidations, and the responses of Binance's endpoints.

    The history depends on the seed alone, so the liquidations of 2026-03-01T04:00Z are the same today and
    next year. A liquidation is listed from the millisecond in which it starts. Its figures are those that
    ltv-details has in that millisecond.

    All times are epoch milliseconds, UTC.

    :param seed: the seed of the generated history.
    :param clock: a function that returns the time in epoch seconds; the system clock by default.
    :param behaviour: the interpretation of Binance's documentation to follow; the plain one by default.
    :param history: whether to generate units and liquidations; without them, there is an API key alone.
    """

    def __init__(
        self,
        seed: int = 1,
        clock: Callable[[], float] = time.time,
        behaviour: Behaviour | None = None,
        history: bool = True,  # noqa: FBT002
    ) -> None:
        self.seed = seed
        self.clock = clock
        self.behaviour = behaviour or Behaviour()
        self.keys: dict[str, ApiKey] = {}
        self.requests: list[LoggedRequest] = []  # the newest ones
        self._lock = threading.RLock()  # scheduled actions call back
        self._units: dict[int, Unit] = {}
        self._timelines: dict[int, Timeline] = {}
        self._list: list[Liquidation] = []  # of all units, oldest start first; some may start after now
        self._history = history
        self._plans: dict[int, Liquidation] = {}  # the next liquidation of each unit, unless tests add others
        self._scheduled: dict[int, list[Callable[[Exchange], object]]] = {}
        self._faults: deque[Fault | None] = deque()
        self._data_requests = 0
        self._logged_count = 0
        self._random = random.Random(seed)  # noqa: S311
        self.add_key(ApiKey(SANDBOX_API_KEY, SANDBOX_API_SECRET))
        if history:
            for unit in UNITS:
                self.add_unit(unit.group_id, unit.create_ms, unit.close_ms)
                self._plan(unit.group_id, self._next(unit.group_id, max(unit.create_ms, HISTORY_START_MS)))
            self.add_liquidation(6, *EXAMPLE_MS, **EXAMPLE)

    def now_ms(self) -> int:
        """Return the time of the exchange's clock."""
        return int(self.clock() * 1000)

    # For tests and admin calls. They raise LookupError for an unknown unit, and ValueError for a change that
    # is impossible in the present state.

    def add_key(self, key: ApiKey) -> None:
        """Register an API key."""
        self.keys[key.key] = key

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

        It begins with a fall of what the collateral is worth, and may overlap others of the unit.
        """
        with self._lock:
            self._unit(group_id)
            self._require_no_start(group_id, start_ms)
            liquidation = Liquidation(group_id, start_ms, end_ms, opened_ms=start_ms, fields=fields)
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
            liquidation = Liquidation(group_id, now_ms, None, opened_ms=timeline.opened_ms(now_ms))
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
                plan = self._within_life(group_id, start_ms, start_ms + 1000 * seconds, push.opened_ms)
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
                    self._plan(group_id, self._next(group_id, now_ms) if self._history else None)
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

    def schedule(self, request_number: int, action: Callable[[Exchange], object]) -> None:
        """Run an action just before the response to the n-th data request, from 1; between two pages, say."""
        self._scheduled.setdefault(request_number, []).append(action)

    def fail(self, *faults: Fault | None) -> None:
        """Queue faults for the next requests, one for each; None lets a request succeed."""
        with self._lock:
            self._faults.extend(faults)

    def liquidations(self) -> list[Liquidation]:
        """Return every liquidation that has started, also of closed units, oldest first."""
        with self._lock:
            now_ms = self._extend_history()
            return self._list[: self._count_started(now_ms)]

    def state(self) -> Row:
        """Return a summary: the units, and the numbers of liquidations, requests and queued faults."""
        with self._lock:
            liquidations, now_ms = self.liquidations(), self.now_ms()
            counts = Counter(one.group_id for one in liquidations)
            running = Counter(one.group_id for one in liquidations if one.running(now_ms))
            units = [
                {
                    "groupId": group_id,
                    "active": unit.active(now_ms),
                    "createTime": unit.create_ms,
                    "closeTime": unit.close_ms,
                    "liquidations": counts[group_id],
                    "running": running[group_id],
                }
                for group_id, unit in sorted(self._units.items())
            ]
            totals = {"liquidations": counts.total(), "running": running.total()}
            totals |= {
                "requests": self._logged_count,
                "faults": sum(fault is not None for fault in self._faults),
            }
            return {"serverTime": now_ms, **totals, "units": units}

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

    # For the server

    def next_fault(self, path: str) -> Fault | None:
        """Return the fault of a request to a path: the next of the queue, or a random one, or None."""
        with self._lock:
            if self._faults:
                head = self._faults[0]
                matches = head is None or head.path is None or path.endswith(head.path)
                return self._faults.popleft() if matches else None
            # Without a rate, use no random number, so that the shuffled order of a seed does not change.
            if not self.behaviour.fault_rate or self._random.random() >= self.behaviour.fault_rate:
                return None
            fault = self._random.choice(TRANSIENT_FAULTS)
            unsigned = not path.startswith("/sapi/")
            return None if unsigned and fault.code == -1021 else fault

    def log(self, request: LoggedRequest) -> None:
        """Append a request to the log, and drop the oldest one when the log is full."""
        with self._lock:
            self._logged_count += 1
            self.requests.append(request)
            del self.requests[:-LOGGED_REQUESTS]

    # The responses of the endpoints

    def force_liquidations(
        self, start_ms: int, end_ms: int, group_id: int | None = None, current: int = 1, size: int = 10
    ) -> Row:
        """Return a page of the liquidations of one unit, or of all units that are active now.

        https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/trade
        """
        with self._lock:
            now_ms = self._begin_data_request()
            units = self._active(now_ms) if group_id is None else self._units.keys() & {group_id}
            found = [one for one in self._select(now_ms, start_ms, end_ms) if one.group_id in units]
            return self._page(found, self.row, len(units), current, size)

    def closed_units(self, current: int = 1, size: int = 10) -> Row:
        """Return a page of the closed units, the last one closed first."""
        with self._lock:
            now_ms = self._begin_data_request()
            closed = [unit for unit in self._units.values() if unit.closed(now_ms)]
            closed.sort(key=attrgetter("close_ms"))
            return self._page(closed, closed_row, len(closed), current, size)

    def ltv_details(self, group_id: int | None = None, key: ApiKey | None = None) -> list[Row]:
        """Return the LTVs of the active units that an API key sees, by default of all.

        https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/account
        """
        with self._lock:
            now_ms = self._begin_data_request()
            seen = self._active(now_ms)
            for only in (group_id, key.group_id if key and key.account == "credit" else None):
                seen &= seen if only is None else {only}
            if key and key.account == "other":
                seen = set()
            rows = []
            for one in sorted(seen):
                timeline = self._timelines[one]
                liquidating = timeline.running(now_ms) is not None
                figures = timeline.figures(now_ms)
                rows.append(ltv_row(one, figures, now_ms, self.behaviour, liquidating=liquidating))
            return rows

    def transfer_records(self, start_ms: int, end_ms: int, current: int = 1, size: int = 10) -> Row:
        """Return a page of transfers from collateral to credit accounts, one row for each liquidation."""
        with self._lock:
            found = self._select(self._begin_data_request(), start_ms, end_ms)
            units = len({one.group_id for one in found})
            return self._page(found, lambda one: transfers_row(self.seed, one), units, current, size)

    def row(self, one: Liquidation) -> Row:
        """Return the row of a liquidation as of now, in the shapes of the behaviour."""
        now_ms = self.now_ms()
        running = one.running(now_ms)
        last_ltv = liquidation_ltvs(self.seed, one.group_id, one.start_ms)[1]
        ltv = repaying_ltv(self.seed, one, now_ms) if running else last_ltv
        return liquidation_row(self.seed, one, ltv, self.behaviour, running=running)

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

    def _begin_data_request(self) -> int:
        """Run the actions that are scheduled for this request, and return the time of the response."""
        self._data_requests += 1
        for action in self._scheduled.pop(self._data_requests, []):
            action(self)
        return self._extend_history()

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

    def _next(self, group_id: int, opened_ms: int) -> Liquidation | None:
        """Return the generated liquidation that follows the last one of a unit."""
        return self._within_life(group_id, *next_liquidation(self.seed, group_id, opened_ms), opened_ms)

    def _within_life(self, group_id: int, start_ms: int, end_ms: int, opened_ms: int) -> Liquidation | None:
        """Return a liquidation that ends with its unit at the latest; None if that is closed before."""
        close_ms = self._units[group_id].close_ms
        if close_ms is None:
            return Liquidation(group_id, start_ms, end_ms, opened_ms)
        return (
            Liquidation(group_id, start_ms, min(end_ms, close_ms), opened_ms) if start_ms < close_ms else None
        )

    def _extend_history(self) -> int:
        """Plan the liquidation after each that was planned and has started, and return the time."""
        now_ms = self.now_ms()
        added: list[Liquidation] = []
        for group_id, first in list(self._plans.items()):
            plan: Liquidation | None = first
            while plan and plan.end_ms is not None and plan.start_ms <= now_ms:
                plan = self._next(group_id, plan.end_ms) if self._history else None
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

    def _select(self, now_ms: int, start_ms: int, end_ms: int) -> list[Liquidation]:
        """Return the liquidations between two times, as the behaviour's filter has it, oldest first."""
        last_ms = end_ms if self.behaviour.end_inclusive else end_ms - 1
        until = self._count_started(min(last_ms, now_ms))
        if self.behaviour.filter_field == "start":
            return self._list[bisect_left(self._list, start_ms, key=_by_start) : until]
        ends = [
            (one, now_ms if one.end_ms is None else min(one.end_ms, now_ms)) for one in self._list[:until]
        ]
        if self.behaviour.filter_field == "overlap":
            return [one for one, its_end_ms in ends if start_ms <= its_end_ms]
        return [one for one, its_end_ms in ends if start_ms <= its_end_ms <= last_ms]

    def _page(
        self, found: list[Any], write: Callable[[Any], Row], units: int, current: int, size: int
    ) -> Row:
        """Return a page of the items found, which come oldest first."""
        if self.behaviour.order == "newest":
            found.reverse()
        elif self.behaviour.order == "random":
            self._random.shuffle(found)
        size = min(size, self.behaviour.page_cap or size)
        rows = [write(one) for one in found[(current - 1) * size : current * size]]
        totals = {"units": units, "rows": len(found), "string": str(len(found)), "zero": 0}
        if self.behaviour.total == "absent":
            return {"rows": rows}
        return {"total": totals[self.behaviour.total], "rows": rows}


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
