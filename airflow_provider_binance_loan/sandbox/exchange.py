"""A model of Binance's institutional loans: risk units, liquidations, API keys, and undocumented behaviour.

Holds the data, and the rules by which it is listed. No HTTP (see `server.py`), no Airflow, and no code of the
client: a client and the server that tests it must not share their mistakes.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import unquote

from airflow_provider_binance_loan.sandbox.faults import TRANSIENT_FAULTS, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

SANDBOX_API_KEY = ("SandboxApiKey" * 5)[:64]
SANDBOX_API_SECRET = ("NotASecret" * 7)[:64]

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
HISTORY_START_MS = 1_751_328_000_000  # 2025-07-01T00:00Z
ONE = 10**8  # amounts are counted in units of 0.00000001
LOGGED_REQUESTS = 100_000  # the newest are kept

Row = dict[str, Any]
Shape = Literal["object", "list", "null", "mixed"]


def number(text: str) -> str:
    """Mark a text so that `write_json` writes it as a JSON number."""
    return f"\0{text}\0"


def write_json(value: object) -> bytes:
    """Return compact JSON with the marked numbers digit for digit: no amount passes through a float."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace('"\\u0000', "").replace('\\u0000"', "").encode()


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
    account: Literal["credit", "parent"] = "credit"
    ip_allowed: bool = True
    can_read: bool = True
    enable_withdrawals: bool = False
    ip_restrict: bool = True


@dataclass(slots=True)
class Unit:
    """A risk unit: a credit account and its collateral accounts, from creation to closing."""

    group_id: int
    create_ms: int
    close_ms: int | None = None

    def active(self, at_ms: int) -> bool:
        """Return whether the unit exists, and is not closed, at that time."""
        return self.create_ms <= at_ms and not self.closed(at_ms)

    def closed(self, at_ms: int) -> bool:
        """Return whether the unit is closed at that time."""
        return self.close_ms is not None and self.close_ms <= at_ms


@dataclass(slots=True)
class Liquidation:
    """A liquidation; without `end_ms` it runs until it is finished, and `fields` replace generated fields."""

    group_id: int
    start_ms: int
    end_ms: int | None = None
    fields: Row = field(default_factory=dict)

    def running(self, at_ms: int) -> bool:
        """Return whether the liquidation has not ended at that time."""
        return self.end_ms is None or at_ms < self.end_ms


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


@dataclass(slots=True)
class Behaviour:
    """One interpretation of what Binance's documentation leaves open; a client must be right under each.

    https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/trade
    """

    total: Literal["units", "rows", "string", "zero", "absent"] = "units"
    """What `total` counts; "string" is the number of rows as a JSON string."""
    end_inclusive: bool = True
    filter_field: Literal["start", "end", "overlap", "update"] = "start"
    """What must lie between startTime and endTime: the start of the liquidation, any part of it ("overlap"),
    its end, or its last update (now, while it runs)."""
    order: Literal["newest", "oldest", "random"] = "newest"
    """"random" shuffles every response; otherwise rows of one millisecond have a fixed arbitrary order."""
    page_cap: int | None = None
    """The largest number of rows in a page, whatever `size` is; None for no limit."""
    max_days: int = 100
    """The longest time between startTime and endTime, in days."""
    latency_s: float = 0
    snapshot_shape: Shape = "object"
    liabilities_shape: Shape = "mixed"
    """With "object", several liabilities are still a list."""
    running_end: Literal["null", "zero", "absent"] = "null"
    fault_rate: float = 0
    """The share of requests, from 0 to 1, that meet a random transient fault."""
    used_weight: int = 0
    """The weight that other clients of the same IP address have used, for each endpoint, in this minute."""

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        cap, latency, rate, used = self.page_cap, self.latency_s, self.fault_rate, self.used_weight
        checks = {
            "end_inclusive": (isinstance(self.end_inclusive, bool), "true or false"),
            "page_cap": (cap is None or (type(cap) is int and cap > 0), "null or a number of rows"),
            "max_days": (type(self.max_days) is int and self.max_days > 0, "a number of days"),
            "latency_s": (type(latency) in (int, float) and 0 <= latency < 3600, "a number of seconds"),
            "fault_rate": (type(rate) in (int, float) and 0 <= rate <= 1, "a number from 0 to 1"),
            "used_weight": (type(used) is int and used >= 0, "a number from 0"),
        }
        for name, hint in get_type_hints(type(self)).items():
            if get_origin(hint) is Literal:
                checks[name] = (getattr(self, name) in get_args(hint), f"one of {', '.join(get_args(hint))}")
        for name, (is_valid, expected) in checks.items():
            if not is_valid:
                msg = f"{name} must be {expected}, not {getattr(self, name)!r}."
                raise ValueError(msg)


# The history: generated from the seed, and the same whenever it is generated.

_UNITS = (
    Unit(1, 1_735_689_600_000),  # 2025-01-01
    Unit(2, 1_736_294_400_000),
    Unit(3, 1_748_850_000_000, 1_757_840_000_000),  # 2025-06-02 to 2025-09-14
    Unit(4, 1_738_368_000_000),
    Unit(5, 1_740_787_200_000),
    Unit(6, 1_742_000_000_000),
    Unit(7, 1_745_000_000_000),
    Unit(8, 1_752_990_000_000, 1_764_500_000_000),  # 2025-07-20 to 2025-11-30
    Unit(9, 1_750_000_000_000),
    Unit(10, 1_756_700_000_000),
    Unit(11, 1_759_300_000_000, 1_770_700_000_000),  # 2025-10-01 to 2026-02-10
    Unit(12, 1_768_460_000_000),  # 2026-01-15
)


class _Dice:
    """A source of numbers that depend on the key alone; seeding a `random.Random` takes ten times as long."""

    def __init__(self, *key: object) -> None:
        # 1,024 bits; the longest row uses some 900 of them.
        self._pool = int.from_bytes(hashlib.shake_256(repr(key).encode()).digest(128), "big")

    def __call__(self, sides: int) -> int:
        self._pool, rolled = divmod(self._pool, sides)
        return rolled


def _liquidations_of_hour(seed: int, hour_ms: int) -> list[Liquidation]:
    """Generate the liquidations, one to three, that start within an hour."""
    dice = _Dice(seed, hour_ms)
    generated: dict[tuple[int, int], Liquidation] = {}
    start_ms = 0
    for index in range(1 + dice(3)):
        if index == 0 or dice(12):  # otherwise this liquidation starts in the millisecond of the last one
            start_ms = hour_ms + dice(HOUR_MS)
        active = [unit for unit in _UNITS if unit.active(start_ms)]
        unit = active[dice(len(active))]
        end_ms = start_ms + 3 * MINUTE_MS + dice(HOUR_MS if dice(6) else 40 * HOUR_MS)
        if unit.close_ms is not None:
            end_ms = min(end_ms, unit.close_ms)
        generated[unit.group_id, start_ms] = Liquidation(unit.group_id, start_ms, end_ms)
    return list(generated.values())


def _format_nested(amount: int) -> str:
    """Return an amount as Binance writes nested ones: eight decimals, and zero as "0E-8"."""
    return f"{amount // ONE}.{amount % ONE:08d}" if amount else "0E-8"


def _format_total(amount: int) -> str:
    """Return an amount as Binance writes top-level ones: without trailing zeros."""
    return f"{amount // ONE}.{amount % ONE:08d}".rstrip("0").rstrip(".")


def _uid(group_id: int) -> int:
    """Return the UID of a unit's credit account; the UIDs of its collateral accounts follow it."""
    return 1_000_255_900_000 + 100 * group_id


@lru_cache(maxsize=8192)
def _figures(seed: int, group_id: int, start_ms: int, running: bool) -> Row:
    """Generate the row of a liquidation: the initial LTV is fixed, the other figures change when it ends."""
    start_ltv = 900 + _Dice(seed, group_id, start_ms)(300)
    dice = _Dice(seed, group_id, start_ms, running)
    end_ltv = 500 + dice(400) if running else dice(2) * dice(500)
    scale = 10 ** (12 + dice(8))  # from 10,000 to 100 billion: up to 19 digits, more than a float can hold
    wallets, equity, margin = [], 0, 0
    for account in range(2 + dice(4)):
        wallet_equity, wallet_margin = dice(4) and dice(scale), dice(2) and dice(scale // 50)
        equity, margin = equity + wallet_equity, margin + wallet_margin
        wallets.append(
            {
                "subEmail": f"{_uid(group_id) + account}@test.com",
                "memberType": "COLLATERAL" if account else "CREDIT",
                "walletType": ("PORTFOLIO_MARGIN", "SPOT", "CROSS_MARGIN")[dice(3)],
                "netEquity": _format_nested(wallet_equity),
                "maintainMargin": _format_nested(wallet_margin),
            },
        )
    loans, owed = [], 0
    for asset in ("USDT", "USDC")[: 1 + (dice(5) == 0)]:
        principal, interest = dice(scale), dice(3) and dice(scale // 100)
        owed += principal + interest
        loans.append(
            {"assetName": asset, "principal": _format_nested(principal), "interest": _format_nested(interest)}
        )
    liabilities = loans[0] if len(loans) == 1 and dice(2) else loans
    write = number if dice(4) else str  # documented as strings, but numbers in the example
    return {
        "startLtv": write(_format_total(start_ltv * ONE // 1000)),
        "endLtv": write(_format_total(end_ltv * ONE // 1000)),
        "liquidationStartTime": start_ms,
        "liquidationEndTime": None,
        "totalNetEquity": write(_format_total(equity)),
        "totalMaintenanceMargin": write(_format_total(margin)),
        "totalLiability": write(_format_total(owed)),
        "liquidationSnapshot": {"snapshots": wallets, "liabilities": liabilities},
    }


def _reshape(value: object, shape: Shape) -> object:
    """Return an object or a list in one of the two documented shapes; "mixed" leaves it as generated."""
    if shape == "list" and isinstance(value, dict):
        return [value]
    if shape == "object" and isinstance(value, list) and len(value) == 1:
        return value[0]
    return None if shape == "null" else value


# The response example of this page, digit for digit:
# https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/trade
_EXAMPLE: Row = {
    "startLtv": number("1"),
    "endLtv": number("0"),
    "totalNetEquity": number("16671.5507973"),
    "totalMaintenanceMargin": number("0"),
    "totalLiability": number("16667.926"),
    "liquidationSnapshot": {
        "snapshots": [
            {"subEmail": e, "memberType": m, "walletType": w, "netEquity": n, "maintainMargin": "0E-8"}
            for e, m, w, n in (
                ("1000255973134@test.com", "CREDIT", "PORTFOLIO_MARGIN", "12671.05079731"),
                ("1000255973134@test.com", "CREDIT", "SPOT", "0E-8"),
                ("1000255973138@test.com", "COLLATERAL", "PORTFOLIO_MARGIN", "1000.25333000"),
                ("1000255973137@test.com", "COLLATERAL", "PORTFOLIO_MARGIN", "1000.24667000"),
                ("1000255973135@test.com", "COLLATERAL", "CROSS_MARGIN", "1000.00000000"),
                ("1000255973136@test.com", "COLLATERAL", "CROSS_MARGIN", "1000.00000000"),
            )
        ],
        "liabilities": {"assetName": "USDT", "principal": "11667.92600000", "interest": "5000.00000000"},
    },
}

_by_start = attrgetter("start_ms")


class Exchange:
    """An exchange in memory: the risk units, their liquidations, and the responses of Binance's endpoints.

    The history depends on the seed alone, so the liquidations of 2026-03-01T04:00Z are the same today and
    next year. A liquidation is listed from the millisecond in which it starts.

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
        self._list: list[Liquidation] = []  # oldest start first; the last hour may extend past now
        self._next_hour_ms = HISTORY_START_MS if history else None
        self._scheduled: dict[int, list[Callable[[Exchange], object]]] = {}
        self._faults: deque[Fault | None] = deque()
        self._data_requests = 0
        self._logged_count = 0
        self._random = random.Random(seed)  # noqa: S311
        self.add_key(ApiKey(SANDBOX_API_KEY, SANDBOX_API_SECRET))
        if history:
            for unit in _UNITS:
                self.add_unit(unit.group_id, unit.create_ms, unit.close_ms)
            self.add_liquidation(6, 1_748_381_716_906, 1_748_525_848_742, **_EXAMPLE)

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
            self._units[group_id] = Unit(group_id, create_ms, close_ms)
            return self._units[group_id]

    def add_liquidation(
        self, group_id: int, start_ms: int, end_ms: int | None = None, **fields: object
    ) -> Liquidation:
        """Add a liquidation to a unit; `fields`, known or not, are written as given (see `number`)."""
        with self._lock:
            self._unit(group_id)
            same_ms = self._list[self._count_started(start_ms - 1) : self._count_started(start_ms)]
            if any(other.group_id == group_id for other in same_ms):
                msg = f"Choose another start: unit {group_id} has a liquidation that started at {start_ms}."
                raise ValueError(msg)
            liquidation = Liquidation(group_id, start_ms, end_ms, fields)
            insort(self._list, liquidation, key=_by_start)
            return liquidation

    def liquidate(self, group_id: int | None = None, at_ms: int | None = None) -> Liquidation:
        """Start a liquidation, now or at a given time, on a given unit or on any active one."""
        with self._lock:
            now_ms = self._extend_history()
            start_ms = now_ms if at_ms is None else at_ms
            if group_id is None and not self._active(start_ms):
                msg = "There is no active unit to liquidate."
                raise LookupError(msg)
            if group_id is None:
                group_id = self._random.choice(sorted(self._active(start_ms)))
            if not self._unit(group_id).active(start_ms):
                msg = f"Unit {group_id} is not active at {start_ms}."
                raise ValueError(msg)
            return self.add_liquidation(group_id, start_ms)

    def finish(self, group_id: int, start_ms: int | None = None) -> Liquidation:
        """End a running liquidation of a unit now: the newest, or the one that started at `start_ms`."""
        with self._lock:
            now_ms = self._extend_history()
            self._unit(group_id)
            for one in reversed(self._list[: self._count_started(now_ms)]):
                if one.group_id == group_id and one.running(now_ms) and start_ms in (None, one.start_ms):
                    one.end_ms = now_ms
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
            self._list = [one for one in self._list if one.group_id != group_id or one.start_ms <= now_ms]
            for one in self._list:
                if one.group_id == group_id and one.running(now_ms):
                    one.end_ms = now_ms
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

    def ltvs(self, hours: int) -> dict[int, list[tuple[int, str]]]:
        """Return the LTVs of the last hours, for each active unit: since when each LTV holds, and the LTV."""
        with self._lock:
            now_ms = self.now_ms()
            first_ms = now_ms - now_ms % HOUR_MS - hours * HOUR_MS
            return {
                group_id: [
                    (at_ms, _ltv(self.seed, group_id, at_ms))
                    for at_ms in range(first_ms, now_ms + 1, HOUR_MS)
                    if self._units[group_id].active(at_ms)
                ]
                for group_id in sorted(self._active(now_ms))
            }

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
            return self._page(closed, _closed_row, len(closed), current, size)

    def ltv_details(self, group_id: int | None = None) -> list[Row]:
        """Return the LTVs of the active units.

        https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/account
        """
        with self._lock:
            now_ms = self._begin_data_request()
            units = sorted(self._active(now_ms))
            return [_ltv_row(self.seed, unit, now_ms) for unit in units if group_id in (None, unit)]

    def transfer_records(self, start_ms: int, end_ms: int, current: int = 1, size: int = 10) -> Row:
        """Return a page of transfers from collateral to credit accounts, one row for each liquidation."""
        with self._lock:
            found = self._select(self._begin_data_request(), start_ms, end_ms)
            return self._page(found, self._transfers, len({one.group_id for one in found}), current, size)

    def row(self, one: Liquidation) -> Row:
        """Return the row of a liquidation as of now, in the shapes of the behaviour."""
        running = one.running(self.now_ms())
        row: Row = {"groupId": one.group_id, **_figures(self.seed, one.group_id, one.start_ms, running)}
        snapshot, shape = dict(row["liquidationSnapshot"]), self.behaviour.snapshot_shape
        snapshot["liabilities"] = _reshape(snapshot["liabilities"], self.behaviour.liabilities_shape)
        mixed: Sequence[Shape] = ("object", "list", "null")
        row["liquidationSnapshot"] = _reshape(
            snapshot, mixed[one.start_ms % 3] if shape == "mixed" else shape
        )
        if not running:
            row["liquidationEndTime"] = one.end_ms
        elif self.behaviour.running_end == "zero":
            row["liquidationEndTime"] = 0
        elif self.behaviour.running_end == "absent":
            del row["liquidationEndTime"]
        return row | one.fields

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

    def _extend_history(self) -> int:
        """Generate the history up to this hour, and return the time."""
        now_ms = self.now_ms()
        if self._next_hour_ms is not None and self._next_hour_ms <= now_ms:
            for hour_ms in range(self._next_hour_ms, now_ms + 1, HOUR_MS):
                # An admin call may have closed a unit before this hour.
                self._list += [
                    one
                    for one in _liquidations_of_hour(self.seed, hour_ms)
                    if self._units[one.group_id].active(one.start_ms)
                ]
                self._next_hour_ms = hour_ms + HOUR_MS
            self._list.sort(key=_by_start)
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

    def _transfers(self, one: Liquidation) -> Row:
        """Return the row of a liquidation's transfers, one for each collateral wallet that is not empty."""
        figures = _figures(self.seed, one.group_id, one.start_ms, running=True)
        return {
            "liquidationId": _Dice("liquidationId", self.seed, one.group_id, one.start_ms)(10**9),
            "liquidationTransferRecord": [
                {
                    "transferTime": one.start_ms + index,
                    "fromUid": int(wallet["subEmail"].split("@")[0]),
                    "fromAccountType": wallet["walletType"],
                    "toUid": _uid(one.group_id),
                    "toAccountType": "PORTFOLIO_MARGIN",
                    "status": "CONFIRM",
                    "assets": [{"assetName": "USDT", "amount": wallet["netEquity"]}],
                }
                for index, wallet in enumerate(figures["liquidationSnapshot"]["snapshots"])
                if wallet["memberType"] == "COLLATERAL" and wallet["netEquity"] != "0E-8"
            ],
        }


def _closed_row(unit: Unit) -> Row:
    return {
        "groupId": unit.group_id,
        "parentEmail": "parent@test.com",
        "creditEmail": f"{_uid(unit.group_id)}@test.com",
        "enabled": False,
        "createTime": unit.create_ms,
        "closeTime": unit.close_ms,
    }


def _unit_figures(seed: int, group_id: int, at_ms: int) -> Row:
    """Generate the figures of a unit; they change every hour."""
    return _figures(seed, group_id, at_ms - at_ms % HOUR_MS, running=True)


def _ltv(seed: int, group_id: int, at_ms: int) -> str:
    return str(_unit_figures(seed, group_id, at_ms)["endLtv"]).strip("\0")


def _ltv_row(seed: int, group_id: int, now_ms: int) -> Row:
    """Return the row of a unit's LTV details."""
    figures = _unit_figures(seed, group_id, now_ms)
    totals = ("totalNetEquity", "totalMaintenanceMargin", "totalLiability")
    amounts = ("netEquity", "maintainMargin")
    return {
        "groupId": group_id,
        "parentEmail": "parent@test.com",
        "creditEmail": f"{_uid(group_id)}@test.com",
        "updateTime": now_ms,
        "ltv": _ltv(seed, group_id, now_ms),
        **{name: figures[name].strip("\0") for name in totals},
        "parentAccountFrozenAmount": "0",
        "maxTransferOutAmount": "0",
        "maxAllowedBorrowLimit": "0",
        "liabilities": _reshape(figures["liquidationSnapshot"]["liabilities"], "list"),
        "collateralAccounts": [
            {
                "email": wallet["subEmail"],
                "type": wallet["memberType"],
                "wallets": [
                    {"accountType": wallet["walletType"], **{name: wallet[name] for name in amounts}}
                ],
            }
            for wallet in figures["liquidationSnapshot"]["snapshots"]
        ],
    }
