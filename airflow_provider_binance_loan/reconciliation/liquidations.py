"""Checks of the record of a liquidation in itself: equity, LTV and liabilities."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_loan.reconciliation.check import (
    EXACT,
    ZERO,
    amount,
    build,
    compare,
    decimals_of,
    known_total,
    last_unit,
    liquidation_subject,
    rounding_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_binance_loan.reconciliation.check import Check

# Binance states totals in dollars, and counts this coin as one dollar.
DOLLAR_COIN = "USDT"
_TOTALS = ("totalNetEquity", "totalMaintenanceMargin", "totalLiability")
_MAX_LTV_ERROR = Fraction(1, 1000)
_LTV_DECIMALS = 8
_HALF = Decimal("0.5")
# A total with fewer is more likely to have lost zeros than to be rounded.
_FEWEST_DECIMALS = 2


def check_liquidations(records: Iterable[Mapping[str, Any]]) -> Iterator[Check]:
    """Yield the rows `net_equity`, `ltv` and `liabilities` of each liquidation."""
    for record in records:
        yield check_net_equity(record)
        yield check_ltv(record)
        yield check_liabilities(record)


def check_net_equity(record: Mapping[str, Any]) -> Check:
    """Return the row that compares the sum of the wallets' net equity with the total."""
    check, subject = "net_equity", liquidation_subject(record)
    wallets = record["liquidationSnapshot"]["snapshots"]
    if not wallets:
        return build(check, subject, "not_compared", "the record has no wallets")
    addends = [amount(wallet["netEquity"]) for wallet in wallets]
    return _compare_sum(check, subject, addends, record, "totalNetEquity")


def check_liabilities(record: Mapping[str, Any]) -> Check:
    """Return the row that compares the sum of principals and interest with the total."""
    check, subject = "liabilities", liquidation_subject(record)
    loans = record["liquidationSnapshot"]["liabilities"]
    if not loans:
        return build(check, subject, "not_compared", "the record has no liabilities")
    assets = {loan["assetName"] for loan in loans}
    if assets != {DOLLAR_COIN}:
        named = ", ".join(sorted(str(asset) for asset in assets))
        return build(check, subject, "not_compared", f"the total needs a conversion of {named}")
    addends = [amount(loan[name]) for loan in loans for name in ("principal", "interest")]
    return _compare_sum(check, subject, addends, record, "totalLiability")


def check_ltv(record: Mapping[str, Any]) -> Check:
    """Return the row that compares the LTV of the start with the formula, within its rounding.

    The formula is that of `binance/loan_to_value.py`. Its figures are those of the start; there are none for
    `endLtv`.
    """
    check, subject = "ltv", liquidation_subject(record)
    equity, margin, liability = (amount(record[name]) for name in _TOTALS)
    stated = amount(record["startLtv"])
    if equity is None or margin is None or liability is None or stated is None:
        return build(check, subject, "not_compared", "the LTV or one of the totals is unknown", None, stated)
    if equity <= margin:
        note = "the formula has no result, since the net equity is not above the maintenance margin"
        return build(check, subject, "not_compared", note, None, stated)
    formula = Fraction(liability) / (Fraction(equity) - Fraction(margin))
    expected = _rounded(formula)
    error, decimals = abs(Fraction(stated) - formula), decimals_of(stated)
    if error <= min(_MAX_LTV_ERROR, Fraction(1, 10**decimals)):
        return build(check, subject, "equal", "within its rounding" if error else None, expected, stated)
    if decimals == 0 or (decimals < 3 and error <= Fraction(1, 10**decimals)):
        note = "how the LTV is rounded is unknown, as it has so few decimals"
        return build(check, subject, "not_compared", note, expected, stated)
    return build(check, subject, "different", None, expected, stated)


def _compare_sum(
    check: str, subject: str, addends: list[Decimal | None], record: Mapping[str, Any], name: str
) -> Check:
    """Return the row that compares a sum with a total of the record.

    A total with fewer decimals than the sum may be rounded. It may also have lost zeros at its end, as JSON
    numbers do, so another total of the record that has more decimals shows that it is not.
    """
    expected, found = known_total(addends), amount(record[name])
    if expected is None or found is None:
        return build(check, subject, "not_compared", "an amount is unknown", expected, found)
    totals = [amount(record[other]) for other in _TOTALS]
    decimals = max(decimals_of(one) for one in totals if one is not None)
    difference = EXACT.subtract(found, expected).copy_abs()
    if (
        difference
        and decimals < decimals_of(expected)
        and difference <= EXACT.multiply(last_unit(decimals), _HALF)
    ):
        if decimals < _FEWEST_DECIMALS:
            note = "how the total is rounded is unknown, as it has so few decimals"
            return build(check, subject, "not_compared", note, expected, found)
        return build(check, subject, "equal", "within its rounding", expected, found)
    rounding = ZERO  # of one figure, which is rounded in the same way twice
    if len(addends) > 1:
        rounding = rounding_of([found, *(one for one in addends if one is not None)])
    return compare(check, subject, expected, found, rounding=rounding)


def _rounded(value: Fraction) -> Decimal:
    number = EXACT.divide(Decimal(round(value * 10**_LTV_DECIMALS)), Decimal(10**_LTV_DECIMALS))
    return number.quantize(last_unit(_LTV_DECIMALS), ROUND_HALF_EVEN, context=EXACT)
