"""Formats: which one a key asks for, and files that are the same bytes for the same rows."""

from __future__ import annotations

import gc
import gzip
import hashlib
import json
import sys
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowOptionalProviderFeatureException

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.landing.formats import (
    Content,
    FileFormat,
    Spool,
    load_parquet,
    parse_format,
)
from airflow_provider_binance_loan.landing.parquet import parse_amount_types
from airflow_provider_binance_loan.landing.tables import whole_table
from tests.support.records import records

WHOLE = whole_table(FORCE_LIQUIDATIONS)
AMOUNTS = parse_amount_types(FORCE_LIQUIDATIONS.fields, "decimal")
FORMATS: tuple[FileFormat, ...] = ("jsonl", "jsonl.gz", "parquet")


def spool(file_format: FileFormat, rows: Iterable[dict[str, Any]]) -> tuple[bytes, Content]:
    with Spool(file_format, WHOLE, AMOUNTS) as file:
        for row in rows:
            file.write(row)
        content = file.finish()
        return file.file.read(), content


@pytest.mark.parametrize(
    ("key", "file_format", "found"),
    [
        ("a.jsonl", None, "jsonl"),
        ("a.ndjson", None, "jsonl"),
        ("a.json", None, "jsonl"),
        ("a.jsonl.gz", None, "jsonl.gz"),
        ("a.ndjson.gz", None, "jsonl.gz"),
        ("a.json.gz", None, "jsonl.gz"),
        ("a.parquet", None, "parquet"),
        ("a.snappy.PARQUET", None, "parquet"),
        ("a", "parquet", "parquet"),
        ("a.csv", "jsonl", "jsonl"),
        ("a.json.gz", "jsonl.gz", "jsonl.gz"),
    ],
)
def test_finds_the_format(key: str, file_format: str | None, found: str) -> None:
    """The key's suffix names the format, or the argument does where the suffix names none."""
    assert parse_format(key, file_format) == found


@pytest.mark.parametrize(
    ("key", "file_format", "names"),
    [
        ("a", None, ["s3_key", "'a'", "file_format", ".jsonl", ".ndjson.gz", ".parquet"]),
        ("a.csv", None, ["s3_key", "'a.csv'", "file_format"]),
        ("jsonl", None, ["s3_key", "'jsonl'", "file_format"]),
        ("a.parquet.gz", None, ["s3_key", "'a.parquet.gz'", "file_format"]),
        ("a.jsonl", "csv", ["file_format", "'csv'", "'jsonl'", "'jsonl.gz'", "'parquet'"]),
        ("a.jsonl", "", ["file_format", "''", "'jsonl'", "'jsonl.gz'", "'parquet'"]),
        ("a.jsonl", "parquet", ["file_format", "'parquet'", "s3_key", "'a.jsonl'", "'jsonl'", "agree"]),
        ("a.jsonl", "jsonl.gz", ["file_format", "'jsonl.gz'", "s3_key", "'a.jsonl'", "'jsonl'", "agree"]),
        ("a.gz", "jsonl", ["file_format", "'jsonl'", "s3_key", "'a.gz'", "'gzip'", "agree"]),
    ],
)
def test_refuses_an_unknown_format_and_a_contradiction(
    key: str, file_format: str | None, names: list[str]
) -> None:
    """The error names both arguments, what was received, and the formats there are."""
    with pytest.raises(ConfigurationError) as caught:
        parse_format(key, file_format)
    assert [name for name in names if name not in str(caught.value)] == []


@pytest.mark.parametrize("rows", [records(), []], ids=["records", "none"])
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_writes_json_lines(rows: list[dict[str, Any]], *, compress: bool) -> None:
    """Each row is a line of JSON, as it is, text in UTF-8."""
    body, _ = spool("jsonl.gz" if compress else "jsonl", rows)
    text = (gzip.decompress(body) if compress else body).decode()
    assert [json.loads(line) for line in text.splitlines()] == rows
    assert text == "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)


def test_compresses_at_level_6() -> None:
    """The compressed bytes are those of gzip's usual level, which takes half the time of the highest."""
    rows = [row | {"groupId": number} for number in range(50) for row in records()]
    plain, zipped = spool("jsonl", rows)[0], spool("jsonl.gz", rows)[0]
    levels = {
        level: (packer := zlib.compressobj(level, wbits=-zlib.MAX_WBITS)).compress(plain) + packer.flush()
        for level in (6, 9)
    }
    assert levels[6] != levels[9]
    assert levels[6] in zipped


@pytest.mark.parametrize("file_format", FORMATS)
def test_describes_the_file(file_format: FileFormat) -> None:
    """The description is of the very bytes that are read afterwards."""
    body, content = spool(file_format, records())
    assert content == Content(len(records()), len(body), hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("file_format", FORMATS)
def test_writes_the_same_bytes_again(file_format: FileFormat, mocker: Any) -> None:
    """The same rows are the same bytes, at whatever time they are written."""
    first = spool(file_format, records())
    mocker.patch("time.time", return_value=2_000_000_000.0)
    assert spool(file_format, records()) == first


@pytest.mark.parametrize("file_format", FORMATS)
def test_leaves_no_file_when_the_rows_break_off(
    file_format: FileFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unfinished file is closed, and its writer does not warn when it is collected."""
    warned: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", warned.append)
    with Spool(file_format, WHOLE, AMOUNTS) as file:
        file.write(records()[0])
    assert file.file.closed
    del file
    gc.collect()
    assert warned == []


def test_names_the_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow the error says how to install it, and JSON Lines need none."""
    package = "airflow_provider_binance_loan"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    # As if it had not been imported before.
    monkeypatch.delitem(sys.modules, f"{package}.landing.parquet", raising=False)
    monkeypatch.delattr(f"{package}.landing.parquet", raising=False)
    with pytest.raises(
        AirflowOptionalProviderFeatureException, match=r"pip install '.*binance-loan\[parquet\]"
    ):
        load_parquet()
    assert spool("jsonl", [])[0] == b""
