"""A disk that is full, or cannot be written to, while records are collected."""

from __future__ import annotations

import errno
import os
import resource
import signal
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

KEYS = ["a.jsonl", "a.jsonl.gz", "a.parquet"]


class FullDisk:
    """A file on a disk that takes no more than some bytes."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._size = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self._size + size > self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += size
        return size

    def tell(self) -> int:
        return self._size

    def seek(self, *_: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a buffered file does, which writes first

    def flush(self) -> None:
        pass

    def close(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    closed = False

    def readable(self) -> bool:
        return False

    writable = seekable = lambda self: True


@pytest.mark.parametrize("flatten", [False, True], ids=["records", "tables"])
@pytest.mark.parametrize("room", [0, 1_000, 10**9], ids=["at once", "on the way", "at the end"])
@pytest.mark.parametrize("key", KEYS)
def test_names_the_folder_that_is_full(
    monkeypatch: pytest.MonkeyPatch, key: str, room: int, *, flatten: bool
) -> None:
    """A full disk is a transient error that names the folder and TMPDIR, in every format; nothing is landed."""
    monkeypatch.setattr(formats, "TemporaryFile", lambda **_: FullDisk(room))
    lake = MemoryDestination()
    with pytest.raises(TransientError) as caught:
        Sink(FORCE_LIQUIDATIONS, lake, key, flatten=flatten).land((record(n) for n in range(100)), WINDOW)
    assert str(caught.value).startswith(f"Free space in {tempfile.gettempdir()}, or set TMPDIR to a folder ")
    assert "No space left on device" in str(caught.value)
    assert lake.uploads == []


@pytest.fixture
def no_large_files() -> Iterator[None]:
    """Let this process write no file of more than 20 kB: the kernel refuses the rest."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("key", KEYS)
def test_names_the_folder_when_the_kernel_refuses(no_large_files: None, key: str) -> None:
    """A refusal of the kernel, which a file only meets when its buffer is full, is the same error."""
    some = (record(number, comment=os.urandom(1_000).hex()) for number in range(200))
    with pytest.raises(TransientError, match="Free space in .*File too large"):
        Sink(FORCE_LIQUIDATIONS, MemoryDestination(), key).land(some, WINDOW)


def test_names_tmpdir_when_no_folder_can_be_written_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without any folder for temporary files, the error says how to name one."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "none")])
    with pytest.raises(TransientError, match="set TMPDIR to a folder .*No usable temporary directory"):
        Sink(FORCE_LIQUIDATIONS, MemoryDestination(), "a.jsonl").land([record()], WINDOW)


def test_leaves_errors_of_the_pull_as_they_are() -> None:
    """An OSError that the records raise, as a broken connection does, is not blamed on the disk."""

    def breaks_off() -> Iterator[dict[str, Any]]:
        yield record()
        raise ConnectionResetError("Binance")

    with pytest.raises(ConnectionResetError):
        Sink(FORCE_LIQUIDATIONS, MemoryDestination(), "a.jsonl").land(breaks_off(), WINDOW)
