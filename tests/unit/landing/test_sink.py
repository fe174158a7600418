"""The sink, with objects in memory: any dataset, in any destination, all of it or none."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.landing.sink import Sink
from tests.support.destinations import MemoryDestination
from tests.support.records import WINDOW, record
from tests.support.transfers import TRANSFERS, transfer_records

TABLES = ("assets", "liquidationTransferRecord", "liquidation_transfers")


@pytest.fixture
def lake() -> MemoryDestination:
    return MemoryDestination()


@pytest.mark.parametrize("some", [transfer_records(), []], ids=["records", "none"])
@pytest.mark.parametrize("key", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_lands_another_dataset(lake: MemoryDestination, key: str, some: list[dict[str, Any]]) -> None:
    """Whole records of a second dataset are read back as they were, and the manifest has no address of S3."""
    manifest = Sink(TRANSFERS, lake, key).land(iter(some), WINDOW.bounds)
    body = lake.objects[key]
    assert manifest == {
        "dataset": "liquidation_transfers",
        "uri": f"memory://lake/{key}",
        "records": len(some),
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "window_start": "2026-03-01T11:00:00+00:00",
        "window_end": "2026-03-01T12:00:00+00:00",
    }
    if key.endswith(".parquet"):
        found = pq.read_table(io.BytesIO(body)).to_pylist()
        assert [summary(row) for row in found] == [summary(one) for one in some]
        assert found == [] or json.loads(found[1]["liquidationTransferRecord"][0]["extra"]) == {
            "note": "late"
        }
    else:
        lines = gzip.decompress(body) if key.endswith(".gz") else body
        assert [json.loads(line) for line in lines.splitlines()] == some


def summary(one: dict[str, Any]) -> Any:
    """A record as its id, and the status and the assets of its transfers, with amounts as numbers."""
    return one["liquidationId"], [
        (transfer["status"], [(asset["assetName"], Decimal(asset["amount"])) for asset in transfer["assets"]])
        for transfer in one["liquidationTransferRecord"]
    ]


def test_lands_the_flat_tables_of_another_dataset(lake: MemoryDestination, tmp_path: Any) -> None:
    """Each level of lists is an object, and joined by key and positions they say what the records said."""
    manifest = Sink(TRANSFERS, lake, "t/dt=1/a.parquet", flatten=True).land(transfer_records(), WINDOW.bounds)
    assert {table: entry["uri"] for table, entry in manifest["tables"].items()} == {
        table: f"memory://lake/t/{table}/dt=1/a.parquet" for table in TABLES
    }
    assert [entry["records"] for entry in manifest["tables"].values()] == [3, 3, 3]
    assert not any("s3_uri" in entry for entry in (manifest, *manifest["tables"].values()))
    assert manifest["uri"] == manifest["tables"]["liquidation_transfers"]["uri"]
    for table in TABLES:
        (tmp_path / f"{table}.parquet").write_bytes(lake.objects[f"t/{table}/dt=1/a.parquet"])
    found = duckdb.execute(
        f"select r.liquidationId, epoch_ms(t.transferTime), a.assetName, a.amount "
        f"from '{tmp_path}/liquidation_transfers.parquet' r "
        f"left join '{tmp_path}/liquidationTransferRecord.parquet' t using (liquidationId) "
        f"left join '{tmp_path}/assets.parquet' a on a.liquidationId = t.liquidationId "
        "and a.liquidationTransferRecordPosition = t.position order by 1 desc, t.position, a.position"
    ).fetchall()
    assert found == [
        (56, 1_765_378_400_855, "USDT", Decimal("17750.6316")),
        (56, 1_765_378_400_855, "BTC", Decimal("1E-18")),
        (56, None, "BTC", 0),  # a transfer time of 0 is none
        (55, 1_765_374_361_589, None, None),
        (54, None, None, None),
    ]


@pytest.mark.parametrize("dataset", [FORCE_LIQUIDATIONS, TRANSFERS], ids=lambda dataset: dataset.name)
def test_uploads_the_table_of_the_records_last(lake: MemoryDestination, dataset: Any) -> None:
    """Once the object of the records exists, all others do."""
    Sink(dataset, lake, "{table}.jsonl", flatten=True).land([], WINDOW.bounds)
    assert lake.uploads[-1] == f"{dataset.table}.jsonl"
    assert len(lake.uploads) == 3


def test_checks_every_key_before_there_are_records(lake: MemoryDestination) -> None:
    """The destination is asked about the objects of all tables."""
    Sink(TRANSFERS, lake, "a.jsonl", flatten=True)
    assert lake.checked == [f"{table}/a.jsonl" for table in TABLES]


def test_leads_to_the_object_of_the_records(lake: MemoryDestination) -> None:
    """The page in the console is that of the object with a row for each record."""
    sink = Sink(TRANSFERS, lake, "a.jsonl", flatten=True)
    assert sink.console_url == "https://console.example/liquidation_transfers/a.jsonl"


@pytest.mark.parametrize("flatten", [False, True], ids=["records", "tables"])
def test_lands_nothing_when_the_records_break_off(lake: MemoryDestination, *, flatten: bool) -> None:
    """A pull that fails halfway leaves no object."""

    def breaks_off() -> Iterator[dict[str, Any]]:
        yield record()
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        Sink(FORCE_LIQUIDATIONS, lake, "a.jsonl", flatten=flatten).land(breaks_off(), WINDOW.bounds)
    assert lake.uploads == []


@pytest.mark.parametrize("table", TABLES)
def test_removes_what_it_uploaded_before_a_failure(table: str) -> None:
    """When the upload of one table fails, none of the others is left; what existed before is not removed."""
    lake = MemoryDestination(failing=f"{table}/a.jsonl")
    lake.objects["assets/a.jsonl"] = b"old"
    with pytest.raises(ConnectionError):
        Sink(TRANSFERS, lake, "a.jsonl", flatten=True).land(transfer_records(), WINDOW.bounds)
    assert list(lake.objects) == ["assets/a.jsonl"]


def test_removes_nothing_that_may_have_existed() -> None:
    """Where it cannot be found out what existed, the objects that were uploaded stay."""
    lake = MemoryDestination(failing="liquidation_transfers/a.jsonl", secretive=True)
    with pytest.raises(ConnectionError):
        Sink(TRANSFERS, lake, "a.jsonl", flatten=True).land(transfer_records(), WINDOW.bounds)
    assert list(lake.objects) == ["assets/a.jsonl", "liquidationTransferRecord/a.jsonl"]


@pytest.mark.parametrize("table", TABLES)
def test_refuses_to_replace(lake: MemoryDestination, table: str) -> None:
    """Without replacing, an object of any table is found before there are records."""
    lake.objects[f"{table}/a.jsonl"] = b"old"
    with pytest.raises(ConfigurationError, match=f": memory://lake/{table}/a.jsonl is there already"):
        Sink(TRANSFERS, lake, "a.jsonl", flatten=True, replace=False)


@pytest.mark.parametrize(
    ("key", "arguments", "names"),
    [
        ("{table}.jsonl", {}, ["flatten=True", "s3_key", "{table}"]),
        ("a.jsonl", {"amounts": "string"}, ["parquet_amounts", "'string'", "'jsonl'"]),
        ("a.parquet", {"amounts": "float"}, ["parquet_amounts", "'float'", "amount"]),
        ("a.csv", {}, ["s3_key", "'a.csv'"]),
    ],
)
def test_refuses_contradictions(
    lake: MemoryDestination, key: str, arguments: dict[str, Any], names: list[str]
) -> None:
    """Arguments that contradict each other are an error that names them, before the destination is asked."""
    with pytest.raises(ConfigurationError) as caught:
        Sink(TRANSFERS, lake, key, **arguments)
    assert [name for name in names if name not in str(caught.value)] == []
    assert lake.checked == []
