"""Checks of each charge of interest, and of each transaction, in itself."""

from __future__ import annotations

from collections import Counter, defaultdict
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
from airflow_provider_binance_loan.reconciliation.ledger import BORROW, is_confirmed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_binance_loan.reconciliation.check import Check
    from airflow_provider_binance_loan.reconciliation.ledger import Transaction


def check_interest_rates(records: Iterable[Mapping[str, Any]]) -> Iterator[Check]:
    """Yield a row `interest_rate` for each loan, and one for each hour whose interest differs.

    Interest is principal times rate, within the rounding of the rate. In Binance's example, 851340.57601652
    at 0.00000833 gives 7.09447643: that is not the product, 7.0917, but within what the rate may have lost
    after its last decimal.
    """
    check = "interest_rate"
    agreeing: defaultdict[str, list[tuple[Decimal, Decimal]]] = defaultdict(list)
    unknown: Counter[str] = Counter()
    for record in records:
        loan = f"risk unit {record['groupId']}, {record['assetName']}"
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
        subject = f"{loan}, {utc_text(record['interestTimestamp'])}"
        yield build(check, subject, "different", None, expected, interest)
    for loan, pairs in sorted(agreeing.items()):
        expected, found = (total(one[place] for one in pairs) for place in (0, 1))
        note = f"sums of {len(pairs)} records, each within the rounding of its rate"
        yield build(check, loan, "equal", note, expected, found)
    for loan, count in sorted(unknown.items()):
        note = f"records that lack an amount: {count}"
        yield build(check, loan, "not_compared", note)


def check_transactions(transactions: Iterable[Transaction]) -> Iterator[Check]:
    """Yield a row `repeated_transaction` for each that came again, and the rows `repayment_parts`.

    One that came again with other contents, such as another asset, is not compared.
    There is a row of parts for each repayment whose parts do not sum to its amount, and for each asset one of
    all others.
    """
    check = "repayment_parts"
    agreeing: defaultdict[str, list[Decimal]] = defaultdict(list)
    unknown: Counter[str] = Counter()
    for record, is_repeat in transactions:
        asset, whole = str(record["assetName"]), amount(record["amount"])
        subject = f"transaction {record['tranId']} of {utc_text(record['timestamp'])}, {asset}"
        if is_repeat:
            yield build("repeated_transaction", subject, "different", "Binance sent it more than once")
            continue
        if record["occurrence"]:
            note = "Binance sent its tranId, type, status and time more than once, with other contents"
            yield build("repeated_transaction", subject, "not_compared", note)
        if record["type"] != BORROW and is_confirmed(record):
            principal, interest = amount(record["principal"]), amount(record["interest"])
            if whole is None or principal is None or interest is None:
                unknown[asset] += 1
            elif (parts := total((principal, interest))) == whole:
                agreeing[asset].append(whole)
            else:
                yield build(check, subject, "different", None, parts, whole)
    for asset, amounts in sorted(agreeing.items()):
        note = f"sums of {len(amounts)} records, each equal"
        yield build(check, asset, "equal", note, total(amounts), total(amounts))
    for asset, count in sorted(unknown.items()):
        note = f"records that lack an amount, principal or interest: {count}"
        yield build(check, asset, "not_compared", note)
