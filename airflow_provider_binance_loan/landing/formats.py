"""Rows to bytes: the format that a key names, and a temporary file in that format."""

from __future__ import annotations

import gzip
import hashlib
import os
from contextlib import suppress
from tempfile import TemporaryFile, gettempdir
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self

import msgspec
from airflow.sdk.exceptions import AirflowOptionalProviderFeatureException

from airflow_provider_binance_loan.exceptions import ConfigurationError, TransientError
from airflow_provider_binance_loan.validation import shown

if TYPE_CHECKING:
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord
    from airflow_provider_binance_loan.landing.parquet import AmountTypes
    from airflow_provider_binance_loan.landing.tables import Table

FileFormat = Literal["jsonl", "jsonl.gz", "parquet"]

# Level 9 takes twice the time of 6, and saves two to five percent of the bytes.
_GZIP_LEVEL = 6

# JSON Lines has three names in the lakes of its readers.
_SUFFIXES: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".jsonl.gz": "jsonl.gz",
    ".ndjson.gz": "jsonl.gz",
    ".json.gz": "jsonl.gz",
    ".parquet": "parquet",
}


def parse_format(key: str, file_format: str | None) -> FileFormat:
    """Return the format that a key's suffix or `file_format` names.

    :raises ConfigurationError: neither names one, or they disagree.
    """
    by_suffix = next((kind for suffix, kind in _SUFFIXES.items() if key.lower().endswith(suffix)), None)
    for kind in dict.fromkeys(_SUFFIXES.values()):
        if kind == file_format:
            gzipped = key.lower().endswith(".gz")
            if by_suffix == kind or (by_suffix is None and (not gzipped or kind == "jsonl.gz")):
                return kind
            raise ConfigurationError(
                f"Make file_format and the end of s3_key agree: file_format is {shown(file_format)}, and "
                f"{shown(key)} means {by_suffix or 'gzip'!r}."
            )
    if file_format is not None:
        raise ConfigurationError(
            "Give file_format as 'jsonl', 'jsonl.gz' or 'parquet', or leave it out: it is "
            f"{shown(file_format)}."
        )
    if by_suffix is None:
        raise ConfigurationError(
            f"Set file_format, or give s3_key a known ending: {shown(key)} has none of "
            f"{', '.join(_SUFFIXES)}."
        )
    return by_suffix


class Writer(Protocol):
    """Writes rows to a file in some format."""

    def write(self, row: AnyRecord) -> None:
        """Add a row."""

    def close(self) -> None:
        """Write the end of the format; the file stays open."""


class JsonLinesWriter:
    """Write each row as a line of JSON, digit for digit."""

    def __init__(self, file: IO[bytes], *, compress: bool) -> None:
        # Without a name and a time in the header, so that the same rows are the same bytes.
        self._gzip = (
            gzip.GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=file, mtime=0)
            if compress
            else None
        )
        self._file = self._gzip or file

    def write(self, row: AnyRecord) -> None:
        """Add a row."""
        self._file.write(msgspec.json.encode(row) + b"\n")

    def close(self) -> None:
        """Write the end of the format; the file stays open."""
        if self._gzip:
            self._gzip.close()


class Content(NamedTuple):
    """What a finished file holds.

    :param rows: how many rows.
    :param size: how many bytes.
    :param sha256: their hash, in hex.
    """

    rows: int
    size: int
    sha256: str


class Spool:
    """A temporary file that collects the rows of a table, and is read only once it is complete.

    :param file_format: the format.
    :param table: the table that the rows are of.
    :param amount_types: the type of each column of amounts, for Parquet.
    """

    def __init__(self, file_format: FileFormat, table: Table, amount_types: AmountTypes) -> None:
        self._rows = 0
        self._writer: Writer
        try:
            self.file = TemporaryFile(prefix="binance-loan-")  # noqa: SIM115 - closed by __exit__
            if file_format == "parquet":
                self._writer = load_parquet().ParquetWriter(self.file, table, amount_types)
            else:
                self._writer = JsonLinesWriter(self.file, compress=file_format == "jsonl.gz")
        except OSError as error:
            raise _disk_error(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):  # a writer that is left open would warn when it is collected
            self._writer.close()
        with suppress(OSError):  # closing writes what is left, which a full disk refuses again
            self.file.close()

    def write(self, row: AnyRecord) -> None:
        """Add a row.

        :raises TransientError: the file cannot be written, for example because the disk is full.
        """
        try:
            self._writer.write(row)
        except OSError as error:
            raise _disk_error(error) from None
        self._rows += 1

    def finish(self) -> Content:
        """Write the end of the format, rewind the file, and return what it holds.

        :raises TransientError: the file cannot be written, for example because the disk is full.
        """
        try:
            self._writer.close()
            size = self.file.tell()
            self.file.seek(0)
            digest = hashlib.file_digest(self.file, "sha256").hexdigest()
            self.file.seek(0)
        except OSError as error:
            raise _disk_error(error) from None
        return Content(self._rows, size, digest)


def _disk_error(error: OSError) -> TransientError:
    try:
        advice = f"Free space in {gettempdir()}, or set TMPDIR to another folder"
    except FileNotFoundError:
        advice = "Set TMPDIR to a folder that can be written to"
    return TransientError(f"{advice}: the records cannot be collected on disk ({error.strerror or error}).")


def load_parquet() -> Any:
    """Return the module that writes Parquet.

    :raises AirflowOptionalProviderFeatureException: pyarrow is not installed.
    """
    # Arrow's own allocator needs some 20 MB more for the same rows. A user's own choice stays, and so does
    # the allocator of an Arrow that is already imported.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        from airflow_provider_binance_loan.landing import parquet
    except ImportError:
        raise AirflowOptionalProviderFeatureException(
            "pip install 'airflow-provider-binance-loan[parquet]': Parquet needs pyarrow"
        ) from None
    return parquet
