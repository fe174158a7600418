"""Parquet: values are exact or the task fails, and the schema never depends on the rows."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_binance_loan.binance.fields import (
    ForceLiquidation,
    Liability,
    LiquidationSnapshot,
    Snapshot,
)
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.landing.parquet import (
    AMOUNTS,
    SHAPES,
    Amounts,
    ParquetWriter,
    build_schema,
)
from airflow_provider_binance_loan.landing.tables import TABLES, build_rows
from tests.support.records import documented, record, records, running, with_unknown_fields

DECIMAL, STRING = pa.decimal128(38, 18), pa.string()


def write(rows: list[dict[str, Any]], table: str = "", amounts: Amounts = "decimal") -> pq.ParquetFile:
    file = io.BytesIO()
    writer = ParquetWriter(file, table, amounts)
    for row in rows:
        writer.write(row)
    writer.close()
    return pq.ParquetFile(io.BytesIO(file.getvalue()))


def read(rows: list[dict[str, Any]], table: str = "", amounts: Amounts = "decimal") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = write(rows, table, amounts).read().to_pylist()
    return found


def exactly(value: Any) -> Any:
    """A record as Parquet holds it: amounts as decimals, times as datetimes, and no unknown fields."""
    if isinstance(value, list):
        return [exactly(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: leaf(name, item) for name, item in value.items()} | {"extra": None}


def leaf(name: str, value: Any) -> Any:
    if name in AMOUNTS:
        return None if value is None else Decimal(value)
    if name == "liquidationStartTime" or (name == "liquidationEndTime" and value):
        return datetime.fromtimestamp(value // 1000, UTC).replace(microsecond=value % 1000 * 1000)
    return None if name == "liquidationEndTime" else exactly(value)


def test_holds_the_records() -> None:
    """Nested lists are lists of structs, amounts decimals, times UTC; a liquidation that runs has no end."""
    assert read(records()) == [exactly(one) for one in records()]


def test_holds_the_documented_example() -> None:
    """Every value of the record that Binance's page shows is there, by the number that it is."""
    (found,) = read([documented()])
    assert found["totalNetEquity"] == Decimal("16671.5507973")
    assert found["liquidationStartTime"].tzinfo is not None
    assert found["liquidationSnapshot"]["liabilities"][0]["assetName"] == "USDT"


def test_knows_every_documented_field() -> None:
    """The columns are the fields of a record, in their order."""
    whole = SHAPES[""]
    assert list(whole) == list(ForceLiquidation.__annotations__)
    assert list(whole["liquidationSnapshot"]) == list(LiquidationSnapshot.__annotations__)
    for name, kind in (("snapshots", Snapshot), ("liabilities", Liability)):
        assert list(whole["liquidationSnapshot"][name][0]) == list(kind.__annotations__)
        assert list(SHAPES[name])[3:] == list(kind.__annotations__)
    assert [*SHAPES["liquidations"], "liquidationSnapshot"] == list(whole)


@pytest.mark.parametrize("amounts", ["decimal", "string", {"interest": "string"}], ids=str)
@pytest.mark.parametrize("table", ["", *TABLES])
def test_has_the_same_schema_whatever_the_window_holds(table: str, amounts: Amounts) -> None:
    """A window without records, with ordinary ones and with unknown fields has one schema."""
    some = [*records(), with_unknown_fields()]
    rows = [row for one in some for name, row in build_rows(one) if name == table] if table else some
    schema = write([], table, amounts).schema_arrow
    assert schema == write(rows, table, amounts).schema_arrow == build_schema(table, amounts)
    assert schema.field("liquidationStartTime").type == pa.timestamp("ms", tz="UTC")
    assert not schema.field("groupId").nullable


def test_decides_on_amounts_by_the_column() -> None:
    """Each column of amounts is a decimal, or a text where the argument says so."""
    schema = build_schema("liabilities", {"interest": "string"})
    assert (schema.field("principal").type, schema.field("interest").type) == (DECIMAL, STRING)
    nested = build_schema("", "string").field("liquidationSnapshot").type
    assert nested.field("snapshots").type.value_type.field("netEquity").type == STRING
    assert build_schema("").field("startLtv").type == DECIMAL


amounts = st.from_regex(r"\A-?[0-9]{1,25}(\.[0-9]{1,25})?\Z")


@given(amounts)
def test_holds_an_amount_exactly_or_refuses_it(amount: str) -> None:
    """Every amount that fits is read back as the same number; any other is an error, never another number."""
    number = Decimal(amount)
    whole, _, fraction = amount.lstrip("-").partition(".")
    fits = len(whole.lstrip("0")) <= 20 and len(fraction.rstrip("0")) <= 18
    rows = [running(totalLiability=amount)]
    if fits:
        assert read(rows)[0]["totalLiability"] == number
    else:
        with pytest.raises(ConfigurationError):
            write(rows)


@given(amounts)
def test_holds_every_digit_of_a_text(amount: str) -> None:
    """As text an amount is read back digit for digit."""
    (found,) = read([running(totalLiability=amount)], amounts="string")
    assert found["totalLiability"] == amount


@pytest.mark.parametrize("name", ["totalLiability", "netEquity", "interest"])
def test_says_which_amount_does_not_fit(name: str) -> None:
    """The error names the column, the record, the value, and the argument that mends it; and it does."""
    value = "0.1234567890123456789"
    one = record(totalLiability=value)
    one["liquidationSnapshot"]["snapshots"][1]["netEquity"] = value
    one["liquidationSnapshot"]["liabilities"][0]["interest"] = value
    others = {other: "string" for other in ("totalLiability", "netEquity", "interest") if other != name}
    says = (
        rf"{name} of the record with groupId 6 and liquidationStartTime 1772364000123 is '{value}', "
        r"which a decimal128\(38, 18\) cannot hold "
        rf"exactly, so nothing was written: set parquet_amounts=\{{'{name}': 'string'\}}"
    )
    with pytest.raises(ConfigurationError, match=says):
        write([one], amounts=others)  # type: ignore[arg-type]
    assert value in str(read([one], amounts={**others, name: "string"}))  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "amounts", ["float", "", None, 5, ["decimal"], {"interest": "float"}, {"fee": "string"}], ids=str
)
def test_refuses_types_that_are_none(amounts: Any) -> None:
    """What is no type of a column of amounts is an error that lists what there is."""
    with pytest.raises(
        ConfigurationError, match=r"parquet_amounts is .*: give 'decimal', 'string', or .*netEq"
    ):
        build_schema("", amounts)


def test_keeps_fields_that_nobody_documents() -> None:
    """They are JSON in the column `extra`, beside the fields among which they came; null without any."""
    (found,) = read([with_unknown_fields()])
    assert json.loads(found["extra"]) == {"fee": "1.50", "extra": {"a": "żółć", "b": [1, None]}}
    nested = found["liquidationSnapshot"]
    assert json.loads(nested["extra"]) == {"reason": "LTV"}
    assert json.loads(nested["snapshots"][0]["extra"]) == {"position": "long", "groupId": 66}
    assert json.loads(nested["liabilities"][0]["extra"]) == {"rate": "0.00010"}
    flat = dict(build_rows(with_unknown_fields()))
    (liquidation,) = read([flat["liquidations"]], "liquidations")
    assert json.loads(liquidation["extra"])["liquidationSnapshot"] == {"reason": "LTV"}
    (detail,) = read([flat["snapshots"]], "snapshots")
    assert json.loads(detail["extra"]) == {"position_": "long", "groupId_": 66}


def test_writes_row_groups_of_one_size() -> None:
    """However many rows come, a row group holds the same number of them, and the last one the rest."""
    file = write([running(number) for number in range(1, 11_002)])
    sizes = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    assert sizes == [5_000, 5_000, 1_001]
    assert file.read(["groupId"]).column("groupId").to_pylist() == list(range(1, 11_002))
