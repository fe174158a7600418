"""A hostile Binance for the reading core: everything that its page leaves open, drawn at random, and faults.

A schedule is drawn from a seed, for any dataset: what times select, which ends are included, how rows are
sorted and counted, how pages are capped, how long a span may be; units that close, open again, or are in
neither list for a while; records that are inserted, change, grow and finish between two requests; and now and
then an answer in microseconds, or one to another question. A read of it must return every record that was
there throughout, once and digit for digit, or raise an error.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS
from airflow_provider_binance_loan.binance.fields import Record
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.reader import ReadLimits, read_window
from airflow_provider_binance_loan.binance.time_range import DAY_MS, TimeRange
from airflow_provider_binance_loan.exceptions import BadResponseError, BinanceLoanError, RequestRefusedError
from airflow_provider_binance_loan.sandbox.rows import write_json
from tests.support.descriptions import LIQUIDATIONS, Event, Identity, Windowed
from tests.support.plans import PlanRunner

PAGE_SIZE = 30
CLOSED_UNITS = replace(CLOSED_RISK_UNITS, page_size=PAGE_SIZE)
BASE_MS = 1_600_000_000_000
HALF_A_DAY_MS = DAY_MS // 2
STATES = ("active", "closed", "neither")


class Hostile:
    """A schedule, and what was true of it at every moment of a read.

    :param seed: what it is drawn from.
    :param described: the dataset.
    """

    def __init__(self, seed: int, described: Windowed = LIQUIDATIONS) -> None:
        self.dice = dice = random.Random(seed)
        self.described = described
        self.selection = dice.choice(list(described.selections))
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
        # What each record was at any time, without what tells copies apart.
        self.figures: defaultdict[Identity, set[str]] = defaultdict(set)
        # Which list each unit is in, by the number of the request from which on it is there.
        self.states = {unit: self._draw_states() for unit in {row.unit for row in self.rows} | {1, 2, 3}}
        if described.dataset.by_risk_unit and dice.random() < 0.2:
            self.risk_units = tuple(sorted(self.states))
        self.shows_ltvs = dice.random() < 0.7
        self.events = [dice.randrange(1, 60) for _ in range(dice.choice([0, 0, 2, 8]))]
        self.faulty = dice.choice([*[None] * 6, *self._faults()])
        self.faulty_at = dice.randrange(1, 12)
        self.was_faulty = False
        self.requests = 0
        # Which answers have every documented field: those are parsed by the typed parser.
        self.whole = random.Random(seed)
        # For each part of the window: which units the lists that were read for it showed, all the time.
        self.shown: list[dict[str, set[int]]] = []
        self.always, self.ever = self._in_window(), self._may_be_returned()
        self._note_figures()

    def read(self) -> list[Record]:
        """Return the records of the window, as a client reads them."""
        runner = PlanRunner(self.answer, self.dice.choice([1, 2, 16]), self.dice.randrange(2**16))
        plans = read_window(
            replace(self.described.dataset, page_size=PAGE_SIZE),
            self.window,
            self.risk_units,
            # The clock of a schedule is exact, and moves with each request.
            limits=ReadLimits(rows_in_memory=self.rows_in_memory, clock_slack_ms=0),
            closed_units=CLOSED_UNITS,
        )
        records: list[Record] = []
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
        if request.path == RISK_UNIT_LTVS.path:
            units = [unit for unit in self.states if self._state(unit) == "active"]
            ltvs = [{"groupId": unit, "ltv": "0.5"} for unit in units]
            return self._respond(request, ltvs) if self.shows_ltvs else self._refuse(request)
        if request.path == CLOSED_RISK_UNITS.path:
            self._see("closed")
            return self._page(request, self._closed_rows())
        span_ms = asked["endTime"] - asked["startTime"]
        if self.max_days is not None and span_ms > self.max_days * DAY_MS:
            return self._refuse(request)
        if "groupId" not in asked:
            self._see("active again" if "closed" in self.shown[-1] else "active")
        events = self._events(asked)
        if self.requests >= self.faulty_at and self.faulty and not self.was_faulty:
            events = self._spoil(events, asked)
        row = self.whole.choice([self.described.row, self.described.documented_row])
        return self._page(request, [row(event) for event in events])

    def check(self) -> str:
        """Read it, and compare with what was true; return how the read ended."""
        try:
            found = self.read()
        except BinanceLoanError as error:
            if self.was_faulty != isinstance(error, BadResponseError):
                raise AssertionError(error) from error
            return type(error).__name__
        assert not self.was_faulty, f"an answer with a fault was taken: {self.faulty}"
        keys = Counter(map(self.described.identity, found))
        assert max(keys.values(), default=1) == 1, "a record was returned twice"
        must = {key for key in self.always if self._was_shown(key[1])}
        assert must <= keys.keys(), f"missed {must - keys.keys()}"
        assert keys.keys() <= self.ever, f"invented {keys.keys() - self.ever}"
        figures: defaultdict[Identity, set[str]] = defaultdict(set)
        for record in found:
            key = (*self.described.identity(record)[:3], 0)
            figures[key].add(str(self.described.figures(record)))
            assert figures[key] <= self.figures[key], "a digit was altered"
        if not self.events:
            copied = {(*key[:3], 0) for key in must}
            assert all(figures[key] == self.figures[key] for key in copied), "a copy hid another one"
        return "records"

    def _faults(self) -> list[str]:
        """Return the faults of an answer that a row of the dataset shows."""
        faults = ["another endpoint"]
        if self.described.names_unit:
            faults.append("another unit")
        if self.described.has_time:
            faults += ["microseconds", "later"]
        return faults

    def _draw_rows(self) -> list[Event]:
        dice, width_ms = self.dice, self.window.length_ms + DAY_MS
        starts: set[tuple[int, int]] = set()
        for _ in range(dice.choice([0, 1, 2])):  # bursts, some of them within one millisecond
            at, breadth = dice.randrange(width_ms), dice.choice([1, 1, 1000])
            for unit in range(1, dice.choice([5, 20, 80])):
                starts.add((self.window.start_ms + at + dice.randrange(breadth), unit))
        for _ in range(dice.choice([0, 5, 40, 150])):
            starts.add(
                (self.window.start_ms - HALF_A_DAY_MS + dice.randrange(width_ms), dice.randrange(1, 5))
            )
        for edge in (self.window.start_ms, self.window.end_ms):
            for off in (-1, 0, 1):
                if dice.random() < 0.3:
                    starts.add((edge + off, dice.randrange(1, 5)))
        rows = []
        for start_ms, unit in sorted(starts):
            parts = self.described.parts
            for part in dice.sample(range(parts), dice.randrange(1, parts + 1)) if parts > 1 else [0]:
                rows += self._draw_events(start_ms, unit, part)
        return rows

    def _draw_events(self, start_ms: int, unit: int, part: int) -> list[Event]:
        """Return an event, and now and then copies of it: the same once more, or with another figure."""
        dice = self.dice
        end_ms = start_ms + dice.choice([0, 1, 40, DAY_MS]) if dice.random() < 0.8 else None
        times = [start_ms + dice.choice([1, 40, DAY_MS]) for _ in range(dice.choice([0, 1, 3]))]
        event = Event(start_ms, unit, part, 0, end_ms, end_ms or 0, self._draw_figure(), sorted(times))
        copies = [event]
        # By their start alone, copies are always in the same answers.
        if self.described.has_copies and self.selection == "start":
            for copy in range(1, dice.choice([1, 1, 1, 1, 3])):
                copies.append(replace(event, copy=copy))
                if dice.random() < 0.5:
                    copies[-1].figure = self._draw_figure()
        return copies

    def _draw_figure(self) -> str:
        return f"0.{self.dice.randrange(10**18):018d}"

    def _draw_states(self) -> list[tuple[int, str]]:
        """Return a unit's states: most units stay where they are, some move once or twice."""
        dice = self.dice
        moves = dice.choice([0, 0, 0, 1, 2])
        times = [0, *sorted(dice.randrange(1, 12) for _ in range(moves))]
        return [(at, dice.choice(STATES if moves else STATES[:2])) for at in times]

    def _state(self, unit: int) -> str:
        return next(state for at, state in reversed(self.states[unit]) if at <= self.requests)

    def _see(self, reading: str) -> None:
        """Note which units a list shows; one that it does not show at each request counts as not shown."""
        listed = {unit for unit in self.states if self._state(unit) == reading.partition(" ")[0]}
        self.shown[-1][reading] = self.shown[-1].get(reading, listed) & listed

    def _was_shown(self, unit: int) -> bool:
        """Return whether one reading of a list showed a unit; if none did, it moved faster than a pull."""
        if self.risk_units != "all" or not self.described.dataset.by_risk_unit:
            return True
        return all(unit in set().union(*readings.values()) for readings in self.shown)

    def _matches(self, event: Event, start_ms: int, end_ms: int) -> bool:
        last_ms = end_ms if self.end_inclusive else end_ms - 1
        return self.described.selections[self.selection](event, start_ms, last_ms)

    def _is_within(self, event: Event) -> bool:
        """Return whether an event is before the end of the window, as far as its row says when it was."""
        return not self.described.has_time or event.start_ms < self.window.end_ms

    def _in_window(self) -> set[Identity]:
        start_ms, end_ms = self.window
        return {
            event.identity
            for event in self.rows
            if self._matches(event, start_ms, end_ms)
            and self._is_within(event)
            # taken for the neighbour's
            and (self.start_inclusive or not self.described.has_time or event.start_ms != start_ms - 1)
        }

    def _may_be_returned(self) -> set[Identity]:
        start_ms, end_ms = self.window

        def first_ms(event: Event) -> int:
            return start_ms - (not self.described.has_time or event.start_ms < start_ms - 1)

        return {
            event.identity
            for event in self.rows
            if self._is_within(event) and self._matches(event, first_ms(event), end_ms)
        }

    def _note_figures(self) -> None:
        for event in self.rows:
            figures = [event.figure] * len(self.described.figures(self.described.row(event)))
            self.figures[(*event.identity[:3], 0)].add(str(figures))

    def _happen(self) -> None:
        count = self.events.count(self.requests)
        for _ in range(count):
            what = self.dice.choice(["insert", "change", "finish"])
            if what == "insert":
                start_ms = self.window.start_ms + self.dice.randrange(self.window.length_ms)
                unit, part = self.dice.randrange(1, 4), self.dice.randrange(self.described.parts)
                event = Event(start_ms, unit, part, figure=self._draw_figure())
                if event.identity not in {other.identity for other in self.rows}:
                    self.rows.append(event)
            elif self.rows:
                event = self.dice.choice(self.rows)
                event.figure = self._draw_figure()
                event.moved_ms = max(event.moved_ms, self.now_ms)
                event.transfers_ms.append(event.moved_ms)
                if what == "finish" and event.end_ms is None:
                    event.end_ms = event.moved_ms = max(self.now_ms, event.start_ms)
        if count:
            self._note_figures()
            self.always &= self._in_window()
            self.ever |= self._may_be_returned()

    def _closed_rows(self) -> list[Record]:
        """Return the closed units; their times are half a day off, and nothing happened to one after it."""
        closed = []
        for unit in self.states:
            if self._state(unit) == "closed":
                mine = [row for row in self.rows if row.unit == unit] or [Event(BASE_MS, unit)]
                last_ms = max(max(row.start_ms, row.end_ms or 0, row.moved_ms) for row in mine)
                closed.append(
                    {
                        "groupId": unit,
                        "createTime": min(row.start_ms for row in mine) + HALF_A_DAY_MS,
                        "closeTime": last_ms - HALF_A_DAY_MS,
                    }
                )
        return closed

    def _events(self, asked: dict[str, Any]) -> list[Event]:
        """Return the events that a request asks for, in the order of the answer."""
        first_ms, end_ms = asked["startTime"] + (not self.start_inclusive), asked["endTime"]
        active = {unit for unit in self.states if self._state(unit) == "active"}
        found = [
            event
            for event in self.rows
            if self._matches(event, first_ms, end_ms)
            and self.described.is_asked_for(event, asked, is_active=event.unit in active)
        ]
        if self.order == "random":
            self.dice.shuffle(found)
        else:
            found.sort(key=lambda event: event.start_ms, reverse=self.order == "newest")
        return found

    def _spoil(self, events: list[Event], asked: dict[str, Any]) -> list[Event]:
        """Return events that cannot be the answer, where there are any to do so with."""
        if self.faulty == "another unit" and "groupId" not in asked:
            return events
        if self.faulty == "another endpoint":  # only where the answer has other rows
            return events
        if not events:
            return events
        self.was_faulty = True
        event = self.dice.choice(events)
        if self.faulty == "microseconds":
            return [replace(event, start_ms=event.start_ms * 1000)]
        if self.faulty == "later":
            return [replace(event, start_ms=asked["endTime"] + 1)]
        return [replace(event, unit=event.unit + 1000)]

    def _page(self, request: Request, rows: list[Record]) -> Response:
        asked: dict[str, Any] = dict(request.params)
        if self.faulty == "another endpoint" and not self.was_faulty and self.requests >= self.faulty_at:
            rows, self.was_faulty = [{"groupId": 1, "createTime": 1, "closeTime": 2}], True
            if request.path == CLOSED_RISK_UNITS.path:
                rows = [self.described.row(Event(self.window.start_ms, 1))]
        size = min(asked["size"], self.page_cap or PAGE_SIZE)
        first = (asked["current"] - 1) * size
        units = {row.get("groupId", row.get("tranId")) for row in rows}
        totals = {"rows": len(rows), "units": len(units), "zero": 0, "many": 4711}
        body: dict[str, Any] = {"rows": rows[first : first + size]}
        if self.total != "absent":
            body["total"] = totals[self.total]
        if self.was_faulty and not body["rows"]:
            body["rows"] = rows  # the fault is on the page that was asked for
        return self._respond(request, body)

    def _respond(self, request: Request, body: Any) -> Response:
        return Response(request, 200, {}, write_json(body), self.now_ms)

    def _refuse(self, request: Request) -> Response:
        response = Response(request, 400, {}, b"{}", self.now_ms)
        response.refusal = RequestRefusedError("Too long.", status=400, code=-1127)
        return response
