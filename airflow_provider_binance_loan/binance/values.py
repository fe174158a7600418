"""Columns of scalar values: exact decimals, whole numbers, texts and flags."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, Literal

from airflow_provider_binance_loan.binance.fields import FieldType
from airflow_provider_binance_loan.validation import TOO_LARGE, WHOLE_NUMBER, shown_from_answer

#: What to do about an amount that is no number: refuse it, keep it if it is a text, or take it as unknown.
AmountRule = Literal["fail", "keep", "drop"]
# Returns the path of a value, by its index in the column; called for an error only.
Path = Callable[[int], str]
# Returns the parsed values of a column; the same sequence when nothing changes.
Parser = Callable[[Sequence[Any], Path], Sequence[Any]]

ABSENT = object()
_WHOLE_NUMBERS = {int}
_TEXTS = {str, type(None)}


class MalformedError(Exception):
    """A value of the wrong type: what was received, what was expected, and where.

    :param may_be_kept: whether it is a text in place of an amount, which a reader may choose to keep.
    """

    def __init__(self, received: Any, expected: str, path: str, *, may_be_kept: bool = False) -> None:
        super().__init__(path)
        self.may_be_kept = may_be_kept
        if received is None:
            self.received = "null"
        else:
            self.received = "absent" if received is ABSENT else shown_from_answer(received)
        self.expected = expected
        self.path = path


_PLAIN = r"-?[0-9]++(?:\.[0-9]++)?"
_PLAIN_NUMBER = re.compile(_PLAIN)
_PLAIN_LINES = re.compile(rf"(?:{_PLAIN}\n)*+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE](?P<exponent>[+-]?[0-9]{1,4}))?")
_MAX_EXPONENT = 100  # beyond it, plain notation is a long row of zeros, and no amount of any asset


def is_plain_number(text: str) -> bool:
    """Return whether a text is a decimal number in plain notation."""
    return _PLAIN_NUMBER.fullmatch(text) is not None


def parse_decimals(values: Sequence[Any], path: Path, *, on_bad: AmountRule = "fail") -> Sequence[str | None]:
    """Return amounts in plain notation with every digit that was sent.

    :param on_bad: what to do about a value that is no amount: `"keep"` returns a text such as `"INF"` as it
        is, and `"drop"` returns None for any such value.
    :raises MalformedError: a value is no amount, and is neither kept nor dropped.
    """
    types = set(map(type, values))
    if types <= {str, int}:
        plain = values if types == {str} else list(map(str, values))
        lines = "\n".join([*plain, ""])
        if "E" in lines:  # Binance sends zero as "0E-8"
            plain = [_plain_notation(text) or text if "E" in text else text for text in plain]
            lines = "\n".join([*plain, ""])
        if _PLAIN_LINES.fullmatch(lines) and lines.count("\n") == len(plain):
            return plain
    return [_decimal(value, path, index, on_bad) for index, value in enumerate(values)]


def parse_decimals_or_empty(
    values: Sequence[Any], path: Path, *, on_bad: AmountRule = "fail"
) -> Sequence[str | None]:
    """Return :func:`parse_decimals`, and None for an empty text too."""
    return parse_decimals([None if value == "" else value for value in values], path, on_bad=on_bad)


def _decimal(value: Any, path: Path, index: int, on_bad: AmountRule) -> str | None:
    if value is None:
        return None
    is_text = type(value) is str  # also a JSON number with a fraction or an exponent: see Response.payload
    if is_text:
        plain = _plain_notation(value)
        if plain is not None or on_bad == "keep":
            return value if plain is None else plain
    elif type(value) is int:
        return str(value)
    if on_bad == "drop":
        return None
    raise MalformedError(value, FieldType.AMOUNT.value, path(index), may_be_kept=is_text)


@lru_cache
def _plain_notation(text: str) -> str | None:
    """Return a decimal number in plain notation, or None for a text that is not a number."""
    if _PLAIN_NUMBER.fullmatch(text):
        return text
    match = _DECIMAL.fullmatch(text)
    if match is None or abs(int(match["exponent"] or 0)) > _MAX_EXPONENT:
        return None
    return f"{Decimal(text):f}"


def parse_integers(
    values: Sequence[Any], path: Path, expected: str = FieldType.INTEGER.value
) -> Sequence[int | None]:
    """Return whole numbers, also those that were sent as text."""
    if _WHOLE_NUMBERS.issuperset(map(type, values)) and 0 <= min(values) <= max(values) < TOO_LARGE:
        return values
    parsed = [
        int(value) if type(value) is str and WHOLE_NUMBER.fullmatch(value) else value for value in values
    ]
    for index, number in enumerate(parsed):
        if number is not None and not (type(number) is int and 0 <= number < TOO_LARGE):
            raise MalformedError(values[index], expected, path(index))
    return parsed


def _texts(values: Sequence[Any], path: Path) -> Sequence[str | None]:
    if not _TEXTS.issuperset(map(type, values)):
        index = next(index for index, value in enumerate(values) if type(value) not in _TEXTS)
        raise MalformedError(values[index], FieldType.TEXT.value, path(index))
    return values


def _flags(values: Sequence[Any], path: Path) -> Sequence[bool | None]:
    for index, value in enumerate(values):
        if value is not None and type(value) is not bool:
            raise MalformedError(value, FieldType.FLAG.value, path(index))
    return values


PARSERS: Mapping[FieldType, Parser] = {
    FieldType.INTEGER: parse_integers,
    FieldType.TIME: partial(parse_integers, expected=FieldType.TIME.value),
    FieldType.AMOUNT: parse_decimals,
    FieldType.RATIO: parse_decimals,
    FieldType.RATIO_OR_EMPTY: parse_decimals_or_empty,
    FieldType.TEXT: _texts,
    FieldType.FLAG: _flags,
}
