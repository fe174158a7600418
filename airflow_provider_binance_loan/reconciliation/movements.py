"""Checks of each charge of interest, and of each transaction, in itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_loan.binance.datasets.borrow_repay import BORROW
from airflow_provider_binance_loan.binance.time_range import utc_text
from airflow_provider_binance_loan.reconciliation.check import (
    EXACT,
    amount,
    build,
    decimals_of,
    last_unit,
    total,
)
from airflow_provider_binance_loan.reconciliation.ledger import is_confirmed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_binance_loan.reconciliation.check import Check
    from airflow_provider_binance_loan.reconciliation.ledger import Transaction

# A rounding is small if this many times it is no more than the figure itself.
_SMALL = Decimal(100)


class _Charge(NamedTuple):
    """The interest of an hour, whose amounts are all known."""

    loan: str
    at_ms: int
    principal: Decimal
    rate: Decimal
    interest: Decimal

    @property
    def expected(self) -> Decimal:
        return EXACT.multiply(self.principal, self.rate)

    @property
    def error(self) -> Decimal:
        return EXACT.subtract(self.interest, self.expected).copy_abs()

    def rounding(self, decimals: int) -> Decimal:
        """Return how far its interest may be from the product where its rate has so many decimals."""
        lost = EXACT.multiply(self.principal.copy_abs(), last_unit(decimals))
        return total((lost, last_unit(max(decimals_of(self.interest), decimals_of(self.principal)))))

    def agrees(self, decimals: int) -> bool:
        """Return whether its interest is the product, or off by a rounding that is small against it."""
        rounding = self.rounding(decimals)
        is_small = EXACT.multiply(rounding, _SMALL) <= self.expected.copy_abs()
        return not self.error or (self.error <= rounding and is_small)


def check_interest_rates(records: Iterable[Mapping[str, Any]]) -> Iterator[Check]:
    """Yield a row `interest_rate` for each loan, and one for each hour whose interest differs.

    Interest is principal times rate, within the rounding of the rate. In Binance's example, 851340.57601652
    at 0.00000833 gives 7.09447643: that is not the product, 7.0917, but within what the rate may have lost
    after its last decimal. One that may have lost more than a hundredth of the interest is not compared,
    unless other rates show by their decimals that it only lacks zeros at its end, as JSON numbers do.
    """
    check = "interest_rate"
    charges: list[_Charge] = []
    unknown: Counter[str] = Counter()
    for record in records:
        loan = f"risk unit {record['groupId']}, {record['assetName']}"
        principal, rate, interest = (
            amount(record[name]) for name in ("principal", "interestRate", "interest")
        )
        if principal is None or rate is None or interest is None:
            unknown[loan] += 1
            continue
        charges.append(_Charge(loan, record["interestTimestamp"], principal, rate, interest))
    agreeing: defaultdict[str, list[_Charge]] = defaultdict(list)
    too_coarse: Counter[str] = Counter()
    most = max((decimals_of(one.rate) for one in charges), default=0)
    for one in charges:
        if one.agrees(decimals_of(one.rate)) or one.agrees(most):
            agreeing[one.loan].append(one)
        elif one.error <= one.rounding(decimals_of(one.rate)):
            too_coarse[one.loan] += 1
        else:
            subject = f"{one.loan}, {utc_text(one.at_ms)}"
            yield build(check, subject, "different", None, one.expected, one.interest)
    for loan, equal in sorted(agreeing.items()):
        expected, found = total(one.expected for one in equal), total(one.interest for one in equal)
        note = f"sums of {len(equal)} records, each within the rounding of its rate"
        yield build(check, loan, "equal", note, expected, found)
    for loan, count in sorted(unknown.items()):
        note = f"records that lack an amount: {count}"
        yield build(check, loan, "not_compared", note)
    for loan, count in sorted(too_coarse.items()):
        note = f"records with too few decimals to compare their interest: {count}"
        yield build(check, loan, "not_compared", note)


def check_transactions(transactions: Iterable[Transaction]) -> Iterator[Check]:
    """Yield a row `repeated_transaction` for each that Binance sent again, and the rows `repayment_parts`.

    One that was sent again with other contents, such as another asset, is not compared.
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
