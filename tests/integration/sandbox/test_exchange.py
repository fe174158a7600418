"""The model of the sandbox: its history, its rows, and its interpretations of Binance's page. No HTTP."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_binance_loan.sandbox.exchange import (
    HISTORY_START_MS,
    HOUR_MS,
    LOGGED_REQUESTS,
    Behaviour,
    Exchange,
    LoggedRequest,
    number,
    write_json,
)

DAY_MS = 24 * HOUR_MS
NOW_MS = 1_775_000_000_000  # 2026-03-31T23:33:20Z
CLOSED = [3, 8, 11]

EXAMPLE = (
    '{"groupId":6,"startLtv":1,"endLtv":0,"liquidationStartTime":1748381716906,'
    '"liquidationEndTime":1748525848742,"totalNetEquity":16671.5507973,"totalMaintenanceMargin":0,'
    '"totalLiability":16667.926,"liquidationSnapshot":{"snapshots":['
    '{"subEmail":"1000255973134@test.com","memberType":"CREDIT","walletType":"PORTFOLIO_MARGIN",'
    '"netEquity":"12671.05079731","maintainMargin":"0E-8"},'
    '{"subEmail":"1000255973134@test.com","memberType":"CREDIT","walletType":"SPOT",'
    '"netEquity":"0E-8","maintainMargin":"0E-8"},'
    '{"subEmail":"1000255973138@test.com","memberType":"COLLATERAL","walletType":"PORTFOLIO_MARGIN",'
    '"netEquity":"1000.25333000","maintainMargin":"0E-8"},'
    '{"subEmail":"1000255973137@test.com","memberType":"COLLATERAL","walletType":"PORTFOLIO_MARGIN",'
    '"netEquity":"1000.24667000","maintainMargin":"0E-8"},'
    '{"subEmail":"1000255973135@test.com","memberType":"COLLATERAL","walletType":"CROSS_MARGIN",'
    '"netEquity":"1000.00000000","maintainMargin":"0E-8"},'
    '{"subEmail":"1000255973136@test.com","memberType":"COLLATERAL","walletType":"CROSS_MARGIN",'
    '"netEquity":"1000.00000000","maintainMargin":"0E-8"}],'
    '"liabilities":{"assetName":"USDT","principal":"11667.92600000","interest":"5000.00000000"}}}'
)


@dataclass
class Clock:
    """A clock that stands still unless a test moves it."""

    now_ms: int = NOW_MS

    def __call__(self) -> float:
        """Return epoch seconds, as `time.time` does."""
        return self.now_ms / 1000


def empty(clock: Clock | None = None, **behaviour: Any) -> Exchange:
    """Return an exchange with the units 1 and 2 and without liquidations."""
    exchange = Exchange(clock=clock or Clock(), behaviour=Behaviour(**behaviour), history=False)
    exchange.add_unit(1)
    exchange.add_unit(2)
    return exchange


def starts(page: dict[str, Any]) -> list[int]:
    """Return the start times of a page."""
    return [row["liquidationStartTime"] for row in page["rows"]]


def amounts(row: dict[str, Any]) -> list[str]:
    """Return the top-level amounts of a row, without the marks of numbers."""
    names = ("startLtv", "endLtv", "totalNetEquity", "totalMaintenanceMargin", "totalLiability")
    return [row[name].strip("\0") for name in names]


@pytest.fixture(scope="module")
def history() -> Exchange:
    """An exchange with the history of seed 1, for tests that only read it."""
    return Exchange(clock=Clock())


# --- history


def test_the_history_does_not_depend_on_the_start() -> None:
    """An exchange that runs for months has the same history as one that starts afterwards."""
    clock = Clock(HISTORY_START_MS + 5 * HOUR_MS // 2)
    early = Exchange(clock=clock)
    assert len(early.liquidations()) < 10
    for clock.now_ms in (HISTORY_START_MS + 40 * DAY_MS, HISTORY_START_MS + 41 * DAY_MS + 1, NOW_MS):
        early.liquidations()
    assert early.liquidations() == Exchange(clock=Clock()).liquidations()


def test_another_seed_has_another_history(history: Exchange) -> None:
    """The histories of two seeds have the documented example in common, and next to nothing else."""
    first = {(one.group_id, one.start_ms) for one in history.liquidations()}
    other = {(one.group_id, one.start_ms) for one in Exchange(seed=2, clock=Clock()).liquidations()}
    assert (6, 1_748_381_716_906) in first & other
    assert len(first & other) < len(first) / 100


def test_history_has_about_two_liquidations_an_hour(history: Exchange) -> None:
    """As many liquidations start in each month as make one to three an hour."""
    starts_ms = [one.start_ms for one in history.liquidations()[1:]]
    for month_ms in range(HISTORY_START_MS, NOW_MS - 30 * DAY_MS, 30 * DAY_MS):
        count = sum(month_ms <= start_ms < month_ms + 30 * DAY_MS for start_ms in starts_ms)
        assert 1 < count / (30 * 24) < 3


def test_history_is_varied(history: Exchange) -> None:
    """Keys are unique, some liquidations start in the same millisecond, and durations vary widely."""
    generated = history.liquidations()[1:]
    durations = [one.end_ms - one.start_ms for one in generated if one.end_ms is not None]
    assert len({(one.group_id, one.start_ms) for one in generated}) == len(generated) == len(durations)
    assert len({one.start_ms for one in generated}) < len(generated)
    assert max(durations) > 38 * HOUR_MS
    assert min(durations) < HOUR_MS // 10
    assert {one.group_id for one in generated} == set(range(1, 13))


def test_history_is_in_order(history: Exchange) -> None:
    """The exchange lists liquidations oldest first, and its pages have them newest first."""
    listed_ms = [one.start_ms for one in history.liquidations()]
    assert listed_ms == sorted(listed_ms)
    paged_ms = starts(history.force_liquidations(NOW_MS - 20 * DAY_MS, NOW_MS, size=100))
    assert len(paged_ms) == 100
    assert paged_ms == sorted(paged_ms, reverse=True)


def test_liquidations_lie_within_the_life_of_their_unit(history: Exchange) -> None:
    """No liquidation starts before its unit is created, or ends after it is closed."""
    units = {unit["groupId"]: unit for unit in history.state()["units"]}
    assert sorted(group_id for group_id, unit in units.items() if not unit["active"]) == CLOSED
    for one in history.liquidations():
        assert units[one.group_id]["createTime"] <= one.start_ms
        if one.group_id in CLOSED:
            assert one.end_ms is not None
            assert one.end_ms <= units[one.group_id]["closeTime"]


def test_a_liquidation_is_listed_from_its_start() -> None:
    """A liquidation is absent one millisecond before its start, and listed from its start on."""
    clock = Clock()
    last = Exchange(clock=clock).liquidations()[-1]
    clock.now_ms = last.start_ms - 1
    exchange = Exchange(clock=clock)
    assert last not in exchange.liquidations()
    assert last.start_ms not in starts(exchange.force_liquidations(0, 2 * NOW_MS))
    clock.now_ms += 1
    assert exchange.liquidations()[-1] == last
    assert last.start_ms in starts(exchange.force_liquidations(0, 2 * NOW_MS, last.group_id))


def test_an_exchange_without_history_is_empty() -> None:
    """Without history, there is an API key, but no unit and no liquidation."""
    exchange = Exchange(clock=Clock(), history=False)
    assert exchange.liquidations() == exchange.state()["units"] == []
    assert len(exchange.keys) == 1


# --- rows


def test_the_documented_example_is_returned_verbatim(history: Exchange) -> None:
    """The example of Binance's page is returned character for character, apart from whitespace."""
    page = history.force_liquidations(1_748_000_000_000, 1_749_000_000_000, 6)
    assert write_json(page).decode() == '{"total":1,"rows":[' + EXAMPLE + "]}"


@pytest.mark.parametrize(
    "text",
    ["0", "1", "16671.5507973", "0E-8", "98765432109.12345678", "-0.10", "123456789012345678901234567890"],
)
def test_numbers_are_written_digit_for_digit(text: str) -> None:
    """A marked text becomes a JSON number with the same digits; an unmarked one stays a string."""
    assert write_json({"a": number(text), "b": text, "c": [number(text)]}).decode() == (
        f'{{"a":{text},"b":"{text}","c":[{text}]}}'
    )


def test_rows_have_both_documented_forms(history: Exchange) -> None:
    """Totals are numbers or strings, liabilities an object or a list; some amounts do not fit a float."""
    text = write_json(history.force_liquidations(NOW_MS - 7 * DAY_MS, NOW_MS, size=100)).decode()
    rows = json.loads(text, parse_float=Decimal)["rows"]
    assert {type(row["totalLiability"]) for row in rows} == {Decimal, str}
    liabilities = [row["liquidationSnapshot"]["liabilities"] for row in rows]
    assert {type(each) for each in liabilities} == {dict, list}
    assert {len(each) for each in liabilities if isinstance(each, list)} == {1, 2}
    assert '"0E-8"' in text
    assert any(Decimal(float(row["totalLiability"])) != Decimal(row["totalLiability"]) for row in rows)


def test_totals_are_the_sums_of_their_parts(history: Exchange) -> None:
    """The totals of a row equal the sums of its parts, to the last digit."""
    for one in history.liquidations()[1:200]:
        row = history.row(one)
        wallets = row["liquidationSnapshot"]["snapshots"]
        loans = row["liquidationSnapshot"]["liabilities"]
        _, _, equity, margin, owed = map(Decimal, amounts(row))
        assert equity == sum(Decimal(wallet["netEquity"]) for wallet in wallets)
        assert margin == sum(Decimal(wallet["maintainMargin"]) for wallet in wallets)
        assert owed == sum(
            Decimal(loan["principal"]) + Decimal(loan["interest"])
            for loan in ([loans] if isinstance(loans, dict) else loans)
        )


@pytest.mark.parametrize(("running_end", "expected"), [("null", None), ("zero", 0), ("absent", "absent")])
def test_a_running_liquidation_has_no_end_and_another_ltv(running_end: str, expected: object) -> None:
    """A liquidation gets its end time when it ends; its LTV changes until then, and the rest of it never."""
    clock = Clock()
    exchange = empty(clock, running_end=running_end)
    one = exchange.add_liquidation(1, NOW_MS - 5, NOW_MS + 5)
    running = exchange.row(one)
    assert running.get("liquidationEndTime", "absent") == expected
    assert exchange.row(one) == running
    clock.now_ms += 5
    ended = exchange.row(one)
    assert ended["liquidationEndTime"] == NOW_MS + 5
    assert amounts(ended)[1] != amounts(running)[1]
    latest = {"endLtv", "liquidationEndTime"}
    assert {name: ended[name] for name in ended.keys() - latest} == {
        name: running[name] for name in running.keys() - latest
    }


def test_given_fields_replace_generated_ones() -> None:
    """A field that a test gives, known or unknown, is written as given."""
    exchange = empty()
    one = exchange.add_liquidation(1, 1, 2, totalLiability=number("1.50"), endLtv="0.1", isNew=[True, None])
    text = write_json(exchange.row(one)).decode()
    assert '"totalLiability":1.50,' in text
    assert '"endLtv":"0.1",' in text
    assert text.endswith(',"isNew":[true,null]}')


@pytest.mark.parametrize(
    ("shape", "expected"),
    [("object", {dict}), ("list", {list}), ("null", {type(None)}), ("mixed", {dict, list, type(None)})],
)
def test_the_snapshot_takes_each_shape(shape: str, expected: set[type]) -> None:
    """The snapshot is an object, a list of one object, null, or each of these in turn."""
    exchange = empty(snapshot_shape=shape)
    rows = [exchange.row(exchange.add_liquidation(1, start_ms, start_ms)) for start_ms in range(1, 30)]
    assert {type(row["liquidationSnapshot"]) for row in rows} == expected
    lists = [row["liquidationSnapshot"] for row in rows if isinstance(row["liquidationSnapshot"], list)]
    assert all(len(each) == 1 and each[0]["snapshots"] for each in lists)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("object", {(dict, 1), (list, 2)}),
        ("list", {(list, 1), (list, 2)}),
        ("null", {(type(None), 0)}),
        ("mixed", {(dict, 1), (list, 1), (list, 2)}),
    ],
)
def test_liabilities_take_each_shape(shape: str, expected: set[tuple[type, int]]) -> None:
    """Liabilities are a list, null, or an object; several liabilities are always a list."""
    exchange = empty(liabilities_shape=shape)
    seen = set()
    for start_ms in range(1, 60):
        row = exchange.row(exchange.add_liquidation(1, start_ms, start_ms))
        liabilities = row["liquidationSnapshot"]["liabilities"]
        seen.add((type(liabilities), 1 if isinstance(liabilities, dict) else len(liabilities or [])))
    assert seen == expected


# --- lists and pages


def with_five_liquidations(**behaviour: Any) -> Exchange:
    """Return an exchange with five liquidations, of which the one that starts at 400 is running."""
    exchange = empty(**behaviour)
    for group_id, start_ms, end_ms in ((1, 100, 350), (2, 200, 200), (1, 300, 900), (2, 500, 600)):
        exchange.add_liquidation(group_id, start_ms, end_ms)
    exchange.add_liquidation(1, 400)
    return exchange


@pytest.mark.parametrize(
    ("behaviour", "time_range", "expected"),
    [
        ({}, (200, 400), [400, 300, 200]),
        ({}, (201, 399), [300]),
        ({"end_inclusive": False}, (200, 400), [300, 200]),
        ({"filter_field": "end"}, (200, 600), [500, 200, 100]),
        ({"filter_field": "end"}, (351, NOW_MS), [500, 400, 300]),
        ({"filter_field": "end", "end_inclusive": False}, (351, 600), []),
        ({"filter_field": "update"}, (200, 600), [500, 200, 100]),
        ({"filter_field": "update"}, (901, NOW_MS), [400]),
        ({"filter_field": "overlap"}, (350, 400), [400, 300, 100]),
        ({"filter_field": "overlap"}, (351, 400), [400, 300]),
        ({"filter_field": "overlap", "end_inclusive": False}, (351, 400), [300]),
        ({"filter_field": "overlap"}, (1000, NOW_MS), [400]),
        ({"order": "oldest"}, (100, 500), [100, 200, 300, 400, 500]),
        ({"page_cap": 2}, (100, 500), [500, 400]),
    ],
)
def test_a_time_range_under_each_interpretation(
    behaviour: dict[str, Any], time_range: tuple[int, int], expected: list[int]
) -> None:
    """The behaviour decides the filtered field, whether the end is included, the order, and the page size."""
    page = with_five_liquidations(**behaviour).force_liquidations(*time_range)
    assert starts(page) == expected


@pytest.mark.parametrize(
    ("total", "group_id", "expected"),
    [
        ("units", None, 2),
        ("units", 1, 1),
        ("units", 77, 0),
        ("rows", None, 5),
        ("rows", 2, 2),
        ("string", None, "5"),
        ("zero", None, 0),
        ("absent", None, "absent"),
    ],
)
def test_total_counts_what_the_behaviour_says(total: str, group_id: int | None, expected: object) -> None:
    """The total is of units or rows, a string, zero, or absent, whatever the page holds."""
    page = with_five_liquidations(total=total).force_liquidations(0, 1000, group_id, size=1)
    assert page.get("total", "absent") == expected
    assert len(page["rows"]) == (group_id != 77)


@pytest.mark.parametrize(
    ("behaviour", "size", "pages"),
    [({}, 2, [[500, 400], [300, 200], [100], []]), ({"page_cap": 3}, 100, [[500, 400, 300], [200, 100], []])],
)
def test_pages_are_slices_of_the_list(behaviour: dict[str, Any], size: int, pages: list[list[int]]) -> None:
    """A page is a slice of the list, by the capped size; a page after the last row is empty."""
    exchange = with_five_liquidations(**behaviour)
    returned = [
        exchange.force_liquidations(0, 1000, current=page + 1, size=size) for page in range(len(pages))
    ]
    assert [starts(page) for page in returned] == pages


def test_random_order_differs_between_responses() -> None:
    """The same query returns the same rows in several orders."""
    exchange = with_five_liquidations(order="random")
    orders = [tuple(starts(exchange.force_liquidations(0, 1000))) for _ in range(20)]
    assert len(set(orders)) > 1
    assert {tuple(sorted(order)) for order in orders} == {(100, 200, 300, 400, 500)}


def test_only_queries_by_unit_include_closed_units(history: Exchange) -> None:
    """Without groupId there are only active units, with it also a closed one; an unknown one has no rows."""
    window = (HISTORY_START_MS + 30 * DAY_MS, HISTORY_START_MS + 60 * DAY_MS)
    plain = [
        row for page in range(1, 20) for row in history.force_liquidations(*window, None, page, 100)["rows"]
    ]
    assert {row["groupId"] for row in plain} == set(range(1, 10)) - set(CLOSED)
    for group_id in CLOSED[:2]:
        rows = history.force_liquidations(*window, group_id)["rows"]
        assert {row["groupId"] for row in rows} == {group_id}
    assert history.force_liquidations(*window, 99) == {"total": 0, "rows": []}


# --- changes


def test_a_liquidation_starts_and_finishes() -> None:
    """A liquidation starts now, runs, and ends when it is finished."""
    clock = Clock()
    exchange = empty(clock)
    one = exchange.liquidate(2)
    assert (one.group_id, one.start_ms, one.end_ms) == (2, NOW_MS, None)
    clock.now_ms += 10
    assert exchange.finish(2) is one
    assert one.end_ms == NOW_MS + 10
    with pytest.raises(LookupError, match="Unit 2 has no running liquidation"):
        exchange.finish(2)


def test_finishing_ends_the_newest_or_the_named_one() -> None:
    """Without a start time finish ends the newest running liquidation, else the one with that start."""
    exchange = empty()
    first, second, third = (exchange.add_liquidation(1, start_ms) for start_ms in (10, 20, 30))
    assert exchange.finish(1) is third
    assert exchange.finish(1, 10) is first
    assert second.end_ms is None


def test_liquidate_without_a_unit_chooses_an_active_one() -> None:
    """A closed unit is never chosen, nor one that is being liquidated."""
    clock = Clock()
    exchange = empty(clock)
    exchange.add_unit(3)
    exchange.close(1)
    for _ in range(10):
        clock.now_ms += 1
        assert {exchange.liquidate().group_id, exchange.liquidate().group_id} == {2, 3}
        clock.now_ms += 1
        exchange.finish(2)
        exchange.finish(3)


def test_closing_a_unit_removes_what_was_to_come() -> None:
    """A liquidation that was added for later does not start in a unit that is closed before."""
    clock = Clock()
    exchange = empty(clock)
    exchange.add_liquidation(1, NOW_MS + 10)
    exchange.close(1)
    clock.now_ms += 10
    assert exchange.liquidations() == []


def test_closing_a_unit_ends_its_liquidations_and_its_history() -> None:
    """A closed unit has no running and no new liquidations, and only a query with its groupId includes it."""
    clock = Clock()
    exchange = Exchange(clock=clock)
    exchange.add_liquidation(6, NOW_MS - 1)
    assert 6 in {row["groupId"] for row in exchange.force_liquidations(NOW_MS - DAY_MS, NOW_MS)["rows"]}
    exchange.close(6)
    clock.now_ms += 10 * DAY_MS
    sixes = [one for one in exchange.liquidations() if one.group_id == 6]
    assert max(one.start_ms for one in sixes) == NOW_MS - 1
    assert not any(one.running(NOW_MS) for one in sixes)
    plain = exchange.force_liquidations(NOW_MS - DAY_MS, NOW_MS, size=100)["rows"]
    assert 6 not in {row["groupId"] for row in plain}
    assert exchange.force_liquidations(NOW_MS - 1, NOW_MS, 6)["rows"][0]["liquidationEndTime"] == NOW_MS
    assert exchange.closed_units()["rows"][0] == {
        "groupId": 6,
        "parentEmail": "parent@test.com",
        "creditEmail": "1000255900600@test.com",
        "enabled": False,
        "createTime": 1_742_000_000_000,
        "closeTime": NOW_MS,
    }
    assert [row["groupId"] for row in exchange.closed_units()["rows"]] == [6, 11, 8, 3]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda exchange: exchange.liquidate(77), LookupError, r"there is no unit 77 \(units: 1, 2\)"),
        (lambda exchange: exchange.close(77), LookupError, "there is no unit 77"),
        (lambda exchange: exchange.finish(1), LookupError, "Unit 1 has no running liquidation"),
        (lambda exchange: (exchange.close(1), exchange.close(1)), ValueError, "Unit 1 is not active"),
        (lambda exchange: (exchange.close(1), exchange.liquidate(1)), ValueError, "Unit 1 is not active"),
        (
            lambda exchange: (exchange.liquidate(1), exchange.liquidate(1)),
            ValueError,
            "Finish its liquidation first: unit 1 is being liquidated",
        ),
        (lambda exchange: (exchange.liquidate(1), exchange.push(1)), ValueError, "is being liquidated"),
        (
            lambda exchange: (exchange.liquidate(1), exchange.finish(1), exchange.liquidate(1)),
            ValueError,
            "another start",
        ),
        (lambda exchange: exchange.push(77), LookupError, "there is no unit 77"),
        (lambda exchange: (exchange.close(1), exchange.push(1)), ValueError, "Unit 1 is not active"),
        (lambda exchange: exchange.push(1, "x"), ValueError, "above 0 and below 2, not 'x'"),
        (lambda exchange: exchange.push(1, "0"), ValueError, "above 0 and below 2, not '0'"),
        (lambda exchange: exchange.push(1, 2), ValueError, "above 0 and below 2, not 2"),
        (lambda exchange: exchange.push(1, "NaN"), ValueError, "above 0 and below 2, not 'NaN'"),
        (lambda exchange: exchange.push(1, seconds=0), ValueError, "from 1 to 3600, not 0"),
        (lambda exchange: exchange.push(1, seconds=3601), ValueError, "from 1 to 3600, not 3601"),
        (lambda exchange: exchange.add_unit(1), ValueError, "unit 1 exists already"),
        (
            lambda exchange: (exchange.close(1), exchange.close(2), exchange.liquidate()),
            LookupError,
            "no active unit",
        ),
    ],
)
def test_impossible_changes_are_refused(change: Any, error: type[Exception], text: str) -> None:
    """An impossible change raises an error that names the reason."""
    with pytest.raises(error, match=text):
        change(empty())


def test_scheduled_actions_run_before_their_request() -> None:
    """An action runs once, just before the n-th data request of any kind."""
    exchange = with_five_liquidations()
    exchange.schedule(2, lambda scheduled: scheduled.add_liquidation(1, 450))
    exchange.schedule(3, lambda scheduled: scheduled.close(2))
    counts = [len(exchange.force_liquidations(0, 1000)["rows"]) for _ in range(4)]
    assert counts == [5, 6, 4, 4]


@pytest.mark.parametrize(
    ("behaviour", "text"),
    [
        ({"total": "all"}, "total must be one of units, rows, string, zero, absent, not 'all'"),
        ({"snapshot_shape": None}, "snapshot_shape must be one of"),
        ({"end_inclusive": 1}, "end_inclusive must be true or false"),
        ({"page_cap": 0}, "page_cap must be null or a number of rows"),
        ({"page_cap": True}, "page_cap must be"),
        ({"max_days": 0}, "max_days must be a number of days"),
        ({"max_days": 7.5}, "max_days must be"),
        ({"latency_s": -1}, "latency_s must be a number of seconds"),
        ({"latency_s": "1"}, "latency_s must be a number of seconds"),
        (
            {"ltv_while_liquidating": None},
            "ltv_while_liquidating must be one of number, null, empty, not None",
        ),
        ({"transfer_filter": "last"}, "transfer_filter must be one of latest, first, any, liquidation"),
        ({"update_time": "then"}, "update_time must be one of now, still"),
    ],
)
def test_an_invalid_behaviour_is_refused(behaviour: dict[str, Any], text: str) -> None:
    """The error names the field and its valid values."""
    with pytest.raises(ValueError, match=text):
        Behaviour(**behaviour)


# --- the other endpoints


def test_the_log_keeps_the_newest_requests() -> None:
    """The log has a limited length, and the number of requests includes those that were dropped."""
    exchange = empty()
    first, middle, last = (LoggedRequest("GET", "/sapi", "", 200, 1, at_ms) for at_ms in range(3))
    for request in (first, *[middle] * (LOGGED_REQUESTS - 1), last):
        exchange.log(request)
    assert exchange.requests == [middle] * (LOGGED_REQUESTS - 1) + [last]
    assert exchange.state()["requests"] == LOGGED_REQUESTS + 1


def test_ltv_details_are_of_active_units(history: Exchange) -> None:
    """All active units, or a given one, are returned in the documented form; a closed unit is not."""
    rows = history.ltv_details()
    assert [row["groupId"] for row in rows] == [group for group in range(1, 13) if group not in CLOSED]
    assert history.ltv_details(6) == [rows[4]]
    assert history.ltv_details(CLOSED[0]) == []
    texts = ("ltv", "totalNetEquity", "totalMaintenanceMargin", "totalLiability")
    assert all(str(Decimal(row[name])) for row in rows for name in texts)
    assert all(isinstance(row["liabilities"], list) and row["updateTime"] == NOW_MS for row in rows)
    assert set(rows[0]["collateralAccounts"][0]) == {"email", "type", "wallets"}


def test_transfer_records_have_the_documented_shape(history: Exchange) -> None:
    """A page has one row for each liquidation in the time range, with transfers to the credit account."""
    rows = history.transfer_records(NOW_MS - DAY_MS, NOW_MS, size=100)["rows"]
    within = [one for one in history.liquidations() if (one.end_ms or NOW_MS) >= NOW_MS - DAY_MS]
    assert len(rows) == len({row["liquidationId"] for row in rows}) == len(within)
    transfers = [transfer for row in rows for transfer in row["liquidationTransferRecord"]]
    assert set(transfers[0]) == {
        "transferTime", "fromUid", "fromAccountType", "toUid", "toAccountType", "status", "assets"
    }  # fmt: skip
    assert {transfer["toUid"] % 100 for transfer in transfers} == {0}
    assert 0 not in {transfer["fromUid"] % 100 for transfer in transfers}
