"""The interest, borrow and repay records of a risk unit: they add up to what `ltv-details` shows.

- Loans are charged interest at each full hour after they were borrowed.
- A liquidation repays loans by force; see `repayments.py`. Interest that is charged while it runs is paid at
  once, as a normal repayment without principal.
- What is left of loans when the unit borrows others, or is closed, is repaid normally in that millisecond.

While no liquidation runs, and in the millisecond of each forced repayment, the principals and the interest of
`ltv-details` are exactly what was borrowed and charged, and not repaid. Where tests let liquidations of a
unit overlap this does not hold, since `ltv-details` shows the newest alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from airflow_provider_binance_loan.sandbox.history import HOUR_MS
from airflow_provider_binance_loan.sandbox.loans import Dice, book
from airflow_provider_binance_loan.sandbox.repayments import repayments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_binance_loan.sandbox.loans import Loan
    from airflow_provider_binance_loan.sandbox.timeline import Segment, Timeline

FAILED_ONE_IN = 12  # how many transactions succeed for each that failed at first

Kind = Literal["BORROW", "NORMAL_REPAY", "FORCE_REPAY"]


class Charge(NamedTuple):
    """Interest that is charged on a loan; its amount follows from the figures of that time."""

    at_ms: int
    group_id: int
    asset: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """An attempt to borrow a loan, or to repay a part of it."""

    at_ms: int
    group_id: int
    kind: Kind
    asset: str
    principal: int
    interest: int
    number: int
    """The `tranId`; an attempt that failed has that of the one that succeeded."""
    failed: bool = False


def charges(timeline: Timeline, start_ms: int, end_ms: int) -> Iterator[Charge]:
    """Yield the interest that is charged between two times, oldest first.

    :param end_ms: the end, which is included.
    """
    for segment in timeline.segments(start_ms, end_ms + 1):
        loans = book(timeline.seed, timeline.unit.group_id, segment.opened_ms).loans
        for at_ms in _charged_hours(segment):
            yield from (Charge(at_ms, timeline.unit.group_id, loan.asset) for loan in loans)


def borrowings(timeline: Timeline, start_ms: int, end_ms: int) -> Iterator[Transaction]:
    """Yield the loans that are borrowed between two times.

    :param end_ms: the end, which is included.
    """
    previous: Segment | None = None
    for segment in timeline.segments(start_ms - 1, end_ms + 1):
        at_ms = segment.borrowed_ms
        if at_ms < segment.start_ms and previous and previous.opened_ms != segment.opened_ms:
            at_ms = segment.start_ms  # the loans were hidden behind those of another liquidation
        if max(start_ms, segment.start_ms) <= at_ms < segment.end_ms:
            for loan in timeline.figures(at_ms).loans:
                yield from _attempts(timeline, at_ms, "BORROW", loan.asset, loan.principal)
        previous = segment


def repaid(timeline: Timeline, start_ms: int, end_ms: int) -> Iterator[Transaction]:
    """Yield what is repaid between two times, by force or not.

    :param end_ms: the end, which is included; none of what is repaid later is known.
    """
    for one in timeline.between(start_ms, end_ms):
        for step in repayments(timeline.seed, one, end_ms):
            if start_ms <= step.at_ms <= end_ms:
                yield from _parts_repaid(timeline, step.at_ms, "FORCE_REPAY", step.loans)
    previous: Segment | None = None
    for segment in timeline.segments(start_ms - 1, end_ms + 1):
        if previous and previous.opened_ms != segment.opened_ms:
            yield from _paid_off(timeline, previous)
        if segment.liquidation:
            yield from _interest_paid_at_once(timeline, segment, start_ms)
        previous = segment
    if previous and previous.end_ms == timeline.unit.close_ms and previous.end_ms <= end_ms:
        yield from _paid_off(timeline, previous)


def _charged_hours(segment: Segment) -> range:
    """Return the full hours of a segment at which interest is charged."""
    first_ms = max(segment.start_ms, segment.borrowed_ms + 1)
    return range(first_ms + -first_ms % HOUR_MS, segment.end_ms, HOUR_MS)


def _interest_paid_at_once(timeline: Timeline, segment: Segment, start_ms: int) -> Iterator[Transaction]:
    """Yield the payments of the interest that is charged while a liquidation runs."""
    for at_ms in _charged_hours(segment):
        if segment.liquidation and at_ms > segment.liquidation.start_ms and at_ms >= start_ms:
            for loan in timeline.figures(at_ms).loans:
                if interest := loan.hourly_interest:
                    yield from _attempts(timeline, at_ms, "NORMAL_REPAY", loan.asset, 0, interest)


def _paid_off(timeline: Timeline, last: Segment) -> Iterator[Transaction]:
    """Yield what is repaid of loans, normally, at the end of their last segment."""
    one = last.liquidation
    ended = one and one.end_ms is not None and one.end_ms <= last.end_ms
    left = one.final_figures(timeline.seed) if one and ended else timeline.figures(last.end_ms - 1)
    yield from _parts_repaid(timeline, last.end_ms, "NORMAL_REPAY", left.loans)


def _parts_repaid(
    timeline: Timeline, at_ms: int, kind: Kind, parts: tuple[Loan, ...]
) -> Iterator[Transaction]:
    for part in parts:
        if part.principal or part.interest:
            yield from _attempts(timeline, at_ms, kind, part.asset, part.principal, part.interest)


def _attempts(
    timeline: Timeline, at_ms: int, kind: Kind, asset: str, principal: int, interest: int = 0
) -> Iterator[Transaction]:
    """Yield a transaction; now and then one that failed comes before it, in the same millisecond."""
    group_id = timeline.unit.group_id
    dice = Dice("transaction", timeline.seed, group_id, at_ms, kind, asset, principal, interest)
    done = Transaction(at_ms, group_id, kind, asset, principal, interest, dice(10**13))
    if dice(FAILED_ONE_IN) == 0:
        yield replace(done, failed=True)
    yield done
