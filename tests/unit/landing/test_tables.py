"""Tables: a record becomes related rows without losing anything, and each table has one prefix."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from airflow_provider_binance_loan.landing.tables import TABLES, build_rows, build_table_key
from tests.support.records import record, records, running, with_unknown_fields


def tables_of(*some: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    rows = defaultdict(list)
    for one in some:
        for table, row in build_rows(one):
            rows[table].append(row)
    return rows


def test_makes_three_tables_of_a_record() -> None:
    """The details carry the record's key and their position, and their fields as they were."""
    one = record()
    rows = tables_of(one)
    assert set(rows) == set(TABLES)
    key = {"groupId": 6, "liquidationStartTime": 1_772_364_000_123}
    nested = one.pop("liquidationSnapshot")
    assert rows["liquidations"] == [one]
    for table in ("snapshots", "liabilities"):
        assert rows[table] == [
            {**key, "position": position, **row} for position, row in enumerate(nested[table])
        ]


def test_makes_one_row_of_a_record_without_details() -> None:
    """A liquidation of which Binance says nothing more is a row of the liquidations alone."""
    assert list(tables_of(running())) == ["liquidations"]


def test_puts_together_what_it_took_apart() -> None:
    """Joined by the key and in order of position, the rows are the records again."""
    rows = tables_of(*records())
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


def test_keeps_fields_that_nobody_documents() -> None:
    """They stay where they were; one that has the name of a key gets an underscore, and both are kept."""
    rows = tables_of(with_unknown_fields())
    (liquidation,) = rows["liquidations"]
    assert liquidation["fee"] == "1.50"
    assert liquidation["extra"] == {"b": [1, None], "a": "żółć"}
    assert liquidation["liquidationSnapshot"] == {"reason": "LTV"}
    (snapshot,) = rows["snapshots"]
    assert (snapshot["position"], snapshot["position_"]) == (0, "long")
    assert (snapshot["groupId"], snapshot["groupId_"]) == (6, 66)
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
