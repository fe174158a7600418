"""Validation of what people write: a value is accepted, or the error says what to give."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_binance_loan.exceptions import ConfigurationError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(3000, 1, 1, tzinfo=UTC)
LATEST_S = int(LATEST.timestamp())
LONGEST = timedelta(days=3650)
#: A whole number as text, and the first that is too large for Binance's LONG, an integer of 64 bits.
WHOLE_NUMBER = re.compile(r"[0-9]{1,19}")
TOO_LARGE = 2**63

# A key or signature in any form: it has letters, which a long number has not.
_LONG_WORD = re.compile(r"(?=[0-9+/=%_-]*[A-Za-z])[A-Za-z0-9+/=%_-]{32,}")
_MAX_SHOWN = 200  # room for a path
# Binance's keys have 64 characters, and most paths fewer than this.
_MAX_SHOWN_UNLESS_SECRET = 45


def shown(value: Any) -> str:
    """Return a value as one short line for an error message, which ends up in logs and alerts."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - any object may be received, also one too deep to be written out
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def shown_from_answer(value: Any) -> str:
    """Return :func:`shown` without long words: an answer may quote the request's signature or API key."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - as in `shown`
        return shown(value)
    text = _LONG_WORD.sub("…", text)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def shown_unless_secret(value: Any) -> str:
    """Return :func:`shown`, unless a secret may have been pasted there: those are long or precede an @."""
    text = shown(value)
    may_be_secret = len(text) > _MAX_SHOWN_UNLESS_SECRET or "@" in text
    return "[hidden: may be a secret]" if may_be_secret else text


def described(value: Any) -> str:
    """Return what follows "it is" in an error message: :func:`shown`, or that there is nothing."""
    if value is None:
        return "not set"
    return "empty" if value == "" else shown(value)


def is_number(value: Any, low: float, high: float, *, whole: bool = False) -> bool:
    """Return whether a value is a number within bounds; booleans and NaN are not."""
    return type(value) in ({int} if whole else {int, float}) and bool(low <= value <= high)


def require_seconds(value: Any, name: str, low: float = 0, high: float = LONGEST.total_seconds()) -> None:
    """Require a number of seconds within bounds.

    :raises ConfigurationError: it is not; the message calls it `name`.
    """
    if not is_number(value, low, high):
        raise ConfigurationError(
            f"Give {name} as a number of seconds from {low:.0f} to {high:.0f}: it is {described(value)}."
        )


def require_duration(value: Any, name: str) -> None:
    """Require a timedelta of up to ten years.

    :raises ConfigurationError: it is not; the message calls it `name`.
    """
    if not isinstance(value, timedelta) or not timedelta() <= value <= LONGEST:
        raise ConfigurationError(
            f"Give {name} as a timedelta from 0 to {LONGEST.days} days: it is {described(value)}."
        )


def require_aware(value: Any, name: str) -> None:
    """Require a datetime with time zone, of the years from 1970 to 2999.

    :raises ConfigurationError: it is not; the message calls it `name`.
    """
    if not isinstance(value, datetime):
        raise ConfigurationError(f"Give {name} as a datetime with time zone: it is {described(value)}.")
    # Without its zone: a wrong one makes writing it out fail.
    local = value.replace(tzinfo=None).isoformat()
    try:
        naive = value.utcoffset() is None
        within = naive or EPOCH <= value < LATEST
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"Correct the time zone of {name}, which is a day or more from UTC: it is {local}."
        ) from None
    if naive:
        raise ConfigurationError(f"Add a time zone to {name}, for example UTC: it is {local}.")
    if not within:
        raise ConfigurationError(f"Give {name} as a time in the years from 1970 to 2999: it is {local}.")


def require_bool(value: Any, name: str) -> None:
    """Require True or False; text is neither, whatever it says.

    :raises ConfigurationError: it is not; the message calls it `name`.
    """
    if not isinstance(value, bool):
        raise ConfigurationError(f"Give {name} as True or False: it is {described(value)}.")
