"""A hostile Binance for the reading core: everything that its page leaves open, drawn at random, and faults.

A schedule is drawn from a seed: what times filter, which ends are included, how rows are sorted and
counted, how pages are capped, how long a span may be; units that close, open again, or are in neither list
for a while; records that are inserted, change and finish between two requests; and now and then an answer in
microseconds, or one to another question. A read of it must return every record that was there throughout,
once and digit for digit, or raise an error.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.reader import ReadLimits, read_window
from airflow_provider_binance_loan.binance.time_range import DAY_MS, TimeRange
from airflow_provider_binance_loan.exceptions import BadResponseError, BinanceLoanError, RequestRefusedError
from tests.support.plans import PlanRunner

PAGE_SIZE = 30
LIQUIDATIONS = replace(FORCE_LIQUIDATIONS, page_size=PAGE_SIZE)
CLOSED_UNITS = replace(CLOSED_RISK_UNITS, page_size=PAGE_SIZE)
BASE_MS = 1_600_000_000_000
HALF_A_DAY_MS = DAY_MS // 2
STATES = ("active", "closed", "neither")

Key = tuple[int, int]


@dataclass
class Row:
    """A liquidation: its figures, and when they were last changed."""

    start_ms: int
    group_id: int
    end_ms: int | None
    moved_ms: int
    ltv: str
    ltvs: set[str] = field(default_factory=set)

    @property
    def key(self) -> Key:
        return self.start_ms, self.group_id


class Hostile:
    """A schedule, and what was true of it at every moment of a read.

    :param seed: what it is drawn from.
    """

    def __init__(self, seed: int) -> None:
        self.dice = dice = random.Random(seed)
        self.filter_field = dice.choice(["start", "end", "overlap", "update"])
        self.end_inclusive, self.start_inclusive = dice.random() < 0.7, dice.random() < 0.7
        self.order = dice.choice(["newest", "newest", "oldest", "random"])
        self.total = dice.choice(["rows", "units", "zero", "absent", "many"])
        self.page_cap = dice.choice([None, None, None, None, 10, 20, 25])
        self.max_days = dice.choice([None, None, None, 30, 7, 1])
        length_ms = dice.choice([5000, DAY_MS, 40 * DAY_MS, 150 * DAY_MS])
        start_ms = BASE_MS + dice.randrange(DAY_MS)
        self.window = TimeRange(start_ms, start_ms + length_ms)
        self.now_ms = self.window.end_ms + dice.choice([-length_ms // 2, 0, 10 * DAY_MS])
        self.risk_units: Any = "all"
        self.rows_in_memory = dice.choice([200, 8000])
        self.rows = self._draw_rows()
        # Which list each unit is in, by the number of the request from which on it is there.
        self.states = {
            group: self._draw_states() for group in {row.group_id for row in self.rows} | {1, 2, 3}
        }
        if dice.random() < 0.2:
            self.risk_units = tuple(sorted(self.states))
        self.events = [dice.randrange(1, 60) for _ in range(dice.choice([0, 0, 2, 8]))]
        self.faulty = dice.choice([*[None] * 6, "microseconds", "another unit", "another endpoint", "later"])
        self.faulty_at = dice.randrange(1, 12)
        self.was_faulty = False
        self.requests = 0
        # For each part of the window: which units the lists that were read for it showed, all the time.
        self.shown: list[dict[str, set[int]]] = []
        self.always, self.ever = self._in_window(), self._may_be_returned()

    def read(self) -> list[dict[str, Any]]:
        """Return the records of the window, as a client reads them."""
        runner = PlanRunner(self.answer, self.dice.choice([1, 2, 16]), self.dice.randrange(2**16))
        plans = read_window(
            LIQUIDATIONS,
            self.window,
            self.risk_units,
            # The clock of a schedule is exact, and moves with each request.
            limits=ReadLimits(rows_in_memory=self.rows_in_memory, clock_slack_ms=0),
            closed_units=CLOSED_UNITS,
        )
        records: list[dict[str, Any]] = []
        for plan in plans:
            self.shown.append({})
            records += runner.run(plan)
        return records

    def answer(self, request: Request) -> Response:
        """Return the answer to a request, with what is true by then."""
        self.requests += 1
        self.now_ms += 3
        assert self.requests < 100_000, "the read does not end"
        self._happen()
        asked: dict[str, Any] = dict(request.params)
        if request.path == CLOSED_RISK_UNITS.path:
            self._see("closed")
            return self._page(request, self._closed_rows())
        span_ms = asked["endTime"] - asked["startTime"]
        if self.max_days is not None and span_ms > self.max_days * DAY_MS:
            return self._refuse(request)
        if "groupId" not in asked:
            self._see("active again" if "closed" in self.shown[-1] else "active")
        rows = self._liquidation_rows(asked)
        if self.requests >= self.faulty_at and self.faulty and not self.was_faulty:
            rows = self._spoil(rows, asked)
        return self._page(request, rows)

    def check(self) -> str:
        """Read it, and compare with what was true; return how the read ended."""
        try:
            found = self.read()
        except BinanceLoanError as error:
            if self.was_faulty != isinstance(error, BadResponseError):
                raise AssertionError(error) from error
            return type(error).__name__
        assert not self.was_faulty, f"an answer with a fault was taken: {self.faulty}"
        keys = Counter((record["liquidationStartTime"], record["groupId"]) for record in found)
        assert max(keys.values(), default=1) == 1, "a record was returned twice"
        must = {key for key in self.always if self._was_shown(key[1])}
        assert must <= keys.keys(), f"missed {must - keys.keys()}"
        assert keys.keys() <= self.ever, f"invented {keys.keys() - self.ever}"
        by_key = {row.key: row for row in self.rows}
        for record in found:
            row = by_key[(record["liquidationStartTime"], record["groupId"])]
            assert record["endLtv"] in row.ltvs | {row.ltv}, "a digit was altered"
        return "records"

    def _draw_rows(self) -> list[Row]:
        dice, width_ms = self.dice, self.window.length_ms + DAY_MS
        keys: set[Key] = set()
        for _ in range(dice.choice([0, 1, 2])):  # bursts, some of them within one millisecond
            at, breadth = dice.randrange(width_ms), dice.choice([1, 1, 1000])
            for group in range(1, dice.choice([5, 20, 80])):
                keys.add((self.window.start_ms + at + dice.randrange(breadth), group))
        for _ in range(dice.choice([0, 5, 40, 150])):
            keys.add((self.window.start_ms - HALF_A_DAY_MS + dice.randrange(width_ms), dice.randrange(1, 5)))
        for edge in (self.window.start_ms, self.window.end_ms):
            for off in (-1, 0, 1):
                if dice.random() < 0.3:
                    keys.add((edge + off, dice.randrange(1, 5)))
        rows = []
        for start_ms, group in sorted(keys):
            end_ms = start_ms + dice.choice([0, 1, 40, DAY_MS]) if dice.random() < 0.8 else None
            rows.append(Row(start_ms, group, end_ms, end_ms or start_ms, self._draw_ltv()))
        return rows

    def _draw_ltv(self) -> str:
        return f"0.{self.dice.randrange(10**18):018d}"

    def _draw_states(self) -> list[tuple[int, str]]:
        """Return a unit's states: most units stay where they are, some move once or twice."""
        dice = self.dice
        moves = dice.choice([0, 0, 0, 1, 2])
        times = [0, *sorted(dice.randrange(1, 12) for _ in range(moves))]
        return [(at, dice.choice(STATES if moves else STATES[:2])) for at in times]

    def _state(self, group: int) -> str:
        return next(state for at, state in reversed(self.states[group]) if at <= self.requests)

    def _see(self, reading: str) -> None:
        """Note which units a list shows; one that it does not show at each request counts as not shown."""
        listed = {group for group in self.states if self._state(group) == reading.partition(" ")[0]}
        self.shown[-1][reading] = self.shown[-1].get(reading, listed) & listed

    def _was_shown(self, group: int) -> bool:
        """Return whether one reading of a list showed a unit; if none did, it moved faster than a pull."""
        parts = [set().union(*readings.values()) for readings in self.shown]
        return self.risk_units != "all" or all(group in shown for shown in parts)

    def _matches(self, row: Row, start_ms: int, end_ms: int) -> bool:
        last_ms = end_ms if self.end_inclusive else end_ms - 1
        if self.filter_field == "start":
            return start_ms <= row.start_ms <= last_ms
        if self.filter_field == "end":
            return row.end_ms is not None and start_ms <= row.end_ms <= last_ms and row.start_ms <= end_ms
        if self.filter_field == "overlap":
            return row.start_ms <= last_ms and (row.end_ms is None or row.end_ms >= start_ms)
        return start_ms <= row.moved_ms <= last_ms and row.start_ms <= end_ms

    def _in_window(self) -> set[Key]:
        start_ms, end_ms = self.window
        return {
            row.key
            for row in self.rows
            if self._matches(row, start_ms, end_ms)
            and row.start_ms < end_ms
            and (self.start_inclusive or row.start_ms != start_ms - 1)  # taken for the neighbour's
        }

    def _may_be_returned(self) -> set[Key]:
        start_ms, end_ms = self.window
        return {
            row.key
            for row in self.rows
            if row.start_ms < end_ms and self._matches(row, start_ms - (row.start_ms < start_ms - 1), end_ms)
        }

    def _happen(self) -> None:
        for _ in range(self.events.count(self.requests)):
            what = self.dice.choice(["insert", "change", "finish"])
            if what == "insert":
                start_ms = self.window.start_ms + self.dice.randrange(self.window.length_ms)
                row = Row(start_ms, self.dice.randrange(1, 4), None, start_ms, self._draw_ltv())
                if row.key not in {other.key for other in self.rows}:
                    self.rows.append(row)
            elif self.rows:
                row = self.dice.choice(self.rows)
                row.ltvs.add(row.ltv)
                row.ltv = self._draw_ltv()
                row.moved_ms = max(row.moved_ms, self.now_ms)
                if what == "finish" and row.end_ms is None:
                    row.end_ms = row.moved_ms = max(self.now_ms, row.start_ms)
        self.always &= self._in_window()
        self.ever |= self._may_be_returned()

    def _closed_rows(self) -> list[dict[str, Any]]:
        """Return the closed units; their times are half a day off."""
        closed = []
        for group in self.states:
            if self._state(group) == "closed":
                starts = [row.start_ms for row in self.rows if row.group_id == group] or [BASE_MS]
                ends = [row.end_ms or row.start_ms for row in self.rows if row.group_id == group] or [BASE_MS]
                closed.append(
                    {
                        "groupId": group,
                        "createTime": min(starts) + HALF_A_DAY_MS,
                        "closeTime": max([*starts, *ends]) - HALF_A_DAY_MS,
                    }
                )
        return closed

    def _liquidation_rows(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        wanted = asked.get("groupId")
        return [
            {
                "groupId": row.group_id,
                "liquidationStartTime": row.start_ms,
                "liquidationEndTime": row.end_ms,
                "endLtv": row.ltv,
            }
            for row in self.rows
            if (row.group_id == wanted if wanted else self._state(row.group_id) == "active")
            and self._matches(row, asked["startTime"] + (not self.start_inclusive), asked["endTime"])
        ]

    def _spoil(self, rows: list[dict[str, Any]], asked: dict[str, Any]) -> list[dict[str, Any]]:
        """Return rows that cannot be the answer, where there are any to do so with."""
        if self.faulty == "another unit" and "groupId" not in asked:
            return rows
        if self.faulty == "another endpoint":  # only where the answer has other rows
            return rows
        if not rows:
            return rows
        self.was_faulty = True
        row = dict(self.dice.choice(rows))
        if self.faulty == "microseconds":
            row["liquidationStartTime"] *= 1000
        elif self.faulty == "later":
            row["liquidationStartTime"] = asked["endTime"] + 1
        else:
            row["groupId"] += 1000
        return [row]

    def _page(self, request: Request, rows: list[dict[str, Any]]) -> Response:
        asked: dict[str, Any] = dict(request.params)
        if self.faulty == "another endpoint" and not self.was_faulty and self.requests >= self.faulty_at:
            other = [{"groupId": 1, "createTime": 1, "closeTime": 2}]
            if request.path == CLOSED_RISK_UNITS.path:
                other = [{"groupId": 1, "liquidationStartTime": self.window.start_ms}]
            rows, self.was_faulty = other, True
        if self.order == "random":
            self.dice.shuffle(rows)
        else:
            rows.sort(key=lambda row: row.get("liquidationStartTime", 0), reverse=self.order == "newest")
        size = min(asked["size"], self.page_cap or PAGE_SIZE)
        first = (asked["current"] - 1) * size
        totals = {"rows": len(rows), "units": len({row["groupId"] for row in rows}), "zero": 0, "many": 4711}
        body: dict[str, Any] = {"rows": rows[first : first + size]}
        if self.total != "absent":
            body["total"] = totals[self.total]
        if self.was_faulty and not body["rows"]:
            body["rows"] = rows  # the fault is on the page that was asked for
        return Response(request, 200, {}, json.dumps(body).encode(), self.now_ms)

    def _refuse(self, request: Request) -> Response:
        response = Response(request, 400, {}, b"{}", self.now_ms)
        response.refusal = RequestRefusedError("Too long.", status=400, code=-1127)
        return response
