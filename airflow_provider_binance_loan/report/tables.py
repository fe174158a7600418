"""The tables of the page of a liquidation, with a sentence in place of each that would be empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_loan.report import columns
from airflow_provider_binance_loan.report.cells import (
    Cell,
    Kind,
    amount_cell,
    counted,
    exact_time_cell,
    instant_cell,
    text_cell,
    time_cell,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from airflow_provider_binance_loan.report.columns import Column

    Record = Mapping[str, Any]
    Records = Sequence[Record]


class Table(NamedTuple):
    """A table of the page, or the sentence that says why there is none.

    :param note: sentences below the caption; may be empty.
    :param header: which column heads the rows.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: list[list[Cell]]
    absent: str
    note: str = ""
    header: int = 0


_CELLS: dict[Kind, Callable[[Any], Cell]] = {
    "text": text_cell,
    "amount": amount_cell,
    "time": time_cell,
    "instant": instant_cell,
    "outcome": text_cell,
}
# What a check is of, and its note, are written below its name.
_BELOW_CHECK = ("subject", "note")
# How an outcome is said, in the order of the table; the kind of cell makes the colour.
OUTCOMES = {"different": "different", "not_compared": "not compared", "equal": "equal"}


def build_record(liquidation: Record) -> Table:
    """Return the table of the record itself: each field but those that have tables of their own."""
    rows = [
        [text_cell(name), exact_time_cell(value) if name.endswith("Time") else _CELLS["amount"](value)]
        for name, value in liquidation.items()
        if name != "liquidationSnapshot"
    ]
    return Table("record", "The record of the liquidation", columns.RECORD, rows, "")


def build_wallets(liquidation: Record) -> Table:
    """Return the table of the wallets when the liquidation started."""
    rows = _stated((liquidation.get("liquidationSnapshot") or {}).get("snapshots"))
    return _table(
        "wallets",
        "Wallets when it started",
        columns.WALLETS,
        rows,
        "Binance's record names no wallet of the risk unit.",
    )


def build_loans(liquidation: Record) -> Table:
    """Return the table of the loans when the liquidation started."""
    rows = _stated((liquidation.get("liquidationSnapshot") or {}).get("liabilities"))
    return _table(
        "loans",
        "Loans when it started",
        columns.LOANS,
        rows,
        "Binance's record names no loan of the risk unit.",
    )


def build_transfers(transfers: Records | None, left_out: int) -> Table:
    """Return the table of the transfers, oldest first, a row for each asset of each.

    :param left_out: how many records were read beside these.
    """
    rows = [
        {**record, **transfer, **asset}
        for record in transfers or ()
        for transfer in transfers_of(record)
        for asset in _assets_of(transfer)
    ]
    note = "A record of transfers names no risk unit, so these are told by their times alone"
    if len(transfers or ()) > 1:
        note += ": of more than one record with transfers during this liquidation, some may be of others"
    note += "."
    if left_out:
        note += f" Left out: {counted(left_out, 'record')} without a transfer during this liquidation."
    return _table(
        "transfers",
        "Transfers of collateral",
        columns.TRANSFERS,
        _sorted(rows, "transferTime"),
        "Transfers were not read for this page."
        if transfers is None
        else "No transfer of collateral was made during this liquidation.",
        note if rows or left_out else "",
    )


def transfers_of(record: Record) -> list[Record]:
    """Return the transfers of a record."""
    return _stated(record.get("liquidationTransferRecord"))


def build_transactions(transactions: Records | None, between: str) -> Table:
    """Return the table of what was repaid and borrowed, oldest first.

    :param between: the time that was read, as words that follow "between".
    """
    return _table(
        "transactions",
        "Repayments and borrowings",
        columns.TRANSACTIONS,
        _sorted(transactions or (), "timestamp"),
        "Repayments and borrowings were not read for this page."
        if transactions is None
        else f"Nothing was repaid or borrowed between {between}.",
    )


def build_interest(interest: Records | None, between: str) -> Table:
    """Return the table of the interest, oldest first."""
    return _table(
        "interest",
        "Interest",
        columns.INTEREST,
        _sorted(interest or (), "interestTimestamp"),
        "Interest was not read for this page."
        if interest is None
        else f"No interest was charged between {between}.",
    )


def build_checks(checks: Records | None) -> Table:
    """Return the table of the checks: first what differs, last what is equal."""
    order = list(OUTCOMES)
    absent = "There was nothing to check." if checks is not None else "No checks were made for this page."
    known = [one for one in checks or () if one.get("outcome") in order]
    others = [one for one in checks or () if one.get("outcome") not in order]
    known.sort(key=lambda one: order.index(one["outcome"]))
    rows = [*others, *known]
    table = _table("checks", "Checks", columns.CHECKS, rows, absent)
    for row, one in zip(table.rows, rows, strict=True):
        row[1] = row[1]._replace(below=tuple(text_cell(one[name]) for name in _BELOW_CHECK if one.get(name)))
        if row[0].text in OUTCOMES:
            row[0] = Cell(OUTCOMES[row[0].text], "outcome")
    return table._replace(header=1)


def build_manifests(manifests: Records | None) -> Table:
    """Return the table of the objects that hold the data, a row for each flat table of a manifest."""
    rows = [
        # A snapshot has no window, but a moment.
        {
            "window_start": manifest.get("asked_at"),
            **manifest,
            "dataset": _dataset(manifest, name),
            **described,
        }
        for manifest in manifests or ()
        for name, described in (manifest.get("tables") or {"": {}}).items()
    ]
    return _table(
        "objects",
        "The data, and its hashes",
        columns.MANIFESTS,
        rows,
        "No object was named that holds the data of this page.",
        "The SHA-256 of an object that was not changed since is the one below." if rows else "",
    )


def build_ltvs(ltvs: Records, shown: Iterable[int], absent: str) -> Table:
    """Return the table of the samples of the LTV.

    :param ltvs: the samples, oldest first.
    :param shown: the indexes of those to show.
    :param absent: why there is none.
    """
    rows = [ltvs[index] for index in shown]
    note = ""
    if len(rows) < len(ltvs):
        note = (
            f"{len(rows)} of the {len(ltvs)} samples: of each part of the time the first, the last, the "
            "lowest and the highest."
        )
    return _table("samples", "LTV samples", columns.LTVS, rows, absent, note)


def _table(
    name: str, caption: str, shown: Sequence[Column], rows: Iterable[Record], absent: str, note: str = ""
) -> Table:
    cells = [[_cell(column, row.get(column.field)) for column in shown] for row in rows]
    return Table(name, caption, shown, cells, "" if cells else absent, note)


def _cell(column: Column, value: Any) -> Cell:
    return Cell(column.none, "absent") if value is None else _CELLS[column.kind](value)


def _assets_of(transfer: Record) -> list[Record]:
    """Return what a transfer moved; one entry without values where that is not stated."""
    return _stated(transfer.get("assets")) or [{}]


def _stated(items: Iterable[Record | None] | None) -> list[Record]:
    """Return the objects of a list, without the nulls in it."""
    return [one for one in items or () if one is not None]


def _dataset(manifest: Record, table: str) -> str | None:
    """Return what the records of an object are, with the name of the flat table if it is one."""
    named = [part for part in (manifest.get("dataset"), table) if part]
    return ": ".join(map(str, named)) or None


def _sorted(records: Iterable[Record], field: str) -> list[Record]:
    """Return records in the order of a time; those without one are last."""

    def at(record: Record) -> tuple[bool, int]:
        value = record.get(field)
        return (not isinstance(value, int), value if isinstance(value, int) else 0)

    return sorted(records, key=at)
