"""The reader: a window of a dataset is returned completely, each record once, at a known cost."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.reader import read_closed_units, read_window
from airflow_provider_binance_loan.binance.risk_units import RiskUnits, parse_risk_units
from airflow_provider_binance_loan.binance.time_range import DAY_MS as DAY
from airflow_provider_binance_loan.binance.time_range import TimeRange
from airflow_provider_binance_loan.exceptions import BadResponseError
from airflow_provider_binance_loan.sandbox.rows import write_json
from tests.support.descriptions import (
    ACTIVE_UNITS,
    BY_UNIT,
    CLOSED_UNITS,
    DESCRIBED,
    LIQUIDATIONS,
    NAMING_UNIT,
    TIMED,
    WINDOWED,
    Described,
    Event,
    Windowed,
)
from tests.support.ledger import LATER, NOW, Ledger, evenly
from tests.support.plans import PlanRunner

PAGE_SIZE = FORCE_LIQUIDATIONS.page_size


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250, 5000])
@pytest.mark.parametrize("described", WINDOWED, ids=str)
def test_reads_any_number_of_records(described: Windowed, count: int) -> None:
    """Every record of the window comes once, oldest first, whether it fits a page or not."""
    rows = evenly(count, NOW - 30 * DAY, NOW)
    assert Ledger(rows, described=described).read(NOW - 30 * DAY, NOW) == sorted(rows)


def test_one_request_reads_a_page() -> None:
    """A window that fits a page costs one request, one for the closed units, and in a pull one more."""
    ledger = Ledger(evenly(99, NOW - DAY, NOW))
    ledger.read(NOW - DAY, NOW, dataset=FORCE_LIQUIDATIONS.for_polls)
    paths = [FORCE_LIQUIDATIONS.path, CLOSED_RISK_UNITS.path]
    assert [request.path for request in ledger.requests] == paths
    ledger.read(NOW - DAY, NOW)
    assert [request.path for request in ledger.requests] == [*paths, *paths, FORCE_LIQUIDATIONS.path]
    assert ledger.requests[0].params == (
        ("startTime", NOW - DAY - 1),
        ("endTime", NOW),
        ("current", 1),
        ("size", PAGE_SIZE),
    )


@pytest.mark.parametrize("described", TIMED, ids=str)
def test_a_window_takes_its_start_and_leaves_its_end(described: Windowed) -> None:
    """A record at the start belongs to the window, one at the end to the next, though Binance sends both."""
    rows = [(NOW - 1, 1), (NOW, 1), (NOW + 1, 1), (NOW + DAY - 1, 1), (NOW + DAY, 1), (NOW + DAY + 1, 1)]
    assert Ledger(rows, described=described).read(NOW, NOW + DAY) == rows[1:4]


@pytest.mark.parametrize("described", WINDOWED, ids=str)
def test_a_record_between_two_spans_comes_once(described: Windowed) -> None:
    """A record where one span ends and the next begins is neither lost nor repeated."""
    span_ms = described.dataset.max_span_ms
    rows = [(NOW + edge, 1) for edge in (span_ms - 1, span_ms, span_ms + 1)]
    assert Ledger(rows, described=described).read(NOW, NOW + 3 * span_ms) == rows


@pytest.mark.parametrize("described", WINDOWED, ids=str)
def test_an_empty_span_does_not_end_the_read(described: Windowed) -> None:
    """Years without a record before the only one do not hide it."""
    rows = [(NOW - 1, 1)]
    assert Ledger(rows, described=described).read(NOW - 1000 * DAY, NOW) == rows


@pytest.mark.parametrize("described", WINDOWED, ids=str)
def test_many_records_at_one_time_all_come(described: Windowed) -> None:
    """More than a page of records within one millisecond is read by page number, completely."""
    rows = [(NOW + 5, group) for group in range(1, 351)] + evenly(50, NOW, NOW + DAY, 999)
    assert Ledger(rows, described=described).read(NOW, NOW + DAY) == sorted(rows)


class RunningLedger(Ledger):
    """A ledger whose records run until now, and which returns all that overlap with the requested span."""

    def answer(self, request: Request) -> Response:
        asked: dict[str, Any] = dict(request.params)
        if request.path == CLOSED_RISK_UNITS.path:
            return super().answer(request)
        self.requests.append(request)
        rows = [
            {"groupId": group, "liquidationStartTime": start}
            for start, group in self.rows
            if start <= asked["endTime"]
        ]
        first = (asked["current"] - 1) * asked["size"]
        body = {"total": len(rows), "rows": rows[first : first + asked["size"]]}
        return Response(request, 200, {}, json.dumps(body).encode(), LATER)


@pytest.mark.parametrize("max_concurrency", [1, 16])
def test_reads_wide_slices_where_cutting_is_no_use(max_concurrency: int) -> None:
    """More than a page of records that are in every slice are soon read by page number, a year at once."""
    rows = [(NOW - 60 * DAY + group, group) for group in range(1, 151)]
    ledger = RunningLedger(rows, max_concurrency=max_concurrency)
    assert ledger.read(NOW - 60 * DAY, NOW) == sorted(rows)
    assert len(ledger.requests) < 500


def test_sends_many_requests_at_once_where_records_are_dense() -> None:
    """A long read lets a driver have many requests under way, so that it takes few round trips."""
    ledger = Ledger(evenly(5000, NOW - 90 * DAY, NOW), max_concurrency=1000)
    ledger.read(NOW - 90 * DAY, NOW)
    assert 32 < ledger.runner.most_under_way <= 64


@pytest.mark.parametrize("described", BY_UNIT, ids=str)
def test_reads_closed_units_that_lived_in_the_window(described: Windowed) -> None:
    """A closed unit's records come too; one whose life does not touch the window is not asked for."""
    ledger = Ledger(
        rows=[(NOW + 1, 1), (NOW + 2, 7), (NOW + 3, 8)],
        closed={7: (NOW - DAY, NOW + 10), 8: (0, NOW - DAY - 1), 9: (NOW + 2 * DAY, NOW + 3 * DAY)},
        described=described,
    )
    assert ledger.read(NOW, NOW + DAY) == [(NOW + 1, 1), (NOW + 2, 7)]
    named = {dict(request.params).get("groupId") for request in ledger.requests}
    assert named - {1} == {None, 7}


@pytest.mark.parametrize(
    ("life", "asked"),
    [
        ((NOW - 2 * DAY, NOW), True),
        ((NOW - 2 * DAY, NOW - DAY), True),
        ((NOW - 2 * DAY, NOW - DAY - 1), False),
        ((NOW + 2 * DAY - 1, NOW + 3 * DAY), True),
        ((NOW + 2 * DAY, NOW + 3 * DAY), False),
        ((None, NOW), True),
        ((NOW - DAY, None), True),
        ((0, 0), True),
    ],
)
@pytest.mark.parametrize("described", BY_UNIT, ids=str)
def test_asks_for_closed_units_whose_life_touches_the_window(
    described: Windowed, life: Any, asked: bool
) -> None:
    """Its times count give or take a day, and a missing time counts as unbounded."""
    ledger = Ledger([(NOW, 7)], closed={7: life}, described=described)
    assert ledger.read(NOW, NOW + DAY) == ([(NOW, 7)] if asked else [])


@pytest.mark.parametrize(
    ("risk_units", "keys"),
    [("active", [(NOW + 1, 1)]), ((7,), [(NOW + 2, 7)]), ((7, 1), [(NOW + 1, 1), (NOW + 2, 7)])],
)
@pytest.mark.parametrize("described", BY_UNIT, ids=str)
def test_reads_the_units_that_are_named(
    described: Windowed, risk_units: RiskUnits, keys: list[tuple[int, int]]
) -> None:
    """`active` does without closed units; ids are read one by one, and nothing else is asked for."""
    ledger = Ledger([(NOW + 1, 1), (NOW + 2, 7)], closed={7: (0, NOW + 10)}, described=described)
    assert ledger.read(NOW, NOW + DAY, risk_units) == keys
    paths = {request.path for request in ledger.requests}
    if risk_units == "active":
        assert CLOSED_RISK_UNITS.path not in paths
    else:
        assert paths == {described.path}


@pytest.mark.parametrize("max_concurrency", [1, 16])
def test_reads_many_units_at_once(max_concurrency: int) -> None:
    """Many closed units are asked for as many at a time as the driver likes, each once."""
    closed = dict.fromkeys(range(100, 151), (0, NOW + DAY))
    rows = [(NOW + group, group) for group in closed]
    ledger = Ledger(rows, closed, max_concurrency=max_concurrency)
    assert ledger.read(NOW, NOW + DAY) == rows
    assert ledger.runner.most_under_way == max_concurrency
    assert len(ledger.requests) == 3 + len(closed)


def test_lists_more_than_a_page_of_closed_units() -> None:
    """A list of closed units that fills pages is read until two passes agree."""
    closed = dict.fromkeys(range(1, 251), (1, 2))
    ledger = Ledger([], closed)
    assert [unit["groupId"] for unit in ledger.runner.run(read_closed_units())] == list(closed)
    assert len(ledger.requests) == 8  # the last page has 50 rows, at which a server might cap it


@pytest.mark.parametrize("described", [one for one in WINDOWED if not one.has_copies], ids=str)
def test_refuses_records_that_cannot_be_told_apart(described: Windowed) -> None:
    """Two different records with one natural key in one answer are an error, as one would hide the other."""
    rows = [described.row(Event(NOW, 6, figure=figure, transfers_ms=[NOW])) for figure in ("1", "2")]
    name, value = described.dataset.key_fields[0], described.dataset.key(rows[0])[0]
    units: RiskUnits = "active" if described.dataset.by_risk_unit else "all"
    with pytest.raises(BadResponseError, match=f"two different records with {name} {value}"):
        ask([{"rows": rows}], units, described)
    assert ask([{"rows": [rows[0], rows[0]]}], units, described) == [NOW]  # the same twice is the same


def test_refuses_closed_units_that_cannot_be_told_apart() -> None:
    """Two different closed units with one natural key in one answer are an error as well."""
    rows = [{"groupId": 6, "creditEmail": email} for email in ("a@test.com", "b@test.com")]
    body = json.dumps({"total": 2, "rows": rows}).encode()
    runner = PlanRunner(lambda request: Response(request, 200, {}, body, LATER))
    with pytest.raises(BadResponseError, match="two different records with groupId 6"):
        runner.run(read_closed_units())


def test_reads_a_list_again_that_got_shorter_meanwhile() -> None:
    """A page that spoke of more rows, and a second one that is empty by then, show nothing for certain."""
    answers = iter([(1, 2, [7]), (2, 1, []), (1, 1, [8])])  # page asked for, total, units

    def answer(request: Request) -> Response:
        page, total, units = next(answers)
        assert dict(request.params)["current"] == page
        body = json.dumps(
            {"total": total, "rows": [{"groupId": unit, "createTime": 1} for unit in units]}
        ).encode()
        return Response(request, 200, {}, body, LATER)

    read = PlanRunner(answer).run(read_closed_units())
    assert [unit["groupId"] for unit in read] == [8]


def ask(
    answers: list[Any], risk_units: RiskUnits = "active", described: Windowed = LIQUIDATIONS
) -> list[Any]:
    """Return what a window gives whose requests are answered in turn, and the last one again and again."""
    remaining = iter(answers)
    last: list[Any] = []

    def answer(request: Request) -> Response:
        if request.path == RISK_UNIT_LTVS.path:
            return Response(request, 200, {}, b"[]", LATER)
        last[:] = [next(remaining, *last)]
        body = last[0]
        if dict(request.params).get("type", "BORROW") != "BORROW":
            body = {"rows": []}
        return Response(request, 200, {}, write_json(body), LATER)

    plans = read_window(described.dataset, TimeRange(NOW, NOW + 1000), risk_units)
    return [described.identity(record)[0] for plan in plans for record in PlanRunner(answer).run(plan)]


@pytest.mark.parametrize(
    "start_ms",
    [NOW + 1001, NOW * 1000, NOW // 1000, 1_483_228_799_999, 0],
    ids=["after the end", "microseconds", "seconds", "before 2017", "zero"],
)
@pytest.mark.parametrize("described", TIMED, ids=str)
def test_refuses_a_row_that_no_interpretation_explains(described: Windowed, start_ms: int) -> None:
    """A row that starts after the end that was sent, or before Binance opened, is not dropped in silence."""
    rows = [described.row(Event(start, 6)) for start in (NOW + 5, start_ms)]
    with pytest.raises(BadResponseError, match=rf"rows\[1\] starts at {start_ms}"):
        ask([described.payload(*rows)], described=described)


@pytest.mark.parametrize("start_ms", [1_483_228_800_000, NOW - 1, NOW + 999])
@pytest.mark.parametrize("described", TIMED, ids=str)
def test_keeps_a_row_that_starts_before_the_window(described: Windowed, start_ms: int) -> None:
    """Binance does not say by which time it selects, so an earlier start is no error."""
    assert ask([{"rows": [described.row(Event(start_ms, 6))]}], described=described) == [start_ms]


@pytest.mark.parametrize("described", NAMING_UNIT, ids=str)
def test_refuses_the_answer_to_another_question(described: Windowed) -> None:
    """Rows of another risk unit than was asked for were meant for another request."""
    rows = [described.row(Event(NOW, group)) for group in (9, 6)]
    with pytest.raises(BadResponseError, match=r"rows\[1\] is of risk unit 6, and 9 was asked for"):
        ask([{"rows": rows}], (9,), described)


# An active or closed risk unit needs one of few fields, some of which other rows about risk units have too.
OTHERS = [pair for pair in permutations(DESCRIBED, 2) if pair[0] not in (ACTIVE_UNITS, CLOSED_UNITS)]


@pytest.mark.parametrize(("described", "other"), OTHERS, ids=str)
def test_refuses_the_answer_of_another_endpoint(described: Described, other: Described) -> None:
    """The rows of one dataset lack what identifies those of another."""
    row = other.row(Event(NOW, 9, end_ms=NOW + 1, transfers_ms=[NOW]))
    payload = json.loads(write_json(described.payload(row)), parse_float=str)
    with pytest.raises(BadResponseError, match=r"is absent|so it is not of"):
        described.dataset.parse(payload)  # type: ignore[attr-defined]


def test_refuses_liquidations_in_place_of_closed_units() -> None:
    """All fields of a closed unit but its id are optional, and rows of another endpoint have none of them."""
    answer = {"total": 1, "rows": [{"groupId": 6, "liquidationStartTime": NOW}]}
    with pytest.raises(BadResponseError, match="not of closed_risk_units"):
        ask([answer, answer], "all")


@pytest.mark.parametrize("cap", [10, 20, 25, 50, 33])
@pytest.mark.parametrize("count", [49, 50, 75, 100, 480])
@pytest.mark.parametrize("described", WINDOWED, ids=str)
def test_reads_capped_pages_whatever_total_counts(described: Windowed, count: int, cap: int) -> None:
    """A server that caps its pages, at a usual size or once noticed at any, loses no row."""
    rows = evenly(count, NOW, NOW + DAY)
    ledger = Ledger(rows, page_cap=cap, total="units" if cap != 33 else "rows", described=described)
    assert ledger.read(NOW, NOW + DAY) == sorted(rows)


@pytest.mark.parametrize(
    ("value", "units"),
    [
        ("all", "all"),
        ("active", "active"),
        (6, (6,)),
        ("6", (6,)),
        (" 6, 7 ,6", (6, 7)),
        ([6, "7"], (6, 7)),
        ((6,), (6,)),
    ],
)
def test_takes_risk_units_in_each_form(value: Any, units: RiskUnits) -> None:
    """Risk units may be a word, an id, several ids, or a text of ids."""
    assert parse_risk_units(value) == units
