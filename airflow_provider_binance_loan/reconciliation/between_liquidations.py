"""Checks from each liquidation of a risk unit to its next: what was owed, and what changed it in between."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from airflow_provider_binance_loan.reconciliation.check import ZERO, build, rounding_of, total
from airflow_provider_binance_loan.reconciliation.interpretations import (
    REPEATED,
    Option,
    compare_interpretations,
)
from airflow_provider_binance_loan.reconciliation.ledger import (
    CHARGE,
    PARTS,
    UNKNOWN_MOVEMENT,
    sum_of,
)
from airflow_provider_binance_loan.reconciliation.periods import OVERLAPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_binance_loan.binance.time_range import TimeRange
    from airflow_provider_binance_loan.reconciliation.check import Check
    from airflow_provider_binance_loan.reconciliation.ledger import Ledger, Movement, Part
    from airflow_provider_binance_loan.reconciliation.periods import Period


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
            if reason := _why_not(first, second, window):
                yield build("ledger_principal", second.subject(), "not_compared", reason)
                continue
            moved = ledger.assets(group_id, first.start_ms, second.start_ms)
            for asset in sorted(first.assets | second.assets | moved):
                movements = ledger.between(group_id, asset, first.start_ms, second.start_ms)
                for part in PARTS:
                    yield _check_part(part, asset, first, second, movements)


def _why_not(first: Period, second: Period, window: TimeRange) -> str | None:
    if first.overlaps or second.overlaps:
        return OVERLAPS
    if first.start_ms < window.start_ms:
        return "the liquidation before it started before the window"
    if not (first.knows_loans and second.knows_loans):
        return "a record does not say what was owed in which asset"
    return None


def _check_part(part: Part, asset: str, first: Period, second: Period, movements: list[Movement]) -> Check:
    check, subject = f"ledger_{part}", second.subject(asset)
    before, after = first.owed(part, asset), second.owed(part, asset)
    if before is None or after is None or any(one.kind is None for one in movements):
        return build(check, subject, "not_compared", UNKNOWN_MOVEMENT, None, after)
    start_ms, end_ms = first.start_ms, second.start_ms
    once = [one for one in movements if not one.is_repeat]
    options = [
        *_options(part, once, start_ms, "in the millisecond of the start before it", counts=False),
        *_options(part, once, end_ms, "in the millisecond of its start", counts=True),
        Option(sum_of(part, (one for one in movements if one.is_repeat)), ZERO, REPEATED, counts=False),
    ]
    changes = sum_of(part, (one for one in once if start_ms < one.at_ms < end_ms))
    charged = [one.interest for one in once if one.kind == CHARGE]
    rounding = rounding_of([before, after, *charged]) if part == "interest" and charged else ZERO
    expected = total((before, changes))
    return compare_interpretations(check, subject, expected, after, options, rounding=rounding)


def _options(
    part: Part, movements: list[Movement], at_ms: int, when: str, *, counts: bool
) -> Iterator[Option]:
    """Yield what of a millisecond the figures of that millisecond may or may not include."""
    same_ms = [one for one in movements if one.at_ms == at_ms]
    verb = "not counting" if counts else "counting"
    for is_charge, what in ((False, "transactions"), (True, "interest")):
        amount = sum_of(part, (one for one in same_ms if (one.kind == CHARGE) is is_charge))
        yield Option(amount, ZERO, f"{verb} {what} {when}", counts=counts)
