"""A model of Binance's institutional loans: risk units, their liquidations, API keys, and the open questions.

Holds state, data and the rules of the lists. No HTTP (see `server.py`), no Airflow, and nothing of the
client: what judges the client must not share its code.
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

from airflow_provider_binance_loan.sandbox.faults import PASSING, Fault

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
LOGGED_REQUESTS = 100_000

Row = dict[str, Any]
Shape = Literal["object", "list", "null", "mixed"]


def number(text: str) -> str:
    """Mark a text that `write_json` writes as a JSON number."""
    return f"\0{text}\0"


def write_json(value: object) -> bytes:
    """Write compact JSON with the marked numbers digit for digit: no amount passes through a float."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace('"\\u0000', "").replace('\\u0000"', "").encode()


def split_query(query: str) -> list[tuple[str, str]]:
    """Split a raw query string, and drop or merge nothing as a web framework's parser would."""
    pairs = (part.partition("=") for part in query.split("&") if part)
    return [(unquote(name), unquote(value)) for name, _, value in pairs]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, the account that it belongs to, and what it may do."""

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
        """Tell whether the unit lives at that time."""
        return self.create_ms <= at_ms and not self.closed(at_ms)

    def closed(self, at_ms: int) -> bool:
        """Tell whether the unit is closed by that time."""
        return self.close_ms is not None and self.close_ms <= at_ms


@dataclass(slots=True)
class Liquidation:
    """A liquidation: without an end it runs until it is finished; `fields` overrule its drawn row."""

    group_id: int
    start_ms: int
    end_ms: int | None = None
    fields: Row = field(default_factory=dict)

    def running(self, at_ms: int) -> bool:
        """Tell whether the liquidation has yet to end at that time."""
        return self.end_ms is None or at_ms < self.end_ms


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A request as it came, the status that it got (0: none), the weight that it cost, and when it came."""

    method: str
    path: str
    query: str
    status: int
    weight: int
    at_ms: int

    @property
    def params(self) -> list[tuple[str, str]]:
        """Return the parameters of the query, in their order."""
        return split_query(self.query)


@dataclass(slots=True)
class Behaviour:
    """One reading of what Binance's page leaves open; a client has to be right under each of them.

    https://developers.binance.com/docs/institutional_loan/trade
    """

    total: Literal["units", "rows", "string", "zero", "absent"] = "units"
    """What `total` counts; "string" is the rows, in a JSON string."""
    end_inclusive: bool = True
    filter_field: Literal["start", "end", "overlap", "update"] = "start"
    """What lies in the window: the start, any of the life, or the end or last update (now, while it runs)."""
    order: Literal["newest", "oldest", "random"] = "newest"
    """"random" shuffles every answer; else rows of one millisecond come in some order, and keep it."""
    page_cap: int | None = None
    """How many rows a page holds at the most, whatever `size` says."""
    latency_s: float = 0
    snapshot_shape: Shape = "object"
    liabilities_shape: Shape = "mixed"
    """An "object" can only be one liability: several are a list all the same."""
    running_end: Literal["null", "zero", "absent"] = "null"
    fault_rate: float = 0
    """Which share of the requests, from 0 to 1, meets one of the faults that pass."""
    used_weight: int = 0
    """What others behind the same address have used of each endpoint's weight in this minute."""

    def __post_init__(self) -> None:
        """Refuse values that no reading has."""
        cap, latency, rate, used = self.page_cap, self.latency_s, self.fault_rate, self.used_weight
        knobs = {
            "end_inclusive": (isinstance(self.end_inclusive, bool), "true or false"),
            "page_cap": (cap is None or (type(cap) is int and cap > 0), "null or a number of rows"),
            "latency_s": (type(latency) in (int, float) and 0 <= latency < 3600, "a number of seconds"),
            "fault_rate": (type(rate) in (int, float) and 0 <= rate <= 1, "a number from 0 to 1"),
            "used_weight": (type(used) is int and used >= 0, "a number from 0"),
        }
        for name, hint in get_type_hints(type(self)).items():
            if get_origin(hint) is Literal:
                knobs[name] = (getattr(self, name) in get_args(hint), f"one of {', '.join(get_args(hint))}")
        for name, (good, meaning) in knobs.items():
            if not good:
                msg = f"{name} is {meaning}, not {getattr(self, name)!r}."
                raise ValueError(msg)


# What happened before: drawn from the seed, and the same whenever it is drawn.

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
    """Draw numbers that depend on the key alone; seeding a `random.Random` takes ten times as long."""

    def __init__(self, *key: object) -> None:
        # 1,024 bits; the longest row uses some 900 of them.
        self._pool = int.from_bytes(hashlib.shake_256(repr(key).encode()).digest(128), "big")

    def __call__(self, sides: int) -> int:
        self._pool, drawn = divmod(self._pool, sides)
        return drawn


def _hour(seed: int, hour_ms: int) -> list[Liquidation]:
    """Draw the liquidations, one to three, that start within an hour."""
    dice = _Dice(seed, hour_ms)
    drawn: dict[tuple[int, int], Liquidation] = {}
    start_ms = 0
    for index in range(1 + dice(3)):
        if index == 0 or dice(12):  # else this one starts in the very millisecond of the last one
            start_ms = hour_ms + dice(HOUR_MS)
        alive = [unit for unit in _UNITS if unit.active(start_ms)]
        unit = alive[dice(len(alive))]
        end_ms = start_ms + 3 * MINUTE_MS + dice(HOUR_MS if dice(6) else 40 * HOUR_MS)
        if unit.close_ms is not None:
            end_ms = min(end_ms, unit.close_ms)
        drawn[unit.group_id, start_ms] = Liquidation(unit.group_id, start_ms, end_ms)
    return list(drawn.values())


def _nested(amount: int) -> str:
    """Write an amount as Binance writes nested ones: eight decimals, and zero as "0E-8"."""
    return f"{amount // ONE}.{amount % ONE:08d}" if amount else "0E-8"


def _short(amount: int) -> str:
    """Write an amount as Binance writes top-level ones: no digit too many."""
    return f"{amount // ONE}.{amount % ONE:08d}".rstrip("0").rstrip(".")


def _uid(group_id: int) -> int:
    """Return the number of a unit's credit account; its collateral accounts follow."""
    return 1_000_255_900_000 + 100 * group_id


@lru_cache(maxsize=8192)
def _figures(seed: int, group_id: int, start_ms: int, running: bool) -> Row:
    """Draw what a liquidation reports: an initial LTV that stays, and figures that change when it ends."""
    start_ltv = 900 + _Dice(seed, group_id, start_ms)(300)
    dice = _Dice(seed, group_id, start_ms, running)
    end_ltv = 500 + dice(400) if running else dice(2) * dice(500)
    scale = 10 ** (12 + dice(8))  # from 10,000 to 100 billion: up to 19 digits, more than a float holds
    wallets, equity, margin = [], 0, 0
    for account in range(2 + dice(4)):
        wallet_equity, wallet_margin = dice(4) and dice(scale), dice(2) and dice(scale // 50)
        equity, margin = equity + wallet_equity, margin + wallet_margin
        wallets.append(
            {
                "subEmail": f"{_uid(group_id) + account}@test.com",
                "memberType": "COLLATERAL" if account else "CREDIT",
                "walletType": ("PORTFOLIO_MARGIN", "SPOT", "CROSS_MARGIN")[dice(3)],
                "netEquity": _nested(wallet_equity),
                "maintainMargin": _nested(wallet_margin),
            },
        )
    loans, owed = [], 0
    for asset in ("USDT", "USDC")[: 1 + (dice(5) == 0)]:
        principal, interest = dice(scale), dice(3) and dice(scale // 100)
        owed += principal + interest
        loans.append({"assetName": asset, "principal": _nested(principal), "interest": _nested(interest)})
    liabilities = loans[0] if len(loans) == 1 and dice(2) else loans
    write = number if dice(4) else str  # the table says String, the example shows numbers
    return {
        "startLtv": write(_short(start_ltv * ONE // 1000)),
        "endLtv": write(_short(end_ltv * ONE // 1000)),
        "liquidationStartTime": start_ms,
        "liquidationEndTime": None,
        "totalNetEquity": write(_short(equity)),
        "totalMaintenanceMargin": write(_short(margin)),
        "totalLiability": write(_short(owed)),
        "liquidationSnapshot": {"snapshots": wallets, "liabilities": liabilities},
    }


def _shaped(value: object, shape: Shape) -> object:
    """Give an object or a list the wanted one of the two documented shapes; "mixed" leaves it as drawn."""
    if shape == "list" and isinstance(value, dict):
        return [value]
    if shape == "object" and isinstance(value, list) and len(value) == 1:
        return value[0]
    return None if shape == "null" else value


# The response example of https://developers.binance.com/docs/institutional_loan/trade, digit for digit.
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
    """Hold the risk units and their liquidations, and answer what Binance's endpoints answer.

    With one seed, the liquidations of 2026-03-01T04:00Z are the same today and next year. Each is visible
    from the millisecond in which it starts, and runs until the one in which it ends.

    Methods take and give times as epoch milliseconds, UTC.

    :param seed: which history there is.
    :param clock: returns the time in epoch seconds; the machine's by default.
    :param behaviour: which reading of Binance's page to follow; the plain one by default.
    :param history: whether there are units and liquidations from before; else there is nothing but a key.
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
        self.requests: list[LoggedRequest] = []  # the last ones
        self._lock = threading.RLock()  # scheduled actions call back
        self._units: dict[int, Unit] = {}
        self._list: list[Liquidation] = []  # by start, oldest first; the last hour may reach past now
        self._next_hour_ms = HISTORY_START_MS if history else None
        self._scheduled: dict[int, list[Callable[[Exchange], object]]] = {}
        self._faults: deque[Fault | None] = deque()
        self._served = 0
        self._logged = 0
        self._random = random.Random(seed)  # noqa: S311
        self.add_key(ApiKey(SANDBOX_API_KEY, SANDBOX_API_SECRET))
        if history:
            for unit in _UNITS:
                self.add_unit(unit.group_id, unit.create_ms, unit.close_ms)
            self.add_liquidation(6, 1_748_381_716_906, 1_748_525_848_742, **_EXAMPLE)

    def now_ms(self) -> int:
        """Read the clock."""
        return int(self.clock() * 1000)

    # What tests and the admin calls do. An unknown unit is a LookupError, what cannot be done a ValueError.

    def add_key(self, key: ApiKey) -> None:
        """Let a key in."""
        self.keys[key.key] = key

    def add_unit(self, group_id: int, create_ms: int = 0, close_ms: int | None = None) -> Unit:
        """Create a risk unit."""
        with self._lock:
            if group_id in self._units:
                msg = f"There is a unit {group_id} already."
                raise ValueError(msg)
            self._units[group_id] = Unit(group_id, create_ms, close_ms)
            return self._units[group_id]

    def add_liquidation(
        self, group_id: int, start_ms: int, end_ms: int | None = None, **fields: object
    ) -> Liquidation:
        """Put a liquidation on a unit; `fields`, known or not, are written as given (see `number`)."""
        with self._lock:
            self._unit(group_id)
            same_ms = self._list[self._until(start_ms - 1) : self._until(start_ms)]
            if any(other.group_id == group_id for other in same_ms):
                msg = f"Unit {group_id} has a liquidation that starts at {start_ms} already."
                raise ValueError(msg)
            liquidation = Liquidation(group_id, start_ms, end_ms, fields)
            insort(self._list, liquidation, key=_by_start)
            return liquidation

    def liquidate(self, group_id: int | None = None, at_ms: int | None = None) -> Liquidation:
        """Start a liquidation now, or then, on an active unit."""
        with self._lock:
            now_ms = self._grow()
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
        """End a running liquidation of a unit now: the newest, or the one that started then."""
        with self._lock:
            now_ms = self._grow()
            self._unit(group_id)
            for one in reversed(self._list[: self._until(now_ms)]):
                if one.group_id == group_id and one.running(now_ms) and start_ms in (None, one.start_ms):
                    one.end_ms = now_ms
                    return one
            msg = f"Unit {group_id} has no {'' if start_ms is None else 'such '}running liquidation."
            raise LookupError(msg)

    def close(self, group_id: int) -> Unit:
        """Close a unit now, which ends what runs on it: its rows leave the plain query."""
        with self._lock:
            now_ms = self._grow()
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
        """Act just before the n-th data request, from 1, is answered: the list moves between two pages."""
        self._scheduled.setdefault(request_number, []).append(action)

    def fail(self, *faults: Fault | None) -> None:
        """Let each of the following requests meet the next fault; None is a request that goes well."""
        with self._lock:
            self._faults.extend(faults)

    def liquidations(self) -> list[Liquidation]:
        """List every liquidation so far, closed units' too, oldest first."""
        with self._lock:
            now_ms = self._grow()
            return self._list[: self._until(now_ms)]

    def state(self) -> Row:
        """Sum up the units and what is on them."""
        with self._lock:
            all_of_them, now_ms = self.liquidations(), self.now_ms()
            counts = Counter(one.group_id for one in all_of_them)
            running = Counter(one.group_id for one in all_of_them if one.running(now_ms))
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
            totals |= {"requests": self._logged, "faults": sum(fault is not None for fault in self._faults)}
            return {"serverTime": now_ms, **totals, "units": units}

    def ltvs(self, hours: int) -> dict[int, list[tuple[int, str]]]:
        """List, by active unit, the LTVs of the last hours: from which time each held, and what it was."""
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

    # What the server asks and tells

    def next_fault(self, path: str) -> Fault | None:
        """Take what awaits a request to that path: the head of the queue, or by chance what passes."""
        with self._lock:
            if self._faults:
                head = self._faults[0]
                fits = head is None or head.path is None or path.endswith(head.path)
                return self._faults.popleft() if fits else None
            # Without a rate nothing is drawn, so that the shuffles of a seed stay what they are.
            if not self.behaviour.fault_rate or self._random.random() >= self.behaviour.fault_rate:
                return None
            drawn = self._random.choice(PASSING)
            unsigned = not path.startswith("/sapi/")
            return None if unsigned and drawn.code == -1021 else drawn

    def log(self, request: LoggedRequest) -> None:
        """Keep a request, and let go of the oldest one when there are too many."""
        with self._lock:
            self._logged += 1
            self.requests.append(request)
            del self.requests[:-LOGGED_REQUESTS]

    # What the endpoints answer

    def force_liquidations(
        self, start_ms: int, end_ms: int, group_id: int | None = None, current: int = 1, size: int = 10
    ) -> Row:
        """Answer a page of the liquidations of one unit, or else of those that are active now.

        https://developers.binance.com/docs/institutional_loan/trade
        """
        with self._lock:
            now_ms = self._serve()
            units = self._active(now_ms) if group_id is None else self._units.keys() & {group_id}
            found = [one for one in self._window(now_ms, start_ms, end_ms) if one.group_id in units]
            return self._page(found, self.row, len(units), current, size)

    def closed_units(self, current: int = 1, size: int = 10) -> Row:
        """Answer a page of the closed units, the last one closed first."""
        with self._lock:
            now_ms = self._serve()
            closed = [unit for unit in self._units.values() if unit.closed(now_ms)]
            closed.sort(key=attrgetter("close_ms"))
            return self._page(closed, _closed_row, len(closed), current, size)

    def ltv_details(self, group_id: int | None = None) -> list[Row]:
        """Answer how the active units stand; https://developers.binance.com/docs/institutional_loan/account."""
        with self._lock:
            now_ms = self._serve()
            units = sorted(self._active(now_ms))
            return [_ltv_row(self.seed, unit, now_ms) for unit in units if group_id in (None, unit)]

    def transfer_records(self, start_ms: int, end_ms: int, current: int = 1, size: int = 10) -> Row:
        """Answer a page of what went from collateral to credit accounts, one row for each liquidation."""
        with self._lock:
            found = self._window(self._serve(), start_ms, end_ms)
            return self._page(found, self._transfers, len({one.group_id for one in found}), current, size)

    def row(self, one: Liquidation) -> Row:
        """Write a liquidation as it is now, in the shapes of the behaviour."""
        running = one.running(self.now_ms())
        row: Row = {"groupId": one.group_id, **_figures(self.seed, one.group_id, one.start_ms, running)}
        snapshot, shape = dict(row["liquidationSnapshot"]), self.behaviour.snapshot_shape
        snapshot["liabilities"] = _shaped(snapshot["liabilities"], self.behaviour.liabilities_shape)
        mixed: Sequence[Shape] = ("object", "list", "null")
        row["liquidationSnapshot"] = _shaped(snapshot, mixed[one.start_ms % 3] if shape == "mixed" else shape)
        if not running:
            row["liquidationEndTime"] = one.end_ms
        elif self.behaviour.running_end == "zero":
            row["liquidationEndTime"] = 0
        elif self.behaviour.running_end == "absent":
            del row["liquidationEndTime"]
        return row | one.fields

    # Behind the answers

    def _unit(self, group_id: int) -> Unit:
        if group_id not in self._units:
            msg = f"There is no unit {group_id}, only {', '.join(map(str, sorted(self._units))) or 'none'}."
            raise LookupError(msg)
        return self._units[group_id]

    def _active(self, at_ms: int) -> set[int]:
        return {unit.group_id for unit in self._units.values() if unit.active(at_ms)}

    def _until(self, at_ms: int) -> int:
        """Count what has started by that time."""
        return bisect_right(self._list, at_ms, key=_by_start)

    def _serve(self) -> int:
        """Do what is scheduled for this request, and return the time of the answer."""
        self._served += 1
        for action in self._scheduled.pop(self._served, []):
            action(self)
        return self._grow()

    def _grow(self) -> int:
        """Draw the history up to this hour, and return the time."""
        now_ms = self.now_ms()
        if self._next_hour_ms is not None and self._next_hour_ms <= now_ms:
            for hour_ms in range(self._next_hour_ms, now_ms + 1, HOUR_MS):
                # A unit may have been closed by hand since.
                drawn = _hour(self.seed, hour_ms)
                self._list += [one for one in drawn if self._units[one.group_id].active(one.start_ms)]
                self._next_hour_ms = hour_ms + HOUR_MS
            self._list.sort(key=_by_start)
        return now_ms

    def _window(self, now_ms: int, start_ms: int, end_ms: int) -> list[Liquidation]:
        """Select what lies in the window under the behaviour's reading, oldest first."""
        last_ms = end_ms if self.behaviour.end_inclusive else end_ms - 1
        until = self._until(min(last_ms, now_ms))
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
        """Cut a page out of what was found, oldest first, and write it."""
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
        """Write the transfers that a liquidation made, one for each wallet that holds anything."""
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


def _standing(seed: int, group_id: int, at_ms: int) -> Row:
    """Draw how a unit stands; the figures change every hour."""
    return _figures(seed, group_id, at_ms - at_ms % HOUR_MS, running=True)


def _ltv(seed: int, group_id: int, at_ms: int) -> str:
    return str(_standing(seed, group_id, at_ms)["endLtv"]).strip("\0")


def _ltv_row(seed: int, group_id: int, now_ms: int) -> Row:
    """Write how a unit stands."""
    figures = _standing(seed, group_id, now_ms)
    names = ("totalNetEquity", "totalMaintenanceMargin", "totalLiability")
    shown = ("netEquity", "maintainMargin")
    return {
        "groupId": group_id,
        "parentEmail": "parent@test.com",
        "creditEmail": f"{_uid(group_id)}@test.com",
        "updateTime": now_ms,
        "ltv": _ltv(seed, group_id, now_ms),
        **{name: figures[name].strip("\0") for name in names},
        "parentAccountFrozenAmount": "0",
        "maxTransferOutAmount": "0",
        "maxAllowedBorrowLimit": "0",
        "liabilities": _shaped(figures["liquidationSnapshot"]["liabilities"], "list"),
        "collateralAccounts": [
            {
                "email": wallet["subEmail"],
                "type": wallet["memberType"],
                "wallets": [{"accountType": wallet["walletType"], **{name: wallet[name] for name in shown}}],
            }
            for wallet in figures["liquidationSnapshot"]["snapshots"]
        ],
    }
