"""Checks of what liquidations repaid by force: how much, and when."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from airflow_provider_binance_loan.binance.time_range import utc_text
from airflow_provider_binance_loan.reconciliation.check import ZERO, amount, build, rounding_of, total
from airflow_provider_binance_loan.reconciliation.interpretations import (
    REPEATED,
    Option,
    compare_interpretations,
)
from airflow_provider_binance_loan.reconciliation.ledger import (
    BORROW,
    CHARGE,
    FORCE_REPAY,
    PARTS,
    UNKNOWN_MOVEMENT,
    UNSPECIFIC_REPAY,
    sum_of,
)
from airflow_provider_binance_loan.reconciliation.periods import running_at

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
                    yield _check_part(part, asset, period, movements)


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


def _check_part(part: Part, asset: str, period: Period, movements: list[Movement]) -> Check:
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
            "counting repayments in its first millisecond",
            counts=False,
        ),
        Option(ZERO, _repaid(part, (one for one in movements if one.is_repeat)), REPEATED, counts=False),
    ]
    charged = [one.interest for one in charges]
    rounding = rounding_of([owed, repaid, *charged]) if part == "interest" and charged else ZERO
    expected = total((owed, sum_of(part, within)))
    return compare_interpretations(check, subject, expected, repaid, options, rounding=rounding)


def _repaid(part: Part, movements: Iterable[Movement]) -> Decimal:
    """Return what movements repaid of principals or interest."""
    return sum_of(part, (one for one in movements if one.is_repayment)).copy_negate()
