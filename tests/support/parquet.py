"""Records written as Parquet in memory."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.declaration import Dataset
from airflow_provider_binance_loan.landing.parquet import (
    Amounts,
    ParquetWriter,
    build_schema,
    parse_amount_types,
)
from airflow_provider_binance_loan.landing.tables import Table, flat_rows, flat_tables, whole_table


def tables_of(dataset: Dataset) -> dict[str, Table]:
    return {table.name: table for table in (whole_table(dataset), *flat_tables(dataset))}


def schema_of(table: str, amounts: Amounts = "decimal", dataset: Dataset = FORCE_LIQUIDATIONS) -> pa.Schema:
    return build_schema(tables_of(dataset)[table], parse_amount_types(dataset.fields, amounts))


def rows_of(dataset: Dataset, some: list[dict[str, Any]], table: str) -> list[Any]:
    build = flat_rows(dataset)
    return [row for one in some for name, row in build(one) if name == table] if table else some


def write(
    rows: list[dict[str, Any]],
    table: str = "",
    amounts: Amounts = "decimal",
    dataset: Dataset = FORCE_LIQUIDATIONS,
    **sizes: int,
) -> pq.ParquetFile:
    file = io.BytesIO()
    types = parse_amount_types(dataset.fields, amounts)
    writer = ParquetWriter(file, tables_of(dataset)[table], types, **sizes)
    for row in rows:
        writer.write(row)
    writer.close()
    return pq.ParquetFile(io.BytesIO(file.getvalue()))
