"""Checks of the transfers of collateral: when they were made, and that they suffice for what was repaid.

A record of transfers names neither a risk unit nor a liquidation of other records: the times, and the account
that received, tell which liquidation it is of.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_loan.binance.time_range import utc_text
from airflow_provider_binance_loan.reconciliation.check import (
    EXACT,
    ZERO,
    amount,
    build,
    compare,
    known_total,
    total,
)
from airflow_provider_binance_loan.reconciliation.interpretations import IN_FIRST_MS, REPEATED
from airflow_provider_binance_loan.reconciliation.ledger import (
    FORCE_REPAY,
    UNKNOWN_MOVEMENT,
    UNSPECIFIC_REPAY,
)
from airflow_provider_binance_loan.reconciliation.periods import running_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_binance_loan.binance.time_range import TimeRange
    from airflow_provider_binance_loan.reconciliation.check import Check, Outcome
    from airflow_provider_binance_loan.reconciliation.ledger import Ledger
    from airflow_provider_binance_loan.reconciliation.periods import Period

_CONFIRMED, _FAILED = "CONFIRM", "FAILED"
_CREDIT = "CREDIT"
# Of several interpretations, one that agrees wins over one that leaves a question.
_BY_PREFERENCE: tuple[Outcome, ...] = ("equal", "not_compared", "different")
_MEMBER_TYPES = frozenset({_CREDIT, "COLLATERAL"})


class _Record(NamedTuple):
    """The transfers of a record that did not fail, with the times that they have, and who received."""

    liquidation_id: int
    transfers: list[Mapping[str, Any]]
    times: list[int]
    accounts: frozenset[int]

    @property
    def lacks_a_time(self) -> bool:
        return len(self.times) < len(self.transfers)

    @property
    def subject(self) -> str:
        return f"transfers of liquidationId {self.liquidation_id}"


def check_transfers(
    records: Iterable[Mapping[str, Any]],
    periods: Mapping[int, list[Period]],
    ledger: Ledger,
    window: TimeRange,
    *,
    all_units: bool,
) -> Iterator[Check]:
    """Yield a row `transfer_time` for each record, and a row `transfers` for each liquidation.

    :param all_units: whether the liquidations are those of all risk units, as the transfers are.
    """
    parsed = [record for record in map(_parse, records) if record.transfers]
    candidates = {record.liquidation_id: _candidates(record, periods) for record in parsed}
    units = _units_of_accounts(parsed, candidates, all_units=all_units)
    of_period: defaultdict[tuple[int, int], list[_Record]] = defaultdict(list)
    doubtful: set[tuple[int, int]] = set()  # liquidations that a record may be of, or another one
    for record in parsed:
        group_id = _unit_of(record, units)
        row, period = _check_time(record, group_id, periods, candidates[record.liquidation_id])
        yield row
        if period:
            of_period[_key(period)].append(record)
        elif row["outcome"] == "not_compared":
            doubtful.update(map(_key, candidates[record.liquidation_id]))
    for of_unit in periods.values():
        for period in of_unit:
            key = _key(period)
            yield _check_amount(period, of_period[key], ledger, window, is_doubtful=key in doubtful)


def _parse(record: Mapping[str, Any]) -> _Record:
    transfers = [one for one in record["liquidationTransferRecord"] if one["status"] != _FAILED]
    return _Record(
        record["liquidationId"],
        transfers,
        sorted(one["transferTime"] for one in transfers if one["transferTime"]),
        frozenset(one["toUid"] for one in transfers if one["toUid"] is not None),
    )


def _key(period: Period) -> tuple[int, int]:
    return period.group_id, period.start_ms


def _candidates(record: _Record, periods: Mapping[int, list[Period]]) -> list[Period]:
    """Return the liquidations in whose time all transfers of a record lie, by the times they have."""
    if not record.times:
        return [period for of_unit in periods.values() for period in of_unit]
    first_ms, last_ms = record.times[0], record.times[-1]
    return [
        period
        for of_unit in periods.values()
        for period in running_at(of_unit, first_ms)
        if period.holds(last_ms)
    ]


def _units_of_accounts(
    records: Iterable[_Record], candidates: Mapping[int, list[Period]], *, all_units: bool
) -> dict[int, int]:
    """Return which risk unit each account that receives is of, where that is certain.

    A risk unit has one credit account, which receives what its liquidations transfer. So an account is of the
    unit whose liquidations hold more of its records than those of any other unit, and than that unit's hold
    of any other account. Where it may be of a unit that was not asked for, they must hold all of them.
    """
    counts: defaultdict[int, Counter[int]] = defaultdict(Counter)
    totals: Counter[int] = Counter()
    for record in records:
        if not record.times:
            continue
        units = {period.group_id for period in candidates[record.liquidation_id]}
        totals.update(record.accounts)
        for account in record.accounts:
            counts[account].update(units)
    claims: defaultdict[int, Counter[int]] = defaultdict(Counter)  # of each unit, by account
    for account, count in counts.items():
        unit = _most_common(count)
        if unit is not None and (all_units or count[unit] == totals[account]):
            claims[unit][account] = count[unit]
    winners = {unit: _most_common(claim) for unit, claim in claims.items()}
    return {account: unit for unit, account in winners.items() if account is not None}


def _most_common(counts: Counter[int]) -> int | None:
    """Return what was counted most often; None for none, and for several."""
    ranked = counts.most_common(2)
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def _unit_of(record: _Record, units: Mapping[int, int]) -> int | None:
    found = {units.get(account) for account in record.accounts}
    return found.pop() if len(found) == 1 else None


def _check_time(
    record: _Record, group_id: int | None, periods: Mapping[int, list[Period]], candidates: list[Period]
) -> tuple[Check, Period | None]:
    """Return the row of the times of a record, and the liquidation that it is of, if that is certain."""
    check, subject = "transfer_time", record.subject
    if record.lacks_a_time:
        return build(check, subject, "not_compared", "a transfer has no transferTime"), None
    first_ms = record.times[0]
    if group_id is None:
        note = f"whose it is is not certain: liquidations that ran at that time: {len(candidates)}"
        return build(check, subject, "not_compared", note), None
    if first_ms < periods[group_id][0].start_ms:
        note = "it may be of a liquidation that started before the window"
        return build(check, subject, "not_compared", note), None
    around = running_at(periods[group_id], first_ms)
    if len(around) > 1:
        note = f"it lies within the time of {len(around)} liquidations of risk unit {group_id}"
        return build(check, subject, "not_compared", note), None
    made = Decimal(len(record.times))
    if not around:
        note = f"risk unit {group_id} was not being liquidated at {utc_text(first_ms)}"
        return build(check, subject, "different", note, made, ZERO), None
    (period,) = around
    within = Decimal(sum(map(period.holds, record.times)))
    note = f"transfers, and those within {period.subject()}"
    return compare(check, subject, made, within, note), period


def _check_amount(
    period: Period, records: list[_Record], ledger: Ledger, window: TimeRange, *, is_doubtful: bool
) -> Check:
    check, subject = "transfers", period.subject()
    if reason := period.why_incomplete(window):
        return build(check, subject, "not_compared", reason)
    if len(records) > 1 or (is_doubtful and not records):
        return build(check, subject, "not_compared", "which record of transfers is of it is not certain")
    transfers = records[0].transfers if records else []
    if any(one["status"] != _CONFIRMED for one in transfers):
        return build(check, subject, "not_compared", "the status of a transfer is unknown")
    moved = [asset for one in transfers for asset in one["assets"]]
    start_ms, end_ms = period.start_ms, int(period.end_ms)
    repaid_assets = period.assets | ledger.forced_assets(period.group_id, start_ms, end_ms)
    assets = {asset["assetName"] for asset in moved} | repaid_assets
    if len(assets) != 1 or None in assets:
        named = ", ".join(sorted(map(str, assets))) or "no asset"
        return build(check, subject, "not_compared", f"it needs a conversion: {named}")
    (asset,) = repaid_assets
    movements = ledger.between(period.group_id, asset, start_ms, end_ms)
    found = known_total(amount(one["amount"]) for one in moved)
    if found is None or any(one.kind in {None, UNSPECIFIC_REPAY} for one in movements):
        return build(check, subject, "not_compared", UNKNOWN_MOVEMENT, None, found)
    forced = [one for one in movements if one.kind == FORCE_REPAY]
    rows = []
    for with_first, with_repeats in product((False, True), repeat=2):
        repaid = total(
            part
            for one in forced
            if (with_first or one.at_ms > start_ms) and (with_repeats or not one.is_repeat)
            for part in (one.principal, one.interest)
        ).copy_negate()
        words = [IN_FIRST_MS] * with_first + [REPEATED] * with_repeats
        rows.append(_compare(period, repaid, found, words))
    return min(rows, key=lambda row: _BY_PREFERENCE.index(row["outcome"]))  # the first of several


def _compare(period: Period, expected: Decimal, found: Decimal, words: list[str]) -> Check:
    """Return the row that compares what was transferred with what was repaid by force.

    The credit account may have paid the rest from its own wallets, if they held so much at the start.

    :param words: which interpretation the figures are of; none for the default.
    """
    rest, own = EXACT.subtract(expected, found), _own_equity(period)
    outcome: Outcome
    if not rest:
        outcome, note = "equal", ""
    elif rest < 0:
        outcome, note = "different", "more was transferred than repaid"
    elif own is None:
        outcome, note = "not_compared", "how much the credit account held itself is unknown"
    elif rest <= own:
        outcome = "not_compared"
        note = f"the credit account may have paid the rest itself, from the {own:f} that it held"
    else:
        outcome = "different"
        note = f"the credit account cannot have paid the rest itself: it held {own:f}"
    notes = "; ".join(filter(None, (*words, note))) or None
    return build("transfers", period.subject(), outcome, notes, expected, found)


def _own_equity(period: Period) -> Decimal | None:
    """Return the net equity of the credit account's own wallets at the start; None where it is unknown."""
    wallets = period.record["liquidationSnapshot"]["snapshots"]
    if not wallets or any(wallet["memberType"] not in _MEMBER_TYPES for wallet in wallets):
        return None
    own = [amount(wallet["netEquity"]) for wallet in wallets if wallet["memberType"] == _CREDIT]
    known = [max(one, ZERO) for one in own if one is not None]
    return total(known) if len(known) == len(own) else None
