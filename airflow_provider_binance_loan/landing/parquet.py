"""Rows to Parquet, under Arrow schemas that depend on a dataset's declaration and never on the rows.

Imports pyarrow, which is optional and large, so nothing imports this module before Parquet is wanted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Context, Decimal, Inexact, InvalidOperation
from itertools import accumulate, chain
from typing import IO, Any, Literal

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from airflow_provider_binance_loan.binance.fields import Field, FieldType, fields_by_name, walk_fields
from airflow_provider_binance_loan.binance.typed_records import AnyRecord, TypedRecord, are_typed, column_of
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
        self._table = table
        self._schema = build_schema(table, amount_types)
        self._writer = pq.ParquetWriter(file, self._schema)
        self._batch_rows = batch_rows
        self._group_batches = group_batches
        self._rows: list[AnyRecord] = []
        self._batches: list[pa.RecordBatch] = []

    def write(self, row: AnyRecord) -> None:
        """Add a row.

        :raises ConfigurationError: a column cannot hold an amount exactly, in this row or one before it.
        """
        self._rows.append(row)
        if len(self._rows) == self._batch_rows:
            self._end_batch()

    def close(self) -> None:
        """Write the last rows and the footer; the file stays open.

        :raises ConfigurationError: a column cannot hold an amount exactly.
        """
        try:
            self._end_batch()
            self._end_group()
        finally:  # a writer that is left open would warn when it is collected
            self._writer.close()

    def _end_batch(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return  # the first array imports pandas, where it is installed, for a whole second
        try:
            self._batches.append(self._build_batch(rows))
        except _UnfitError:
            for row in rows:
                self._require_fit(row)
            raise
        if len(self._batches) == self._group_batches:
            self._end_group()

    def _build_batch(self, rows: Sequence[AnyRecord]) -> pa.RecordBatch:
        arrays = _build_columns(rows, self._table.columns, self._schema)
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _require_fit(self, row: AnyRecord) -> None:
        try:
            self._build_batch([row])
        except _UnfitError as error:
            name, column_type, value = error.args
            record = " and ".join(f"{column} {row[column]}" for column in self._table.key)
            raise ConfigurationError(
                f"Set parquet_amounts={{{name!r}: 'string'}}, or 'string' for all amounts: {name} is "
                f"{shown(value)}, which {column_type} cannot hold exactly, in the record with {record}. "
                "Nothing was written."
            ) from None

    def _end_group(self) -> None:
        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches, schema=self._schema))
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


# A row has some thirty values, and one function call for each would take longer than all else that is done to
# it. So arrays are built a column at a time, also those of nested objects.


def _build_columns(
    rows: Sequence[AnyRecord], columns: Mapping[str, Field], arrow_fields: Sequence[pa.Field]
) -> list[pa.Array]:
    """Return an array for each column, and at last the one of undeclared fields."""
    typed = are_typed(rows)
    arrays = [
        _build_array(column_of(rows, name) if typed else [row[name] for row in rows], field, arrow_field.type)
        for (name, field), arrow_field in zip(columns.items(), arrow_fields, strict=False)
    ]
    extra = [None] * len(rows) if typed else [_extra(row, columns) for row in rows]
    return [*arrays, pa.array(extra, pa.string())]


def _build_array(values: Sequence[Any], field: Field, column_type: pa.DataType) -> pa.Array:
    if field.type is FieldType.LIST:
        offsets = pa.array(accumulate(map(len, values), initial=0), pa.int32())
        structs = _build_structs(list(chain.from_iterable(values)), field, column_type.value_type)
        return pa.ListArray.from_arrays(offsets, structs, type=column_type)
    if field.type is FieldType.OBJECT:
        return _build_structs(values, field, column_type)
    if pa.types.is_decimal(column_type):
        return _build_decimals(values, field.name, column_type)
    if field.type is FieldType.TIME and not field.required:
        values = [value or None for value in values]  # Binance sends 0 for a time that has not come
    return pa.array(values, column_type)


def _build_structs(values: Sequence[AnyRecord], field: Field, struct: pa.StructType) -> pa.StructArray:
    arrays = _build_columns(values, fields_by_name(field.fields), list(struct))
    return pa.StructArray.from_arrays(arrays, fields=list(struct))


def _extra(row: AnyRecord, columns: Mapping[str, Field]) -> str | None:
    if isinstance(row, TypedRecord) or len(row) == len(columns):
        return None
    extra = {name: value for name, value in row.items() if name not in columns}
    return json.dumps(extra, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _build_decimals(texts: Sequence[str | None], name: str, column_type: pa.Decimal128Type) -> pa.Array:
    # Arrow is five times as fast as `Decimal`. But of a number that is too long for 128 bits it keeps some
    # bits, without an error, so it gets only texts whose digits the column can hold.
    digits, decimals = column_type.precision - column_type.scale, column_type.scale
    array = pa.array(texts, pa.string())
    fits = pc.match_substring_regex(array, rf"^-?[0-9]{{1,{digits}}}(?:\.[0-9]{{1,{decimals}}})?$")
    if pc.all(fits).as_py() is False:  # None where all are null
        pairs = zip(texts, fits.to_pylist(), strict=True)
        fitted = [_fit(name, column_type, text) if fit is False else text for text, fit in pairs]
        array = pa.array(fitted, pa.string())
    return array.cast(column_type)


def _fit(name: str, column_type: pa.Decimal128Type, text: str | None) -> str:
    """Return the same number without digits that say nothing, such as zeros at the end."""
    # A text that was kept in place of an amount: Python would take "NaN", "1_000" and " 1" for numbers.
    if text is not None and is_plain_number(text):
        with suppress(Inexact, InvalidOperation):
            return f"{Decimal(text).quantize(Decimal(1).scaleb(-column_type.scale), context=_EXACT):f}"
    raise _UnfitError(name, column_type, text)
