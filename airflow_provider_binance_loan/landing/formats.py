"""Rows to bytes: which format a key asks for, and a temporary file in that format. Knows nothing of S3."""

from __future__ import annotations

import gzip
import hashlib
import os
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self

import msgspec
from airflow.sdk.exceptions import AirflowOptionalProviderFeatureException

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_binance_loan.landing.parquet import Amounts

FileFormat = Literal["jsonl", "jsonl.gz", "parquet"]

# Those who read a lake call JSON Lines by three names.
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

    :raises ConfigurationError: neither does, or each names another.
    """
    by_suffix = next((kind for suffix, kind in _SUFFIXES.items() if key.lower().endswith(suffix)), None)
    for kind in dict.fromkeys(_SUFFIXES.values()):
        if kind == file_format:
            gzipped = key.lower().endswith(".gz")
            if by_suffix == kind or (by_suffix is None and (not gzipped or kind == "jsonl.gz")):
                return kind
            raise ConfigurationError(
                f"file_format is {shown(file_format)}, and s3_key, {shown(key)}, means "
                f"{by_suffix or 'gzip'!r}: make them agree."
            )
    if file_format is not None:
        raise ConfigurationError(
            f"file_format is {shown(file_format)}: give 'jsonl', 'jsonl.gz' or 'parquet', or leave it to "
            "the key."
        )
    if by_suffix is None:
        raise ConfigurationError(
            f"s3_key is {shown(key)}, whose end names no format: end it in one of {', '.join(_SUFFIXES)}, "
            "or set file_format."
        )
    return by_suffix


class Writer(Protocol):
    """What puts rows into a file in some format."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Take a row."""

    def close(self) -> None:
        """Write the end; the file stays open."""


class JsonLinesWriter:
    """Write each row as a line of JSON, digit for digit."""

    def __init__(self, file: IO[bytes], *, compress: bool) -> None:
        # No name and no time in the header, so that the same rows are the same bytes.
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) if compress else None
        self._sink = self._gzip or file

    def write(self, row: Mapping[str, Any]) -> None:
        """Take a row."""
        self._sink.write(msgspec.json.encode(row) + b"\n")

    def close(self) -> None:
        """Write the end; the file stays open."""
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
    """A temporary file that rows are written to, and that nobody sees before it is whole.

    :param file_format: the format.
    :param table: which table the rows are of; `""` for whole records.
    :param amounts: the types of the columns of amounts in Parquet.
    """

    def __init__(self, file_format: FileFormat, table: str, amounts: Amounts) -> None:
        self.file = TemporaryFile(prefix="binance-loan-")  # noqa: SIM115 - closed by __exit__
        self._rows = 0
        self._writer: Writer
        if file_format == "parquet":
            self._writer = load_parquet().ParquetWriter(self.file, table, amounts)
        else:
            self._writer = JsonLinesWriter(self.file, compress=file_format == "jsonl.gz")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):  # a writer that is left open would complain when it is collected
            self._writer.close()
        self.file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Take a row."""
        self._writer.write(row)
        self._rows += 1

    def finish(self) -> Content:
        """Write the end, and return what the file holds; it is then to be read from its start."""
        self._writer.close()
        size = self.file.tell()
        self.file.seek(0)
        digest = hashlib.file_digest(self.file, "sha256").hexdigest()
        self.file.seek(0)
        return Content(self._rows, size, digest)


def load_parquet() -> Any:
    """Return the module that writes Parquet.

    :raises AirflowOptionalProviderFeatureException: pyarrow is not installed.
    """
    # Arrow's own allocator takes some 20 MB more to hold the same; whoever chose one, or has Arrow, keeps it.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        from airflow_provider_binance_loan.landing import parquet
    except ImportError:
        raise AirflowOptionalProviderFeatureException(
            "Parquet needs pyarrow: pip install 'airflow-provider-binance-loan[parquet]'"
        ) from None
    return parquet
