"""What a liquidation repays, when, and by how much the equity of each wallet falls for it.

A liquidation repays in a few steps; the last one is at its end. Each repays what the liabilities have fallen
by since the step before it. The equity of all wallets falls by as much in total: collateral accounts transfer
what theirs falls by, and the credit account pays the rest from its own wallets. `ltv-details` shows the same
in the millisecond of each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import count, pairwise, takewhile
from typing import TYPE_CHECKING

from airflow_provider_binance_loan.sandbox.loans import Dice, Figures, Loan, Wallet, liquidation_ltvs
from airflow_provider_binance_loan.sandbox.timeline import repaying_ltv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_binance_loan.sandbox.history import Liquidation

LEAST_FALL = 1000  # of the LTV in a step, so that each step is an amount worth repaying
MOST_STEPS = 6
SOONEST_MS, SOONEST_RANGE_MS = 20_000, 40_001  # when a liquidation whose end nobody knows repays first


@dataclass(frozen=True, slots=True)
class Repayment:
    """A step: what is repaid of each loan, and the fall of each wallet's equity."""

    at_ms: int
    loans: tuple[Loan, ...]
    wallets: tuple[Wallet, ...]


def repayment_times(seed: int, one: Liquidation, now_ms: int) -> list[int]:
    """Return the times at which a liquidation has repaid until now, oldest first; they never change."""
    return [at_ms for at_ms, _ in _steps(seed, one, now_ms)]


def repayments(seed: int, one: Liquidation, now_ms: int) -> tuple[Repayment, ...]:
    """Return what a liquidation has repaid until now, oldest first."""
    return _repayments(one.initial_figures(seed), tuple(_steps(seed, one, now_ms)))


@lru_cache(maxsize=8192)
def _repayments(initial: Figures, steps: tuple[tuple[int, int], ...]) -> tuple[Repayment, ...]:
    states = (initial, *(initial.repaid_to(ltv) for _, ltv in steps))
    return tuple(
        Repayment(at_ms, _fall_of_loans(before, after), _fall_of_wallets(before, after))
        for (at_ms, _), (before, after) in zip(steps, pairwise(states), strict=True)
    )


def _steps(seed: int, one: Liquidation, now_ms: int) -> Iterator[tuple[int, int]]:
    """Yield the time of each step until now, and to which LTV it repays."""
    ltv, last_ltv = liquidation_ltvs(seed, one.group_id, one.start_ms)
    ended_ms = None if one.running(now_ms) else one.end_ms
    until_ms = now_ms + 1 if ended_ms is None else ended_ms
    for at_ms in takewhile(lambda at_ms: at_ms < until_ms, _planned_times(seed, one)):
        at_ltv = repaying_ltv(seed, one, at_ms)
        if at_ms > one.start_ms and min(ltv - at_ltv, at_ltv - last_ltv) >= LEAST_FALL:
            yield at_ms, at_ltv
            ltv = at_ltv
    if ended_ms is not None:
        yield ended_ms, last_ltv


def _planned_times(seed: int, one: Liquidation) -> Iterable[int]:
    dice = Dice("repayments", seed, one.group_id, one.start_ms)
    if one.planned_end_ms is None:  # ever more rarely, as the LTV falls
        first_ms = SOONEST_MS + dice(SOONEST_RANGE_MS)
        return (one.start_ms + first_ms * 2**step for step in count())
    steps, length_ms = 1 + dice(MOST_STEPS), one.planned_end_ms - one.start_ms
    parts = [1000 * step + dice(701) - 350 for step in range(1, steps)]
    return [one.start_ms + length_ms * part // (1000 * steps) for part in parts]


def _fall_of_loans(before: Figures, after: Figures) -> tuple[Loan, ...]:
    return tuple(
        Loan(old.asset, old.principal - new.principal, old.interest - new.interest, old.rate)
        for old, new in zip(before.loans, after.loans, strict=True)
    )


def _fall_of_wallets(before: Figures, after: Figures) -> tuple[Wallet, ...]:
    return tuple(
        Wallet(old.account, old.kind, old.equity - new.equity, 0)
        for old, new in zip(before.wallets, after.wallets, strict=True)
    )
