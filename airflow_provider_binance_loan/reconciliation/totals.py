"""Checks of a record in itself: its totals against their parts, and its LTV against the formula.

Of liquidations as they began, and, with names that end in `_now`, of risk units as they are.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_loan.binance.time_range import utc_text
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
NOW = "_now"
_TOTALS = ("totalNetEquity", "totalMaintenanceMargin", "totalLiability")
_MAX_LTV_ERROR = Fraction(1, 1000)
_LTV_DECIMALS = 8
_HALF = Decimal("0.5")
# A total with fewer is more likely to have lost zeros than to be rounded.
_FEWEST_DECIMALS = 2


class _Totals(NamedTuple):
    """The figures of a record, whichever dataset it is of.

    :param suffix: how the names of the checks end.
    :param wallets: each with `netEquity` and `maintainMargin`.
    :param loans: each with `assetName`, `principal` and `interest`.
    :param ltvs: the LTVs that the record states; the totals are those of the first one.
    """

    suffix: str
    subject: str
    record: Mapping[str, Any]
    wallets: list[Mapping[str, Any]]
    loans: list[Mapping[str, Any]]
    ltvs: list[str | None]


def check_liquidations(records: Iterable[Mapping[str, Any]]) -> Iterator[Check]:
    """Yield the rows `net_equity`, `maintenance_margin`, `liabilities` and `ltv` of each liquidation."""
    for record in records:
        snapshot, ltvs = record["liquidationSnapshot"], [record["startLtv"], record["endLtv"]]
        wallets, loans = snapshot["snapshots"], snapshot["liabilities"]
        yield from _check(_Totals("", liquidation_subject(record), record, wallets, loans, ltvs))


def check_ltvs(records: Iterable[Mapping[str, Any]]) -> Iterator[Check]:
    """Yield the same rows of each risk unit as it is now, with names that end in `_now`."""
    for record in records:
        subject = f"risk unit {record['groupId']} at {utc_text(record['asked_at'])}"
        wallets = [wallet for account in record["collateralAccounts"] for wallet in account["wallets"]]
        yield from _check(_Totals(NOW, subject, record, wallets, record["liabilities"], [record["ltv"]]))


def _check(figures: _Totals) -> Iterator[Check]:
    yield _check_wallets("net_equity", figures, "netEquity", "totalNetEquity")
    yield _check_wallets("maintenance_margin", figures, "maintainMargin", "totalMaintenanceMargin")
    yield _check_liabilities(figures)
    yield _check_ltv(figures)


def _check_wallets(check: str, figures: _Totals, part: str, whole: str) -> Check:
    """Return the row that compares the sum over the wallets with the total."""
    if not figures.wallets:
        note = "the record has no wallets"
        return build(check + figures.suffix, figures.subject, "not_compared", note)
    return _compare_sum(check, figures, [amount(wallet[part]) for wallet in figures.wallets], whole)


def _check_liabilities(figures: _Totals) -> Check:
    """Return the row that compares the sum of principals and interest with the total."""
    check, whole = "liabilities", "totalLiability"
    assets = {loan["assetName"] for loan in figures.loans}
    if assets - {DOLLAR_COIN}:
        named = ", ".join(sorted(map(str, assets)))
        note = f"the total needs a conversion of {named}"
        return build(check + figures.suffix, figures.subject, "not_compared", note)
    if not assets and amount(figures.record[whole]) != ZERO:
        note = "the record has no liabilities"
        return build(check + figures.suffix, figures.subject, "not_compared", note)
    addends = [amount(loan[part]) for loan in figures.loans for part in ("principal", "interest")]
    return _compare_sum(check, figures, addends, whole)


def _check_ltv(figures: _Totals) -> Check:
    """Return the row that compares the LTV with the formula of `binance/loan_to_value.py`.

    How many decimals Binance rounds to is not documented, and an LTV that is a JSON number has lost zeros at
    its end. So one without decimals is not compared, unless no rounding explains it.
    """
    check, subject, stated = f"ltv{figures.suffix}", figures.subject, amount(figures.ltvs[0])
    equity, margin, liability = (amount(figures.record[name]) for name in _TOTALS)
    if equity is None or margin is None or liability is None or stated is None:
        return build(check, subject, "not_compared", "the LTV or one of the totals is unknown", None, stated)
    if equity <= margin:
        note = "the formula has no result, since the net equity is not above the maintenance margin"
        return build(check, subject, "not_compared", note, None, stated)
    formula = Fraction(liability) / (Fraction(equity) - Fraction(margin))
    expected, error = _rounded(formula), abs(Fraction(stated) - formula)
    decimals = max(decimals_of(ltv) for ltv in map(amount, figures.ltvs) if ltv is not None)
    if error and not decimals and error < 1:
        note = "how it is rounded is unknown, as it has no decimals"
        return build(check, subject, "not_compared", note, expected, stated)
    if error <= min(_MAX_LTV_ERROR, Fraction(1, 10**decimals)):
        return build(check, subject, "equal", "within its rounding" if error else None, expected, stated)
    if error <= Fraction(1, 10**decimals):
        note = "how it is rounded is unknown, as it has so few decimals"
        return build(check, subject, "not_compared", note, expected, stated)
    return build(check, subject, "different", None, expected, stated)


def _compare_sum(check: str, figures: _Totals, addends: list[Decimal | None], whole: str) -> Check:
    """Return the row that compares a sum with a total of the record.

    A total with fewer decimals than the sum may be rounded. It may also have lost zeros at its end, as JSON
    numbers do, so another total of the record that has more decimals shows that it is not.
    """
    check, subject = check + figures.suffix, figures.subject
    expected, found = known_total(addends), amount(figures.record[whole])
    if expected is None or found is None:
        return build(check, subject, "not_compared", "an amount is unknown", expected, found)
    totals = [amount(figures.record[name]) for name in _TOTALS]
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
    added = [one for one in addends if one]
    # One figure alone would be rounded in the same way twice.
    rounding = rounding_of([found, *added]) if len(added) > 1 else ZERO
    return compare(check, subject, expected, found, rounding=rounding)


def _rounded(value: Fraction) -> Decimal:
    return EXACT.multiply(Decimal(round(value * 10**_LTV_DECIMALS)), last_unit(_LTV_DECIMALS))
