"""Columns of this package's own, which stand before Binance's in the records that have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow_provider_binance_loan.binance.typed_records import (
    AnyRecord,
    TypedRecord,
    plain,
    with_fields_in_front,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: When Binance was asked for a snapshot, by Binance's clock.
ASKED_AT: Final = "asked_at"
#: The risk unit that Binance was asked for, where its rows do not say which unit they are of.
ASKED_GROUP_ID: Final = "asked_group_id"
#: How many rows of the same key come before a row in its answer, where a key may be there more than once.
OCCURRENCE: Final = "occurrence"
#: The end of the window of the pull that a record is from.
WINDOW_END: Final = "window_end"

OWN_COLUMNS: Final = frozenset({ASKED_AT, ASKED_GROUP_ID, OCCURRENCE, WINDOW_END})


def with_own_columns(record: AnyRecord, columns: Mapping[str, Any]) -> AnyRecord:
    """Return a record with own columns in front; a field of Binance's of such a name gets an underscore."""
    if isinstance(record, TypedRecord):  # which has declared fields alone, so that none is of such a name
        return with_fields_in_front(record, columns)
    theirs = {f"{name}_": record[name] for name in columns if name in record}
    if theirs:
        record = {name: value for name, value in record.items() if name not in columns}
    return {**columns, **record, **theirs}


def count_occurrences(rows: Sequence[AnyRecord], key: Callable[[AnyRecord], Any]) -> list[int]:
    """Return the occurrence of each row of one answer.

    Rows of one key are counted in the order of their contents, so that an answer in another order gives each
    row the same number.

    :param key: returns what rows have in common that are told apart by the occurrence alone.
    """
    keys = [key(row) for row in rows]
    occurrences = [0] * len(rows)
    if len(set(keys)) < len(keys):
        counts: dict[Any, int] = {}
        for index in sorted(range(len(rows)), key=lambda index: repr(plain(rows[index]))):
            occurrences[index] = counts.get(keys[index], 0)
            counts[keys[index]] = occurrences[index] + 1
    return occurrences
