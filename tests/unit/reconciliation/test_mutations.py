"""One thing is wrong in the datasets of some days: the check that reports it is the right one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from decimal import Decimal
from functools import cache
from random import Random
from typing import NamedTuple

import pytest

from airflow_provider_binance_loan.sandbox.exchange import Exchange
from tests.support.clock import NOW
from tests.support.reconciled import Records, Row, records_of

SEEDS = (1, 2, 3)
DAY_MS = 86_400_000
END_MS = int(NOW.timestamp() * 1000)
START_MS = END_MS - 4 * DAY_MS

Mutate = Callable[[Records, Random], int]


class Mutation(NamedTuple):
    """A mutation, the checks that must report it, and those that may as well."""

    mutate: Mutate
    must: set[str]
    may: set[str]


MUTATIONS: dict[str, Mutation] = {}


def reported_by(*must: str, also: tuple[str, ...] = ()) -> Callable[[Mutate], Mutate]:
    """Add the mutation that a function makes; it returns the risk unit that it concerns."""

    def add(mutate: Mutate) -> Mutate:
        MUTATIONS[mutate.__name__] = Mutation(mutate, set(must), set(also))
        return mutate

    return add


@cache
def pulled(seed: int) -> Records:
    """Return what is right; each test changes a copy."""
    return records_of(Exchange(seed=seed, clock=NOW.timestamp), START_MS, END_MS)


def change_digit(row: Row, name: str, random: Random, *, only: slice = slice(None)) -> None:
    """Change a digit of an amount, any one but those that the slice leaves out."""
    text = row[name]
    places = [place for place, digit in enumerate(text) if digit.isdigit()][only]
    place = random.choice(places)
    digit = random.choice([digit for digit in "0123456789" if digit != text[place]])
    row[name] = text[:place] + digit + text[place + 1 :]


def positive(rows: list[Row], name: str) -> list[Row]:
    return [row for row in rows if Decimal(row[name]) > 0]


def in_dollars(records: Records) -> list[Row]:
    """Return the liquidations whose loans are all of USDT."""
    return [
        one
        for one in records.liquidations
        if [loan["assetName"] for loan in one["liquidationSnapshot"]["liabilities"]] == ["USDT"]
    ]


def with_exact_totals(records: Records) -> list[Row]:
    """Return the liquidations in dollars that show by a total that none is rounded."""
    totals = ("totalNetEquity", "totalMaintenanceMargin", "totalLiability")
    return [
        one for one in in_dollars(records) if max(len(one[name].partition(".")[2]) for name in totals) == 8
    ]


def starts(records: Records, group_id: int) -> list[int]:
    return [one["liquidationStartTime"] for one in records.liquidations if one["groupId"] == group_id]


def between_liquidations(records: Records, rows: list[Row], unit: str, at: str) -> list[Row]:
    """Return the rows whose time is between two liquidations of their risk unit, and that of neither."""
    known = {group_id: starts(records, group_id) for group_id in {row[unit] for row in rows}}
    return [
        row
        for row in rows
        if len(of_unit := known[row[unit]]) > 1
        and of_unit[0] < row[at] < of_unit[-1]
        and row[at] not in of_unit
    ]


def transactions(records: Records, *kinds: str) -> list[Row]:
    """Return those that succeeded, which the ledger has between two liquidations."""
    rows = [row for row in records.transactions if row["type"] in kinds and row["status"] == "CONFIRM"]
    return between_liquidations(records, rows, "asked_group_id", "timestamp")


def charges(records: Records) -> list[Row]:
    return between_liquidations(records, records.interest, "groupId", "interestTimestamp")


def transfers_of_others(records: Records) -> Iterator[tuple[Row, Row]]:
    """Yield liquidations in dollars whose credit account held nothing, and the record of their transfers."""
    last_ms = max(row["liquidationEndTime"] or 0 for row in records.liquidations)
    for one in in_dollars(records):
        wallets = one["liquidationSnapshot"]["snapshots"]
        own = [wallet for wallet in wallets if wallet["memberType"] == "CREDIT"]
        if (
            positive(own, "netEquity")
            or not one["liquidationEndTime"]
            or last_ms == one["liquidationEndTime"]
        ):
            continue
        for record in records.transfers:
            made = record["liquidationTransferRecord"]
            start_ms, end_ms = one["liquidationStartTime"], one["liquidationEndTime"]
            credit = 1_000_255_900_000 + 100 * one["groupId"]
            if made and made[0]["toUid"] == credit and start_ms <= made[0]["transferTime"] <= end_ms:
                yield one, record


@reported_by("net_equity")
def a_wallet_holds_something_else(records: Records, random: Random) -> int:
    one = random.choice(with_exact_totals(records))
    wallets = one["liquidationSnapshot"]["snapshots"]
    held = [wallet for wallet in positive(wallets, "netEquity") if wallet["memberType"] == "COLLATERAL"]
    change_digit(random.choice(held), "netEquity", random)
    return int(one["groupId"])


@reported_by("net_equity", also=("ltv",))
def the_net_equity_is_another(records: Records, random: Random) -> int:
    one = random.choice(with_exact_totals(records))
    change_digit(one, "totalNetEquity", random)
    return int(one["groupId"])


@reported_by("maintenance_margin")
def a_wallet_requires_something_else(records: Records, random: Random) -> int:
    wallets = [
        (one, wallet)
        for one in with_exact_totals(records)
        for wallet in positive(one["liquidationSnapshot"]["snapshots"], "maintainMargin")
    ]
    one, wallet = random.choice(wallets)
    change_digit(wallet, "maintainMargin", random)
    return int(one["groupId"])


@reported_by("maintenance_margin", also=("ltv",))
def the_margin_is_another(records: Records, random: Random) -> int:
    one = random.choice(positive(with_exact_totals(records), "totalMaintenanceMargin"))
    change_digit(one, "totalMaintenanceMargin", random)
    return int(one["groupId"])


@reported_by("liabilities", also=("ltv",))
def the_liability_is_another(records: Records, random: Random) -> int:
    one = random.choice(with_exact_totals(records))
    change_digit(one, "totalLiability", random)
    return int(one["groupId"])


def liability(records: Records, random: Random, part: str) -> int:
    loans = [
        (one, loan)
        for one in with_exact_totals(records)
        for loan in positive(one["liquidationSnapshot"]["liabilities"], part)
        if one["liquidationStartTime"] > starts(records, one["groupId"])[0]
    ]
    one, loan = random.choice(loans)
    change_digit(loan, part, random)
    return int(one["groupId"])


@reported_by("liabilities", "ledger_principal", also=("forced_principal",))
def the_principal_of_a_liability_is_another(records: Records, random: Random) -> int:
    return liability(records, random, "principal")


@reported_by("liabilities", "ledger_interest", also=("forced_interest",))
def the_interest_of_a_liability_is_another(records: Records, random: Random) -> int:
    return liability(records, random, "interest")


@reported_by("ltv")
def the_ltv_is_another(records: Records, random: Random) -> int:
    one = random.choice([one for one in records.liquidations if len(one["startLtv"]) == 5])
    change_digit(one, "startLtv", random, only=slice(2))
    return int(one["groupId"])


def ltv_now(records: Records) -> list[Row]:
    return [unit for unit in records.ltvs if [one["assetName"] for one in unit["liabilities"]] == ["USDT"]]


def wallet_now(records: Records, random: Random, part: str) -> int:
    wallets = [
        (unit, wallet)
        for unit in ltv_now(records)
        for account in unit["collateralAccounts"]
        for wallet in positive(account["wallets"], part)
    ]
    unit, wallet = random.choice(wallets)
    change_digit(wallet, part, random, only=slice(-4))  # so few units may all have rounded totals
    return int(unit["groupId"])


@reported_by("net_equity_now")
def a_wallet_holds_something_else_now(records: Records, random: Random) -> int:
    return wallet_now(records, random, "netEquity")


@reported_by("maintenance_margin_now")
def a_wallet_requires_something_else_now(records: Records, random: Random) -> int:
    return wallet_now(records, random, "maintainMargin")


@reported_by("liabilities_now")
def a_loan_is_another_now(records: Records, random: Random) -> int:
    unit = random.choice(ltv_now(records))
    change_digit(unit["liabilities"][0], "principal", random, only=slice(-4))
    return int(unit["groupId"])


@reported_by("ltv_now")
def the_ltv_is_another_now(records: Records, random: Random) -> int:
    unit = random.choice([unit for unit in records.ltvs if len(unit["ltv"]) == 5])
    change_digit(unit, "ltv", random, only=slice(2))
    return int(unit["groupId"])


@reported_by("ledger_interest", also=("interest_rate", "forced_interest"))
def the_interest_of_an_hour_is_another(records: Records, random: Random) -> int:
    charge = random.choice(charges(records))
    change_digit(charge, "interest", random)
    return int(charge["groupId"])


@reported_by("charged_principal", also=("interest_rate",))
def the_principal_of_an_hour_is_another(records: Records, random: Random) -> int:
    resting = [
        charge
        for charge in charges(records)
        if not any(
            one["groupId"] == charge["groupId"]
            and one["liquidationStartTime"]
            <= charge["interestTimestamp"]
            <= (one["liquidationEndTime"] or END_MS)
            for one in records.liquidations
        )
    ]
    charge = random.choice(resting)
    change_digit(charge, "principal", random)
    return int(charge["groupId"])


@reported_by("interest_rate")
def the_rate_of_an_hour_is_another(records: Records, random: Random) -> int:
    charge = random.choice(records.interest)
    change_digit(charge, "interestRate", random, only=slice(-1))
    return int(charge["groupId"])


@reported_by("ledger_interest", also=("forced_interest",))
def an_hour_is_left_out(records: Records, random: Random) -> int:
    charge = random.choice(charges(records))
    records.interest.remove(charge)
    return int(charge["groupId"])


@reported_by("ledger_principal", also=("charged_principal",))
def what_was_borrowed_is_another_amount(records: Records, random: Random) -> int:
    row = random.choice(transactions(records, "BORROW"))
    change_digit(row, "amount", random)
    return int(row["asked_group_id"])


@reported_by("ledger_principal", also=("charged_principal",))
def a_borrowing_is_left_out(records: Records, random: Random) -> int:
    row = random.choice(transactions(records, "BORROW"))
    records.transactions.remove(row)
    return int(row["asked_group_id"])


@reported_by("repayment_parts")
def what_was_repaid_is_another_amount(records: Records, random: Random) -> int:
    row = random.choice(transactions(records, "FORCE_REPAY", "NORMAL_REPAY"))
    change_digit(row, "amount", random)
    return int(row["asked_group_id"])


@reported_by(
    "repayment_parts", "ledger_principal", also=("forced_principal", "transfers", "charged_principal")
)
def the_principal_repaid_is_another(records: Records, random: Random) -> int:
    row = random.choice(positive(transactions(records, "FORCE_REPAY", "NORMAL_REPAY"), "principal"))
    change_digit(row, "principal", random)
    return int(row["asked_group_id"])


@reported_by("repayment_parts", "ledger_interest", also=("forced_interest", "transfers"))
def the_interest_repaid_is_another(records: Records, random: Random) -> int:
    row = random.choice(positive(transactions(records, "FORCE_REPAY", "NORMAL_REPAY"), "interest"))
    change_digit(row, "interest", random)
    return int(row["asked_group_id"])


@reported_by("repeated_transaction")
def a_repayment_comes_twice(records: Records, random: Random) -> int:
    row = random.choice(transactions(records, "FORCE_REPAY"))
    records.transactions.insert(records.transactions.index(row) + 1, row | {"occurrence": 1})
    return int(row["asked_group_id"])


MOVED = ("forced_principal", "forced_interest", "transfers", "charged_principal", "ledger_interest")


@reported_by("ledger_principal", also=MOVED)
def a_repayment_is_there_twice_by_another_number(records: Records, random: Random) -> int:
    row = random.choice(positive(transactions(records, "FORCE_REPAY"), "principal"))
    records.transactions.insert(records.transactions.index(row), row | {"tranId": row["tranId"] + 1})
    return int(row["asked_group_id"])


@reported_by("ledger_principal", also=MOVED)
def a_repayment_is_left_out(records: Records, random: Random) -> int:
    row = random.choice(positive(transactions(records, "FORCE_REPAY"), "principal"))
    records.transactions.remove(row)
    return int(row["asked_group_id"])


@reported_by("transfers")
def a_transfer_is_of_another_amount(records: Records, random: Random) -> int:
    one, record = random.choice(list(transfers_of_others(records)))
    change_digit(random.choice(record["liquidationTransferRecord"])["assets"][0], "amount", random)
    return int(one["groupId"])


@reported_by("transfers")
def a_transfer_is_left_out(records: Records, random: Random) -> int:
    one, record = random.choice(list(transfers_of_others(records)))
    made = record["liquidationTransferRecord"]
    made.remove(random.choice(made))
    return int(one["groupId"])


@reported_by("transfers")
def the_transfers_of_a_liquidation_are_left_out(records: Records, random: Random) -> int:
    one, record = random.choice(list(transfers_of_others(records)))
    records.transfers.remove(record)
    return int(one["groupId"])


@reported_by("transfer_time")
def a_transfer_is_made_when_nothing_is_liquidated(records: Records, random: Random) -> int:
    candidates = [
        (one, record)
        for one, record in transfers_of_others(records)
        if all(
            not one["liquidationEndTime"] < at_ms <= one["liquidationEndTime"] + 1000
            for at_ms in starts(records, one["groupId"])
        )
    ]
    one, record = random.choice(candidates)
    record["liquidationTransferRecord"][-1]["transferTime"] = one["liquidationEndTime"] + 1000
    return int(one["groupId"])


@reported_by("forced_repayment_time", also=("transfer_time", "charged_principal"))
def a_liquidation_is_left_out(records: Records, random: Random) -> int:
    inner = [
        one
        for one in records.liquidations
        if one["liquidationStartTime"] > starts(records, one["groupId"])[0]
    ]
    one = random.choice([one for one in inner if one["liquidationEndTime"]])
    records.liquidations.remove(one)
    return int(one["groupId"])


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_right_has_no_difference(seed: int) -> None:
    """The days themselves agree, so that each difference below is the mutation's."""
    assert [row for row in pulled(seed).table() if row["outcome"] == "different"] == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_mutation_is_found_and_told_apart(name: str, seed: int) -> None:
    """The checks that report it are those that are named above it, of the risk unit that it concerns."""
    mutate, must, may = MUTATIONS[name]
    records, random = deepcopy(pulled(seed)), Random(f"{name} {seed}")
    group_id = mutate(records, random)
    differences = [row for row in records.table() if row["outcome"] == "different"]
    reported = {row["check"] for row in differences}
    assert must <= reported <= must | may, differences
    about = re.compile(rf"risk unit {group_id}\b|transaction \d|transfers of liquidationId \d")
    assert all(about.match(row["subject"]) for row in differences)
