"""Values as a page writes them: amounts digit for digit, times in UTC, and texts that are safe to show."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from unicodedata import category

from airflow_provider_binance_loan.binance.time_range import utc_datetime
from airflow_provider_binance_loan.reconciliation.check import amount, known_total
from airflow_provider_binance_loan.validation import LATEST_S, is_number

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind = Literal["text", "amount", "time", "instant", "outcome", "absent"]

# Controls, formats such as the one that turns the direction of a text, halves of characters, line ends, and
# spaces other than the common one.
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"}
# Characters of other categories that no reader sees: those that Unicode lets programs ignore, and blanks.
# https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt, Default_Ignorable_Code_Point
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U0001d159\U000e0000-\U000e0fff]"
)


class Cell(NamedTuple):
    """A value of a table: what is written, and what kind of value it is.

    :param iso: of a time, its ISO 8601 text.
    :param below: further values of the cell, on lines of their own.
    """

    text: str
    kind: Kind
    iso: str = ""
    below: tuple[Cell, ...] = ()


ABSENT = Cell("not stated", "absent")


def text_cell(value: Any) -> Cell:
    """Return a text, a number or a flag; what cannot be seen in it is written as an escape."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return Cell("yes" if value else "no", "text")
    if isinstance(value, (dict, list)):  # of a field that is new
        value = json.dumps(value, ensure_ascii=False)
    return Cell(visible(str(value)), "text") if value != "" else Cell("empty", "absent")


def amount_cell(value: Any) -> Cell:
    """Return an amount, digit for digit as it is given."""
    return text_cell(value)._replace(kind="amount") if value not in (None, "") else text_cell(value)


def time_cell(value: Any) -> Cell:
    """Return epoch milliseconds as a time in UTC, to the second; another value as it is given."""
    if not is_time(value):
        return text_cell(value)
    return Cell(time_text(value), "time", iso_text(value))


def exact_time_cell(value: Any) -> Cell:
    """Return epoch milliseconds as a time in UTC, to the millisecond; another value as it is given."""
    return time_cell(value)._replace(text=iso_text(value)) if is_time(value) else text_cell(value)


def instant_cell(value: Any) -> Cell:
    """Return an ISO 8601 instant as a time in UTC, to the second; another value as it is given."""
    try:
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None:  # it would be taken for a time of this machine's
            return text_cell(value)
        instant = instant.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return text_cell(value)
    return Cell(f"{instant:%Y-%m-%d %H:%M:%S}", "time", instant.isoformat().replace("+00:00", "Z"))


def is_time(value: Any) -> bool:
    """Return whether a value is a time that can be written as a date: epoch milliseconds up to year 2999."""
    return is_number(value, 1, LATEST_S * 1000 - 1, whole=True)


def time_text(ms: int) -> str:
    """Return epoch milliseconds as `2026-03-01 09:17:02`, in UTC."""
    return f"{utc_datetime(ms):%Y-%m-%d %H:%M:%S}"


def iso_text(ms: int) -> str:
    """Return epoch milliseconds as ISO 8601, exactly, in UTC."""
    return utc_datetime(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration_text(ms: int) -> str:
    """Return a length of time in words, such as `1 h 23 min 9 s`; what is less than a second is left out."""
    seconds = ms // 1000
    parts = [
        (seconds // 86400, "d"),
        (seconds // 3600 % 24, "h"),
        (seconds // 60 % 60, "min"),
        (seconds % 60, "s"),
    ]
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "less than 1 s"


def counted(number: int, noun: str) -> str:
    """Return a number of things in words, such as `2 records`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def visible(text: str) -> str:
    """Return a text with each character that is not seen, or that changes how others are, as an escape.

    A backslash is two, so that no text looks like the escape of another.
    """
    return "".join(
        character.encode("unicode_escape").decode() if _needs_escape(character) else character
        for character in text
    )


def _needs_escape(character: str) -> bool:
    if character in {" ", "\\"}:
        return character == "\\"
    return category(character) in _UNSEEN or _BLANK.match(character) is not None


def add_up(amounts: Iterable[Any]) -> str | None:
    """Return the sum of decimal texts, exactly, in plain notation; None where one of them is no number."""
    total = known_total(map(amount, amounts))
    return None if total is None else f"{total:f}"
