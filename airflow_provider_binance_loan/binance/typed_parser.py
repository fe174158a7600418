"""The parser of answers that are exactly as documented, which is fast. Any other is left to the careful one.

It decodes JSON straight to typed records, with no dicts in between, and so knows that no field is missing or
undeclared, and that texts, flags, objects and lists are where they are declared. Numbers, which Binance also
sends as texts, are parsed as in `parser.py`. It gives up whatever it is not sure of, and does not say why:
the careful parser is asked instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from airflow_provider_binance_loan.binance.decoding import may_have_key_twice
from airflow_provider_binance_loan.binance.fields import Field, FieldType
from airflow_provider_binance_loan.binance.parser import Page, build_scalar_parser
from airflow_provider_binance_loan.binance.typed_records import TypedRecord, build_record_type, column_of
from airflow_provider_binance_loan.binance.values import MalformedError, Parser, parse_integers

# What the decoder may find in a field. Of these it knows all that the careful parser asks for; all others are
# numbers, which come as numbers and as texts, and are parsed after it.
_KNOWN_TYPES: dict[FieldType, type] = {FieldType.TEXT: str, FieldType.FLAG: bool}


class _Column(NamedTuple):
    """A field whose values are parsed once they are decoded."""

    name: str
    parse: Parser


class TypedParser:
    """Parses bodies of which each row has exactly the declared fields.

    :param name: the name of the dataset.
    :param fields: the fields of a row.
    """

    def __init__(self, name: str, fields: Sequence[Field]) -> None:
        row_type, self._columns = _build_type(name, fields)
        rows: Any = list[row_type]  # type: ignore[valid-type]
        page = build_record_type(f"{name}_page", [("total", Any), ("rows", rows)])
        # As in `decoding.py`: a number with a fraction or an exponent stays the text that was sent.
        self._page_decoder = msgspec.json.Decoder(page, float_hook=str)
        self._list_decoder = msgspec.json.Decoder(rows, float_hook=str)

    def parse_page(self, body: bytes) -> Page | None:
        """Return what the careful parser gives for the body of a page, as typed records; None if not sure."""
        page = self._decode(self._page_decoder, body)
        return None if page is None else Page(page.rows, page.total)

    def parse_list(self, body: bytes) -> list[TypedRecord] | None:
        """Return what the careful parser gives for the body of a list, as typed records; None if not sure."""
        rows: list[TypedRecord] | None = self._decode(self._list_decoder, body)
        return rows

    def _decode(self, decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
        try:
            content = decoder.decode(body)
            if isinstance(content, list):
                _parse_columns(content, self._columns)
            else:
                (content.total,) = parse_integers([content.total], _no_path)
                _parse_columns(content.rows, self._columns)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, MalformedError):
            return None
        return None if may_have_key_twice(body, content) else content


@cache
def typed_parser(name: str, fields: tuple[Field, ...]) -> TypedParser:
    """Return the parser of a dataset's bodies, which is built once."""
    return TypedParser(name, fields)


def _build_type(name: str, fields: Sequence[Field]) -> tuple[type[TypedRecord], list[_Column]]:
    """Return the type of an object with these fields, and its columns that are parsed after the decoding."""
    types: list[tuple[str, Any]] = []
    columns = []
    for field in fields:
        decoded: Any = Any
        if field.fields:
            inner, inner_columns = _build_type(field.name, field.fields)
            is_list = field.type is FieldType.LIST
            # Binance's page shows an object where its table says list: `liabilities` for one.
            decoded = list[inner] | inner if is_list else inner  # type: ignore[valid-type]
            parse = _lists_of(inner_columns) if is_list else _objects_of(inner_columns)
            columns.append(_Column(field.name, parse))
        elif known := _KNOWN_TYPES.get(field.type):
            decoded = known if field.required else known | None
        else:
            columns.append(_Column(field.name, build_scalar_parser(field)))
        types.append((field.name, decoded))
    return build_record_type(name, types), columns


def _parse_columns(records: Sequence[TypedRecord], columns: Sequence[_Column]) -> None:
    """Parse the values of records, in place.

    :raises MalformedError: one of them is not as documented.
    """
    if not records:
        return
    for name, parse in columns:
        values = column_of(records, name)
        parsed = parse(values, _no_path)
        if parsed is not values:
            for record, sent, value in zip(records, values, parsed, strict=True):
                if value is not sent:
                    setattr(record, name, value)


def _lists_of(columns: Sequence[_Column]) -> Parser:
    """Return the parser of lists of objects; a single object is a list of one."""

    def parse(values: Sequence[Any], _: Any) -> Sequence[list[TypedRecord]]:
        lists = [value if type(value) is list else [value] for value in values]
        _parse_columns(list(chain.from_iterable(lists)), columns)
        return lists

    return parse


def _objects_of(columns: Sequence[_Column]) -> Parser:
    """Return the parser of objects."""

    def parse(values: Sequence[Any], _: Any) -> Sequence[TypedRecord]:
        _parse_columns(values, columns)
        return values

    return parse


def _no_path(_: int) -> str:
    """Return no path: where a value is wrong, the careful parser finds it again."""
    return ""
