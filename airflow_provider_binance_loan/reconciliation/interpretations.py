"""Comparisons under each interpretation of what Binance's documentation leaves open."""

from __future__ import annotations

from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_binance_loan.reconciliation.check import EXACT, ZERO, compare, total

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_binance_loan.reconciliation.check import Check


IN_FIRST_MS = "counting repayments in its first millisecond"
REPEATED = "counting again what Binance sent twice"


class Option(NamedTuple):
    """An amount that one interpretation counts and another does not.

    :param expected: how much is added to the expected figure where it is counted.
    :param found: how much is added to the figure that was found.
    :param otherwise: what the note says where the default is not taken.
    :param counts: whether it is counted by default.
    """

    expected: Decimal
    found: Decimal
    otherwise: str
    counts: bool


def compare_interpretations(
    check: str,
    subject: str,
    expected: Decimal,
    found: Decimal,
    options: Iterable[Option],
    *,
    rounding: Decimal = ZERO,
) -> Check:
    """Return the row of the interpretation whose figures are closest, and as near to the default as can be.

    :param options: what may be counted or not; those of no amount are left out.
    """
    open_ones = [option for option in options if option.expected or option.found]
    # Fewest deviations first, so that the default wins over an interpretation that fits as well.
    choices = sorted(product((False, True), repeat=len(open_ones)), key=sum)
    rows: list[tuple[Decimal, Decimal, Decimal, str | None]] = []
    for choice in choices:
        counted = [
            option for option, deviates in zip(open_ones, choice, strict=True) if option.counts != deviates
        ]
        this_expected = total([expected, *(option.expected for option in counted)])
        this_found = total([found, *(option.found for option in counted)])
        words = [option.otherwise for option, deviates in zip(open_ones, choice, strict=True) if deviates]
        difference = EXACT.subtract(this_found, this_expected).copy_abs()
        rows.append((difference, this_expected, this_found, "; ".join(words) or None))
        if not difference:
            break
    _, expected, found, note = min(rows, key=lambda row: row[0])
    return compare(check, subject, expected, found, note, rounding=rounding)
