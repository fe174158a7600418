"""The parser of a page of rows: exact, by the declared fields, and a column at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_loan.binance.fields import Field, FieldType, Record
from airflow_provider_binance_loan.binance.values import (
    ABSENT,
    PARSERS,
    AmountRule,
    MalformedError,
    Parser,
    Path,
    parse_decimals,
    parse_decimals_or_empty,
    parse_integers,
)
from airflow_provider_binance_loan.exceptions import BadResponseError
from airflow_provider_binance_loan.validation import TOO_LARGE, is_number

if TYPE_CHECKING:
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord


class Page(NamedTuple):
    """One page of an answer.

    :param rows: the rows of the page, in the order of the answer.
    :param total: the `total` that the answer states: documented as a number of risk units, elsewhere a number
        of rows, so at most a hint.
    """

    rows: Sequence[AnyRecord]
    total: int | None


class Shape(NamedTuple):
    """What a row is parsed to.

    :param parsers: the parser of each field, in order.
    :param required: the fields that must not be absent.
    :param keeps_others: whether undeclared fields are kept.
    """

    parsers: dict[str, Parser]
    required: frozenset[str]
    keeps_others: bool


def build_shape(
    fields: Sequence[Field], *, keeps_others: bool = True, on_bad_amount: AmountRule = "fail"
) -> Shape:
    """Return the shape of rows that have these fields.

    :param fields: the declared fields.
    :param keeps_others: whether undeclared fields are kept.
    :param on_bad_amount: what to do about a value that is no number where an amount should be.
    """
    build = partial(build_shape, keeps_others=keeps_others, on_bad_amount=on_bad_amount)
    parsers: dict[str, Parser] = {}
    for field in fields:
        if field.type is FieldType.LIST:
            parser = _lists_of(build(field.fields))
        elif field.type is FieldType.OBJECT:
            parser = _objects_of(build(field.fields))
        else:
            parser = build_scalar_parser(field, on_bad_amount)
        parsers[field.name] = parser
    scalars = {field.name for field in fields if field.required and not field.fields}
    return Shape(parsers, frozenset(scalars), keeps_others)


def build_scalar_parser(field: Field, on_bad_amount: AmountRule = "fail") -> Parser:
    """Return the parser of a field that is neither a list nor an object.

    :param on_bad_amount: what to do about a value that is no number where an amount should be.
    """
    parser = PARSERS[field.type]
    if parser in {parse_decimals, parse_decimals_or_empty}:
        parser = partial(parser, on_bad=on_bad_amount)
    return _required(parser, field.type.value) if field.required else parser


def parse_page(payload: Any, shape: Shape, key_fields: Sequence[str]) -> Page:
    """Return a page of rows of a declared record. The payload is modified in place.

    A row has every declared field, in the declared order, and None where Binance sent null or nothing. Other
    fields follow, sorted by name, so that the same record always gives the same bytes.

    :param payload: the JSON of the answer.
    :param shape: the shape of a row.
    :param key_fields: the fields by which an error message names a row.
    :raises BadResponseError: the payload does not have the documented shape; the message holds the path to
        what is wrong.
    """
    try:
        if not isinstance(payload, dict):
            raise MalformedError(payload, "an object", "the body")
        (total,) = parse_integers([payload.get("total")], lambda _: "total")
    except MalformedError as error:
        raise _bad_response(error) from None
    rows = payload.get("rows", ABSENT)
    if total == 0 and (rows is ABSENT or rows is None):
        rows = []  # as /sapi/v1/asset/transfer answers when there are none
    return Page(parse_list(rows, shape, key_fields, "rows"), total)


def parse_list(payload: Any, shape: Shape, key_fields: Sequence[str], name: str = "") -> list[Record]:
    """Return the rows of a list, as :func:`parse_page` does. The payload is modified in place.

    :param payload: the list.
    :param shape: the shape of a row.
    :param key_fields: the fields by which an error message names a row.
    :param name: the name of the list in the answer; empty where it is the answer.
    :raises BadResponseError: the payload does not have the documented shape; the message holds the path to
        what is wrong.
    """
    try:
        if not isinstance(payload, list):
            raise MalformedError(payload, "a list", name or "the body")
        return _parse_rows(payload, shape, f"{name}[{{}}]".format)
    except RecursionError:
        raise BadResponseError(
            "Check what Binance changed: the answer has too many levels. Nothing of it was used.", status=200
        ) from None
    except MalformedError as error:
        raise _bad_response(error, _in_record(payload, error.path, key_fields)) from None


def _bad_response(error: MalformedError, in_record: str = "") -> BadResponseError:
    advice = "Set on_bad_amount='keep', or check" if error.may_be_kept else "Check"
    return BadResponseError(
        f"{advice} what Binance changed: {error.path} is {error.received}, and should be {error.expected}"
        f"{in_record}. Nothing of the answer was used.",
        status=200,
    )


def _in_record(rows: Any, path: str, key_fields: Sequence[str]) -> str:
    """Return what names the record of a path, for people who look for it; nothing if its key is malformed."""
    match = re.match(r"(?:rows)?\[([0-9]+)\]\.", path)
    row = rows[int(match[1])] if match else None
    if not isinstance(row, dict) or not all(is_number(row.get(name), 0, TOO_LARGE) for name in key_fields):
        return ""
    return f", in the record with {' and '.join(f'{name} {row[name]}' for name in key_fields)}"


# A page has some three thousand values, and one function call for each would take longer than all else that
# is done to a record. So rows are parsed a column at a time, and values that are right are left as they are.

_OBJECTS = {dict}


def _parse_rows(rows: list[Any], shape: Shape, path: Path) -> list[Record]:
    """Return objects with the declared fields in their order, and then all others that are kept."""
    if not rows:
        return rows
    if not _OBJECTS.issuperset(map(type, rows)):
        index = next(index for index, row in enumerate(rows) if not isinstance(row, dict))
        raise MalformedError(rows[index], "an object", path(index))
    if not _in_order(rows, shape):
        return _arrange(rows, shape, path)
    for name, parse in shape.parsers.items():
        values = [row[name] for row in rows]
        parsed = parse(values, _path_of(name, path))
        if parsed is not values:
            for row, value in zip(rows, parsed, strict=True):
                row[name] = value
    return rows


def _arrange(rows: list[Record], shape: Shape, path: Path) -> list[Record]:
    """Return new objects for some whose fields are not all there, or in another order, or more."""
    columns = []
    for name, parse in shape.parsers.items():
        absent = ABSENT if name in shape.required else None
        columns.append(parse([row.get(name, absent) for row in rows], _path_of(name, path)))
    arranged = [dict(zip(shape.parsers, values, strict=True)) for values in zip(*columns, strict=True)]
    if shape.keeps_others:
        for name in sorted(set().union(*rows) - shape.parsers.keys()):
            for row, new in zip(rows, arranged, strict=True):
                if name in row:
                    new[name] = _undeclared(row[name])
    return arranged


def _path_of(name: str, path: Path) -> Path:
    """Return the paths of a field, by those of the objects that have it."""
    return lambda index: f"{path(index)}.{name}"


def _in_order(rows: list[Record], shape: Shape) -> bool:
    """Return whether all objects have exactly the declared fields, in the declared order."""
    try:
        return [set(names) for names in zip(*rows, strict=True)] == [{name} for name in shape.parsers]
    except ValueError:  # some have more fields than others
        return False


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


def _required(parse: Parser, expected: str) -> Parser:
    """Return a parser that refuses null and absent values."""

    def parse_required(values: Sequence[Any], path: Path) -> Sequence[Any]:
        for index, value in enumerate(values):
            if value is None or value is ABSENT:
                raise MalformedError(value, expected, path(index))
        return parse(values, path)

    return parse_required


def _lists_of(shape: Shape) -> Parser:
    """Return the parser of lists of objects; a single object is a list of one, and null an empty list."""

    def parse(values: Sequence[Any], path: Path) -> list[list[Record]]:
        lists = [[] if value is None else [value] if isinstance(value, dict) else value for value in values]
        for index, items in enumerate(lists):
            if not isinstance(items, list):
                raise MalformedError(items, FieldType.LIST.value, path(index))

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


def _objects_of(shape: Shape) -> Parser:
    """Return the parser of objects; a list of one is an object, and null or an empty list an empty object.

    Binance's page shows objects where its table says list: `liquidationSnapshot` for one.
    """

    def parse(values: Sequence[Any], path: Path) -> list[Record]:
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
                raise MalformedError(values[index], FieldType.OBJECT.value, path(index))
        return _parse_rows(objects, shape, path)

    return parse
