"""Records as rows of flat tables, and the key of each table's object. Pure.

A flat table holds no list. The records are one table, `Dataset.table`, and each list of objects in them, at
any depth, is a table of its own, named after its field. A row of a list carries the record's key fields, and
`window_end` where the record has it;
`position`, its place in its own list; and `<list>Position` for each list around that one. So a record

    {"liquidationId": 55, "liquidationTransferRecord": [{"status": "CONFIRM", "assets": [{"amount": "0.5"}]}]}

is a row in each of three tables:

    transfers                  liquidationId=55
    liquidationTransferRecord  liquidationId=55, position=0, status="CONFIRM"
    assets                     liquidationId=55, liquidationTransferRecordPosition=0, position=0, amount="0.5"

A list that is marked `IN_INNER_ROWS` has no table: each row of the list in it carries its fields as well, and
an object of it whose own list is empty is a row in which the inner fields are null.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_loan.binance.fields import Field, FieldType, Record, fields_by_name
from airflow_provider_binance_loan.binance.own_columns import WINDOW_END
from airflow_provider_binance_loan.binance.typed_records import AnyRecord, shallow

if TYPE_CHECKING:
    from airflow_provider_binance_loan.binance.declaration import Dataset

#: The placeholder for the table's name in the key of an object.
PLACEHOLDER = "{table}"

#: Yields the rows of a record, each with the name of its table.
RowBuilder = Callable[[AnyRecord], Iterator[tuple[str, AnyRecord]]]

_POSITION = Field("position", FieldType.INTEGER, required=True)


@dataclass(frozen=True)
class Table:
    """The columns of the rows of an object.

    :param name: the table's name; `""` for whole records.
    :param columns: the field that each column holds, in their order.
    :param key: the columns that hold the record's key fields.
    :param positions: the columns that hold a place in a list, the outermost list first.
    """

    name: str
    columns: Mapping[str, Field]
    key: tuple[str, ...]
    positions: tuple[str, ...] = ()


def whole_table(dataset: Dataset) -> Table:
    """Return the table of whole records, with all that is nested in them. Its name is empty."""
    return Table("", fields_by_name(dataset.fields), _key_names(_parent_fields(dataset)))


def flat_tables(dataset: Dataset) -> tuple[Table, ...]:
    """Return the flat tables of a dataset, inner lists before outer ones, and the table of the records last.

    :raises ValueError: two tables have the same name.
    """
    parent = _parent_fields(dataset)
    records = Table(dataset.table, fields_by_name(_flat_fields(dataset.fields)), _key_names(parent))
    tables = (*_list_tables(dataset.fields, parent, ()), records)
    names = [table.name for table in tables]
    if len(set(names)) < len(names):
        raise ValueError(f"Rename a table of {dataset.name}, as two have the same name: {', '.join(names)}.")
    return tables


def whole_rows(record: AnyRecord) -> Iterator[tuple[str, AnyRecord]]:
    """Yield the one row of :func:`whole_table`: the record as it is."""
    yield "", record


def flat_rows(dataset: Dataset) -> RowBuilder:
    """Return a function that yields the rows of a record for :func:`flat_tables`; the record is not modified.

    Undeclared fields stay in the row of the object that has them. A field in a list whose name is taken, by a
    key field or a position, gets an underscore after its name.
    """
    parent = tuple(fields_by_name(_parent_fields(dataset)))
    split = _build_splitter(dataset.fields)

    def build_rows(record: AnyRecord) -> Iterator[tuple[str, Record]]:
        row, lists = split(record)
        yield dataset.table, row
        place = {name: record[name] for name in parent}
        for found in lists:
            yield from _list_rows(found, place)

    return build_rows


def build_table_key(key: str, table: str) -> str:
    """Return the key of a table's object: the table's name in place of `{table}`, or as a folder of its own.

    The folder comes before the first partition, `name=value`, or else before the file's name, so that each
    table has one prefix: `loans/dt=2026-03-01/x.parquet` gives `loans/snapshots/dt=2026-03-01/x.parquet`.
    """
    if PLACEHOLDER in key:
        return key.replace(PLACEHOLDER, table)
    *folders, name = key.split("/")
    at = next((index for index, folder in enumerate(folders) if "=" in folder), len(folders))
    return "/".join([*folders[:at], table, *folders[at:], name])


def unused_name(name: str, taken: Container[str]) -> str:
    """Return a name with as many underscores after it as it needs to be unlike those that are taken."""
    while name in taken:
        name += "_"
    return name


def _parent_fields(dataset: Dataset) -> tuple[Field, ...]:
    """Return the fields of a record that are in the rows of its lists as well."""
    return tuple(field for field in dataset.fields if field.name in {WINDOW_END, *dataset.key_fields})


def _key_names(parent: Sequence[Field]) -> tuple[str, ...]:
    return tuple(field.name for field in parent if field.name != WINDOW_END)


def _flat_fields(fields: Sequence[Field]) -> tuple[Field, ...]:
    """Return fields without the lists in them, and without the objects that hold nothing but lists."""
    flat = []
    for field in fields:
        if field.type is FieldType.OBJECT:
            inner = _flat_fields(field.fields)
            flat += [replace(field, fields=inner)] if inner else []
        elif field.type is not FieldType.LIST:
            flat.append(field)
    return tuple(flat)


def _list_tables(
    fields: Sequence[Field],
    parent: Sequence[Field],
    outer: tuple[str, ...],
    carried: Sequence[Field] = (),
) -> Iterator[Table]:
    for field in fields:
        if field.type is FieldType.OBJECT:
            yield from _list_tables(field.fields, parent, outer)
        elif field.type is FieldType.LIST:
            flat = _flat_fields(field.fields)
            inner_carried = flat if field.in_inner_rows else ()
            yield from _list_tables(
                field.fields, parent, (*outer, _outer_position(field.name)), inner_carried
            )
            if field.in_inner_rows:
                continue
            positions = (*outer, _POSITION.name)
            columns = fields_by_name(parent) | dict.fromkeys(positions, _POSITION)
            for own in (*carried, *flat):
                columns[unused_name(own.name, columns)] = own
            yield Table(field.name, columns, _key_names(parent), positions)


def _outer_position(table: str) -> str:
    return f"{table}Position"


class _FoundList(NamedTuple):
    """A list that was found in an object, how it is declared, and what splits its items."""

    field: Field
    items: Sequence[AnyRecord]
    split: _Splitter


# Returns the row of an object, without its lists, and these lists.
_Splitter = Callable[[AnyRecord], tuple[Record, list[_FoundList]]]


def _build_splitter(fields: Sequence[Field]) -> _Splitter:
    lists = [(field, _build_splitter(field.fields)) for field in fields if field.type is FieldType.LIST]
    objects = [
        (field.name, _build_splitter(field.fields), bool(_flat_fields(field.fields)))
        for field in fields
        if field.type is FieldType.OBJECT
    ]

    if not lists and not objects:
        return lambda values: (shallow(values), [])

    def split(values: AnyRecord) -> tuple[Record, list[_FoundList]]:
        row = shallow(values)
        found = [_FoundList(field, row.pop(field.name), split_item) for field, split_item in lists]
        for name, split_object, stays in objects:
            inner_row, inner_found = split_object(row[name] if stays else row.pop(name))
            found += inner_found
            if inner_row:  # also undeclared fields of an object that otherwise holds nothing but lists
                row[name] = inner_row
        return row, found

    return split


def _list_rows(
    found: _FoundList,
    outer: Mapping[str, Any],
    carried: Mapping[str, Any] = MappingProxyType({}),
    carried_extra: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[tuple[str, Record]]:
    """Yield the rows of a list, and of the lists in it.

    :param outer: the columns that say where the list is.
    :param carried: the declared fields of the object around it, where that has no table.
    :param carried_extra: its undeclared fields, which come last, so that they take no declared name.
    """
    table = found.field.name
    declared = {field.name for field in found.field.fields}
    for position, item in enumerate(found.items):
        fields, lists = found.split(item)
        inner_outer = {**outer, _outer_position(table): position}
        if found.field.in_inner_rows:
            carry = {name: value for name, value in fields.items() if name in declared}
            extra = {name: value for name, value in fields.items() if name not in declared}
            for inner in lists:
                # An object without inner ones is a row all the same.
                items = inner.items or [_nulls(inner.field)]
                yield from _list_rows(inner._replace(items=items), inner_outer, carry, extra)
            continue
        row = {**outer, _POSITION.name: position}
        for name, value in chain(carried.items(), fields.items(), carried_extra.items()):
            row[unused_name(name, row) if name in row else name] = value
        yield table, row
        for inner in lists:
            yield from _list_rows(inner, inner_outer)


def _nulls(field: Field) -> Record:
    """Return an object of a list in which every field is null."""
    return {inner.name: None for inner in field.fields}
