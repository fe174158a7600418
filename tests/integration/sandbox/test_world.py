"""The world of the sandbox: the LTV of a unit, its liquidations, and the records of both, agree."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any

import pytest

from airflow_provider_binance_loan.sandbox.exchange import (
    HISTORY_START_MS,
    HOUR_MS,
    MINUTE_MS,
    Behaviour,
    Exchange,
    Liquidation,
)
from airflow_provider_binance_loan.sandbox.loans import LIQUIDATION_LTV, Figures, Loan, Wallet

NOW_MS = 1_775_000_000_000  # 2026-03-31T23:33:20Z
DAY_MS = 24 * HOUR_MS
LEVEL = Decimal("0.9")


@dataclass
class Clock:
    """A clock that stands still unless a test moves it."""

    now_ms: int = NOW_MS

    def __call__(self) -> float:
        """Return epoch seconds, as `time.time` does."""
        return self.now_ms / 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> Exchange:
    """An exchange with a history."""
    return Exchange(clock=clock)


@pytest.fixture
def plain(clock: Clock) -> Exchange:
    """An exchange with unit 1 and without a history."""
    exchange = Exchange(clock=clock, history=False)
    exchange.add_unit(1)
    return exchange


def ltv_of(exchange: Exchange, group_id: int) -> Decimal:
    """Return the LTV that ltv-details has now."""
    (row,) = exchange.ltv_details(group_id)
    return Decimal(row["ltv"])


def record_of(exchange: Exchange, one: Liquidation) -> dict[str, Any]:
    """Return the row of a liquidation, without the marks of numbers, and its liabilities as a list."""
    row = {
        name: value.strip("\0") if isinstance(value, str) else value
        for name, value in exchange.row(one).items()
    }
    liabilities = row["liquidationSnapshot"]["liabilities"]
    row["liabilities"] = [liabilities] if isinstance(liabilities, dict) else liabilities
    return row


def assert_formula_holds(row: dict[str, Any]) -> None:
    """Check every figure of a row of ltv-details that follows from others."""
    wallets = [wallet for account in row["collateralAccounts"] for wallet in account["wallets"]]
    equity, margin, owed = (
        Decimal(row[name]) for name in ("totalNetEquity", "totalMaintenanceMargin", "totalLiability")
    )
    assert equity == sum(Decimal(wallet["netEquity"]) for wallet in wallets)
    assert margin == sum(Decimal(wallet["maintainMargin"]) for wallet in wallets)
    assert owed == sum(Decimal(each["principal"]) + Decimal(each["interest"]) for each in row["liabilities"])
    assert min(Decimal(wallet["netEquity"]) for wallet in wallets) >= 0
    assert row["ltv"] == f"{(owed / (equity - margin)).quantize(Decimal('0.001'), ROUND_HALF_UP):f}".rstrip(
        "0"
    ).rstrip(".")
    limit = max(Decimal(0), (Decimal("0.75") * (equity - margin) - owed) / Decimal("0.25"))
    assert Decimal(row["maxAllowedBorrowLimit"]) == limit


def assert_agree(row: dict[str, Any], record: dict[str, Any]) -> None:
    """Check that a row of ltv-details says the same as the record of a liquidation, digit for digit."""
    assert row["ltv"] == record["startLtv"]
    for name in ("totalNetEquity", "totalMaintenanceMargin", "totalLiability", "liabilities"):
        assert row[name] == record[name]
    snapshots = [
        {
            "subEmail": account["email"],
            "memberType": account["type"],
            "walletType": wallet["accountType"],
            "netEquity": wallet["netEquity"],
            "maintainMargin": wallet["maintainMargin"],
        }
        for account in row["collateralAccounts"]
        for wallet in account["wallets"]
    ]
    assert snapshots == record["liquidationSnapshot"]["snapshots"]


# --- figures


def test_the_example_of_binances_page_fits_the_formulas() -> None:
    """The totals of the documented unit give its documented LTV, and its borrow limit to a unit.

    https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/account
    """
    example = Figures(
        (Wallet(0, "PORTFOLIO_MARGIN", 2_635_196_946, 50_106_177),), (Loan("USDT", 1_530_718_771, 0),)
    )
    assert example.ltv == 592_000
    assert abs(example.borrow_limit - 1_632_397_222) <= 1
    assert example.transfer_limit == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_a_record_says_what_ltv_details_said_at_its_start(clock: Clock, seed: int) -> None:
    """In its first millisecond, and for ever after, a record agrees with ltv-details, digit for digit."""
    whole = Exchange(seed, clock)
    liquidations = whole.liquidations()[1::10]
    assert len(liquidations) > 1000
    for index, one in enumerate(liquidations):
        clock.now_ms = one.start_ms
        # One that knows what comes later, and one in a hundred times one that does not.
        exchange = whole if index % 100 else Exchange(seed, clock)
        (row,) = exchange.ltv_details(one.group_id)
        assert_agree(row, record_of(exchange, one))
        assert_formula_holds(row)
        assert LEVEL <= Decimal(row["ltv"]) <= Decimal("0.93")
        clock.now_ms = NOW_MS
        assert_agree(row, record_of(exchange, one))


def test_a_unit_is_below_the_level_until_its_liquidation_starts(world: Exchange, clock: Clock) -> None:
    """Just before each start the LTV is just below the level; in the rest of the wait it is below, too."""
    ended_ms: dict[int, int] = defaultdict(lambda: HISTORY_START_MS)
    for one in world.liquidations()[1:]:
        clock.now_ms = one.start_ms - 1
        if one.start_ms - ended_ms[one.group_id] > HOUR_MS and one.start_ms > NOW_MS - 60 * DAY_MS:
            assert Decimal("0.85") < ltv_of(world, one.group_id) < LEVEL
            clock.now_ms = (one.start_ms + ended_ms[one.group_id]) // 2
            assert ltv_of(world, one.group_id) < LEVEL
        ended_ms[one.group_id] = one.end_ms or NOW_MS


def test_a_unit_has_one_liquidation_at_a_time(world: Exchange) -> None:
    """A liquidation of a unit starts half an hour after its last one ended, or later."""
    by_unit: dict[int, list[Liquidation]] = defaultdict(list)
    for one in world.liquidations()[1:]:
        by_unit[one.group_id].append(one)
    assert len(by_unit) == 12
    for liquidations in by_unit.values():
        for one, following in pairwise(liquidations):
            assert one.end_ms is not None
            assert HOUR_MS // 2 <= following.start_ms - one.end_ms < 9 * HOUR_MS


def test_the_ltv_falls_while_a_liquidation_runs(world: Exchange, clock: Clock) -> None:
    """It falls from startLtv to endLtv and never rises, and neither do equity and liability."""
    for one in world.liquidations()[-100:]:
        assert one.end_ms is not None
        values = []
        for part in range(11):
            clock.now_ms = one.start_ms + (one.end_ms - 1 - one.start_ms) * part // 10
            (row,) = world.ltv_details(one.group_id)
            assert_formula_holds(row)
            assert record_of(world, one)["endLtv"] == row["ltv"]
            values.append([Decimal(row[name]) for name in ("ltv", "totalLiability", "totalNetEquity")])
        assert all(after <= before for each in zip(*values, strict=True) for before, after in pairwise(each))
        assert values[0][0] > values[-1][0]
        clock.now_ms = one.end_ms
        assert abs(Decimal(record_of(world, one)["endLtv"]) - values[-1][0]) < Decimal("0.01")
        if world.ltv_details(one.group_id):  # else it ended because its unit closed
            assert ltv_of(world, one.group_id) == Decimal(record_of(world, one)["endLtv"])


def test_the_formula_holds_at_any_time(world: Exchange, clock: Clock) -> None:
    """In every row, also without loans, the LTV follows from equity, margin and liability, and it changes."""
    ltvs = set()
    for clock.now_ms in range(NOW_MS - 3 * DAY_MS, NOW_MS, 17 * MINUTE_MS):
        for row in world.ltv_details():
            assert_formula_holds(row)
            ltvs.add(row["ltv"])
            assert row["liabilities"] or row["ltv"] == "0"
    assert "0" in ltvs
    assert len(ltvs) > 300


def test_the_figures_are_varied(world: Exchange, clock: Clock) -> None:
    """Units have two to five accounts, some with two wallets, one or two loans, and amounts of 19 digits."""
    accounts, wallets, loans, digits = set(), set(), set(), 0
    for clock.now_ms in range(NOW_MS - 9 * DAY_MS, NOW_MS, DAY_MS // 2):
        for row in world.ltv_details():
            accounts.add(len(row["collateralAccounts"]))
            wallets |= {len(account["wallets"]) for account in row["collateralAccounts"]}
            loans.add(len(row["liabilities"]))
            digits = max(digits, len(row["totalLiability"].replace(".", "")))
            assert len({account["email"] for account in row["collateralAccounts"]}) == len(
                row["collateralAccounts"]
            )
            assert [account["type"] == "CREDIT" for account in row["collateralAccounts"]].index(True) == 0
    assert (accounts, wallets, loans, digits) == ({2, 3, 4, 5}, {1, 2}, {0, 1, 2}, 19)


def test_ltvs_do_not_depend_on_when_one_looks(clock: Clock) -> None:
    """An exchange that was asked on the way, in steps of any length, says the same as one that was not."""
    clock.now_ms = NOW_MS - 2 * DAY_MS
    asked = Exchange(clock=clock)
    for step_ms in (1, MINUTE_MS, 7 * HOUR_MS, 1, 11 * HOUR_MS, 2 * MINUTE_MS):
        clock.now_ms += step_ms
        assert asked.ltv_details() == Exchange(clock=clock).ltv_details()
        assert asked.ltvs(60) == Exchange(clock=clock).ltvs(60)


def test_what_was_said_of_a_time_stays_true(world: Exchange, clock: Clock) -> None:
    """Nothing that an admin call does changes the LTV of an earlier time."""
    assert not running(world, 2)
    for change in (
        lambda: world.push(2, "0.7"),
        lambda: world.liquidate(2),
        lambda: world.finish(2),
        lambda: world.push(2, seconds=600),
        lambda: world.push(2, "0.5"),
        lambda: world.liquidate(2),
        lambda: world.finish(2),
    ):
        before = world.ltvs(24 * 60)[2]
        change()
        clock.now_ms += 30_000
        after = dict(world.ltvs(24 * 60)[2])
        assert [(at_ms, after.get(at_ms, ltv)) for at_ms, ltv in before[:-1]] == before[:-1]


def running(exchange: Exchange, group_id: int) -> int:
    """Return how many liquidations of a unit run."""
    (count,) = (unit["running"] for unit in exchange.state()["units"] if unit["groupId"] == group_id)
    assert isinstance(count, int)
    return count


# --- manual liquidations


@pytest.mark.parametrize("history", [True, False])
def test_a_manual_liquidation_is_a_sudden_crash(clock: Clock, history: bool) -> None:
    """The loans and margins stay, the collateral loses its worth, and the LTV falls until it is finished."""
    exchange = Exchange(clock=clock, history=history)
    if not history:
        exchange.add_unit(1)
    clock.now_ms = next(
        at_ms for at_ms in range(NOW_MS, NOW_MS + DAY_MS, MINUTE_MS) if resting(exchange, clock, at_ms)
    )
    (before,) = exchange.ltv_details(1)
    one = exchange.liquidate(1)
    (crashed,) = exchange.ltv_details(1)
    assert_agree(crashed, record_of(exchange, one))
    for name in ("totalLiability", "totalMaintenanceMargin", "liabilities"):
        assert crashed[name] == before[name]
    assert Decimal(crashed["totalNetEquity"]) < Decimal(before["totalNetEquity"])
    ltvs = [ltv_of(exchange, 1)]
    for seconds in (1, 60, 600, 3600, 36_000):
        clock.now_ms += 1000 * seconds
        (row,) = exchange.ltv_details(1)
        assert_formula_holds(row)
        ltvs.append(Decimal(row["ltv"]))
    assert sorted(ltvs, reverse=True) == ltvs
    assert ltvs[-1] < Decimal("0.7") < LEVEL <= ltvs[0]
    assert [each for each in exchange.liquidations() if each.group_id == 1][-1] is one
    exchange.finish(1)
    assert ltv_of(exchange, 1) == Decimal(record_of(exchange, one)["endLtv"])
    assert_agree(crashed, record_of(exchange, one))


def resting(exchange: Exchange, clock: Clock, at_ms: int) -> bool:
    """Return whether unit 1 has loans and no liquidation at a time."""
    clock.now_ms = at_ms
    return not running(exchange, 1) and ltv_of(exchange, 1) > 0


def test_an_added_liquidation_agrees_with_ltv_details(plain: Exchange, clock: Clock) -> None:
    """Also one that overlaps others: ltv-details follows the newest that runs."""
    first = plain.add_liquidation(1, NOW_MS - 100, NOW_MS + 50)
    second = plain.add_liquidation(1, NOW_MS - 50, NOW_MS + 10)
    third = plain.add_liquidation(1, NOW_MS - 20, NOW_MS - 20)
    for one in (third, second, first):
        clock.now_ms = one.start_ms
        (row,) = plain.ltv_details(1)
        assert_agree(row, record_of(plain, one))
    for clock.now_ms, running_one in ((NOW_MS - 10, second), (NOW_MS + 9, second), (NOW_MS + 10, first)):
        assert ltv_of(plain, 1) == Decimal(record_of(plain, running_one)["endLtv"])
    clock.now_ms = NOW_MS + 50
    assert ltv_of(plain, 1) == Decimal(record_of(plain, first)["endLtv"])


def test_the_history_goes_on_from_the_end_of_a_finished_liquidation(world: Exchange, clock: Clock) -> None:
    """While a manual liquidation runs there is no other; after it is finished comes the next one."""
    group_id = world.liquidate().group_id
    clock.now_ms += 3 * DAY_MS
    assert running(world, group_id) == 1
    one = world.finish(group_id)
    clock.now_ms += DAY_MS
    following = [
        each for each in world.liquidations() if each.group_id == group_id and each.start_ms > one.start_ms
    ]
    assert following
    assert HOUR_MS // 2 <= following[0].start_ms - (one.end_ms or 0) < 9 * HOUR_MS
    clock.now_ms = following[0].start_ms
    (row,) = world.ltv_details(group_id)
    assert_agree(row, record_of(world, following[0]))
    clock.now_ms -= 1
    assert Decimal("0.85") < ltv_of(world, group_id) < LEVEL


def test_an_early_finish_replaces_the_next_liquidation(world: Exchange, clock: Clock) -> None:
    """A generated liquidation that is finished early is followed by another one than without that."""
    one = world.liquidations()[-1]
    clock.now_ms = one.start_ms + 1000
    world.finish(one.group_id)
    assert one.end_ms == clock.now_ms
    clock.now_ms += 3 * DAY_MS
    after = [
        each
        for each in world.liquidations()
        if each.group_id == one.group_id and each.start_ms > one.start_ms
    ]
    untouched = Exchange(clock=clock).liquidations()
    assert not {each.start_ms for each in after} & {
        each.start_ms for each in untouched if each.group_id == one.group_id
    }
    for earlier, later in pairwise([one, *after]):
        assert (earlier.end_ms or 0) < later.start_ms


# --- pushes


@pytest.mark.parametrize("history", [True, False])
def test_a_push_to_the_level_ends_in_a_liquidation(clock: Clock, history: bool) -> None:
    """The LTV rises second by second, a liquidation starts at the level, and the LTV falls until it ends."""
    exchange = Exchange(clock=clock, history=history)
    if not history:
        exchange.add_unit(1)
    clock.now_ms = next(
        at_ms for at_ms in range(NOW_MS, NOW_MS + DAY_MS, MINUTE_MS) if resting(exchange, clock, at_ms)
    )
    start_ms, known = clock.now_ms, len(exchange.liquidations())
    first = ltv_of(exchange, 1)
    push = exchange.push(1, seconds=20)
    assert push.liquidation_ms == start_ms + 20_000
    rising = []
    for clock.now_ms in range(start_ms, start_ms + 20_000, 1000):
        assert running(exchange, 1) == 0
        rising.append(ltv_of(exchange, 1))
    assert rising == sorted(rising)
    assert (rising[0], len(set(rising))) == (first, 20)
    assert rising[-1] < LEVEL
    clock.now_ms = start_ms + 20_000
    one = [each for each in exchange.liquidations() if each.group_id == 1][-1]
    assert (one.start_ms, one.end_ms) == (start_ms + 20_000, start_ms + 40_000)
    (row,) = exchange.ltv_details(1)
    assert_agree(row, record_of(exchange, one))
    falling = []
    for clock.now_ms in range(start_ms + 20_000, start_ms + 40_000, 1000):
        assert running(exchange, 1) == 1
        falling.append(ltv_of(exchange, 1))
    assert falling == sorted(falling, reverse=True)
    assert falling[0] >= LEVEL
    clock.now_ms = start_ms + 40_000
    assert running(exchange, 1) == 0
    assert ltv_of(exchange, 1) < Decimal("0.61")
    assert exchange.row(one)["liquidationEndTime"] == start_ms + 40_000
    assert len([each for each in exchange.liquidations()[known:] if each.group_id == 1]) == 1


def test_a_push_to_an_ltv_below_the_level_stays_there(world: Exchange, clock: Clock) -> None:
    """The LTV stays exactly there, and the generated liquidations of the unit do not happen."""
    group_id = next(
        unit["groupId"] for unit in world.state()["units"] if unit["active"] and not unit["running"]
    )
    count = len([one for one in world.liquidations() if one.group_id == group_id])
    world.push(group_id, "0.75", seconds=30)
    for clock.now_ms in (NOW_MS + 30_000, NOW_MS + 30_001, NOW_MS + DAY_MS, NOW_MS + 30 * DAY_MS):
        (row,) = world.ltv_details(group_id)
        assert_formula_holds(row)
        assert row["ltv"] == "0.75"
        assert row["maxAllowedBorrowLimit"] == "0"
    assert len([one for one in world.liquidations() if one.group_id == group_id]) == count
    world.push(group_id, 0.3, seconds=1)
    clock.now_ms += 1000
    assert ltv_of(world, group_id) == Decimal("0.3")
    world.push(group_id, seconds=1)
    clock.now_ms += 2 * DAY_MS
    assert len([one for one in world.liquidations() if one.group_id == group_id]) > count + 2


@pytest.mark.parametrize(
    ("ltv", "starts"), [("0.899", False), ("0.8994", False), ("0.8995", True), (0.9, True), ("1.5", True)]
)
def test_a_push_starts_a_liquidation_where_it_crosses_the_level(
    plain: Exchange, clock: Clock, ltv: Any, starts: bool
) -> None:
    """An LTV that is shown as 0.9 or more starts one, as soon as the way there crosses the level."""
    first = ltv_of(plain, 1)
    push = plain.push(1, ltv, seconds=100)
    assert (push.liquidation_ms is not None) is starts
    if push.liquidation_ms is not None:
        target = Decimal(push.to_ltv) / 10**6
        part = (LEVEL - first) / (target - first)
        assert abs(push.liquidation_ms - NOW_MS - 100_000 * part) < 500
        clock.now_ms = push.liquidation_ms - 1
        assert ltv_of(plain, 1) < LEVEL
        assert not running(plain, 1)
        clock.now_ms += 1
    else:
        clock.now_ms += 100_000
    assert running(plain, 1) == starts


def test_a_later_push_replaces_an_earlier_one(plain: Exchange, clock: Clock) -> None:
    """A push that is on its way turns, and the liquidation that it would have ended in does not happen."""
    plain.push(1, seconds=60)
    clock.now_ms += 59_000
    near = ltv_of(plain, 1)
    assert near > Decimal("0.88")
    plain.push(1, "0.5", seconds=10)
    assert ltv_of(plain, 1) == near
    clock.now_ms += HOUR_MS
    assert ltv_of(plain, 1) == Decimal("0.5")
    assert plain.liquidations() == []


@pytest.mark.parametrize("ltv", [None, "0.5"])
def test_a_push_right_after_a_liquidation(plain: Exchange, clock: Clock, ltv: str | None) -> None:
    """Also in the millisecond in which a liquidation started and ended, a push begins below the level."""
    plain.liquidate(1)
    plain.finish(1)
    push = plain.push(1, ltv, seconds=10)
    assert push.from_ltv < LIQUIDATION_LTV
    assert push.liquidation_ms == (NOW_MS + 10_000 if ltv is None else None)
    clock.now_ms += 1
    assert not running(plain, 1)
    assert ltv_of(plain, 1) < LEVEL
    clock.now_ms += 20_000
    assert len(plain.liquidations()) == (2 if ltv is None else 1)


def test_a_closed_unit_is_not_liquidated_by_an_earlier_push(plain: Exchange, clock: Clock) -> None:
    """A push ends with the unit."""
    plain.push(1, seconds=60)
    plain.close(1)
    clock.now_ms += HOUR_MS
    assert plain.liquidations() == []
    assert plain.ltv_details() == []


# --- interpretations


@pytest.mark.parametrize(("shape", "expected"), [("number", "0."), ("null", None), ("empty", "")])
def test_the_ltv_of_a_unit_that_is_being_liquidated(
    plain: Exchange, shape: Any, expected: str | None
) -> None:
    """It is a number, null or empty, as the behaviour says, and a number again afterwards."""
    plain.behaviour = Behaviour(ltv_while_liquidating=shape)
    assert plain.ltv_details()[0]["ltv"].startswith("0.")
    plain.liquidate(1)
    ltv = plain.ltv_details()[0]["ltv"]
    assert ltv.startswith("0.9") if expected == "0." else ltv == expected
    plain.finish(1)
    assert plain.ltv_details()[0]["ltv"].startswith("0")


def test_the_update_time_may_stand_still(plain: Exchange, clock: Clock) -> None:
    """It is the present time, or stays the same for a minute."""
    assert plain.ltv_details()[0]["updateTime"] == NOW_MS
    plain.behaviour = Behaviour(update_time="still")
    minute_ms = NOW_MS - NOW_MS % MINUTE_MS
    for clock.now_ms, expected in ((NOW_MS, 0), (minute_ms + 59_999, 0), (minute_ms + MINUTE_MS, MINUTE_MS)):
        assert plain.ltv_details()[0]["updateTime"] == minute_ms + expected
