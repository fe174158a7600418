"""The SQL of docs/recipes.md, on objects that the operators landed: the latest rows remain, and no others."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.landing.parquet import build_schema, parse_amount_types
from airflow_provider_binance_loan.landing.tables import flat_tables
from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from tests.support import docs
from tests.support.clock import NOW, FakeClock
from tests.support.lake import FIRST, SECOND, Lake, Rows, Story, latest
from tests.support.warehouse import KEYS, OPERATORS, Warehouse, adapted, columns, counted, tables

PAGE = "docs/recipes.md"
VIEWS, TABLES = "Views over all objects", "Tables that each run is merged into"
#: The sections with statements, and the dialects in which each of them must be valid.
SECTIONS = {
    VIEWS: ["duckdb", "snowflake", "bigquery", "clickhouse"],
    TABLES: ["duckdb", "snowflake", "bigquery"],
    "DuckDB": ["duckdb"],
    "JSON Lines": ["duckdb"],
    "Whole records": ["duckdb"],
    "Snowflake": ["snowflake"],
    "BigQuery": ["bigquery"],
    "Athena": ["athena"],
    "ClickHouse": ["clickhouse"],
}
NAMES = {name.lower(): name for name in SECTIONS}


@pytest.fixture
def lake(s3: Any, connect: Any, tmp_path: Path, clock: FakeClock) -> Lake:
    return Lake(s3, tmp_path, clock)


@pytest.fixture
def story(lake: Lake, exchange: Exchange, clock: FakeClock) -> Story:
    return Story(lake, exchange, clock)


def landing(parent: str, suffix: str = "parquet") -> dict[str, Any]:
    """The arguments by which the page lands flat tables."""
    (block,) = (block.text for block in docs.BLOCKS if block.page == PAGE and block.language == "python")
    (key,) = re.findall(r's3_key="(.*)"', block)
    assert key.startswith("s3://risk-lake/liquidations/{table}/dt=")
    return {
        "s3_key": key.replace("/liquidations/", f"/{parent}/").replace(".parquet", f".{suffix}"),
        "flatten": True,
    }


def starting(section: str, *starts: str) -> list[str]:
    """The statements of a section that start so."""
    return [sql for sql in docs.statements(PAGE, section) if sql.startswith(starts)]


def open_objects(warehouse: Warehouse, section: str = "DuckDB") -> None:
    """Make the views of the objects as they are: DuckDB's, in the place of those of the others."""
    warehouse.run(starting(section, "create view landed_"), "duckdb")


def latest_views(dialect: str) -> list[str]:
    """The views over all objects, as they are for a warehouse."""
    records, lists = docs.statements(PAGE, VIEWS)
    return [*starting("Athena", "create view latest_"), lists] if dialect == "athena" else [records, lists]


class Tables:
    """The tables of the latest rows, as the page makes and fills them in a warehouse.

    :param warehouse: where they are, with the objects.
    :param dialect: that of the warehouse.
    :param parent: the table of the records.
    """

    def __init__(self, warehouse: Warehouse, dialect: str, parent: str = "liquidations") -> None:
        self._warehouse, self._parent = warehouse, parent
        # DuckDB's tables, in the place of those of the others, have the columns of the views.
        warehouse.run([*docs.statements(PAGE, VIEWS), *starting("DuckDB", "create table")], "duckdb")
        if dialect == "athena":
            warehouse.run(starting("Athena", "create view current_"))
            self._merging = starting("Athena", "delete", "insert", "merge")
            self._lists = "current_{}"
        else:
            pulled = starting(NAMES[dialect], "create or replace temp")
            self._merging = [*pulled, *docs.statements(PAGE, TABLES)]
            self._lists = "{}"

    def merge(self, end: datetime) -> None:
        """Merge the window up to `end`."""
        page_has = FIRST.isoformat()
        assert page_has in "".join(self._merging)
        self._warehouse.run(sql.replace(page_has, end.isoformat()) for sql in self._merging)

    def rows(self, table: str) -> Rows:
        """Return the rows of the table of the records, or of a list."""
        return self._warehouse.rows(table if table == self._parent else self._lists.format(table))


def test_the_story_has_all_that_can_happen(story: Story) -> None:
    """One record is in one window alone, one changes, one list gets shorter, and one becomes empty."""
    first, second = (
        {
            row["groupId"]: (
                bool(row["liquidationEndTime"]),
                sum(one["groupId"] == row["groupId"] for one in pull["snapshots"]),
            )
            for row in pull["liquidations"]
        }
        for pull in story.tell(BinanceLoanForceLiquidationOperator)
    )
    assert first == {1: (True, 3), 2: (False, 3), 3: (False, 3), 4: (False, 3)}
    assert second == {2: (True, 2), 3: (False, 0), 4: (False, 3), 5: (False, 3)}


@pytest.mark.parametrize("parent", OPERATORS)
def test_both_windows_of_the_story_have_some_record(story: Story, parent: str) -> None:
    """In each dataset there is one in both, one in the first alone, and one in the second alone."""
    dataset = OPERATORS[parent].dataset
    first, second = ({dataset.key(row) for row in pull[parent]} for pull in story.tell(OPERATORS[parent]))
    assert first & second
    assert first - second
    assert second - first


def test_transfers_grow_in_the_story(story: Story) -> None:
    """A record of transfers is in both windows, with more transfers in the second."""
    first, second = (
        Counter(row["liquidationId"] for row in pull["liquidationTransferRecord"])
        for pull in story.tell(OPERATORS["liquidation_transfers"])
    )
    assert any(second[one] > first[one] for one in first)


@pytest.mark.parametrize("parent", OPERATORS)
def test_views_have_the_latest_rows(story: Story, lake: Lake, parent: str) -> None:
    """They have each record once, as the latest window shows it, and no row of a list of an older version."""
    operator = OPERATORS[parent]
    expected = list(latest(operator, story.tell(operator, **landing(parent))))
    for dialect in (*SECTIONS[VIEWS], "athena"):
        with Warehouse(dialect, lake, parent) as warehouse:
            open_objects(warehouse)
            warehouse.run(latest_views(dialect))
            for table, rows in expected:
                assert counted(warehouse.rows(f"latest_{table}")) == counted(rows), (dialect, table)


@pytest.mark.parametrize("parent", OPERATORS)
def test_tables_have_the_latest_rows(story: Story, lake: Lake, parent: str) -> None:
    """Windows may be merged in any order, and more than once: the same rows remain as in the views."""
    operator = OPERATORS[parent]
    expected = list(latest(operator, story.tell(operator, **landing(parent))))
    for dialect in ("duckdb", "snowflake", "bigquery", "athena"):
        for order in ([FIRST, SECOND, FIRST, SECOND], [SECOND, FIRST]):
            with Warehouse(dialect, lake, parent) as warehouse:
                open_objects(warehouse)
                found = Tables(warehouse, dialect, parent)
                for end in order:
                    found.merge(end)
                for table, rows in expected:
                    assert counted(found.rows(table)) == counted(rows), (dialect, order, table)


def test_json_lines_keep_every_digit(story: Story, lake: Lake) -> None:
    """The same views and tables have the same rows, with amounts as the texts that Binance sent."""
    operator = BinanceLoanForceLiquidationOperator
    pulls = story.tell(operator, **landing("liquidations", "jsonl.gz"))
    with Warehouse("duckdb", lake) as warehouse:
        opening = docs.statements(PAGE, "JSON Lines")
        for sql in [*opening, *latest_views("duckdb"), *starting("DuckDB", "create table")]:
            warehouse.run_as_it_is(sql)
        for end in (FIRST, SECOND):
            for sql in [*starting("DuckDB", "create or replace temp"), *docs.statements(PAGE, TABLES)]:
                time = f"epoch_ms(timestamptz '{end.isoformat()}')"
                warehouse.run_as_it_is(re.sub(r"timestamptz '.*?'", time, sql))
        expected = dict(latest(operator, pulls))
        for table in ("liquidations", "snapshots"):
            for relation in (table, f"latest_{table}"):
                found = counted(warehouse.rows(relation), as_numbers=False)
                assert found == counted(expected[table], as_numbers=False)


def test_whole_records_have_the_lists_of_their_version(story: Story, lake: Lake) -> None:
    """Of objects that are not flat, the lists in the latest row are all that is needed."""
    operator = BinanceLoanForceLiquidationOperator
    key = landing("records")["s3_key"].replace("/{table}", "")
    expected = dict(latest(operator, story.tell(operator, s3_key=key)))
    with Warehouse("duckdb", lake) as warehouse:
        for sql in docs.statements(PAGE, "Whole records"):
            warehouse.run_as_it_is(sql)
        records, lists = warehouse.rows("latest_records"), warehouse.rows("snapshots_of_records")
    names = expected["liquidations"][0]
    assert counted([{name: row[name] for name in names} for row in records]) == counted(
        expected["liquidations"]
    )
    for row in expected["snapshots"]:
        del row["position"]
    assert counted(lists) == counted(expected["snapshots"])


def test_a_cleared_run_does_not_replace_what_a_later_window_has(story: Story, lake: Lake) -> None:
    """Its rows count where no later window has the record; a pull with a later end wins for all records."""
    operator, where = BinanceLoanForceLiquidationOperator, landing("liquidations")
    pulls = story.tell(operator, **where)
    story.correct()
    before, pulls[0] = pulls[0], story.pull(operator, FIRST, **where)
    assert counted(before["liquidations"]) != counted(pulls[0]["liquidations"])
    for ends in ([FIRST, SECOND, FIRST], [FIRST, SECOND, FIRST, NOW]):
        if NOW in ends:
            pulls.append(story.pull(operator, NOW, lookback=timedelta(hours=4), **where))
            assert len(pulls[-1]["liquidations"]) == 5
        expected = counted(dict(latest(operator, pulls))["liquidations"])
        with Warehouse("duckdb", lake) as warehouse:
            open_objects(warehouse)
            found = Tables(warehouse, "duckdb")
            for end in ends:
                found.merge(end)
            assert counted(warehouse.rows("latest_liquidations")) == expected
            assert counted(found.rows("liquidations")) == expected


def test_every_statement_is_checked() -> None:
    """The sections with statements are those that the tests know, and all of their statements are found."""
    assert {name for name in docs.headings(PAGE) if docs.statements(PAGE, name)} == SECTIONS.keys()
    text = "".join(block.text for block in docs.BLOCKS if (block.page, block.language) == (PAGE, "sql"))
    assert text.count(";\n") == sum(len(docs.statements(PAGE, name)) for name in SECTIONS)


@pytest.mark.parametrize(
    ("section", "dialect"), [(name, one) for name, dialects in SECTIONS.items() for one in dialects]
)
def test_statements_are_valid(section: str, dialect: str) -> None:
    """A parser of the dialect understands each statement; DuckDB runs its own."""
    for sql in docs.statements(PAGE, section) if dialect != "duckdb" else []:
        parsed = sqlglot.parse_one(sql, dialect=dialect, error_level=sqlglot.ErrorLevel.RAISE)
        assert not list(parsed.find_all(exp.Command)), sql


#: A type of each dialect for each type of the objects. Decimals get their precision and scale.
TYPES = {
    "snowflake": ["number(19, 0)", "number(10, 0)", "varchar", "timestamp_ntz", "number({}, {})"],
    "bigquery": ["int64", "int64", "string", "timestamp", "bignumeric"],
    "athena": ["bigint", "int", "string", "timestamp", "decimal({}, {})"],
    "clickhouse": ["Int64", "Int32", "String", "DateTime64(3, 'UTC')", "Decimal({}, {})"],
}


@pytest.mark.parametrize("dialect", TYPES)
def test_columns_have_types_that_hold_every_value(dialect: str) -> None:
    """Each table has all columns of the objects but `extra`, in the types of Parquet."""
    of = dict(
        zip([pa.int64(), pa.int32(), pa.string(), pa.timestamp("ms", "UTC")], TYPES[dialect][:4], strict=True)
    )
    created = [
        sql for sql in starting(NAMES[dialect], "create ") if not re.search(r"\bview\b|\bas\s+select\b", sql)
    ]
    for sql in created:
        parsed = sqlglot.parse_one(sql, dialect=dialect)
        kinds = {one.name: one.kind for one in parsed.find_all(exp.ColumnDef) if one.name != "dt"}
        name = parsed.find(exp.Table).name.removeprefix("landed_")
        if not kinds:  # BigQuery takes the columns of external tables from the objects
            assert dialect == "bigquery"
            continue
        assert list(kinds) == columns(FORCE_LIQUIDATIONS, name)
        (table,) = (one for one in flat_tables(FORCE_LIQUIDATIONS) if one.name == name)
        for field in build_schema(table, parse_amount_types(FORCE_LIQUIDATIONS.fields, "decimal")):
            if field.name == "extra":
                continue
            decimal = pa.types.is_decimal(field.type)
            text = (
                TYPES[dialect][4].format(field.type.precision, field.type.scale)
                if decimal
                else of[field.type]
            )
            if dialect == "clickhouse" and field.nullable:
                text = f"Nullable({text})"
            assert kinds[field.name] == exp.DataType.build(text, dialect=dialect), (sql[:60], field.name)
    assert len(created) == (2 if dialect == "clickhouse" else 4)


def test_the_table_of_keys() -> None:
    """It has every windowed dataset, with its key and its flat tables."""
    found = {
        docs.names(name)[0]: (docs.names(key), docs.names(lists)) for _, name, key, lists in docs.table(*KEYS)
    }
    assert found.keys() == OPERATORS.keys()
    for parent, (keys, lists) in found.items():
        assert set(keys) == set(OPERATORS[parent].dataset.key_fields)
        assert set(lists) == set(tables(parent)[:-1])


def test_statements_for_another_dataset_have_its_names_alone() -> None:
    """What the tests run for transfers is what a reader writes who goes by the table of keys."""
    _, lists = docs.statements(PAGE, VIEWS)
    assert adapted(lists, "liquidation_transfers", "assets") == (
        "create view latest_assets as select child.window_end, child.liquidationId, "
        "child.liquidationTransferRecordPosition, child.position, child.assetName, child.amount from "
        "landed_assets as child join latest_liquidation_transfers as parent on parent.liquidationId = "
        "child.liquidationId and parent.window_end = child.window_end"
    )
