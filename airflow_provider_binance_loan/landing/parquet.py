"""Rows to Parquet, under Arrow schemas that depend on a dataset's declaration and never on the rows.

Imports pyarrow, which is optional and large, so nothing imports this module before Parquet is wanted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import partial
from typing import IO, Any, Literal

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from airflow_provider_binance_loan.binance.fields import Field, FieldType, Record, fields_by_name, walk_fields
from airflow_provider_binance_loan.binance.values import is_plain_number
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.landing.tables import Table, unused_name
from airflow_provider_binance_loan.validation import shown

AmountType = Literal["decimal", "string"]
#: The argument `parquet_amounts`: one type for all columns of amounts, or types by column.
Amounts = AmountType | Mapping[str, AmountType]
#: The type of each column of amounts.
AmountTypes = Mapping[str, AmountType]

_DECIMALS = {
    # 20 digits before the point, and 18 after it, as many as the finest tokens have.
    FieldType.AMOUNT: pa.decimal128(38, 18),
    # A quotient may have more digits after the point, and has few before it.
    FieldType.RATIO: pa.decimal128(38, 28),
    FieldType.RATIO_OR_EMPTY: pa.decimal128(38, 28),
}
_EXACT = Context(prec=38, traps=[Inexact, InvalidOperation])

_TYPES = {
    FieldType.INTEGER: pa.int64(),
    FieldType.TIME: pa.timestamp("ms", tz="UTC"),
    FieldType.TEXT: pa.string(),
    FieldType.FLAG: pa.bool_(),
}
_POSITION = pa.int32()


class _UnfitError(Exception):
    """An amount that its column cannot hold exactly: the column, its type, and the amount."""


def parse_amount_types(fields: Sequence[Field], amounts: Amounts) -> dict[str, AmountType]:
    """Return the type of each column of amounts; a column that is not mentioned is a decimal.

    :param fields: the fields of a record.
    :param amounts: as given on the task.
    :raises ConfigurationError: it is neither a type nor types by column.
    """
    names = dict.fromkeys(field.name for field in walk_fields(fields) if field.type in _DECIMALS)
    types = dict(amounts) if isinstance(amounts, Mapping) else {}
    kinds = types.values() if isinstance(amounts, Mapping) else [amounts]
    if any(name not in names for name in types) or any(kind not in ("decimal", "string") for kind in kinds):
        raise ConfigurationError(
            f"Give parquet_amounts as 'decimal', 'string', or one of these by column: it is {shown(amounts)}."
            f" Columns of amounts are {', '.join(names)}."
        )
    default: AmountType = "string" if amounts == "string" else "decimal"
    return {name: types.get(name, default) for name in names}


def build_schema(table: Table, amount_types: AmountTypes) -> pa.Schema:
    """Return the schema of a table."""
    return pa.schema(list(_arrow_fields(table.columns, amount_types, table.positions)))


class ParquetWriter:
    """Write rows to a file, a row group at a time.

    :param file: the file; it stays open.
    :param table: the table that the rows are of.
    :param amount_types: the type of each column of amounts.
    :param batch_rows: how many rows are held as Python objects, which are large.
    :param group_batches: how many batches make a row group. Both numbers decide the bytes of the file, so
        they must not depend on the rows.
    """

    def __init__(
        self,
        file: IO[bytes],
        table: Table,
        amount_types: AmountTypes,
        *,
        batch_rows: int = 500,
        group_batches: int = 10,
    ) -> None:
        self._key = table.key
        self._convert = _build_converter(table.columns, amount_types)
        self._schema = build_schema(table, amount_types)
        self._writer = pq.ParquetWriter(file, self._schema)
        self._batch_rows = batch_rows
        self._group_batches = group_batches
        self._rows: list[Record] = []
        self._batches: list[pa.RecordBatch] = []

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row.

        :raises ConfigurationError: its column cannot hold an amount exactly.
        """
        try:
            self._rows.append(self._convert(row))
        except _UnfitError as error:
            name, column_type, value = error.args
            record = " and ".join(f"{column} {row[column]}" for column in self._key)
            raise ConfigurationError(
                f"Set parquet_amounts={{{name!r}: 'string'}}, or 'string' for all amounts: {name} is "
                f"{shown(value)}, which {column_type} cannot hold exactly, in the record with {record}. "
                "Nothing was written."
            ) from None
        if len(self._rows) == self._batch_rows:
            self._end_batch()

    def close(self) -> None:
        """Write the last rows and the footer; the file stays open."""
        self._end_batch()
        self._end_group()
        self._writer.close()

    def _end_batch(self) -> None:
        self._batches.append(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
        self._rows.clear()
        if len(self._batches) == self._group_batches:
            self._end_group()

    def _end_group(self) -> None:
        group = pa.Table.from_batches(self._batches, schema=self._schema)
        if group.num_rows:
            self._writer.write_table(group)
        self._batches.clear()


def _arrow_fields(
    columns: Mapping[str, Field], amount_types: AmountTypes, positions: Sequence[str] = ()
) -> Iterator[pa.Field]:
    for name, field in columns.items():
        column = _POSITION if name in positions else _arrow_type(field, amount_types)
        yield pa.field(name, column, nullable=not field.required)
    # Undeclared fields, as JSON; null when there are none.
    yield pa.field(unused_name("extra", columns), pa.string())


def _arrow_type(field: Field, amount_types: AmountTypes) -> pa.DataType:
    if field.type in _DECIMALS:
        return pa.string() if amount_types[field.name] == "string" else _DECIMALS[field.type]
    if not field.fields:
        return _TYPES[field.type]
    struct = pa.struct(list(_arrow_fields(fields_by_name(field.fields), amount_types)))
    return pa.list_(struct) if field.type is FieldType.LIST else struct


def _build_converter(
    columns: Mapping[str, Field], amount_types: AmountTypes
) -> Callable[[Mapping[str, Any]], Record]:
    """Return a function that converts a row to the values that Arrow accepts for its columns."""
    converters = {name: _build_value_converter(field, amount_types) for name, field in columns.items()}
    extra_name = unused_name("extra", columns)

    def convert(row: Mapping[str, Any]) -> Record:
        converted = {name: to_column(row[name]) for name, to_column in converters.items()}
        if len(row) > len(converters):
            extra = {name: value for name, value in row.items() if name not in converters}
            text = json.dumps(extra, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
            converted[extra_name] = text
        return converted

    return convert


def _build_value_converter(field: Field, amount_types: AmountTypes) -> Callable[[Any], Any]:
    if field.fields:
        convert = _build_converter(fields_by_name(field.fields), amount_types)
        if field.type is FieldType.LIST:
            return lambda items: [convert(item) for item in items]
        return convert
    if field.type in _DECIMALS and amount_types[field.name] == "decimal":
        column_type = _DECIMALS[field.type]
        return partial(_to_decimal, field.name, column_type, Decimal(1).scaleb(-column_type.scale))
    if field.type is FieldType.TIME and not field.required:
        return lambda value: value or None  # Binance sends 0 for a time that has not come
    return lambda value: value


def _to_decimal(name: str, column_type: pa.DataType, smallest: Decimal, value: str | None) -> Decimal | None:
    if value is None:
        return None
    # A text that was kept in place of an amount: Python would take "NaN", "1_000" and " 1" for numbers.
    if is_plain_number(value):
        with suppress(Inexact, InvalidOperation):
            return Decimal(value).quantize(smallest, context=_EXACT)
    raise _UnfitError(name, column_type, value)
