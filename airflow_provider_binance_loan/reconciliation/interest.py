"""Check of the interest of each hour: principal times rate, within the rounding of the rate."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_loan.binance.time_range import utc_text
from airflow_provider_binance_loan.reconciliation.check import (
    EXACT,
    amount,
    build,
    decimals_of,
    last_unit,
    total,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_binance_loan.reconciliation.check import Check

CHECK = "interest_rate"


def check_interest_rates(records: Iterable[Mapping[str, Any]]) -> Iterator[Check]:
    """Yield a row `interest_rate` for each loan, and one for each hour whose interest differs.

    In Binance's example, 851340.57601652 at 0.00000833 gives 7.09447643: that is not the product, 7.0917,
    but within what the rate may have lost after its last decimal.
    """
    agreeing: defaultdict[tuple[int, str], list[tuple[Decimal, Decimal]]] = defaultdict(list)
    unknown: defaultdict[tuple[int, str], int] = defaultdict(int)
    for record in records:
        loan = record["groupId"], record["assetName"]
        principal, rate, interest = (
            amount(record[name]) for name in ("principal", "interestRate", "interest")
        )
        if principal is None or rate is None or interest is None:
            unknown[loan] += 1
            continue
        expected = EXACT.multiply(principal, rate)
        lost = EXACT.multiply(principal.copy_abs(), last_unit(decimals_of(rate)))
        allowed = total((lost, last_unit(max(decimals_of(interest), decimals_of(principal)))))
        if EXACT.subtract(interest, expected).copy_abs() <= allowed:
            agreeing[loan].append((expected, interest))
            continue
        subject = f"{_subject(loan)}, {utc_text(record['interestTimestamp'])}"
        yield build(CHECK, subject, "different", None, expected, interest)
    for loan, pairs in sorted(agreeing.items()):
        expected, found = (total(one[place] for one in pairs) for place in (0, 1))
        hours = f"{len(pairs)} hour{'' if len(pairs) == 1 else 's'}"
        yield build(
            CHECK, _subject(loan), "equal", f"{hours}, each within the rounding of its rate", expected, found
        )
    for loan, count in sorted(unknown.items()):
        note = f"an amount of {count} hour{'' if count == 1 else 's'} is unknown"
        yield build(CHECK, _subject(loan), "not_compared", note)


def _subject(loan: tuple[int, str]) -> str:
    return f"risk unit {loan[0]}, {loan[1]}"
