"""Landing in S3: objects hold the records, whole, always as the same bytes, in each format and as tables."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from airflow_provider_binance_loan import __version__
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.landing.s3 import S3Destination
from airflow_provider_binance_loan.landing.sink import Sink
from airflow_provider_binance_loan.landing.tables import flat_rows, flat_tables
from tests.support.records import WINDOW, record, records, running, with_undeclared_fields

PLAIN = ["a.jsonl", "a.jsonl.gz", "a.parquet"]
SOME = [*records(), with_undeclared_fields()]
TABLES = [table.name for table in flat_tables(FORCE_LIQUIDATIONS)]


def open_sink(key: str, *, bucket: str = "lake", **arguments: Any) -> Sink:
    return Sink(FORCE_LIQUIDATIONS, S3Destination(bucket), key, **arguments)


def land(key: str, some: list[dict[str, Any]], **arguments: Any) -> dict[str, Any]:
    return open_sink(key, **arguments).land(iter(some), WINDOW.bounds)


def keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket="lake").get("Contents", [])]


def body(s3: Any, uri: str) -> bytes:
    found: bytes = s3.get_object(Bucket="lake", Key=uri.removeprefix("s3://lake/"))["Body"].read()
    return found


def read(s3: Any, uri: str, tmp_path: Path) -> list[dict[str, Any]]:
    """Read an object back, JSON Lines with gzip and json, Parquet with DuckDB."""
    data = body(s3, uri)
    if not uri.endswith(".parquet"):
        text = gzip.decompress(data) if uri.endswith(".gz") else data
        return [json.loads(line) for line in text.splitlines()]
    file = tmp_path / "file.parquet"
    file.write_bytes(data)
    with duckdb.connect() as database:
        names = [name for name, *_ in database.execute(f"describe from '{file}'").fetchall()]
        # As milliseconds: it gives times in the machine's zone.
        columns = ", ".join(f"epoch_ms({name})" if name.endswith("Time") else name for name in names)
        rows = database.execute(f"select {columns} from '{file}'").fetchall()
        return [from_parquet(dict(zip(names, row, strict=True))) for row in rows]


def from_parquet(value: Any) -> Any:
    """A record from Parquet, with its undeclared fields back in their objects."""
    if isinstance(value, list):
        return [from_parquet(item) for item in value]
    if not isinstance(value, dict):
        return value
    extra = json.loads(value.pop("extra") or "{}")
    return {name: from_parquet(item) for name, item in value.items()} | extra


def by_number(value: Any, name: str = "") -> Any:
    """A record with its declared amounts as numbers, and without an end while it is running."""
    if isinstance(value, list):
        return [by_number(item) for item in value]
    if isinstance(value, dict):
        return {key: item if key == "extra" else by_number(item, key) for key, item in value.items()}
    if name == "liquidationEndTime":
        return value or None
    amount = name.startswith("total") or name in {
        "startLtv",
        "endLtv",
        "netEquity",
        "maintainMargin",
        "principal",
        "interest",
    }
    return Decimal(value) if amount and value is not None else value


@pytest.mark.parametrize("some", [SOME, []], ids=["records", "none"])
@pytest.mark.parametrize("key", PLAIN)
def test_lands_the_records(s3: Any, tmp_path: Path, key: str, some: list[dict[str, Any]]) -> None:
    """An independent reader finds every record, digit for digit, and none in an empty object."""
    manifest = land(key, some)
    found = read(s3, manifest["s3_uri"], tmp_path)
    assert found == ([by_number(one) for one in some] if key.endswith(".parquet") else some)
    data = body(s3, manifest["s3_uri"])
    assert manifest == {
        "dataset": "force_liquidations",
        "uri": f"s3://lake/{key}",
        "s3_uri": f"s3://lake/{key}",
        "records": len(some),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "window_start": "2026-03-01T11:00:00+00:00",
        "window_end": "2026-03-01T12:00:00+00:00",
    }
    assert json.loads(json.dumps(manifest)) == manifest


@pytest.mark.parametrize("some", [SOME, []], ids=["records", "none"])
@pytest.mark.parametrize("key", PLAIN)
def test_lands_three_tables(s3: Any, tmp_path: Path, key: str, some: list[dict[str, Any]]) -> None:
    """Each table is an object of its own, also without rows, and the manifest names all three."""
    manifest = land(f"loans/dt=2026-03-01/{key}", some, flatten=True)
    assert set(manifest["tables"]) == set(TABLES)
    assert keys(s3) == [f"loans/{table}/dt=2026-03-01/{key}" for table in sorted(TABLES)]
    for table, described in manifest["tables"].items():
        build_rows = flat_rows(FORCE_LIQUIDATIONS)
        rows = [row for one in some for name, row in build_rows(one) if name == table]
        found = read(s3, described["s3_uri"], tmp_path)
        assert found == ([by_number(row) for row in rows] if key.endswith(".parquet") else rows)
        data = body(s3, described["s3_uri"])
        assert described == {
            "uri": f"s3://lake/loans/{table}/dt=2026-03-01/{key}",
            "s3_uri": f"s3://lake/loans/{table}/dt=2026-03-01/{key}",
            "records": len(rows),
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
    of_liquidations = manifest["tables"]["liquidations"]
    assert {name: manifest[name] for name in of_liquidations} == of_liquidations


def test_puts_the_tables_where_the_key_says(s3: Any) -> None:
    """The table's name goes where the key has a place for it."""
    land("{table}/dt=2026-03-01/a.parquet", [], flatten=True)
    assert keys(s3) == [f"{table}/dt=2026-03-01/a.parquet" for table in sorted(TABLES)]


def test_empty_and_full_objects_are_one_table(s3: Any, tmp_path: Path) -> None:
    """The objects of an empty and of a full window can be read together as one table."""
    for number, some in enumerate(([], SOME, [])):
        manifest = land(f"{number}.parquet", some)
        (tmp_path / f"{number}.parquet").write_bytes(body(s3, manifest["s3_uri"]))
    assert pq.read_table(tmp_path).num_rows == len(SOME)
    counted = duckdb.execute(f"select count(*) from '{tmp_path}/*.parquet'").fetchone()
    assert counted == (len(SOME),)


@pytest.mark.parametrize("flatten", [False, True], ids=["records", "tables"])
def test_describes_the_object_in_its_metadata(s3: Any, *, flatten: bool) -> None:
    """An object carries its window, its count, its hash, the version that wrote it, and the upload's id."""
    land("a.parquet", SOME, flatten=flatten)
    for key in keys(s3):
        found = s3.get_object(Bucket="lake", Key=key)
        data = found["Body"].read()
        assert len(found["Metadata"].pop("upload-id")) == 32
        assert found["Metadata"] == {
            "window-start": "2026-03-01T11:00:00+00:00",
            "window-end": "2026-03-01T12:00:00+00:00",
            "records": str(pq.read_metadata(io.BytesIO(data)).num_rows),
            "sha256": hashlib.sha256(data).hexdigest(),
            "provider-version": __version__,
        }


@pytest.mark.parametrize(("key", "flatten"), [*((key, False) for key in PLAIN), ("a.parquet", True)])
def test_a_rerun_gives_the_same_object(s3: Any, mocker: Any, key: str, *, flatten: bool) -> None:
    """The same records under the same key have the same ETag, whenever they are landed."""

    def etags() -> list[str]:
        return [s3.head_object(Bucket="lake", Key=key)["ETag"] for key in keys(s3)]

    first = land(key, SOME, flatten=flatten), etags()
    mocker.patch("gzip.time.time", return_value=2_000_000_000.0)
    assert (land(key, SOME, flatten=flatten), etags()) == first


def test_goes_up_in_parts_when_it_is_large(s3: Any) -> None:
    """An object of 12 MB is a multipart upload, whole, and the same parts again."""
    some = [record(number, comment=f"{number:06}" * 20_000) for number in range(105)]
    manifest = land("a.jsonl", some)
    assert manifest["bytes"] > 12_000_000
    etag = s3.head_object(Bucket="lake", Key="a.jsonl")["ETag"].strip('"')
    assert etag.endswith("-2")
    assert hashlib.sha256(body(s3, manifest["s3_uri"])).hexdigest() == manifest["sha256"]
    assert land("a.jsonl", some) == manifest
    assert s3.head_object(Bucket="lake", Key="a.jsonl")["ETag"].strip('"') == etag


@pytest.mark.parametrize("flatten", [False, True], ids=["records", "tables"])
@pytest.mark.parametrize("key", PLAIN)
def test_lands_nothing_when_the_records_break_off(s3: Any, key: str, *, flatten: bool) -> None:
    """A pull that fails halfway leaves no object."""

    def breaks_off() -> Iterator[dict[str, Any]]:
        yield record()
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        open_sink(key, flatten=flatten).land(breaks_off(), WINDOW.bounds)
    assert keys(s3) == []


def test_lands_nothing_when_an_amount_does_not_fit(s3: Any) -> None:
    """A single amount that its column cannot hold leaves the bucket as it was."""
    land("a.parquet", [record()])
    before = body(s3, "s3://lake/a.parquet")
    some = [record(), running(totalLiability="1e-19")]
    with pytest.raises(
        ConfigurationError, match=r"totalLiability is '0.0000000000000000001', .* record with groupId 7 "
    ):
        land("a.parquet", some)
    assert body(s3, "s3://lake/a.parquet") == before
    assert land("a.parquet", some, amounts="string")["records"] == 2


class FailingDestination(S3Destination):
    """A bucket to which the upload of one table fails."""

    def __init__(self, table: str) -> None:
        super().__init__("lake")
        self._table = table

    def upload(self, file: Any, key: str, metadata: Any, *, replace: bool = True) -> None:
        if self._table in key:
            raise RuntimeError("on the way")
        super().upload(file, key, metadata, replace=replace)


@pytest.mark.parametrize("table", TABLES)
def test_leaves_none_of_the_tables_when_one_upload_fails(s3: Any, table: str) -> None:
    """Objects that were uploaded before the failure are removed again, unless they replaced something."""
    lake = FailingDestination(table)
    s3.put_object(Bucket="lake", Key=f"{TABLES[0]}/old.parquet", Body=b"old")
    with pytest.raises(RuntimeError, match="on the way"):
        Sink(FORCE_LIQUIDATIONS, lake, "new.parquet", flatten=True).land(SOME, WINDOW.bounds)
    assert keys(s3) == [f"{TABLES[0]}/old.parquet"]
    with pytest.raises(RuntimeError, match="on the way"):
        Sink(FORCE_LIQUIDATIONS, lake, "old.parquet", flatten=True).land(SOME, WINDOW.bounds)
    assert keys(s3) == [f"{TABLES[0]}/old.parquet"]


@pytest.mark.parametrize("table", TABLES)
def test_refuses_when_one_of_the_tables_exists(s3: Any, table: str) -> None:
    """Without replacing, each of the three is checked."""
    s3.put_object(Bucket="lake", Key=f"{table}/a.parquet", Body=b"old")
    with pytest.raises(ConfigurationError, match=rf"s3://lake/{table}/a\.parquet is there already"):
        land("a.parquet", SOME, flatten=True, replace=False)


def test_refuses_an_object_that_was_written_during_the_pull(s3: Any) -> None:
    """An object that someone else wrote during the pull is not replaced."""
    sink = open_sink("a.jsonl", replace=False)
    s3.put_object(Bucket="lake", Key="a.jsonl", Body=b"theirs")
    with pytest.raises(ConfigurationError, match=r"s3://lake/a\.jsonl is there already"):
        sink.land(SOME, WINDOW.bounds)
    assert body(s3, "s3://lake/a.jsonl") == b"theirs"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"key": "a.csv"}, "Set file_format, or give s3_key a known ending"),
        (
            {"key": "{table}/a.jsonl"},
            r"Set flatten=True, .* s3_key: '\{table\}/a.jsonl'",
        ),
        ({"key": "a.parquet", "amounts": "float"}, "parquet_amounts .* is 'float'"),
        ({"bucket": "nowhere"}, "Create the bucket 'nowhere'"),
    ],
)
def test_refuses_wrong_arguments(s3: Any, arguments: dict[str, Any], says: str) -> None:
    """A wrong argument is an error before there are any records."""
    with pytest.raises(ConfigurationError, match=says):
        open_sink(**{"key": "a.jsonl", **arguments})


def test_refuses_a_table_whose_key_is_too_long(s3: Any) -> None:
    """The table's name counts: a key that S3 would refuse after the pull is refused before it."""
    with pytest.raises(ConfigurationError, match="1024 bytes at most"):
        land("a" * 1009 + ".jsonl", [], flatten=True)
