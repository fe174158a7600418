"""A model of Binance's institutional loans: API keys, responses, and undocumented behaviour.

`world.py` holds the risk units; here are the rules by which they are listed. No HTTP (see `server.py`), no
Airflow, and no code of the client: a client and the server that tests it must not share their mistakes.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from airflow_provider_binance_loan.sandbox.behaviour import Behaviour
from airflow_provider_binance_loan.sandbox.faults import TRANSIENT_FAULTS, Fault
from airflow_provider_binance_loan.sandbox.history import (
    HISTORY_START_MS,
    HOUR_MS,
    MINUTE_MS,
    Liquidation,
    Unit,
)
from airflow_provider_binance_loan.sandbox.ledger import Charge, borrowings, charges, repaid
from airflow_provider_binance_loan.sandbox.loans import liquidation_ltvs
from airflow_provider_binance_loan.sandbox.repayments import repayment_times, repayments
from airflow_provider_binance_loan.sandbox.rows import (
    Row,
    active_row,
    closed_row,
    interest_row,
    liquidation_row,
    ltv_row,
    number,
    transaction_row,
    transfers_row,
    write_json,
)
from airflow_provider_binance_loan.sandbox.timeline import Push, Timeline, repaying_ltv
from airflow_provider_binance_loan.sandbox.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
KEPT_LISTS = 8
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


class Exchange(World):
    """An exchange in memory: a world of risk units, its API keys, and the responses of Binance's endpoints.

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
        super().__init__(seed, clock, history=history)
        self.behaviour = behaviour or Behaviour()
        self.keys: dict[str, ApiKey] = {}
        self.requests: list[LoggedRequest] = []  # the newest ones
        self._scheduled: dict[int, list[Callable[[Exchange], object]]] = {}
        self._faults: deque[Fault | None] = deque()
        self._lists: dict[object, list[Any]] = {}
        self._data_requests = 0
        self._logged_count = 0
        self.add_key(ApiKey(SANDBOX_API_KEY, SANDBOX_API_SECRET))

    # For tests

    def add_key(self, key: ApiKey) -> None:
        """Register an API key."""
        self.keys[key.key] = key

    def schedule(self, request_number: int, action: Callable[[Exchange], object]) -> None:
        """Run an action just before the response to the n-th data request, from 1; between two pages, say."""
        self._scheduled.setdefault(request_number, []).append(action)

    def fail(self, *faults: Fault | None) -> None:
        """Queue faults for the next requests, one for each; None lets a request succeed."""
        with self._lock:
            self._faults.extend(faults)

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
        """Return a page of transfers from collateral to credit accounts, one row for each liquidation.

        https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/transfer
        """
        with self._lock:
            now_ms = self._begin_data_request()
            found = self._select_by_transfers(now_ms, start_ms, self._last_ms(end_ms, now_ms))
            units = len({one.group_id for one in found})
            return self._page(
                found,
                lambda one: transfers_row(self.seed, one, repayments(self.seed, one, now_ms)),
                units,
                current,
                size,
            )

    def interest_history(
        self,
        start_ms: int,
        end_ms: int,
        group_id: int | None = None,
        asset: str | None = None,
        current: int = 1,
        size: int = 10,
    ) -> Row:
        """Return a page of the hourly interest of one unit, or of all units that are active now.

        https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/account
        """
        with self._lock:
            now_ms = self._begin_data_request()
            timelines, last_ms = self._seen(now_ms, group_id), self._last_ms(end_ms, now_ms)
            found = self._list_of(charges, timelines, start_ms, last_ms, asset)

            def write(charge: Charge) -> Row:
                figures = self._timelines[charge.group_id].figures(charge.at_ms)
                (loan,) = (loan for loan in figures.loans if loan.asset == charge.asset)
                return interest_row(charge.group_id, charge.at_ms, loan)

            return self._page(found, write, len(timelines), current, size)

    def borrow_repay_records(
        self,
        start_ms: int,
        end_ms: int,
        kind: Literal["BORROW", "REPAY"],
        group_id: int | None = None,
        asset: str | None = None,
        current: int = 1,
        size: int = 10,
    ) -> Row:
        """Return a page of what one unit, or all units that are active now, borrowed or repaid.

        https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/trade
        """
        with self._lock:
            now_ms = self._begin_data_request()
            timelines, last_ms = self._seen(now_ms, group_id), self._last_ms(end_ms, now_ms)
            list_them = borrowings if kind == "BORROW" else repaid
            found = self._list_of(list_them, timelines, start_ms, last_ms, asset)
            return self._page(found, transaction_row, len(timelines), current, size)

    def active_units(self) -> list[Row]:
        """Return the active units with their accounts.

        https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/risk-unit
        """
        with self._lock:
            now_ms = self._begin_data_request()
            return [active_row(one.unit, one.figures(now_ms)) for one in self._seen(now_ms, None)]

    def row(self, one: Liquidation) -> Row:
        """Return the row of a liquidation as of now, in the shapes of the behaviour."""
        now_ms = self.now_ms()
        running = one.running(now_ms)
        last_ltv = liquidation_ltvs(self.seed, one.group_id, one.start_ms)[1]
        ltv = repaying_ltv(self.seed, one, now_ms) if running else last_ltv
        return liquidation_row(self.seed, one, ltv, self.behaviour, running=running)

    # Internals

    def _begin_data_request(self) -> int:
        """Run the actions that are scheduled for this request, and return the time of the response."""
        self._data_requests += 1
        for action in self._scheduled.pop(self._data_requests, []):
            action(self)
        return self._extend_history()

    def _select(self, now_ms: int, start_ms: int, end_ms: int) -> list[Liquidation]:
        """Return the liquidations between two times, as the behaviour's filter has it, oldest first."""
        last_ms = end_ms if self.behaviour.end_inclusive else end_ms - 1
        until = self._count_started(self._last_ms(end_ms, now_ms))
        if self.behaviour.filter_field == "start":
            return self._list[bisect_left(self._list, start_ms, key=_by_start) : until]
        ends = [
            (one, now_ms if one.end_ms is None else min(one.end_ms, now_ms)) for one in self._list[:until]
        ]
        if self.behaviour.filter_field == "overlap":
            return [one for one, its_end_ms in ends if start_ms <= its_end_ms]
        return [one for one, its_end_ms in ends if start_ms <= its_end_ms <= last_ms]

    def _select_by_transfers(self, now_ms: int, start_ms: int, last_ms: int) -> list[Liquidation]:
        """Return the liquidations with transfers between two times, as the behaviour's filter has it."""
        rule, found = self.behaviour.transfer_filter, []
        for one in self._list[: self._count_started(last_ms)]:
            if one.end_ms is None or one.end_ms >= start_ms:
                times = repayment_times(self.seed, one, now_ms)
                if rule == "liquidation" or not times:
                    times = [one.start_ms]
                elif rule != "any":
                    times = [times[-1 if rule == "latest" else 0]]
                if matching := [at_ms for at_ms in times if start_ms <= at_ms <= last_ms]:
                    found.append((matching[-1], one))
        found.sort(key=itemgetter(0))
        return [one for _, one in found]

    def _last_ms(self, end_ms: int, now_ms: int) -> int:
        """Return the last millisecond of a time range; nothing is known of later than now."""
        return min(end_ms if self.behaviour.end_inclusive else end_ms - 1, now_ms)

    def _seen(self, now_ms: int, group_id: int | None) -> list[Timeline]:
        """Return the timelines of one unit, or of all units that are active now."""
        seen = self._active(now_ms) if group_id is None else self._units.keys() & {group_id}
        return [self._timelines[one] for one in sorted(seen)]

    def _list_of(
        self,
        list_them: Callable[[Timeline, int, int], Iterator[Any]],
        timelines: list[Timeline],
        start_ms: int,
        last_ms: int,
        asset: str | None,
    ) -> list[Any]:
        """Return charges or transactions, oldest first; they are kept for requests for other pages."""
        states = [
            (one.unit.group_id, one.changes, one.unit.create_ms, one.unit.close_ms) for one in timelines
        ]
        key = (list_them, *states, start_ms, last_ms, asset)
        if key not in self._lists:
            if len(self._lists) >= KEPT_LISTS:
                self._lists.clear()
            listed = [one for timeline in timelines for one in list_them(timeline, start_ms, last_ms)]
            listed.sort(key=attrgetter("at_ms"))
            self._lists[key] = [one for one in listed if asset in (None, one.asset)]
        return self._lists[key][:]

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
