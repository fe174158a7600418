"""Fields and their types, as a dataset declares them.

A record is declared as a `TypedDict` whose fields are annotated with a type and a description:

    class Liability(TypedDict):
        assetName: Annotated[str | None, FieldType.TEXT, "for example `USDT`"]
        principal: Annotated[str | None, FieldType.AMOUNT, "outstanding principal"]

A field whose type excludes None is required. Another `TypedDict` is a nested object, and a list of one is a
list of objects; with `IN_INNER_ROWS` among its notes, the flat tables have no table for it. From this one
declaration come the parser, the Parquet schema, the flat tables and the documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints, is_typeddict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Record = dict[str, Any]

#: Marks a list whose objects hold one list each: in the flat tables, its fields are in the rows of that list.
IN_INNER_ROWS = object()


class FieldType(Enum):
    """What a field holds; the value says what an error message expects."""

    INTEGER = "a whole number"
    TIME = "a time in epoch milliseconds"
    AMOUNT = "a decimal number"
    RATIO = "a decimal number without a unit"
    RATIO_OR_EMPTY = "a decimal number without a unit, or empty"
    TEXT = "a text"
    FLAG = "true or false"
    OBJECT = "an object or a list of one"
    LIST = "a list"


@dataclass(frozen=True)
class Field:
    """A field of a record.

    :param name: Binance's own name.
    :param type: what it holds.
    :param required: whether a row without it is malformed.
    :param description: what it means, for the documentation.
    :param fields: the fields of a nested object, or of the objects in a list.
    :param in_inner_rows: whether it is a list without a flat table of its own: see `IN_INNER_ROWS`.
    """

    name: str
    type: FieldType
    required: bool = False
    description: str = ""
    fields: tuple[Field, ...] = ()
    in_inner_rows: bool = False


@cache
def fields_of(record_type: type) -> tuple[Field, ...]:
    """Return the fields that a `TypedDict` declares, in their order."""
    return tuple(
        _field(name, hint) for name, hint in get_type_hints(record_type, include_extras=True).items()
    )


def walk_fields(fields: Sequence[Field]) -> Iterator[Field]:
    """Yield fields and all that are nested in them."""
    for field in fields:
        yield field
        yield from walk_fields(field.fields)


def fields_by_name(fields: Sequence[Field]) -> dict[str, Field]:
    """Return fields by their names, in their order."""
    return {field.name: field for field in fields}


def _field(name: str, hint: Any) -> Field:
    annotated = get_origin(hint) is Annotated
    python_type, *notes = get_args(hint) if annotated else (hint,)
    description = next((note for note in notes if isinstance(note, str)), "")
    if is_typeddict(python_type):
        return Field(
            name, FieldType.OBJECT, required=True, description=description, fields=fields_of(python_type)
        )
    if get_origin(python_type) is list:
        return Field(
            name,
            FieldType.LIST,
            required=True,
            description=description,
            fields=fields_of(get_args(python_type)[0]),
            in_inner_rows=any(note is IN_INNER_ROWS for note in notes),
        )
    (field_type,) = (note for note in notes if isinstance(note, FieldType))
    required = type(None) not in get_args(python_type)
    return Field(name, field_type, required=required, description=description)
