"""Parquet schemas: a dataset's declaration decides them, and the rows never do."""

from __future__ import annotations

import io
from typing import Annotated, Any, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_binance_loan.binance.datasets.force_liquidations import (
    FORCE_LIQUIDATIONS,
    ForceLiquidation,
    Liability,
    LiquidationSnapshot,
    Snapshot,
)
from airflow_provider_binance_loan.binance.declaration import Dataset
from airflow_provider_binance_loan.binance.fields import FieldType, fields_of
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.landing.parquet import (
    Amounts,
    ParquetWriter,
    build_schema,
    parse_amount_types,
)
from airflow_provider_binance_loan.landing.tables import Table
from tests.support.parquet import rows_of, schema_of, tables_of, write
from tests.support.records import records, with_undeclared_fields
from tests.support.transfers import TRANSFERS, transfer_records

DECIMAL, RATIO = pa.decimal128(38, 18), pa.decimal128(38, 28)
STRING, INTEGER = pa.string(), pa.int64()
POSITION, TIME, FLAG = pa.int32(), pa.timestamp("ms", tz="UTC"), pa.bool_()
BOTH = pytest.mark.parametrize(
    ("dataset", "some"),
    [(FORCE_LIQUIDATIONS, [*records(), with_undeclared_fields()]), (TRANSFERS, transfer_records())],
    ids=["liquidations", "transfers"],
)


def test_has_a_column_for_every_documented_field() -> None:
    """The columns are the fields of a record, in their order, and `extra`."""
    whole = schema_of("")
    assert whole.names == [*ForceLiquidation.__annotations__, "extra"]
    nested = whole.field("liquidationSnapshot").type
    assert names(nested) == [*LiquidationSnapshot.__annotations__, "extra"]
    for name, kind in (("snapshots", Snapshot), ("liabilities", Liability)):
        assert names(nested.field(name).type.value_type) == [*kind.__annotations__, "extra"]
        assert schema_of(name).names[3:] == [*kind.__annotations__, "extra"]
    flat = schema_of("liquidations").names
    assert [*flat[:-1], "liquidationSnapshot", "extra"] == whole.names


def names(struct: pa.StructType) -> list[str]:
    return [field.name for field in struct]


ASSET = [("assetName", STRING), ("amount", DECIMAL), ("extra", STRING)]
TRANSFER = [
    ("transferTime", TIME),
    ("fromUid", INTEGER),
    ("fromAccountType", STRING),
    ("toUid", INTEGER),
    ("toAccountType", STRING),
    ("status", STRING),
]


@pytest.mark.parametrize(
    ("dataset", "table", "fields"),
    [
        (
            FORCE_LIQUIDATIONS,
            "snapshots",
            [
                pa.field("groupId", INTEGER, nullable=False),
                pa.field("liquidationStartTime", TIME, nullable=False),
                pa.field("position", POSITION, nullable=False),
                *[(name, STRING) for name in ("subEmail", "memberType", "walletType")],
                *[(name, DECIMAL) for name in ("netEquity", "maintainMargin")],
                ("extra", STRING),
            ],
        ),
        (
            FORCE_LIQUIDATIONS,
            "liquidations",
            [
                pa.field("groupId", INTEGER, nullable=False),
                *[(name, RATIO) for name in ("startLtv", "endLtv")],
                pa.field("liquidationStartTime", TIME, nullable=False),
                ("liquidationEndTime", TIME),
                *[(name, DECIMAL) for name in ("totalNetEquity", "totalMaintenanceMargin", "totalLiability")],
                ("extra", STRING),
            ],
        ),
        (
            TRANSFERS,
            "assets",
            [
                pa.field("liquidationId", INTEGER, nullable=False),
                pa.field("liquidationTransferRecordPosition", POSITION, nullable=False),
                pa.field("position", POSITION, nullable=False),
                *ASSET,
            ],
        ),
        (
            TRANSFERS,
            "liquidationTransferRecord",
            [
                pa.field("liquidationId", INTEGER, nullable=False),
                pa.field("position", POSITION, nullable=False),
                *TRANSFER,
                ("extra", STRING),
            ],
        ),
        (
            TRANSFERS,
            "",
            [
                pa.field("liquidationId", INTEGER, nullable=False),
                pa.field(
                    "liquidationTransferRecord",
                    pa.list_(
                        pa.struct(
                            [
                                *TRANSFER,
                                pa.field("assets", pa.list_(pa.struct(ASSET)), nullable=False),
                                ("extra", STRING),
                            ]
                        )
                    ),
                    nullable=False,
                ),
                ("extra", STRING),
            ],
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Dataset) else None,
)
def test_derives_the_schema_from_the_declaration(dataset: Dataset, table: str, fields: list[Any]) -> None:
    """A required field is not nullable, a list nested to any depth is a list of structs."""
    assert schema_of(table, dataset=dataset) == pa.schema(fields)


@pytest.mark.parametrize("amounts", ["decimal", "string"])
@BOTH
def test_has_the_same_schema_whatever_the_window_holds(
    dataset: Dataset, some: list[dict[str, Any]], amounts: Amounts
) -> None:
    """With no records, ordinary ones and undeclared fields alike, a table has one schema."""
    for table in tables_of(dataset):
        rows = rows_of(dataset, some, table)
        schema = schema_of(table, amounts, dataset)
        assert write([], table, amounts, dataset).schema_arrow == schema
        assert write(rows, table, amounts, dataset).schema_arrow == schema
        for name in dataset.key_fields:
            kind = TIME if name.endswith("Time") else INTEGER
            assert schema.field(name) == pa.field(name, kind, nullable=False)


@pytest.mark.parametrize("table", ["", "snapshots", "liabilities", "liquidations"])
def test_has_the_same_schema_with_amounts_by_column(table: str) -> None:
    """The type of one column of amounts leaves the schema independent of the rows."""
    amounts: Amounts = {"interest": "string"}
    rows = rows_of(FORCE_LIQUIDATIONS, [*records(), with_undeclared_fields()], table)
    schema = schema_of(table, amounts)
    assert write([], table, amounts).schema_arrow == write(rows, table, amounts).schema_arrow == schema


def test_decides_on_amounts_by_the_column() -> None:
    """Each column of amounts is a decimal, or a text where the argument says so."""
    schema = schema_of("liabilities", {"interest": "string"})
    assert (schema.field("principal").type, schema.field("interest").type) == (DECIMAL, STRING)
    nested = schema_of("", "string").field("liquidationSnapshot").type
    assert nested.field("snapshots").type.value_type.field("netEquity").type == STRING
    assert schema_of("").field("startLtv").type == RATIO
    assert schema_of("", {"startLtv": "string"}).field("startLtv").type == STRING
    assert schema_of("", "string").field("endLtv").type == STRING


class Odd(TypedDict):
    """A record with a flag, and with a field that is named like the column of undeclared fields."""

    id: Annotated[int, FieldType.INTEGER, ""]
    open: Annotated[bool | None, FieldType.FLAG, ""]
    extra: Annotated[str | None, FieldType.TEXT, ""]


def test_keeps_a_declared_field_that_is_named_extra() -> None:
    """The column of undeclared fields gets an underscore, and both are kept; a flag is a boolean."""
    table = Table("", {field.name: field for field in fields_of(Odd)}, ("id",))
    schema = build_schema(table, {})
    assert (schema.names, schema.field("open").type) == (["id", "open", "extra", "extra_"], FLAG)
    file = io.BytesIO()
    writer = ParquetWriter(file, table, {})
    writer.write({"id": 1, "open": True, "extra": "a", "more": 2})
    writer.close()
    found = pq.read_table(file).to_pylist()
    assert found == [{"id": 1, "open": True, "extra": "a", "extra_": '{"more":2}'}]


@pytest.mark.parametrize(
    "amounts", ["float", "", None, 5, ["decimal"], {"interest": "float"}, {"fee": "string"}], ids=str
)
@pytest.mark.parametrize("dataset", [FORCE_LIQUIDATIONS, TRANSFERS], ids=["liquidations", "transfers"])
def test_refuses_types_that_are_none(dataset: Dataset, amounts: Any) -> None:
    """Anything but a type of a column of amounts is an error that lists the columns of the dataset."""
    with pytest.raises(ConfigurationError) as caught:
        parse_amount_types(dataset.fields, amounts)
    text = str(caught.value)
    assert text.startswith("Give parquet_amounts as 'decimal', 'string', or one of these by column: it is ")
    assert ("netEquity" in text, "amount," in text or "amount." in text) == (
        dataset is FORCE_LIQUIDATIONS,
        dataset is TRANSFERS,
    )
