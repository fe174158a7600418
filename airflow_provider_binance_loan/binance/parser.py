"""The parser of a page of rows: exact, by the declared fields, and a column at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import cache, lru_cache, partial
from itertools import chain, islice
from typing import Any, NamedTuple

from airflow_provider_binance_loan.binance.fields import Field, FieldType, Record, fields_of
from airflow_provider_binance_loan.exceptions import BadResponseError
from airflow_provider_binance_loan.validation import TOO_LARGE, WHOLE_NUMBER, shown


class Page(NamedTuple):
    """One page of an answer.

    :param rows: the rows of the page, in the order of the answer.
    :param total: the `total` that the answer states: documented as a number of risk units, elsewhere a number
        of rows, so at most a hint.
    """

    rows: list[Record]
    total: int | None


def parse_page(payload: Any, record_type: type) -> Page:
    """Return a page of rows of a declared record. The payload is modified in place.

    A row has every declared field, in the declared order, and None where Binance sent null or nothing. Other
    fields follow, sorted by name, so that the same record always gives the same bytes.

    :raises BadResponseError: the payload does not have the documented shape; the message holds the path to
        what is wrong.
    """
    try:
        if not isinstance(payload, dict):
            raise _MalformedError(payload, "an object", "the body")
        (total,) = _integers([payload.get("total")], lambda _: "total")
        rows = payload.get("rows", _ABSENT)
        if total == 0 and (rows is _ABSENT or rows is None):
            rows = []  # as /sapi/v1/asset/transfer answers when there are none
        if not isinstance(rows, list):
            raise _MalformedError(rows, "a list", "rows")
        return Page(_parse_rows(rows, _shape_of(record_type), "rows[{}]".format), total)
    except RecursionError:
        raise BadResponseError(
            "Check what Binance changed: the answer has too many levels. Nothing of it was used.", status=200
        ) from None
    except _MalformedError as error:
        raise BadResponseError(
            f"Check what Binance changed: {error.path} is {error.received}, and should be {error.expected}. "
            "Nothing of the answer was used.",
            status=200,
        ) from None


# A page has some three thousand values, and one function call for each would take longer than all else that
# is done to a record. So rows are parsed a column at a time, and values that are right are left as they are.

# Returns the path of a value, by its index in the column; called for an error only.
_Path = Callable[[int], str]
# Returns the parsed values of a column; the same sequence when nothing changes.
_Parser = Callable[[Sequence[Any], _Path], Sequence[Any]]

_ABSENT = object()
_OBJECTS = {dict}
_WHOLE_NUMBERS = {int}
_TEXTS = {str, type(None)}


class _Shape(NamedTuple):
    """The parser of each field, in order, and the fields that must not be absent."""

    parsers: dict[str, _Parser]
    required: frozenset[str]


@cache
def _shape_of(record_type: type) -> _Shape:
    return _build_shape(fields_of(record_type))


def _build_shape(fields: Sequence[Field]) -> _Shape:
    scalars = {field.name for field in fields if field.required and not field.fields}
    return _Shape({field.name: _build_parser(field) for field in fields}, frozenset(scalars))


def _build_parser(field: Field) -> _Parser:
    if field.type is FieldType.LIST:
        return _lists_of(_build_shape(field.fields))
    if field.type is FieldType.OBJECT:
        return _objects_of(_build_shape(field.fields))
    parse = _PARSERS[field.type]
    return _required(parse, field.type.value) if field.required else parse


def _parse_rows(rows: list[Any], shape: _Shape, path: _Path) -> list[Record]:
    if not rows:
        return rows
    if not _in_order(rows, shape):
        rows = [_arrange(row, shape, path, index) for index, row in enumerate(rows)]
    for name, parse in shape.parsers.items():
        values = [row[name] for row in rows]
        parsed = parse(values, lambda index, name=name: f"{path(index)}.{name}")  # type: ignore[misc]
        if parsed is not values:
            for row, value in zip(rows, parsed, strict=True):
                row[name] = value
    return rows


def _in_order(rows: list[Any], shape: _Shape) -> bool:
    """Return whether all rows are objects with exactly the declared fields, in the declared order."""
    if not _OBJECTS.issuperset(map(type, rows)):
        return False
    try:
        return [set(names) for names in zip(*rows, strict=True)] == [{name} for name in shape.parsers]
    except ValueError:  # some have more fields than others
        return False


def _arrange(row: Any, shape: _Shape, path: _Path, index: int) -> Record:
    """Return an object with the declared fields in their order, and then all others."""
    if not isinstance(row, dict):
        raise _MalformedError(row, "an object", path(index))
    arranged = {name: row.get(name, _ABSENT if name in shape.required else None) for name in shape.parsers}
    for name in sorted(row.keys() - shape.parsers.keys()):
        arranged[name] = _undeclared(row[name])
    return arranged


def _undeclared(value: Any) -> Any:
    """Return the value of an undeclared field, with every number as the text that was sent.

    Binance may send `1` in one row and `1.5` in the next: readers would see two types in one column.
    """
    if type(value) is int:
        return str(value)
    if isinstance(value, list):
        return [_undeclared(item) for item in value]
    if isinstance(value, dict):
        return {name: _undeclared(item) for name, item in value.items()}
    return value


_PLAIN = r"-?[0-9]++(?:\.[0-9]++)?"
_PLAIN_NUMBER = re.compile(_PLAIN)
_PLAIN_LINES = re.compile(rf"(?:{_PLAIN}\n)*+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE](?P<exponent>[+-]?[0-9]{1,4}))?")
_MAX_EXPONENT = 100  # beyond it, plain notation is a long row of zeros, and no amount of any asset


def _decimals(values: Sequence[Any], path: _Path) -> Sequence[str | None]:
    """Return amounts in plain notation with every digit that was sent."""
    types = set(map(type, values))
    if types <= {str, int}:
        plain = values if types == {str} else list(map(str, values))
        lines = "\n".join([*plain, ""])
        if "E" in lines:  # Binance sends zero as "0E-8"
            plain = [_plain_notation(text) or text if "E" in text else text for text in plain]
            lines = "\n".join([*plain, ""])
        if _PLAIN_LINES.fullmatch(lines) and lines.count("\n") == len(plain):
            return plain
    return [_decimal(value, path, index) for index, value in enumerate(values)]


def _decimal(value: Any, path: _Path, index: int) -> str | None:
    if value is None:
        return None
    if type(value) is str:  # also a JSON number with a fraction or an exponent: see Response.payload
        plain = _plain_notation(value)
        if plain is not None:
            return plain
    elif type(value) is int:
        return str(value)
    raise _MalformedError(value, FieldType.AMOUNT.value, path(index))


@lru_cache
def _plain_notation(text: str) -> str | None:
    """Return a decimal number in plain notation, or None for a text that is not a number."""
    if _PLAIN_NUMBER.fullmatch(text):
        return text
    match = _DECIMAL.fullmatch(text)
    if match is None or abs(int(match["exponent"] or 0)) > _MAX_EXPONENT:
        return None
    return f"{Decimal(text):f}"


def _integers(
    values: Sequence[Any], path: _Path, expected: str = FieldType.INTEGER.value
) -> Sequence[int | None]:
    if _WHOLE_NUMBERS.issuperset(map(type, values)) and 0 <= min(values) <= max(values) < TOO_LARGE:
        return values
    parsed = [
        int(value) if type(value) is str and WHOLE_NUMBER.fullmatch(value) else value for value in values
    ]
    for index, number in enumerate(parsed):
        if number is not None and not (type(number) is int and 0 <= number < TOO_LARGE):
            raise _MalformedError(values[index], expected, path(index))
    return parsed


def _texts(values: Sequence[Any], path: _Path) -> Sequence[str | None]:
    if not _TEXTS.issuperset(map(type, values)):
        index = next(index for index, value in enumerate(values) if type(value) not in _TEXTS)
        raise _MalformedError(values[index], FieldType.TEXT.value, path(index))
    return values


def _flags(values: Sequence[Any], path: _Path) -> Sequence[bool | None]:
    for index, value in enumerate(values):
        if value is not None and type(value) is not bool:
            raise _MalformedError(value, FieldType.FLAG.value, path(index))
    return values


_PARSERS: Mapping[FieldType, _Parser] = {
    FieldType.INTEGER: _integers,
    FieldType.TIME: partial(_integers, expected=FieldType.TIME.value),
    FieldType.AMOUNT: _decimals,
    FieldType.RATIO: _decimals,
    FieldType.TEXT: _texts,
    FieldType.FLAG: _flags,
}


def _required(parse: _Parser, expected: str) -> _Parser:
    """Return a parser that refuses null and absent values."""

    def parse_required(values: Sequence[Any], path: _Path) -> Sequence[Any]:
        for index, value in enumerate(values):
            if value is None or value is _ABSENT:
                raise _MalformedError(value, expected, path(index))
        return parse(values, path)

    return parse_required


def _lists_of(shape: _Shape) -> _Parser:
    """Return the parser of lists of objects; a single object is a list of one, and null an empty list."""

    def parse(values: Sequence[Any], path: _Path) -> list[list[Record]]:
        lists = [[] if value is None else [value] if isinstance(value, dict) else value for value in values]
        for index, items in enumerate(lists):
            if not isinstance(items, list):
                raise _MalformedError(items, FieldType.LIST.value, path(index))

        def path_of_item(index: int) -> str:
            places = ((number, place) for number, items in enumerate(lists) for place in range(len(items)))
            number, place = next(islice(places, index, None))
            return f"{path(number)}[{place}]"

        items = list(chain.from_iterable(lists))
        rows = _parse_rows(items, shape, path_of_item)
        if rows is items:
            return lists
        parsed = iter(rows)
        return [list(islice(parsed, len(items))) for items in lists]

    return parse


def _objects_of(shape: _Shape) -> _Parser:
    """Return the parser of objects; a list of one is an object, and null or an empty list an empty object.

    Binance's page shows objects where its table says list: `liquidationSnapshot` for one.
    """

    def parse(values: Sequence[Any], path: _Path) -> list[Record]:
        objects = [
            {}
            if value is None or value == []
            else value[0]
            if isinstance(value, list) and len(value) == 1
            else value
            for value in values
        ]
        for index, value in enumerate(objects):
            if not isinstance(value, dict):
                raise _MalformedError(values[index], FieldType.OBJECT.value, path(index))
        return _parse_rows(objects, shape, path)

    return parse


class _MalformedError(Exception):
    """A value of the wrong type: what was received, what was expected, and where."""

    def __init__(self, received: Any, expected: str, path: str) -> None:
        super().__init__(path)
        if received is None:
            self.received = "null"
        else:
            self.received = "absent" if received is _ABSENT else shown(received)
        self.expected = expected
        self.path = path
