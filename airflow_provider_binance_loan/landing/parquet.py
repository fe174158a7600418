"""Rows to Parquet, under Arrow schemas that never depend on the rows.

Imports pyarrow, which is optional and large, so nothing imports this module before Parquet is wanted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import partial
from typing import IO, Any, Literal

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import shown

AmountType = Literal["decimal", "string"]
Amounts = AmountType | Mapping[str, AmountType]

# How many rows are held as Python's objects, which are large, and how many batches of them make a row group.
# They decide the bytes of an object, so they must not depend on how the rows came.
_BATCH_ROWS = 500
_GROUP_BATCHES = 10
# 20 digits before the point, and 18 after it, as many as the finest tokens have.
_DECIMAL = pa.decimal128(38, 18)
_SMALLEST = Decimal(1).scaleb(-18)
_EXACT = Context(prec=38, traps=[Inexact, InvalidOperation])

# What a column holds.
_WHOLE, _TIME, _TEXT, _AMOUNT, _POSITION = "whole", "time", "text", "amount", "position"
_TYPES = {
    _WHOLE: pa.int64(),
    _TIME: pa.timestamp("ms", tz="UTC"),
    _TEXT: pa.string(),
    _AMOUNT: _DECIMAL,
    _POSITION: pa.int32(),
}
_REQUIRED = {"groupId", "liquidationStartTime", "position", "liquidationSnapshot", "snapshots", "liabilities"}

_KEY = {"groupId": _WHOLE, "liquidationStartTime": _TIME}
_SNAPSHOT = {
    "subEmail": _TEXT,
    "memberType": _TEXT,
    "walletType": _TEXT,
    "netEquity": _AMOUNT,
    "maintainMargin": _AMOUNT,
}
_LIABILITY = {"assetName": _TEXT, "principal": _AMOUNT, "interest": _AMOUNT}
_LIQUIDATION = {
    "groupId": _WHOLE,
    "startLtv": _AMOUNT,
    "endLtv": _AMOUNT,
    "liquidationStartTime": _TIME,
    "liquidationEndTime": _TIME,
    "totalNetEquity": _AMOUNT,
    "totalMaintenanceMargin": _AMOUNT,
    "totalLiability": _AMOUNT,
}
# The columns of each table, and of whole records, by their table's name: `""`. A mapping is a struct, and one
# in a list is a list of structs.
SHAPES: dict[str, dict[str, Any]] = {
    "": {**_LIQUIDATION, "liquidationSnapshot": {"snapshots": [_SNAPSHOT], "liabilities": [_LIABILITY]}},
    "liquidations": _LIQUIDATION,
    "snapshots": {**_KEY, "position": _POSITION, **_SNAPSHOT},
    "liabilities": {**_KEY, "position": _POSITION, **_LIABILITY},
}
AMOUNTS = tuple(
    name for shape in (_LIQUIDATION, _SNAPSHOT, _LIABILITY) for name in shape if shape[name] == _AMOUNT
)


class _UnfitError(Exception):
    """A value that its column cannot hold exactly."""


def parse_amount_types(amounts: Amounts) -> dict[str, AmountType]:
    """Return the type of each column of amounts, decimals where nothing is said.

    :raises ConfigurationError: it is neither a type nor types by the names of columns.
    """
    types = dict(amounts) if isinstance(amounts, Mapping) else dict.fromkeys(AMOUNTS, amounts)
    for name, kind in types.items():
        if name not in AMOUNTS or kind not in ("decimal", "string"):
            raise ConfigurationError(
                f"parquet_amounts is {shown(amounts)}: give 'decimal', 'string', or one of these for each of "
                f"some columns, of {', '.join(AMOUNTS)}."
            )
    return {name: types.get(name, "decimal") for name in AMOUNTS}


def build_schema(table: str, amounts: Amounts = "decimal") -> pa.Schema:
    """Return the schema of a table, or of whole records for `""`. It is the same for every window."""
    return pa.schema(list(_fields(SHAPES[table], parse_amount_types(amounts))))


class ParquetWriter:
    """Write rows to a file, a row group at a time."""

    def __init__(self, file: IO[bytes], table: str, amounts: Amounts) -> None:
        self._convert = _struct(SHAPES[table], parse_amount_types(amounts))
        self._schema = build_schema(table, amounts)
        self._writer = pq.ParquetWriter(file, self._schema)
        self._rows: list[dict[str, Any]] = []
        self._batches: list[pa.RecordBatch] = []

    def write(self, row: Mapping[str, Any]) -> None:
        """Take a row.

        :raises ConfigurationError: an amount is one that its column cannot hold exactly.
        """
        try:
            self._rows.append(self._convert(row))
        except _UnfitError as error:
            name, value = error.args
            whose = (
                f"{name} of the record with groupId {row['groupId']} and liquidationStartTime "
                f"{row['liquidationStartTime']} is {shown(value)}"
            )
            raise ConfigurationError(
                f"{whose}, which a {_DECIMAL} cannot hold exactly, so nothing was written: set "
                f"parquet_amounts={{{name!r}: 'string'}}, or 'string' for all amounts."
            ) from None
        if len(self._rows) == _BATCH_ROWS:
            self._end_batch()

    def close(self) -> None:
        """Write what is left and the footer; the file stays open."""
        self._end_batch()
        self._end_group()
        self._writer.close()

    def _end_batch(self) -> None:
        self._batches.append(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
        self._rows.clear()
        if len(self._batches) == _GROUP_BATCHES:
            self._end_group()

    def _end_group(self) -> None:
        group = pa.Table.from_batches(self._batches, schema=self._schema)
        if group.num_rows:
            self._writer.write_table(group)
        self._batches.clear()


def _fields(shape: Mapping[str, Any], amounts: Mapping[str, AmountType]) -> Iterator[pa.Field]:
    for name, kind in shape.items():
        if isinstance(kind, Mapping):
            column = pa.struct(list(_fields(kind, amounts)))
        elif isinstance(kind, list):
            column = pa.list_(pa.struct(list(_fields(kind[0], amounts))))
        else:
            column = pa.string() if amounts.get(name) == "string" else _TYPES[kind]
        yield pa.field(name, column, nullable=name not in _REQUIRED)
    # The fields that Binance does not document, as JSON; null when there is none.
    yield pa.field("extra", pa.string())


def _struct(
    shape: Mapping[str, Any], amounts: Mapping[str, AmountType]
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return what makes of a row one whose values are those that Arrow takes for the shape."""
    convert = {name: _converter(name, kind, amounts) for name, kind in shape.items()}

    def to_struct(row: Mapping[str, Any]) -> dict[str, Any]:
        converted = {name: to_column(row[name]) for name, to_column in convert.items()}
        if len(row) > len(convert):
            extra = {name: value for name, value in row.items() if name not in convert}
            converted["extra"] = json.dumps(extra, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return converted

    return to_struct


def _converter(name: str, kind: Any, amounts: Mapping[str, AmountType]) -> Callable[[Any], Any]:
    if isinstance(kind, Mapping):
        return _struct(kind, amounts)
    if isinstance(kind, list):
        to_struct = _struct(kind[0], amounts)
        return lambda rows: [to_struct(row) for row in rows]
    if amounts.get(name) == "decimal":
        return partial(_to_decimal, name)
    if name == "liquidationEndTime":
        return lambda value: value or None  # of a liquidation that runs it is 0 or null
    return lambda value: value


def _to_decimal(name: str, value: str | None) -> Decimal | None:
    if value is None:
        return None
    try:
        return Decimal(value).quantize(_SMALLEST, context=_EXACT)
    except (Inexact, InvalidOperation):
        raise _UnfitError(name, value) from None
