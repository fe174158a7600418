"""A record as rows of three related tables, and the key of each table's object. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The tables of the details come first: once the liquidations are there, all of it is.
TABLES = ("snapshots", "liabilities", "liquidations")
PLACEHOLDER = "{table}"


def build_rows(record: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a record, each with its table: the liquidation, its snapshots and its liabilities.

    The rows of the details carry the record's natural key, and their `position` in the record's list. A field
    of theirs that Binance does not document, and that has one of these names, gets an underscore after it.
    """
    rest = dict(record["liquidationSnapshot"])
    details = {"snapshots": rest.pop("snapshots"), "liabilities": rest.pop("liabilities")}
    liquidation = {name: value for name, value in record.items() if name != "liquidationSnapshot"}
    # What is left are fields that Binance does not document.
    yield "liquidations", liquidation | ({"liquidationSnapshot": rest} if rest else {})
    key = {name: record[name] for name in ("groupId", "liquidationStartTime")}
    for table, rows in details.items():
        for position, fields in enumerate(rows):
            row = {**key, "position": position}
            for name, value in fields.items():
                row[name if name not in row else f"{name}_"] = value
            yield table, row


def build_table_key(key: str, table: str) -> str:
    """Return the key of a table's object: the table's name in place of `{table}`, or as a folder of its own.

    The folder comes before the first partition, `name=value`, or else before the file's name, so that each
    table has one prefix: `loans/dt=2026-03-01/x.parquet` gives `loans/snapshots/dt=2026-03-01/x.parquet`.
    """
    if PLACEHOLDER in key:
        return key.replace(PLACEHOLDER, table)
    *folders, name = key.split("/")
    at = next((index for index, folder in enumerate(folders) if "=" in folder), len(folders))
    return "/".join([*folders[:at], table, *folders[at:], name])
