"""Time slicing under every interpretation of Binance's page, while its list changes: right, or an error.

A model of the list, with every open question as a setting, is read while records appear, finish and move and
units close between any two requests, with several requests under way and answers in any order. Pages are
small, so that small examples show what large ones would.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.pace import Pace
from airflow_provider_binance_loan.binance.part import Part, SpanLimit
from airflow_provider_binance_loan.binance.reader import ReadLimits, read_window
from airflow_provider_binance_loan.binance.slicing import Query, read_part
from airflow_provider_binance_loan.binance.time_range import TimeRange
from airflow_provider_binance_loan.exceptions import BinanceLoanError
from tests.support.plans import PlanRunner

SMALL_PAGE = 5
LIQUIDATIONS = replace(FORCE_LIQUIDATIONS, page_size=SMALL_PAGE, max_span_ms=900)
CLOSED_UNITS = replace(CLOSED_RISK_UNITS, page_size=SMALL_PAGE)
# The model's clock is exact, and moves by a few milliseconds with each request.
LIMITS = ReadLimits(rows_in_memory=40, clock_slack_ms=0)
BASE = 1_600_000_000_000
Key = tuple[int, int]


@dataclass
class Record:
    """A liquidation of the model: `moved_ms` is when it was last changed."""

    start_ms: int
    group_id: int
    end_ms: int | None
    moved_ms: int
    version: int = 0

    @property
    def key(self) -> Key:
        return self.start_ms, self.group_id


@dataclass
class Model:
    """Binance's list, and what was true of each record at every moment of a read."""

    records: list[Record]
    window: TimeRange
    filter_field: Literal["start", "end", "overlap", "update"] = "start"
    end_inclusive: bool = True
    start_inclusive: bool = True
    order: Literal["newest", "oldest", "random"] = "newest"
    total: Literal["rows", "units", "string", "zero", "absent", "many"] = "rows"
    page_cap: int | None = None
    closed: dict[int, int] = field(default_factory=dict)
    events: dict[int, list[tuple[str, int]]] = field(default_factory=dict)
    now_ms: int = BASE + 1500
    max_concurrency: int = 1
    answer_order: int | None = None
    requests: int = 0
    always: set[Key] = field(init=False)
    ever: set[Key] = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(7)
        self.always, self.ever = self.in_window(), self.may_be_returned()

    def matches(self, record: Record, start_ms: int, end_ms: int) -> bool:
        """Return whether Binance, under this interpretation, returns a record for a span."""
        last_ms = end_ms if self.end_inclusive else end_ms - 1
        match self.filter_field:
            case "start":
                return start_ms <= record.start_ms <= last_ms
            case "end":
                return record.end_ms is not None and start_ms <= record.end_ms <= last_ms
            case "overlap":
                return record.start_ms <= last_ms and (record.end_ms is None or record.end_ms >= start_ms)
            case "update":
                return start_ms <= record.moved_ms <= last_ms

    def in_window(self) -> set[Key]:
        """Return the keys of what belongs to the window by now."""
        return {
            record.key
            for record in self.records
            if self.matches(record, *self.window)
            and record.start_ms < self.window.end_ms
            # What starts just before the window is taken for the neighbour's, where the start is left out and
            # another time is selected by.
            and (self.start_inclusive or record.start_ms != self.window.start_ms - 1)
        }

    def may_be_returned(self) -> set[Key]:
        """Return the keys of what may be returned: also earlier records that Binance selects just before.

        A request starts a millisecond early. What starts in that millisecond belongs to another window, and
        what starts before it is kept, since nobody knows by which time it was selected.
        """
        start_ms, end_ms = self.window
        return {
            record.key
            for record in self.records
            if record.start_ms < end_ms
            and self.matches(record, start_ms - (record.start_ms < start_ms - 1), end_ms)
        }

    def happen(self) -> None:
        for what, number in self.events.pop(self.requests, []):
            record = self.records[number % len(self.records)] if self.records else None
            if what == "insert":
                start = self.window.start_ms + number % (self.window.end_ms - self.window.start_ms)
                group = 1 + number % 4
                if group not in self.closed and (start, group) not in {other.key for other in self.records}:
                    self.records.append(Record(start, group, None, start))
            elif record is None or record.group_id in self.closed:
                continue  # nothing happens to a unit that is closed
            elif what == "close":
                self.closed[record.group_id] = close(self.records, record.group_id, self.now_ms)
            elif what == "change":
                record.version += 1
                record.moved_ms = max(record.moved_ms, self.now_ms)
            elif what == "finish" and record.end_ms is None:
                record.end_ms = record.moved_ms = max(self.now_ms, record.start_ms)
        self.always &= self.in_window()
        self.ever |= self.may_be_returned()

    def answer(self, request: Request) -> Response:
        self.requests += 1
        self.now_ms += 3
        assert self.requests < 100_000, "the read does not end"
        self.happen()
        asked: dict[str, Any] = dict(request.params)
        rows: list[dict[str, Any]]
        if request.path == CLOSED_RISK_UNITS.path:
            rows = [{"groupId": group, "createTime": 1, "closeTime": at} for group, at in self.closed.items()]
        else:
            assert 0 < asked["endTime"] - asked["startTime"] <= 901
            group = asked.get("groupId")
            rows = [
                {
                    "groupId": record.group_id,
                    "liquidationStartTime": record.start_ms,
                    "liquidationEndTime": record.end_ms,
                    "version": record.version,
                }
                for record in self.records
                if (record.group_id == group if group else record.group_id not in self.closed)
                and self.matches(record, asked["startTime"] + (not self.start_inclusive), asked["endTime"])
            ]
            rows.sort(key=lambda row: row["liquidationStartTime"], reverse=self.order == "newest")
            if self.order == "random":
                self.random.shuffle(rows)
        size = min(asked["size"], self.page_cap or SMALL_PAGE)
        first = (asked["current"] - 1) * size
        body: dict[str, Any] = {"rows": rows[first : first + size]}
        counts = {
            "rows": len(rows),
            "units": len({row["groupId"] for row in rows}),
            "string": str(len(rows)),
            "zero": 0,
            "many": 4711,
        }
        if self.total != "absent":
            body["total"] = counts[self.total]
        return Response(request, 200, {}, json.dumps(body).encode(), self.now_ms)

    def read(self, risk_units: Any = "all") -> list[dict[str, Any]]:
        runner = PlanRunner(self.answer, self.max_concurrency, self.answer_order)
        plans = read_window(LIQUIDATIONS, self.window, risk_units, limits=LIMITS, closed_units=CLOSED_UNITS)
        return [record for plan in plans for record in runner.run(plan)]


def check(model: Model, risk_units: Any = "all", *, may_fail: bool, limits: ReadLimits = LIMITS) -> None:
    """Read the model, and compare with what was true of it."""
    try:
        found = model.read(risk_units)
    except BinanceLoanError as error:
        if not may_fail:
            raise
        event(f"error: {type(error).__name__}")
        return
    keys = [(record["liquidationStartTime"], record["groupId"]) for record in found]
    assert len(keys) == len(set(keys)), "a record was returned twice"
    assert model.always <= set(keys), f"missed {model.always - set(keys)}"
    assert set(keys) <= model.ever, f"invented {set(keys) - model.ever}"


def close(records: list[Record], group_id: int, at_ms: int) -> int:
    """End what runs in a unit, and return when it is closed: not before all that happened to it."""
    mine = [record for record in records if record.group_id == group_id]
    times = (time for record in mine for time in (record.start_ms, record.end_ms or 0, record.moved_ms))
    closed_ms = max(at_ms, *times, BASE)
    for record in mine:
        if record.end_ms is None:
            record.end_ms = record.moved_ms = closed_ms
    return closed_ms


@st.composite
def models(draw: st.DrawFn, *, moving: bool) -> Model:
    """Draw a list of records: spread, in bursts and in dense milliseconds, and a window over some of it."""
    shape = random.Random(draw(st.integers(0, 2**32)))
    width = draw(st.sampled_from([3, 50, 800, 3000]))
    keys: set[Key] = set()
    for _ in range(draw(st.integers(0, 3))):  # bursts, some of them within one millisecond
        at, breadth = shape.randrange(width), draw(st.sampled_from([1, 1, 20]))
        count, groups = draw(st.integers(1, 30)), draw(st.integers(1, 40))
        keys |= {(BASE + at + shape.randrange(breadth), 1 + shape.randrange(groups)) for _ in range(count)}
    keys |= {(BASE + shape.randrange(width), 1 + shape.randrange(4)) for _ in range(draw(st.integers(0, 60)))}
    records = []
    for start_ms, group_id in sorted(keys):
        end_ms = start_ms + shape.choice([0, 1, 40, 700]) if shape.random() < 0.8 else None
        records.append(Record(start_ms, group_id, end_ms, end_ms or start_ms))
    shape.shuffle(records)
    first = draw(st.integers(0, width // 3))
    window = TimeRange(BASE + first, BASE + first + draw(st.integers(1, width)))
    closed = {
        group: close(records, group, BASE + draw(st.integers(0, width)))
        for group in draw(st.sets(st.integers(1, 4), max_size=2))
    }
    events: dict[int, list[tuple[str, int]]] = {}
    if moving:
        kinds = st.sampled_from(["insert", "close", "change", "finish"])
        for number in draw(st.lists(st.integers(1, 30), max_size=8)):
            events.setdefault(number, []).append((draw(kinds), draw(st.integers(0, 2**16))))
    return Model(
        records,
        window,
        filter_field=draw(st.sampled_from(["start", "end", "overlap", "update"])),
        end_inclusive=draw(st.booleans()),
        start_inclusive=draw(st.booleans()),
        order=draw(st.sampled_from(["newest", "oldest", "random"])),
        total=draw(st.sampled_from(["rows", "units", "string", "zero", "absent", "many"])),
        closed=closed,
        events=events,
        now_ms=BASE + draw(st.sampled_from([0, width // 2, 10_000])),
        max_concurrency=draw(st.sampled_from([1, 2, 16])),
        answer_order=draw(st.none() | st.integers(0, 2**16)),
    )


RIGOROUS = settings(max_examples=400, suppress_health_check=list(HealthCheck))


@RIGOROUS
@given(models(moving=False))
def test_a_list_that_stands_still_is_read_exactly(model: Model) -> None:
    """Whatever Binance filters on, counts and sorts by, the window's records are returned, each once."""
    # Only rows that cannot be cut apart and come in another order each time may be given up.
    check(model, may_fail=model.order == "random" or model.window.end_ms > model.now_ms)
    assert model.filter_field != "start" or model.always == model.ever


@RIGOROUS
@given(models(moving=True))
def test_a_list_that_moves_is_read_exactly(model: Model) -> None:
    """Whatever happens between two requests, a record that was always there is returned exactly once."""
    check(model, may_fail=True)


@RIGOROUS
@given(models(moving=True), st.sampled_from([1, 2, 3, 4]))
def test_a_server_that_caps_its_pages_is_noticed(model: Model, cap: int) -> None:
    """Fewer rows than asked for do not pass for all of them, where `total` tells."""
    model.page_cap = cap
    model.total = "rows"
    check(model, may_fail=True)


@RIGOROUS
@given(models(moving=True), st.sets(st.integers(1, 6), min_size=1))
def test_named_units_are_read_exactly(model: Model, ids: set[int]) -> None:
    """The units that are named, and no others, are read whether they are active, close, or never were."""
    model.records = [record for record in model.records if record.group_id in ids]
    model.__post_init__()
    for happening in model.events.values():
        happening[:] = [item for item in happening if item[0] != "insert"]
    check(model, tuple(ids), may_fail=True)


@pytest.mark.parametrize("first", range(1, 16))
@pytest.mark.parametrize("second", range(1, 31))
def test_a_record_that_moves_to_the_present_is_read_again(first: int, second: int) -> None:
    """A record that moves from what is not yet read to what is, once or twice, does not slip past."""
    old = [Record(BASE + 40 * number, 1, None, BASE + 40 * number) for number in range(20)]
    newest = [Record(BASE + 1040 + number, 2, None, BASE + 1040 + number) for number in range(12)]
    events: dict[int, list[tuple[str, int]]] = {first: [("change", 0)]}
    events.setdefault(second, []).append(("change", 0))
    model = Model(
        old + newest,
        TimeRange(BASE, BASE + 5000),
        filter_field="update",
        events=events,
        now_ms=BASE + 1000,
    )
    check(model, may_fail=False)
    assert old[0].key in model.always


@pytest.mark.parametrize("moves", [1, 99])
def test_a_record_that_moves_within_a_round_is_read_again(moves: int) -> None:
    """One round may hold several slices, and a record may move from the last of them to the first.

    What it moved past began with the earliest request of the round, and not with the last one.
    """
    record = {"groupId": 1, "liquidationStartTime": BASE + 50}
    now_ms, updated_ms = BASE + 350, BASE + 50
    pace = Pace(400)
    pace.width_ms, pace.slices = 100, 4

    def answer(request: Request) -> Response:
        nonlocal now_ms, updated_ms, moves
        asked: dict[str, Any] = dict(request.params)
        rows = [record] if asked["startTime"] <= updated_ms < asked["endTime"] else []
        now_ms += 5
        if moves:
            updated_ms, moves = now_ms, moves - 1  # once the slice of the present is answered
        return Response(request, 200, {}, json.dumps({"rows": rows}).encode(), now_ms - 5)

    part = Part(LIQUIDATIONS, TimeRange(BASE, BASE + 400))
    query = Query(LIQUIDATIONS, set(), SpanLimit(LIQUIDATIONS, {}), BASE, clock_slack_ms=0)
    PlanRunner(answer, max_concurrency=4).run(read_part(query, part, pace))
    assert list(part.found.values()) == [LIQUIDATIONS.parse({"rows": [record]}).rows[0]]


def test_a_capped_page_beside_a_closing_unit_is_noticed() -> None:
    """The second page is empty because the list got shorter, which does not show the first to be complete."""
    records = [Record(BASE + 10, 2, BASE + 11, BASE + 11), Record(BASE + 20, 1, BASE + 21, BASE + 21)]
    model = Model(
        records, TimeRange(BASE, BASE + 100), page_cap=1, events={2: [("close", 1)]}, now_ms=BASE + 500
    )
    check(model, may_fail=False)
    assert model.always == {records[0].key, records[1].key}
