"""A disk that is full, or cannot be written to, while records are collected."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.exceptions import TransientError
from airflow_provider_binance_loan.landing import formats
from airflow_provider_binance_loan.landing.sink import Sink
from tests.support.destinations import MemoryDestination
from tests.support.records import WINDOW, record


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let temporary files be on a device that is always full; as with any, a file notices once it flushes."""
    monkeypatch.setattr(formats, "TemporaryFile", lambda **_: open("/dev/full", "w+b"))  # noqa: SIM115, PTH123


@pytest.mark.parametrize("flatten", [False, True], ids=["records", "tables"])
@pytest.mark.parametrize("records", [1, 300], ids=["at the end", "on the way"])
@pytest.mark.parametrize("key", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_names_the_folder_that_is_full(full_disk: None, key: str, records: int, *, flatten: bool) -> None:
    """A full disk is a transient error that names the folder and TMPDIR; nothing is landed."""
    lake = MemoryDestination()
    some = (record(number, comment=os.urandom(500).hex()) for number in range(records))
    with pytest.raises(TransientError) as caught:
        Sink(FORCE_LIQUIDATIONS, lake, key, flatten=flatten).land(some, WINDOW.bounds)
    assert str(caught.value).startswith(f"Free space in {tempfile.gettempdir()}, or set TMPDIR to another ")
    assert "No space left on device" in str(caught.value)
    assert lake.uploads == []


def test_names_tmpdir_when_no_folder_can_be_written_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without any folder for temporary files, the error says how to name one."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "none")])
    with pytest.raises(TransientError, match=r"^Set TMPDIR to a folder .*No usable temporary directory"):
        Sink(FORCE_LIQUIDATIONS, MemoryDestination(), "a.jsonl").land([record()], WINDOW.bounds)


def test_leaves_errors_of_the_pull_as_they_are(full_disk: None) -> None:
    """An OSError that the records raise, as a broken connection does, is not blamed on the disk."""

    def breaks_off() -> Iterator[dict[str, Any]]:
        yield record()
        raise ConnectionResetError("Binance")

    with pytest.raises(ConnectionResetError, match="Binance"):
        Sink(FORCE_LIQUIDATIONS, MemoryDestination(), "a.jsonl").land(breaks_off(), WINDOW.bounds)
