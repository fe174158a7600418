"""Checks of what risk units owe: how liquidations repaid it, and how it changed from one to the next."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

from airflow_provider_binance_loan.binance.datasets.borrow_repay import BORROW
from airflow_provider_binance_loan.binance.time_range import utc_text
from airflow_provider_binance_loan.reconciliation.check import ZERO, amount, build, rounding_of, total
from airflow_provider_binance_loan.reconciliation.interpretations import (
    IN_FIRST_MS,
    REPEATED,
    Option,
    compare_interpretations,
)
from airflow_provider_binance_loan.reconciliation.ledger import (
    CHARGE,
    FORCE_REPAY,
    PARTS,
    UNKNOWN_MOVEMENT,
    UNSPECIFIC_REPAY,
    sum_of,
)
from airflow_provider_binance_loan.reconciliation.periods import OVERLAPS, running_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_binance_loan.binance.time_range import TimeRange
    from airflow_provider_binance_loan.reconciliation.check import Check
    from airflow_provider_binance_loan.reconciliation.ledger import Ledger, Movement, Part
    from airflow_provider_binance_loan.reconciliation.periods import Period


def check_forced_repayments(
    periods: Mapping[int, list[Period]], ledger: Ledger, window: TimeRange
) -> Iterator[Check]:
    """Yield the rows `forced_principal` and `forced_interest`, for each asset of each liquidation.

    A liquidation whose LTV is 0 in the end has repaid all that was owed at its start, and charged until its
    end. What is left of another one is not stated, so that its repayments are checked for being too high.
    """
    for of_unit in periods.values():
        for period in of_unit:
            if reason := period.why_incomplete(window):
                yield build("forced_principal", period.subject(), "not_compared", reason)
                continue
            start_ms, end_ms = period.start_ms, int(period.end_ms)
            repaid = ledger.forced_assets(period.group_id, start_ms, end_ms)
            for asset in sorted(period.assets | repaid):
                movements = ledger.between(period.group_id, asset, start_ms, end_ms)
                for part in PARTS:
                    yield _check_forced(part, asset, period, movements)


def check_forced_repayment_times(
    periods: Mapping[int, list[Period]], ledger: Ledger, window: TimeRange
) -> Iterator[Check]:
    """Yield the rows `forced_repayment_time` of each risk unit: how many repayments lie within liquidations.

    A repayment before the first liquidation of the window may be of one that started earlier.
    """
    check = "forced_repayment_time"
    for group_id in sorted(ledger.risk_units):
        subject, of_unit = f"risk unit {group_id}", periods.get(group_id, [])
        times = ledger.forced_times(group_id, window)
        later = [at_ms for at_ms in times if of_unit and at_ms >= of_unit[0].start_ms]
        outside = [at_ms for at_ms in later if not running_at(of_unit, at_ms)]
        counts = Decimal(len(later)), Decimal(len(later) - len(outside))
        if outside:
            note = f"the first without a liquidation was at {utc_text(min(outside))}"
            yield build(check, subject, "different", note, *counts)
        elif later:
            yield build(check, subject, "equal", "repayments by force, within liquidations", *counts)
        if early := len(times) - len(later):
            note = f"repayments by force before the first liquidation of the window: {early}"
            yield build(check, subject, "not_compared", note)
    if unknown := len(ledger.forced_times(None, window)):
        note = f"repayments by force whose risk unit is unknown: {unknown}"
        yield build(check, "an unknown risk unit", "not_compared", note)


def _check_forced(part: Part, asset: str, period: Period, movements: list[Movement]) -> Check:
    check, subject, owed = f"forced_{part}", period.subject(asset), period.owed(part, asset)
    if owed is None or any(one.kind in {None, UNSPECIFIC_REPAY} for one in movements):
        return build(check, subject, "not_compared", UNKNOWN_MOVEMENT, owed)
    start_ms, end_ms = period.start_ms, period.end_ms
    once = [one for one in movements if not one.is_repeat]
    forced = [one for one in once if one.kind == FORCE_REPAY]
    repaid = _repaid(part, (one for one in forced if one.at_ms > start_ms))
    if any(one.kind == BORROW and start_ms < one.at_ms < end_ms for one in once):
        return build(check, subject, "not_compared", "more was borrowed while it ran", owed, repaid)
    charges = [one for one in once if one.kind == CHARGE]
    if amount(period.record["endLtv"]) != ZERO:
        most = total((owed, sum_of(part, charges)))
        if repaid > most:
            return build(check, subject, "different", "more than was owed and charged", most, repaid)
        note = "less than or all of what was owed and charged; how much is left is not stated"
        return build(check, subject, "not_compared", note, most, repaid)
    within = [one for one in charges if start_ms < one.at_ms < end_ms]
    at_start, at_end = ([one for one in charges if one.at_ms == at_ms] for at_ms in (start_ms, end_ms))
    normal = (one for one in once if one.is_repayment and one.kind != FORCE_REPAY and one.at_ms > start_ms)
    options = [
        Option(ZERO, _repaid(part, normal), "counting repayments that were not forced", counts=False),
        Option(sum_of(part, at_start), ZERO, "counting the interest of its first millisecond", counts=False),
        Option(sum_of(part, at_end), ZERO, "not counting the interest of its last millisecond", counts=True),
        Option(
            ZERO,
            _repaid(part, (one for one in forced if one.at_ms == start_ms)),
            IN_FIRST_MS,
            counts=False,
        ),
        Option(ZERO, _repaid(part, (one for one in movements if one.is_repeat)), REPEATED, counts=False),
    ]
    charged = [one.interest for one in charges]
    rounding = rounding_of([owed, repaid, *charged]) if part == "interest" and charged else ZERO
    expected = total((owed, sum_of(part, within)))
    row = compare_interpretations(check, subject, expected, repaid, options, rounding=rounding)
    if (
        row["outcome"] == "different"
        and not period.has_ltv_decimals
        and Decimal(str(row["found"])) < expected
    ):
        row["outcome"] = "not_compared"
        row["note"] = "less than was owed and charged; its last LTV of 0 has no decimals, and may be rounded"
    return row


def _repaid(part: Part, movements: Iterable[Movement]) -> Decimal:
    """Return what movements repaid of principals or interest."""
    return sum_of(part, (one for one in movements if one.is_repayment)).copy_negate()


def check_between_liquidations(
    periods: Mapping[int, list[Period]], ledger: Ledger, window: TimeRange
) -> Iterator[Check]:
    """Yield the rows `ledger_principal` and `ledger_interest`, for each liquidation but the first of a unit.

    What is owed at its start is what was owed at the start of the one before, and borrowed or charged since,
    less what was repaid.
    """
    for group_id in sorted(periods.keys() | ledger.risk_units):
        of_unit = periods.get(group_id, [])
        if len(of_unit) < 2:
            note = "there are no two liquidations of it in the window"
            yield build("ledger_principal", f"risk unit {group_id}", "not_compared", note)
        for first, second in pairwise(of_unit):
            if reason := _why_no_change(first, second, window):
                yield build("ledger_principal", second.subject(), "not_compared", reason)
                continue
            moved = ledger.assets(group_id, first.start_ms, second.start_ms)
            for asset in sorted(first.assets | second.assets | moved):
                movements = ledger.between(group_id, asset, first.start_ms, second.start_ms)
                for part in PARTS:
                    yield _check_change(part, asset, first, second, movements)


def check_charged_principals(periods: Mapping[int, list[Period]], ledger: Ledger) -> Iterator[Check]:
    """Yield a row `charged_principal` for each loan, and one for each hour whose principal differs.

    The principal on which interest is charged is that of the charge before, and what was borrowed and repaid
    since. Which principal that is while a liquidation runs is not documented.
    """
    check = "charged_principal"
    for group_id, asset, stated in ledger.charged:
        subject, of_unit = f"risk unit {group_id}, {asset}", periods.get(group_id, [])
        resting = [
            (at_ms, principal)
            for at_ms, principal in stated
            if of_unit and at_ms >= of_unit[0].start_ms and not running_at(of_unit, at_ms)
        ]
        rows = [_check_charged(asset, group_id, first, second, ledger) for first, second in pairwise(resting)]
        equal = [row for row in rows if row["outcome"] == "equal"]
        if equal:
            note = f"sums of {len(equal)} records, each equal"
            sums = (total(Decimal(str(row[name])) for row in equal) for name in ("expected", "found"))
            yield build(check, subject, "equal", note, *sums)
        yield from (row for row in rows if row["outcome"] != "equal")
        if others := len(stated) - len(rows):
            note = f"records of hours in which a liquidation ran, or may have run, or the first one: {others}"
            yield build(check, subject, "not_compared", note)


def _check_charged(
    asset: str,
    group_id: int,
    first: tuple[int, Decimal | None],
    second: tuple[int, Decimal | None],
    ledger: Ledger,
) -> Check:
    check = "charged_principal"
    (start_ms, before), (end_ms, after) = first, second
    subject = f"risk unit {group_id}, {asset}, {utc_text(end_ms)}"
    movements = ledger.between(group_id, asset, start_ms, end_ms)
    if before is None or after is None or any(one.kind is None for one in movements):
        return build(check, subject, "not_compared", UNKNOWN_MOVEMENT, None, after)
    return _compare_change("principal", check, subject, (start_ms, before), (end_ms, after), movements)


def _why_no_change(first: Period, second: Period, window: TimeRange) -> str | None:
    if first.overlaps or second.overlaps:
        return OVERLAPS
    if first.start_ms < window.start_ms:
        return "the liquidation before it started before the window"
    if not (first.knows_loans and second.knows_loans):
        return "a record does not say what was owed in which asset"
    return None


def _check_change(part: Part, asset: str, first: Period, second: Period, movements: list[Movement]) -> Check:
    check, subject = f"ledger_{part}", second.subject(asset)
    before, after = first.owed(part, asset), second.owed(part, asset)
    if before is None or after is None or any(one.kind is None for one in movements):
        return build(check, subject, "not_compared", UNKNOWN_MOVEMENT, None, after)
    charged = [one.interest for one in movements if one.kind == CHARGE]
    rounding = rounding_of([before, after, *charged]) if part == "interest" and charged else ZERO
    edges = (first.start_ms, before), (second.start_ms, after)
    return _compare_change(part, check, subject, *edges, movements, rounding=rounding)


def _compare_change(
    part: Part,
    check: str,
    subject: str,
    first: tuple[int, Decimal],
    second: tuple[int, Decimal],
    movements: list[Movement],
    *,
    rounding: Decimal = ZERO,
) -> Check:
    """Return the row that compares what is owed at a time with what was owed before, and moved since.

    :param first: the time before, and what was owed.
    :param second: the time, and what is owed.
    """
    (start_ms, before), (end_ms, after) = first, second
    once = [one for one in movements if not one.is_repeat]
    options = [
        *_edge_options(part, once, start_ms, "in the first millisecond", counts=False),
        *_edge_options(part, once, end_ms, "in the last millisecond", counts=True),
        Option(sum_of(part, (one for one in movements if one.is_repeat)), ZERO, REPEATED, counts=False),
    ]
    changes = sum_of(part, (one for one in once if start_ms < one.at_ms < end_ms))
    return compare_interpretations(
        check, subject, total((before, changes)), after, options, rounding=rounding
    )


def _edge_options(
    part: Part, movements: list[Movement], at_ms: int, when: str, *, counts: bool
) -> Iterator[Option]:
    """Yield what of a millisecond the figures of that millisecond may or may not include."""
    same_ms = [one for one in movements if one.at_ms == at_ms]
    verb = "not counting" if counts else "counting"
    for is_charge, what in ((False, "transactions"), (True, "interest")):
        amount = sum_of(part, (one for one in same_ms if (one.kind == CHARGE) is is_charge))
        yield Option(amount, ZERO, f"{verb} {what} {when}", counts=counts)
