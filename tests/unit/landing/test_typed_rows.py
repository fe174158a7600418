"""Typed records land as the same bytes as dicts, in every format, also where both stand in one window."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.messages import Response
from airflow_provider_binance_loan.binance.own_columns import (
    ASKED_GROUP_ID,
    OCCURRENCE,
    WINDOW_END,
    with_own_columns,
)
from airflow_provider_binance_loan.binance.typed_records import are_typed
from airflow_provider_binance_loan.landing.sink import Sink
from airflow_provider_binance_loan.sandbox.rows import write_json
from tests.support.descriptions import TRANSACTIONS, WINDOWED, Event, Windowed
from tests.support.destinations import MemoryDestination
from tests.support.mutations import START_MS, carefully, requests_of

RECORDS = 30


def read(described: Windowed, **more: Any) -> tuple[list[Any], list[Any]]:
    """Return records as typed ones, and as dicts."""
    events = [
        Event(
            START_MS - number,
            1,
            described.parts - 1,
            end_ms=START_MS if number % 3 else None,
            transfers_ms=list(range(START_MS, START_MS + number % 4)),
        )
        for number in range(RECORDS)
    ]
    body = write_json(described.payload(*(described.documented_row(event) | more for event in events)))
    request = requests_of(described)[-1]
    typed, dicts = (
        list(Response(one, 200, {}, body, 0).content.rows) for one in (request, carefully(request))
    )
    assert len(typed) == RECORDS
    assert are_typed(typed) is not bool(more)
    return typed, dicts


def landed(dataset: Any, records: list[Any], key: str, *, flatten: bool) -> dict[str, bytes]:
    """Return the objects of some records."""
    lake = MemoryDestination()
    Sink(dataset, lake, key, flatten=flatten).land(iter(records), {})
    return lake.objects


@pytest.mark.parametrize("flatten", [False, True], ids=["records", "tables"])
@pytest.mark.parametrize("key", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
@pytest.mark.parametrize("described", WINDOWED, ids=str)
def test_lands_the_same_bytes(described: Windowed, key: str, *, flatten: bool) -> None:
    """Typed, as dicts, or in turn; with the column of the window's end, too."""
    typed, dicts = read(described)
    mixed = [pair[number % 2] for number, pair in enumerate(zip(typed, dicts, strict=True))]
    for dataset, own in ((described.dataset, {}), (described.dataset.with_window_end, {WINDOW_END: 5})):
        found = [
            landed(dataset, [with_own_columns(one, own) for one in some], key, flatten=flatten)
            for some in (dicts, typed, mixed)
        ]
        assert sum(map(len, found[0].values())) > 100
        assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("flatten", [False, True], ids=["records", "tables"])
@pytest.mark.parametrize("key", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize("described", WINDOWED, ids=str)
def test_lands_undeclared_fields_beside_typed_records(
    described: Windowed, key: str, *, flatten: bool
) -> None:
    """A record with a field that is not documented keeps it, whatever its neighbours are."""
    typed, dicts = read(described)
    _, unusual = read(described, newField=1)
    turns = cycle([0, 1, 1])
    mixed, plain = [], []
    for one, same, other in zip(typed, dicts, unusual, strict=True):
        is_unusual = next(turns)
        mixed.append(other if is_unusual else one)
        plain.append(other if is_unusual else same)
    found = landed(described.dataset, mixed, key, flatten=flatten)
    assert found == landed(described.dataset, plain, key, flatten=flatten)
    assert b"newField" in b"".join(found.values())


def test_the_own_columns_of_transactions_land() -> None:
    """They are the first columns, whichever parser has read the rows."""
    typed, _ = read(TRANSACTIONS)
    assert [(one[ASKED_GROUP_ID], one[OCCURRENCE]) for one in typed] == [(1, 0)] * RECORDS
    line = landed(TRANSACTIONS.dataset, typed[:1], "a.jsonl", flatten=False)["a.jsonl"]
    assert line.startswith(b'{"asked_group_id":1,"occurrence":0,"tranId":')
