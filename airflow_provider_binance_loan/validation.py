"""Checks of what people write: a value is right, or the error names it, says what came, and what to give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_binance_loan.exceptions import ConfigurationError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(3000, 1, 1, tzinfo=UTC)
LAST_S = int(_LAST.timestamp())
LONGEST = timedelta(days=3650)

_MOST_SHOWN = 200  # room for a path
# A key of 64 characters does not pass; most paths do.
_LONGEST_HARMLESS = 45


def shown(value: Any) -> str:
    """Return what came, on one short line: it ends up in logs and alerts."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - of any object, too deep or too long to be written out
        text = f"something of type {type(value).__name__}"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def shown_if_harmless(value: Any) -> str:
    """Return what came, unless a secret may have been pasted there: those are long, or stand before an @."""
    text = shown(value)
    return (
        text if len(text) <= _LONGEST_HARMLESS and "@" not in text else "too long, or has an @, to be shown"
    )


def is_number(value: Any, low: float, high: float, *, whole: bool = False) -> bool:
    """Tell whether a value is a number within bounds; True and False are none, and NaN is within none."""
    return type(value) in ({int} if whole else {int, float}) and bool(low <= value <= high)


def check_seconds(value: Any, name: str, low: float = 0, high: float = LONGEST.total_seconds()) -> None:
    """Return when a value is a number of seconds within bounds.

    :raises ConfigurationError: it is none.
    """
    if not is_number(value, low, high):
        raise ConfigurationError(
            f"{name} is {shown(value)}: give a number of seconds from {low:.0f} to {high:.0f}."
        )


def check_duration(value: Any, name: str) -> None:
    """Return when a value is a timedelta of up to ten years.

    :raises ConfigurationError: it is none.
    """
    if not isinstance(value, timedelta) or not timedelta() <= value <= LONGEST:
        raise ConfigurationError(f"{name} is {shown(value)}: give a timedelta from 0 to {LONGEST.days} days.")


def check_instant(value: Any, name: str) -> None:
    """Return when a value is a datetime with time zone, of the years from 1970 to 2999.

    :raises ConfigurationError: it is none.
    """
    if not isinstance(value, datetime):
        raise ConfigurationError(f"{name} is {shown(value)}: give a datetime with time zone.")
    # Without its zone: a wrong one makes writing it out fail.
    came = value.replace(tzinfo=None).isoformat()
    try:
        naive = value.utcoffset() is None
        within = naive or EPOCH <= value < _LAST
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{name} is {came} in a time zone a day or more from UTC: mend the zone."
        ) from None
    if naive:
        raise ConfigurationError(f"{name} is {came}, which has no time zone: add one, for example UTC.")
    if not within:
        raise ConfigurationError(f"{name} is {came}: give a time of the years from 1970 to 2999.")


def check_flag(value: Any, name: str) -> None:
    """Return when a value is True or False; text is neither, whatever it says.

    :raises ConfigurationError: it is none.
    """
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} is {shown(value)}: give True or False.")
