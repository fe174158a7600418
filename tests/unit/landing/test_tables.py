"""Flat tables: a record becomes related rows without losing anything, and each table has one prefix."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Annotated, Any, TypedDict

import pytest

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.declaration import Dataset
from airflow_provider_binance_loan.binance.fields import FieldType
from airflow_provider_binance_loan.landing.tables import (
    build_table_key,
    flat_rows,
    flat_tables,
    whole_rows,
    whole_table,
)
from tests.support.records import record, records, running, with_undeclared_fields
from tests.support.transfers import TRANSFERS, transfer_records

Rows = dict[str, list[dict[str, Any]]]


def rows_of(dataset: Dataset, *some: dict[str, Any]) -> Rows:
    rows: Rows = defaultdict(list)
    build = flat_rows(dataset)
    for one in some:
        for table, row in build(one):
            rows[table].append(dict(row))
    return rows


class Item(TypedDict):
    """An item whose fields have the names of the columns that a list's table has anyway."""

    id: Annotated[str | None, FieldType.TEXT, ""]
    position: Annotated[str | None, FieldType.AMOUNT, ""]


class Inner(TypedDict):
    """An object with a field of its own beside its list."""

    state: Annotated[str | None, FieldType.TEXT, ""]
    items: Annotated[list[Item], ""]


class Outer(TypedDict):
    """A record with an object that does not consist of lists only."""

    id: Annotated[int, FieldType.INTEGER, ""]
    inner: Annotated[Inner, ""]
    size: Annotated[str | None, FieldType.AMOUNT, ""]


OUTER = replace(TRANSFERS, name="outer", table="outer", record=Outer, key_fields=("id",))


@pytest.mark.parametrize(
    ("dataset", "columns"),
    [
        (
            FORCE_LIQUIDATIONS,
            {
                "snapshots": "groupId liquidationStartTime position subEmail memberType walletType netEquity "
                "maintainMargin",
                "liabilities": "groupId liquidationStartTime position assetName principal interest",
                "liquidations": "groupId startLtv endLtv liquidationStartTime liquidationEndTime "
                "totalNetEquity totalMaintenanceMargin totalLiability",
            },
        ),
        (
            TRANSFERS,
            {
                "assets": "liquidationId liquidationTransferRecordPosition position assetName amount",
                "liquidationTransferRecord": "liquidationId position transferTime fromUid fromAccountType "
                "toUid toAccountType status",
                "liquidation_transfers": "liquidationId",
            },
        ),
        (OUTER, {"items": "id position id_ position_", "outer": "id inner size"}),
    ],
    ids=lambda value: value.name if isinstance(value, Dataset) else "",
)
def test_derives_the_tables_from_the_declaration(dataset: Dataset, columns: dict[str, str]) -> None:
    """Each list is a table with the record's key and a position; inner ones come first, the records last."""
    tables = flat_tables(dataset)
    assert {table.name: " ".join(table.columns) for table in tables} == columns
    assert [table.name for table in tables] == list(columns)
    for table in tables:
        assert set(table.key) == set(dataset.key_fields)
        assert list(table.columns)[: len(table.key)] == list(table.key) or table is tables[-1]


def test_has_one_table_of_whole_records() -> None:
    """Its name is empty, its columns are the record's fields, and its rows the records themselves."""
    table = whole_table(FORCE_LIQUIDATIONS)
    assert (table.name, tuple(table.columns.values())) == ("", FORCE_LIQUIDATIONS.fields)
    assert (table.key, table.positions) == (("groupId", "liquidationStartTime"), ())
    assert list(whole_rows(record())) == [("", record())]


def test_refuses_two_tables_of_one_name() -> None:
    """A declaration with two tables of one name is an error, as their rows would be mixed up."""
    with pytest.raises(ValueError, match="Rename a table of liquidation_transfers"):
        flat_tables(replace(TRANSFERS, table="assets"))


def test_makes_three_tables_of_a_liquidation() -> None:
    """The rows of lists carry the record's key and their position, and their fields as they were."""
    one = record()
    rows = rows_of(FORCE_LIQUIDATIONS, one)
    assert set(rows) == {"liquidations", "snapshots", "liabilities"}
    key = {"groupId": 6, "liquidationStartTime": 1_772_364_000_123}
    nested = one.pop("liquidationSnapshot")
    assert rows["liquidations"] == [one]
    for table in ("snapshots", "liabilities"):
        assert rows[table] == [
            {**key, "position": position, **row} for position, row in enumerate(nested[table])
        ]


def test_places_a_list_within_a_list() -> None:
    """The rows of an inner list carry the position of each list around them."""
    rows = rows_of(TRANSFERS, *transfer_records())
    assert rows["liquidation_transfers"] == [{"liquidationId": number} for number in (56, 55, 54)]
    places = [(row["liquidationId"], row["position"]) for row in rows["liquidationTransferRecord"]]
    assert places == [(56, 0), (56, 1), (55, 0)]
    assert rows["liquidationTransferRecord"][2]["note"] == "late"
    assert [list(row.values()) for row in rows["assets"]] == [
        [56, 0, 0, "USDT", "17750.6316"],
        [56, 0, 1, "BTC", "0.000000000000000001"],
        [56, 1, 0, "BTC", "0.00000000"],
    ]


def test_keeps_an_object_in_the_row_of_its_record() -> None:
    """An object keeps its place and loses only its lists; field names that are taken get an underscore."""
    items = [{"id": "x", "position": "0.5"}]
    one = {"id": 1, "inner": {"state": "on", "items": items, "why": 2}, "size": "3"}
    rows = rows_of(OUTER, one)
    assert rows["outer"] == [{"id": 1, "inner": {"state": "on", "why": 2}, "size": "3"}]
    assert list(rows["outer"][0]) == ["id", "inner", "size"]
    assert rows["items"] == [{"id": 1, "position": 0, "id_": "x", "position_": "0.5"}]


@pytest.mark.parametrize(
    ("dataset", "some"),
    [(FORCE_LIQUIDATIONS, [record(), with_undeclared_fields()]), (TRANSFERS, transfer_records())],
    ids=["liquidations", "transfers"],
)
def test_leaves_the_record_as_it_is(dataset: Dataset, some: list[dict[str, Any]]) -> None:
    """Building rows does not modify the record."""
    before = repr(some)
    rows_of(dataset, *some)
    assert repr(some) == before


def test_makes_one_row_of_a_record_without_details() -> None:
    """A liquidation with empty lists is a row of the table of liquidations alone."""
    assert list(rows_of(FORCE_LIQUIDATIONS, running())) == ["liquidations"]


def test_liquidations_can_be_put_together_again() -> None:
    """Joined by the key and in order of position, the rows are the records again."""
    rows = rows_of(FORCE_LIQUIDATIONS, *records())
    again = []
    for liquidation in rows["liquidations"]:
        lists: dict[str, list[Any]] = {"snapshots": [], "liabilities": []}
        for table, details in lists.items():
            for row in sorted(rows[table], key=lambda row: row["position"]):
                if (row["groupId"], row["liquidationStartTime"]) == (
                    liquidation["groupId"],
                    liquidation["liquidationStartTime"],
                ):
                    details.append(dict(list(row.items())[3:]))
        again.append(liquidation | {"liquidationSnapshot": lists})
    assert again == records()


def test_transfers_can_be_put_together_again() -> None:
    """The positions of each level place the rows of lists within lists."""
    rows = rows_of(TRANSFERS, *transfer_records())
    again = {
        row["liquidationId"]: row | {"liquidationTransferRecord": []} for row in rows["liquidation_transfers"]
    }
    for row in rows["liquidationTransferRecord"]:
        outer = again[row.pop("liquidationId")]["liquidationTransferRecord"]
        assert row.pop("position") == len(outer)
        outer.append(row | {"assets": []})
    for row in rows["assets"]:
        outer = again[row.pop("liquidationId")]["liquidationTransferRecord"]
        inner = outer[row.pop("liquidationTransferRecordPosition")]["assets"]
        assert row.pop("position") == len(inner)
        inner.append(row)
    assert list(again.values()) == transfer_records()


def test_keeps_undeclared_fields() -> None:
    """They stay where they were; one that has the name of a key gets an underscore, and both are kept."""
    rows = rows_of(FORCE_LIQUIDATIONS, with_undeclared_fields())
    (liquidation,) = rows["liquidations"]
    assert liquidation["fee"] == "1.50"
    assert liquidation["extra"] == {"b": ["1", None], "a": "żółć"}
    assert liquidation["liquidationSnapshot"] == {"reason": "LTV"}
    (snapshot,) = rows["snapshots"]
    assert (snapshot["position"], snapshot["position_"]) == (0, "long")
    assert (snapshot["groupId"], snapshot["groupId_"]) == (6, "66")
    assert rows["liabilities"][0]["rate"] == "0.00010"


@pytest.mark.parametrize(
    ("key", "becomes"),
    [
        ("records.parquet", "liabilities/records.parquet"),
        ("loans/records.parquet", "loans/liabilities/records.parquet"),
        ("loans/dt=2026-03-01/hour=11/x.parquet", "loans/liabilities/dt=2026-03-01/hour=11/x.parquet"),
        ("dt=2026-03-01/x.parquet", "liabilities/dt=2026-03-01/x.parquet"),
        ("loans/a=b.parquet", "loans/liabilities/a=b.parquet"),
        ("{table}/dt=2026-03-01/x.parquet", "liabilities/dt=2026-03-01/x.parquet"),
        ("loans/dt=2026-03-01/{table}.parquet", "loans/dt=2026-03-01/liabilities.parquet"),
        ("loans/{table}/{table}.parquet", "loans/liabilities/liabilities.parquet"),
    ],
)
def test_names_the_object_of_a_table(key: str, becomes: str) -> None:
    """The table's name is where the key has a place for it, or a folder above the partitions."""
    assert build_table_key(key, "liabilities") == becomes
