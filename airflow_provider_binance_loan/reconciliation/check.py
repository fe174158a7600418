"""The table of a reconciliation: one row for each check, with both figures, their difference and the outcome.

Amounts are exact: `Decimal`'s operators would round them to 28 digits, so sums and differences are taken in a
context of enough digits for any amounts that Binance sends.
"""

from __future__ import annotations

from collections import Counter
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from airflow_provider_binance_loan.binance.time_range import utc_text
from airflow_provider_binance_loan.binance.values import is_plain_number

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

Outcome = Literal["equal", "different", "not_compared"]

ZERO = Decimal(0)
EXACT = Context(prec=1000, traps=[Inexact, InvalidOperation])
_MIN_DECIMALS = 8  # those of Binance's amounts, of which JSON numbers lose the zeros at the end
_MAX_LENGTH = 200  # no figure of a loan is longer; sums of such figures fit into the context
_IS_EXACT = "to the last digit"
_MAY_BE_ROUNDING = "no more than the rounding of the figures that were added up"
_IS_NO_ROUNDING = "no rounding, since the other comparisons of this check are exact to the last digit"
# For each difference that rounding could explain, this many exact comparisons show that nothing is rounded.
_EXACT_FOR_EACH = 10


class Check(TypedDict):
    """One row of the table. All values are JSON's own, as they go to XCom."""

    check: str
    subject: str
    expected: str | None
    found: str | None
    difference: str | None
    outcome: Outcome
    note: str | None


def compare(
    check: str,
    subject: str,
    expected: Decimal,
    found: Decimal,
    note: str | None = None,
    *,
    rounding: Decimal = ZERO,
) -> Check:
    """Return the row of two figures that must be equal.

    :param check: the name of the check.
    :param subject: what the figures are of.
    :param expected: what other figures give.
    :param found: the figure that is checked.
    :param note: what a reader should know of the comparison.
    :param rounding: how far both may be apart if the figures that were added up are rounded. A difference up
        to that is not compared, until :func:`judge_roundings` has seen all rows.
    """
    difference = EXACT.subtract(found, expected)
    if not difference:
        exact = _IS_EXACT if rounding and note is None else note
        return build(check, subject, "equal", exact, expected, found)
    if difference.copy_abs() <= rounding:
        return build(check, subject, "not_compared", _MAY_BE_ROUNDING, expected, found)
    return build(check, subject, "different", note, expected, found)


def build(
    check: str,
    subject: str,
    outcome: Outcome,
    note: str | None = None,
    expected: Decimal | None = None,
    found: Decimal | None = None,
) -> Check:
    """Return a row whose outcome is known, with the figures that there are, and their difference."""
    known = expected is not None and found is not None
    return {
        "check": check,
        "subject": subject,
        "expected": None if expected is None else _text(expected),
        "found": None if found is None else _text(found),
        "difference": _text(EXACT.subtract(found, expected)) if known else None,  # type: ignore[arg-type]
        "outcome": outcome,
        "note": note,
    }


def _text(number: Decimal) -> str:
    return f"{EXACT.plus(number):f}"  # without the sign of a zero


def judge_roundings(checks: Iterable[Check]) -> list[Check]:
    """Return the rows, where a difference that rounding could explain is one if nothing else is rounded.

    Whether Binance rounds each figure, or adds up rounded ones, is not documented. If it adds up rounded
    ones, all comparisons of a check are exact: one that is not then shows a changed digit. A comparison of
    one figure alone is exact either way, and shows nothing.
    """
    rows = list(checks)
    doubtful = Counter(row["check"] for row in rows if row["note"] == _MAY_BE_ROUNDING)
    exact = Counter(row["check"] for row in rows if row["note"] == _IS_EXACT)
    settled = {name for name, count in doubtful.items() if exact[name] >= _EXACT_FOR_EACH * count}
    for row in rows:
        if row["note"] == _MAY_BE_ROUNDING and row["check"] in settled:
            row["outcome"], row["note"] = "different", _IS_NO_ROUNDING
    return rows


def amount(value: Any) -> Decimal | None:
    """Return an amount of a record; None where there is none, or it is no number."""
    if not isinstance(value, str) or len(value) > _MAX_LENGTH or not is_plain_number(value):
        return None
    return Decimal(value)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the sum of amounts, exactly."""
    with localcontext(EXACT):
        return sum(amounts, start=ZERO)


def known_total(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """Return the sum of amounts, exactly; None where one of them is unknown."""
    known = []
    for one in amounts:
        if one is None:
            return None
        known.append(one)
    return total(known)


def decimals_of(number: Decimal) -> int:
    """Return how many decimals a number has without zeros at its end."""
    text = f"{number:f}"
    return len(text.partition(".")[2].rstrip("0"))


def last_unit(decimals: int) -> Decimal:
    """Return one unit of the last of so many decimals."""
    return Decimal((0, (1,), -decimals))


def rounding_of(figures: Collection[Decimal]) -> Decimal:
    """Return by how much a sum may be off where each figure is rounded: half a unit of the last decimal."""
    unit = last_unit(max(_MIN_DECIMALS, *map(decimals_of, figures)))
    return EXACT.multiply(unit, Decimal(len(figures)) / 2)


def liquidation_subject(record: Any, asset: str | None = None) -> str:
    """Return the subject of a row about a liquidation, or about one asset of it."""
    about = f"risk unit {record['groupId']}, liquidation of {utc_text(record['liquidationStartTime'])}"
    return f"{about}, {asset}" if asset else about
