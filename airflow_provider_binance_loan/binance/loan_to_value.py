"""Arithmetic of the loan-to-value (LTV), exact: levels, distances, and what it takes to get back to a level.

The formula is `LTV = L / (E - M)`: L is the total liability, E the total net equity and M the total
maintenance margin of the risk unit. Binance does not state it; it holds in the example of its page:
15.30718771 / (26.35196946 - 0.50106177) = 0.592.

https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/account#query-risk-unit-details
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_loan.binance.values import is_plain_number
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import described

if TYPE_CHECKING:
    from collections.abc import Mapping

# Levels are ratios: a higher one is a percentage that somebody wrote.
_MAX_LEVEL = 2
_MAX_LEVEL_LENGTH = 12
# Python refuses to write out integers of some thousand digits, and no figure of a loan has so many.
_MAX_FIGURE_LENGTH = 200
# A quotient may have no end, and is rounded to this many decimals, or to as many as Binance's amounts have.
_MIN_DECIMALS = 8
# An LTV that Binance states as 0 is unknown where its own figures give this much or more.
_NEARLY_ZERO = Fraction(1, 100)


def parse_level(value: Any, name: str) -> Decimal:
    """Return a level of the LTV, exactly as written: `0.7` and `"0.70"` are equal.

    :param value: a number, or a decimal number as text, above 0 and up to 2.
    :param name: what an error message calls it.
    :raises ConfigurationError: it is none.
    """
    level = _decimal(value)
    if level is None or not 0 < level <= _MAX_LEVEL:
        raise ConfigurationError(
            f"Give {name} as a ratio above 0 and up to {_MAX_LEVEL}, such as 0.7, with ten decimals at most: "
            f"it is {described(value)}."
        )
    return level


def parse_hysteresis(value: Any, name: str) -> Decimal:
    """Return a distance below a level, exactly as written; it may be 0.

    :raises ConfigurationError: it is none.
    """
    hysteresis = _decimal(value)
    if hysteresis is None or not 0 <= hysteresis <= _MAX_LEVEL:
        raise ConfigurationError(
            f"Give {name} as a ratio from 0 to {_MAX_LEVEL}, such as 0.01: it is {described(value)}."
        )
    return abs(hysteresis)  # "-0" is 0


def level_text(level: Decimal) -> str:
    """Return a level as text, without zeros at the end: it names the level in events and in stored states."""
    return f"{level.normalize():f}"


def known_ltv(record: Mapping[str, Any]) -> Decimal | None:
    """Return the LTV of a risk unit, or None where it is unknown.

    It is unknown where Binance states none, something that is no number, or one below 0; and where it states
    0 although the unit owes, and its other figures do not give an LTV below 0.01. Whether Binance does so,
    while it liquidates for example, is not documented; an unknown LTV must not pass for a low one.
    """
    text = record["ltv"]
    if not _is_number(text):
        return None
    ltv = Decimal(text)
    if ltv < 0 or (ltv == 0 and not _is_nearly_zero(record)):
        return None
    return ltv


def build_level_figures(record: Mapping[str, Any], ltv: Decimal, level: Decimal) -> dict[str, Any]:
    """Return how far a risk unit is from a level, and what it takes to get back to it, for an event.

    All figures are decimal strings. `distance` is the LTV less the level. `back_to_level` has three amounts,
    by this package's arithmetic, in the currency in which Binance states the totals; each alone brings the
    LTV to the level, and where it is below the level already, they are negative: the room that is left.

    - `add_collateral`: L / level - (E - M);
    - `repay_from_outside`, with money that is not in the unit: L - level * (E - M);
    - `repay_from_inside`, with the unit's own equity: (L - level * (E - M)) / (1 - level).

    The first and the last are rounded up. They are None where Binance's figures are no numbers, or E is not
    above M; the last also where no such amount exists, since LTV or level is 1 or more.
    `maxAllowedBorrowLimit` is Binance's own figure.
    """
    return {
        "group_id": record["groupId"],
        "ltv": record["ltv"],
        "level": level_text(level),
        "distance": _distance(ltv, level),
        "back_to_level": _back_to_level(record, level),
        "maxAllowedBorrowLimit": record["maxAllowedBorrowLimit"],
    }


def _is_number(value: Any) -> bool:
    """Return whether a value is a decimal number in plain notation, and no absurdly long one."""
    return isinstance(value, str) and len(value) <= _MAX_FIGURE_LENGTH and is_plain_number(value)


def _distance(ltv: Decimal, level: Decimal) -> str:
    decimals = max(_decimals_of(f"{ltv:f}"), _decimals_of(f"{level:f}"))
    return _rounded_up(Fraction(ltv) - Fraction(level), decimals)


def _back_to_level(record: Mapping[str, Any], level: Decimal) -> dict[str, str | None]:
    figures: dict[str, str | None] = dict.fromkeys(
        ("add_collateral", "repay_from_outside", "repay_from_inside")
    )
    totals = _totals(record)
    if totals is None:
        return figures
    liability, base, decimals = totals
    ratio = Fraction(level)
    outside = liability - ratio * base
    figures["add_collateral"] = _rounded_up(liability / ratio - base, decimals)
    # A product has no more decimals than both factors together, so it is exact.
    figures["repay_from_outside"] = _without_end_zeros(_rounded_up(outside, decimals + _MAX_LEVEL_LENGTH))
    if ratio < 1 and liability < base:
        figures["repay_from_inside"] = _rounded_up(outside / (1 - ratio), decimals)
    return figures


def _totals(record: Mapping[str, Any]) -> tuple[Fraction, Fraction, int] | None:
    """Return L, E - M, and how many decimals they have; None where they are unknown, or E is not above M."""
    texts = [record[name] for name in ("totalLiability", "totalNetEquity", "totalMaintenanceMargin")]
    if not all(map(_is_number, texts)):
        return None
    liability, equity, margin = map(Fraction, texts)
    decimals = max(_MIN_DECIMALS, *map(_decimals_of, texts))
    return (liability, equity - margin, decimals) if equity > margin else None


def _is_nearly_zero(record: Mapping[str, Any]) -> bool:
    liability = record["totalLiability"]
    if _is_number(liability) and Decimal(liability) == 0:
        return True
    totals = _totals(record)
    return totals is not None and totals[0] / totals[1] < _NEARLY_ZERO


def _rounded_up(value: Fraction, decimals: int) -> str:
    """Return a number as text with so many decimals. `Decimal` would round it to 28 digits."""
    number = ceil(value * 10**decimals)
    digits = str(abs(number)).rjust(decimals + 1, "0")
    sign = "-" if number < 0 else ""
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else f"{sign}{digits}"


def _without_end_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _decimals_of(text: str) -> int:
    return len(text.partition(".")[2])


def _decimal(value: Any) -> Decimal | None:
    """Return what a number, or a decimal number as text, says; None for anything else."""
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):  # also NumPy's float64
        value = f"{Decimal(str(value)):f}" if -_MAX_LEVEL <= value <= _MAX_LEVEL else None
    if not isinstance(value, str) or len(value) > _MAX_LEVEL_LENGTH or not is_plain_number(value):
        return None
    return Decimal(value)
