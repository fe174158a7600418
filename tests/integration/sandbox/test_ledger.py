"""Interest, loans, repayments and transfers of the sandbox add up to its liabilities, digit for digit."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import ROUND_HALF_UP, Decimal
from itertools import accumulate, pairwise
from typing import Any

import pytest

from airflow_provider_binance_loan.sandbox.exchange import (
    HISTORY_START_MS,
    HOUR_MS,
    MINUTE_MS,
    Behaviour,
    Exchange,
    Liquidation,
    write_json,
)
from tests.integration.sandbox.test_world import (
    DAY_MS,
    NOW_MS,
    Clock,
    record_of,
    resting,
)

UNIT = Decimal("0.00000001")
ASSETS = ("USDT", "USDC")
FAR_MS = HISTORY_START_MS + 20 * DAY_MS  # unit 3 is active then, and closed later
CLOSED_UNIT, CLOSE_MS = 3, 1_757_840_000_000

Row = dict[str, Any]


def rows_of(read: Callable[..., Row], *arguments: Any, **more: Any) -> list[Row]:
    """Return the rows of all pages as a client decodes them, oldest first."""
    rows: list[Row] = []
    for page in range(1, 10_000):
        text = write_json(read(*arguments, current=page, size=100, **more))
        read_rows = json.loads(text, parse_float=Decimal, parse_int=Decimal)["rows"]
        rows += read_rows
        if len(read_rows) < 100:
            break
    return rows[::-1]


def confirmed(rows: list[Row]) -> list[Row]:
    """Return the rows without those that failed."""
    return [row for row in rows if row["status"] == "CONFIRM"]


def total(rows: list[Row], name: str, asset: str, until_ms: int = 10**14) -> Decimal:
    """Return the sum of a field over the rows of an asset up to a time."""
    mine = (row for row in rows if row["assetName"] == asset and row["timestamp"] <= until_ms)
    return sum((row[name] for row in mine), start=Decimal(0))


def owed(rows: list[Row], asset: str) -> tuple[Decimal, Decimal]:
    """Return the principal and interest in an asset of the liabilities of a row, or 0."""
    liabilities = [one for row in rows for one in row["liabilities"] if one["assetName"] == asset]
    principal = sum((Decimal(one["principal"]) for one in liabilities), start=Decimal(0))
    return principal, sum((Decimal(one["interest"]) for one in liabilities), start=Decimal(0))


class Ledger:
    """What the endpoints say of a unit up to now: its interest, borrowings and repayments."""

    def __init__(self, exchange: Exchange, group_id: int) -> None:
        now_ms = exchange.now_ms()
        self.interest = rows_of(exchange.interest_history, 0, now_ms, group_id)
        self.borrowed = confirmed(rows_of(exchange.borrow_repay_records, 0, now_ms, "BORROW", group_id))
        self.repaid = confirmed(rows_of(exchange.borrow_repay_records, 0, now_ms, "REPAY", group_id))

        self._owed: dict[str, tuple[list[int], list[Decimal], list[Decimal]]] = {}
        zero = Decimal(0)
        for asset in ASSETS:
            changes = [
                *((row["timestamp"], row["amount"], zero, row["assetName"]) for row in self.borrowed),
                *(
                    (row["interestTimestamp"], zero, row["interest"], row["assetName"])
                    for row in self.interest
                ),
                *(
                    (row["timestamp"], -row["principal"], -row["interest"], row["assetName"])
                    for row in self.repaid
                ),
            ]
            mine = sorted(change for change in changes if change[3] == asset)
            times = [int(at_ms) for at_ms, *_ in mine]
            principals, interests = (list(accumulate(one[place] for one in mine)) for place in (1, 2))
            self._owed[asset] = times, principals, interests

    def owed(self, asset: str, at_ms: int) -> tuple[Decimal, Decimal]:
        """Return the principal and interest in an asset that are not repaid at a time."""
        times, principals, interests = self._owed[asset]
        last = bisect_right(times, at_ms) - 1
        return (principals[last], interests[last]) if last >= 0 else (Decimal(0), Decimal(0))


def liquidations_of(exchange: Exchange, group_id: int) -> list[Liquidation]:
    """Return the generated liquidations of a unit."""
    return [one for one in exchange.liquidations() if one.group_id == group_id and not one.fields]


def transfers_of(exchange: Exchange, one: Liquidation) -> list[Row]:
    """Return the transfers of a liquidation until now, oldest first."""
    previous, exchange.behaviour = exchange.behaviour, Behaviour(transfer_filter="liquidation")
    rows = exchange.transfer_records(one.start_ms, one.start_ms)["rows"]
    exchange.behaviour = previous
    email = f"{1_000_255_900_000 + 100 * one.group_id}"
    found = [
        row["liquidationTransferRecord"]
        for row in rows
        if all(str(each["toUid"]) == email for each in row["liquidationTransferRecord"])
    ]
    assert len(found) == 1
    transfers: list[Row] = found[0]
    return transfers


def amount(transfer: Row) -> Decimal:
    """Return the amount of a transfer in all its assets."""
    return sum((Decimal(asset["amount"]) for asset in transfer["assets"]), start=Decimal(0))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> Exchange:
    """An exchange with a history."""
    return Exchange(clock=clock)


@pytest.fixture
def plain(clock: Clock) -> Exchange:
    """An exchange with unit 1, which is as old as the history of others, and without a history."""
    exchange = Exchange(clock=clock, history=False)
    exchange.add_unit(1, NOW_MS - 10 * DAY_MS)
    return exchange


# --- interest


def test_interest_is_principal_times_rate(world: Exchange) -> None:
    """Each row is of a full hour, and its interest is rounded half up to eight decimals."""
    rows = rows_of(world.interest_history, NOW_MS - 3 * DAY_MS, NOW_MS)
    assert len(rows) > 500
    assert len({(row["groupId"], row["assetName"], row["interestTimestamp"]) for row in rows}) == len(rows)
    for row in rows:
        assert row["interest"] == (row["principal"] * row["interestRate"]).quantize(UNIT, ROUND_HALF_UP)
        assert row["interestTimestamp"] % HOUR_MS == 0
        assert Decimal("0.000004") <= row["interestRate"] <= Decimal("0.000012")
    assert len({row["interestRate"] for row in rows}) > 50
    assert {row["assetName"] for row in rows} == set(ASSETS)
    times = [row["interestTimestamp"] for row in rows]
    assert times == sorted(times)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_interest_of_a_record_is_the_sum_of_its_hours(clock: Clock, seed: int) -> None:
    """The interest in the snapshot of a liquidation is that of the hours since its loans were borrowed."""
    world, sums = Exchange(seed, clock), 0
    for group_id in (2, 7, 12):
        ledger = Ledger(world, group_id)
        hours: dict[tuple[str, int], Row] = {
            (row["assetName"], int(row["interestTimestamp"])): row for row in ledger.interest
        }
        opened: dict[str, list[int]] = defaultdict(list)
        for row in ledger.borrowed:
            opened[row["assetName"]].append(int(row["timestamp"]))
        for one in liquidations_of(world, group_id)[:200]:
            for loan in record_of(world, one)["liabilities"]:
                asset = loan["assetName"]
                borrowed_ms = max(at_ms for at_ms in opened[asset] if at_ms <= one.start_ms)
                first_ms = borrowed_ms - borrowed_ms % HOUR_MS + HOUR_MS
                rows = [hours[asset, at_ms] for at_ms in range(first_ms, one.start_ms + 1, HOUR_MS)]
                assert Decimal(loan["interest"]) == sum(row["interest"] for row in rows)
                assert {row["principal"] for row in rows} <= {Decimal(loan["principal"])}
                sums += len(rows) > 1
    assert sums > 300


def test_principals_of_interest_are_those_of_ltv_details(world: Exchange, clock: Clock) -> None:
    """Also while a liquidation repays, interest is charged on the principal of that millisecond."""
    rows = rows_of(world.interest_history, NOW_MS - 2 * DAY_MS, NOW_MS)
    liquidating = 0
    for row in rows:
        clock.now_ms = int(row["interestTimestamp"])
        assert row["principal"] == owed(world.ltv_details(int(row["groupId"])), row["assetName"])[0]
        liquidating += world._timelines[int(row["groupId"])].running(clock.now_ms) is not None
    assert 10 < liquidating < len(rows)


# --- the ledger


@pytest.mark.parametrize("group_id", [1, CLOSED_UNIT, 6, 12])
def test_the_ledger_is_what_ltv_details_shows(world: Exchange, clock: Clock, group_id: int) -> None:
    """While no liquidation runs, liabilities are what was borrowed and charged, and not repaid."""
    ledger, checked = Ledger(world, group_id), 0
    for at_ms in range(HISTORY_START_MS - 3 * DAY_MS, NOW_MS, 5 * DAY_MS + 7 * MINUTE_MS + 1):
        clock.now_ms = at_ms
        rows = world.ltv_details(group_id)
        if not world._timelines[group_id].running(at_ms):
            for asset in ASSETS:
                assert owed(rows, asset) == ledger.owed(asset, at_ms)
            checked += 1
    assert checked > 20


def test_forced_repayments_are_what_the_liabilities_fall_by(world: Exchange, clock: Clock) -> None:
    """At each of them, and at the end, they add up to the fall of the principals and of the interest."""
    checked = steps = 0
    for group_id in (2, 5, 9, 10):
        clock.now_ms = NOW_MS
        ledger = Ledger(world, group_id)
        forced = [row for row in ledger.repaid if row["type"] == "FORCE_REPAY"]
        left = [row for row in ledger.repaid if row["type"] == "NORMAL_REPAY" and row["principal"]]
        for one in liquidations_of(world, group_id)[-100:]:
            assert one.end_ms is not None
            clock.now_ms = NOW_MS
            record = record_of(world, one)
            mine = [row for row in forced if one.start_ms <= row["timestamp"] <= one.end_ms]
            assert all(row["amount"] == row["principal"] + row["interest"] for row in mine)
            assert min(row["principal"] for row in mine) > 0
            assert min(row["interest"] for row in mine) >= 0
            assert max(row["timestamp"] for row in mine) == one.end_ms
            assert min(row["timestamp"] for row in mine) > one.start_ms
            for loan in record["liabilities"]:
                asset = loan["assetName"]
                start = Decimal(loan["principal"]), Decimal(loan["interest"])
                rest = [row for row in left if row["timestamp"] == one.end_ms and row["assetName"] == asset]
                assert (record["endLtv"] == "0") is not bool(rest)
                for place, name in enumerate(("principal", "interest")):
                    assert start[place] == total(mine, name, asset) + total(rest, name, asset)
                for clock.now_ms in {int(row["timestamp"]) for row in mine} - {one.end_ms}:
                    now = owed(world.ltv_details(group_id), asset)
                    for place, name in enumerate(("principal", "interest")):
                        assert start[place] - now[place] == total(mine, name, asset, clock.now_ms)
                    assert now == ledger.owed(asset, clock.now_ms)
                    steps += 1
            checked += 1
    assert (checked, steps > 500) == (400, True)


def test_interest_of_an_hour_with_a_liquidation_is_paid_at_once(world: Exchange) -> None:
    """It is repaid normally in the hour in which it is charged, without principal."""
    ledger = Ledger(world, 4)
    charged = {(row["assetName"], row["interestTimestamp"]): row["interest"] for row in ledger.interest}
    paid = {
        (row["assetName"], row["timestamp"]): row["interest"]
        for row in ledger.repaid
        if row["type"] == "NORMAL_REPAY" and not row["principal"]
    }
    assert len(paid) > 100
    within = {
        (asset, at_ms): interest
        for (asset, at_ms), interest in charged.items()
        if any(one.start_ms < at_ms < (one.end_ms or NOW_MS) for one in liquidations_of(world, 4))
    }
    assert paid == within


def test_a_failed_attempt_has_the_number_of_the_one_that_succeeded(world: Exchange) -> None:
    """Some rows come twice, with one `tranId`, and only one of the two is confirmed."""
    for kind, kinds in (("BORROW", {"BORROW"}), ("REPAY", {"NORMAL_REPAY", "FORCE_REPAY"})):
        rows = rows_of(world.borrow_repay_records, NOW_MS - 9 * DAY_MS, NOW_MS, kind)
        failed = [row for row in rows if row["status"] == "FAILED"]
        assert len(rows) / 30 < len(failed) < len(rows) / 5
        by_number = {row["tranId"]: row for row in confirmed(rows)}
        assert len(by_number) == len(rows) - len(failed)
        assert all(row | {"status": "CONFIRM"} == by_number[row["tranId"]] for row in failed)
        assert {row["type"] for row in rows} == kinds
        parts = {"principal", "interest"} if kind == "REPAY" else set()
        assert set(rows[0]) == {"tranId", "assetName", "amount", "status", "type", "timestamp"} | parts
        times = [row["timestamp"] for row in rows]
        assert times == sorted(times)


def test_only_queries_by_unit_include_closed_units(world: Exchange, clock: Clock) -> None:
    """The ledger of a closed unit is listed by its groupId alone, and ends with nothing owed."""
    window = (CLOSE_MS - 5 * DAY_MS, CLOSE_MS + 5 * DAY_MS)
    assert {row["groupId"] for row in rows_of(world.interest_history, *window, CLOSED_UNIT)} == {CLOSED_UNIT}
    assert CLOSED_UNIT not in {row["groupId"] for row in rows_of(world.interest_history, *window)}
    last = confirmed(rows_of(world.borrow_repay_records, *window, "REPAY", CLOSED_UNIT))[-1]
    assert (last["timestamp"], last["type"]) == (CLOSE_MS, "NORMAL_REPAY")
    before = rows_of(world.borrow_repay_records, window[0], CLOSE_MS - 1, "REPAY", CLOSED_UNIT)
    assert all(row["timestamp"] < CLOSE_MS for row in before)
    everything = {row["tranId"] for row in rows_of(world.borrow_repay_records, *window, "REPAY")}
    assert last["tranId"] not in everything
    ledger = Ledger(world, CLOSED_UNIT)
    assert [ledger.owed(asset, NOW_MS) for asset in ASSETS] == [(0, 0), (0, 0)]
    assert max(row["interestTimestamp"] for row in ledger.interest) < CLOSE_MS
    clock.now_ms = CLOSE_MS - 1
    assert CLOSED_UNIT in {row["groupId"] for row in rows_of(world.interest_history, *window)}
    assert world.interest_history(0, NOW_MS, 99) == {"total": 0, "rows": []}


def test_assets_are_filtered(world: Exchange) -> None:
    """The rows of an asset are those that have it among all rows; there may be none."""
    window = (NOW_MS - DAY_MS, NOW_MS)
    for read in (
        lambda **more: rows_of(world.interest_history, *window, **more),
        lambda **more: rows_of(world.borrow_repay_records, *window, "REPAY", **more),
    ):
        rows = read()
        for asset in ASSETS:
            assert read(asset=asset) == [row for row in rows if row["assetName"] == asset] != []
        assert read(asset="BTC") == []


@pytest.mark.parametrize(("behaviour", "expected"), [({}, 1), ({"total": "rows"}, 25), ({"page_cap": 5}, 1)])
def test_totals_and_pages_are_those_of_other_lists(
    plain: Exchange, behaviour: dict[str, Any], expected: int
) -> None:
    """The total, the page size, the order and the end follow the behaviour."""
    plain.behaviour = Behaviour(**behaviour)
    hour_ms = NOW_MS - NOW_MS % HOUR_MS
    page = plain.interest_history(hour_ms - DAY_MS, hour_ms, asset="USDT", size=100)
    assert (page["total"], len(page["rows"])) == (expected, behaviour.get("page_cap", 25))
    assert page["rows"][0]["interestTimestamp"] == hour_ms
    plain.behaviour = Behaviour(end_inclusive=False, order="oldest")
    page = plain.interest_history(hour_ms - DAY_MS, hour_ms, asset="USDT", size=100)
    times = [row["interestTimestamp"] for row in page["rows"]]
    assert times == list(range(hour_ms - DAY_MS, hour_ms, HOUR_MS))


# --- transfers


def test_transfers_are_bounded_and_sum_to_what_is_repaid(world: Exchange) -> None:
    """No wallet gives more than it had; all sum to what is repaid, less what the credit account pays."""
    checked, kinds = 0, Counter[str]()
    for one in world.liquidations()[-300:]:
        if one.running(NOW_MS):
            continue
        record, transfers = record_of(world, one), transfers_of(world, one)
        had = {
            (each["subEmail"].partition("@")[0], each["walletType"]): Decimal(each["netEquity"])
            for each in record["liquidationSnapshot"]["snapshots"]
        }
        gave: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for each in transfers:
            assert one.start_ms < each["transferTime"] <= (one.end_ms or 0)
            assert each["fromUid"] % 100 > each["toUid"] % 100 == 0
            assert amount(each) > 0
            gave[str(each["fromUid"]), each["fromAccountType"]] += amount(each)
            kinds[each["fromAccountType"]] += 1
        assert all(given <= had[wallet] for wallet, given in gave.items())
        rows = confirmed(rows_of(world.borrow_repay_records, one.start_ms, one.end_ms, "REPAY", one.group_id))
        repaid = sum(row["amount"] for row in rows if row["type"] == "FORCE_REPAY")
        own = sum(
            (before.equity - after.equity) * UNIT
            for before, after in zip(
                one.initial_figures(1).wallets, one.final_figures(1).wallets, strict=True
            )
            if before.account == 0
        )
        assert sum(gave.values()) == repaid - own
        checked += 1
    assert checked > 290
    assert set(kinds) == {"SPOT", "CROSS_MARGIN", "PORTFOLIO_MARGIN"}


def test_transfers_move_what_ltv_details_loses(world: Exchange, clock: Clock) -> None:
    """At the time of a transfer, the equity of each collateral wallet has fallen by what it gave."""
    checked = 0
    for one in world.liquidations()[-60:]:
        clock.now_ms = NOW_MS
        record = record_of(world, one)
        times = sorted({each["transferTime"] for each in transfers_of(world, one)} - {one.end_ms})
        for clock.now_ms in times:
            gave: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
            for each in transfers_of(world, one):
                gave[f"{each['fromUid']}@test.com", each["fromAccountType"]] += amount(each)
            (row,) = world.ltv_details(one.group_id)
            now = {
                (account["email"], wallet["accountType"]): Decimal(wallet["netEquity"])
                for account in row["collateralAccounts"]
                for wallet in account["wallets"]
            }
            for each in record["liquidationSnapshot"]["snapshots"]:
                wallet = each["subEmail"], each["walletType"]
                if each["memberType"] == "COLLATERAL":
                    assert Decimal(each["netEquity"]) - now[wallet] == gave[wallet]
                    checked += 1
    assert checked > 200


@pytest.mark.parametrize("history", [True, False])
def test_the_transfers_of_a_running_liquidation_grow(clock: Clock, history: bool) -> None:
    """There are none at its start, then more and more; those that were listed stay, also after its end."""
    exchange = Exchange(clock=clock, history=history)
    if not history:
        exchange.add_unit(1, NOW_MS - DAY_MS)
    clock.now_ms = next(
        at_ms for at_ms in range(NOW_MS, NOW_MS + DAY_MS, MINUTE_MS) if resting(exchange, clock, at_ms)
    )
    one = exchange.liquidate(1)
    lists = [transfers_of(exchange, one)]
    assert lists == [[]]
    for seconds in (19, 41, 120, 600, 3600, 36_000):
        clock.now_ms += 1000 * seconds
        lists.append(transfers_of(exchange, one))
    clock.now_ms += 1
    exchange.finish(1)
    lists.append(transfers_of(exchange, one))
    clock.now_ms += DAY_MS
    lists.append(transfers_of(exchange, one))
    assert lists[1] == []
    assert lists[-1] == lists[-2]
    assert lists[-1][-1]["transferTime"] == one.end_ms
    assert len({len(each) for each in lists}) >= 5
    assert all(after[: len(before)] == before for before, after in pairwise(lists))


@pytest.mark.parametrize(
    ("rule", "offsets"),
    [("latest", {-1}), ("first", {0}), ("any", {0, 1, -1}), ("liquidation", set())],
)
def test_transfers_are_filtered_as_the_behaviour_says(world: Exchange, rule: Any, offsets: set[int]) -> None:
    """The latest transfer, the first or any must be in the time range, or the start of the liquidation."""
    one, times = next(
        (one, times)
        for one in reversed(world.liquidations())
        if not one.running(NOW_MS)
        and len(times := sorted({each["transferTime"] for each in transfers_of(world, one)})) >= 4
    )
    identity = transfers_of(world, one)
    world.behaviour = Behaviour(transfer_filter=rule)

    def is_found(at_ms: int) -> bool:
        rows = world.transfer_records(at_ms, at_ms)["rows"]
        return identity in [row["liquidationTransferRecord"] for row in rows]

    assert {offset for offset in (0, 1, -1) if is_found(times[offset])} == offsets
    assert is_found(one.start_ms) is (rule == "liquidation")


@pytest.mark.parametrize(("rule", "place"), [("latest", -1), ("first", 0)])
def test_rows_of_transfers_come_newest_first(world: Exchange, rule: Any, place: int) -> None:
    """They are in the order of the times by which they are found."""
    world.behaviour = Behaviour(transfer_filter=rule)
    rows = world.transfer_records(NOW_MS - 3 * DAY_MS, NOW_MS, size=100)["rows"]
    times = [
        row["liquidationTransferRecord"][place]["transferTime"]
        for row in rows
        if row["liquidationTransferRecord"]
    ]
    assert len(times) > 90
    assert times == sorted(times, reverse=True)
    assert all(NOW_MS - 3 * DAY_MS <= at_ms <= NOW_MS for at_ms in times)


@pytest.mark.parametrize("rule", ["latest", "first", "any", "liquidation"])
def test_a_liquidation_without_transfers_counts_by_its_start(plain: Exchange, rule: Any) -> None:
    """One that has just started is listed with an empty list, and after its first transfer by its rule."""
    plain.behaviour = Behaviour(transfer_filter=rule)
    plain.liquidate(1)
    (row,) = plain.transfer_records(NOW_MS, NOW_MS)["rows"]
    assert row["liquidationTransferRecord"] == []
    assert plain.transfer_records(NOW_MS - 1, NOW_MS - 1)["rows"] == []


# --- changes


def test_what_tests_do_keeps_the_ledger_right(plain: Exchange, clock: Clock) -> None:
    """Pushes, liquidations, added ones, finishes and the closing of a unit are borrowed for and repaid."""

    def assert_right(at_ms: int) -> None:
        clock.now_ms = at_ms
        ledger = Ledger(plain, 1)
        for asset in ASSETS:
            assert ledger.owed(asset, at_ms) == owed(plain.ltv_details(1), asset)

    assert_right(NOW_MS)
    plain.push(1, seconds=60)
    assert_right(NOW_MS + 59_000)
    for days in range(1, 12):
        at_ms = NOW_MS + days * DAY_MS
        assert_right(at_ms)
        plain.liquidate(1)
        assert_right(at_ms)
        clock.now_ms += 3 * HOUR_MS + 5
        plain.finish(1)
        assert_right(at_ms + 3 * HOUR_MS + 6)
        plain.push(1, "0.6", seconds=9)  # borrows, if all was repaid
        assert_right(at_ms + 3 * HOUR_MS + 7)
        assert_right(at_ms + 7 * HOUR_MS)
        added = plain.add_liquidation(1, clock.now_ms, clock.now_ms + 90 * MINUTE_MS)
        assert_right(clock.now_ms)
        assert_right((added.end_ms or 0) + 1)
        assert_right((added.end_ms or 0) + 2 * HOUR_MS)
    plain.liquidate(1)
    clock.now_ms += MINUTE_MS
    plain.close(1)
    assert_right(clock.now_ms)
    assert plain.ltv_details() == []


def test_the_records_do_not_depend_on_when_one_looks(clock: Clock) -> None:
    """What was listed up to a time stays, and does not depend on what the exchange was asked before."""
    clock.now_ms = NOW_MS - 2 * DAY_MS
    asked = Exchange(clock=clock)

    def all_rows(exchange: Exchange, until_ms: int) -> list[list[Row]]:
        window = (NOW_MS - 3 * DAY_MS, until_ms)
        return [
            rows_of(exchange.interest_history, *window),
            rows_of(exchange.borrow_repay_records, *window, "BORROW"),
            rows_of(exchange.borrow_repay_records, *window, "REPAY"),
        ]

    for step_ms in (1, 7 * HOUR_MS, 30 * MINUTE_MS):
        clock.now_ms += step_ms
        until_ms = clock.now_ms
        before = all_rows(asked, until_ms)
        assert before == all_rows(Exchange(clock=clock), until_ms)
        clock.now_ms += 5 * HOUR_MS
        assert before == all_rows(asked, until_ms)


def test_requests_of_several_threads_agree(world: Exchange) -> None:
    """Concurrent requests for different ranges and pages return what single requests do."""

    def read(number: int) -> tuple[Row, Row, Row]:
        window = (NOW_MS - (1 + number % 12) * HOUR_MS, NOW_MS)
        page = 1 + number % 2
        return (
            world.interest_history(*window, current=page),
            world.borrow_repay_records(*window, "REPAY", current=page),
            world.transfer_records(*window, current=page),
        )

    expected = [read(number) for number in range(48)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(48))) == expected


# --- active units


def test_active_units_have_the_accounts_of_ltv_details(world: Exchange, clock: Clock) -> None:
    """Each active unit is listed with its accounts, and with which wallets of theirs are collateral."""
    for clock.now_ms in (FAR_MS, NOW_MS):
        units, details = world.active_units(), world.ltv_details()
        assert [unit["groupId"] for unit in units] == [row["groupId"] for row in details]
        assert (CLOSED_UNIT in {unit["groupId"] for unit in units}) is (clock.now_ms == FAR_MS)
        created = {unit["groupId"]: unit["createTime"] for unit in world.state()["units"]}
        for unit, row in zip(units, details, strict=True):
            assert set(unit) == {"groupId", "members", "createTime"}
            assert unit["createTime"] == created[unit["groupId"]]
            assert [(one["email"], one["type"]) for one in unit["members"]] == [
                (account["email"], account["type"]) for account in row["collateralAccounts"]
            ]
            for member, account in zip(unit["members"], row["collateralAccounts"], strict=True):
                kinds = {wallet["accountType"] for wallet in account["wallets"]}
                assert (member["enableSpot"], member["enableMargin"]) == (
                    "SPOT" in kinds,
                    bool(kinds - {"SPOT"}),
                )
