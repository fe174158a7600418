"""Every place in a row that a declared field has, and the row with another value there."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_binance_loan.binance.declaration import Snapshot
from airflow_provider_binance_loan.binance.fields import Field, Record
from airflow_provider_binance_loan.binance.own_columns import OWN_COLUMNS
from airflow_provider_binance_loan.sandbox.rows import write_json
from tests.support.clock import NOW
from tests.support.descriptions import Described, Event

ABSENT = object()
# Half an hour ago.
START_MS = int(NOW.timestamp() * 1000) - 1_800_000


def good_row(described: Described) -> Record:
    """Return a row of unit 1, as a client decodes it."""
    event = Event(START_MS, 1, end_ms=START_MS + 1, transfers_ms=[START_MS])
    row: Record = json.loads(write_json(described.row(event)), parse_float=str)
    return row


@dataclass(frozen=True)
class Place:
    """Where a field is in the first row of an answer.

    :param described: the dataset.
    :param field: the field.
    :param steps: the names of the fields on the way to it, and of itself.
    :param path: the path that an error message has.
    """

    described: Described
    field: Field
    steps: tuple[str, ...]
    path: str

    def __str__(self) -> str:
        return f"{self.described}-{self.path}"

    def row(self, value: Any) -> Record:
        """Return a row with a value at the place, or without the field for `ABSENT`."""
        row = copy.deepcopy(good_row(self.described))
        holder: Any = row
        for step in self.steps[:-1]:
            holder = holder[step]
            holder = holder[0] if isinstance(holder, list) else holder
        holder[self.steps[-1]] = value
        if value is ABSENT:
            del holder[self.steps[-1]]
        return row

    def value(self, record: Record) -> Any:
        """Return what a record has at the place."""
        found: Any = record
        for step in self.steps:
            found = (found[0] if isinstance(found, list) else found)[step]
        return found


def places(described: Described) -> Iterator[Place]:
    """Yield the places of all declared fields of Binance's, nested ones too."""
    root = "[0]" if isinstance(described.dataset, Snapshot) else "rows[0]"
    fields = [field for field in described.dataset.fields if field.name not in OWN_COLUMNS]
    yield from _places(described, fields, good_row(described), (), root)


def _places(
    described: Described, fields: Sequence[Field], row: Record, steps: tuple[str, ...], path: str
) -> Iterator[Place]:
    for field in fields:
        there, inner = f"{path}.{field.name}", row.get(field.name)
        yield Place(described, field, (*steps, field.name), there)
        if field.fields and inner:
            listed = isinstance(inner, list)
            inner_row = inner[0] if isinstance(inner, list) else inner
            yield from _places(
                described, field.fields, inner_row, (*steps, field.name), there + "[0]" * listed
            )
