"""Typed records: read by name as dicts are, unseen by the garbage collector, and dicts again for callers."""

from __future__ import annotations

import gc
import json
from typing import Any

import msgspec
import pytest

from airflow_provider_binance_loan.binance.messages import Response
from airflow_provider_binance_loan.binance.own_columns import (
    ASKED_GROUP_ID,
    OCCURRENCE,
    WINDOW_END,
    with_own_columns,
)
from airflow_provider_binance_loan.binance.typed_records import (
    TypedRecord,
    are_typed,
    column_of,
    plain,
    shallow,
)
from airflow_provider_binance_loan.sandbox.rows import write_json
from tests.support.descriptions import DESCRIBED, LIQUIDATIONS, TRANSACTIONS, Described, Event
from tests.support.mutations import START_MS, carefully, requests_of


def pair(described: Described, event: Event | None = None) -> tuple[Any, dict[str, Any]]:
    """Return a record as a typed one, and as a dict."""
    part = getattr(described, "parts", 1) - 1
    event = event or Event(START_MS, 1, part, end_ms=START_MS, transfers_ms=[START_MS, START_MS])
    body = write_json(described.payload(described.documented_row(event)))
    request = requests_of(described)[-1]
    records = []
    for one in (request, carefully(request)):
        content = Response(one, 200, {}, body, 0).content
        (record,) = getattr(content, "rows", content)
        records.append(record)
    typed, careful = records
    assert isinstance(typed, TypedRecord)
    assert isinstance(careful, dict)
    return typed, careful


@pytest.mark.parametrize("described", DESCRIBED, ids=str)
def test_a_typed_record_is_the_same_record(described: Described) -> None:
    """As a dict, as JSON and by its fields it is what the careful parser gives, in the same order."""
    typed, careful = pair(described)
    assert json.dumps(plain(typed)) == json.dumps(careful)
    assert msgspec.json.encode(typed) == msgspec.json.encode(careful)
    assert [msgspec.to_builtins(typed[name]) for name in careful] == list(careful.values())
    assert [typed.get(name) for name in careful] == [typed[name] for name in careful]
    assert list(shallow(typed)) == list(shallow(careful)) == list(careful)


def test_the_garbage_collector_does_not_see_it() -> None:
    """Neither the record nor what is nested in it is tracked, so that many of them cost it nothing."""
    typed, careful = pair(LIQUIDATIONS)
    snapshot = typed["liquidationSnapshot"]
    inner = [typed, snapshot, *snapshot["snapshots"], *snapshot["liabilities"]]
    assert len(inner) == 4
    assert not any(map(gc.is_tracked, inner))
    assert gc.is_tracked(careful)


def test_a_dict_of_it_shares_nothing_that_can_change() -> None:
    """Whoever changes a record that the hook returned changes that alone."""
    typed, _ = pair(LIQUIDATIONS)
    first, second = plain(typed), plain(typed)
    first["liquidationSnapshot"]["snapshots"].clear()
    assert second["liquidationSnapshot"]["snapshots"]
    assert typed["liquidationSnapshot"]["snapshots"]


def test_a_dict_stays_as_it_is() -> None:
    """What is a dict already is not copied."""
    _, careful = pair(LIQUIDATIONS)
    assert plain(careful) is careful
    assert shallow(careful) == careful
    assert shallow(careful) is not careful


def test_a_field_that_is_not_declared_is_absent() -> None:
    """It has the default, as that of a dict."""
    typed, _ = pair(LIQUIDATIONS)
    assert (typed.get("newField"), typed.get("newField", 1), typed.get("groupId", 5)) == (None, 1, 1)


@pytest.mark.parametrize("described", DESCRIBED, ids=str)
def test_own_columns_stand_in_front(described: Described) -> None:
    """They come in their order before all others, also when added once more, and the given record stays."""
    typed, careful = pair(described)
    before = plain(typed)
    for own in ({"asked_at": 1}, {"asked_at": 1, "other": None}, {WINDOW_END: 5}):
        once = with_own_columns(typed, own), with_own_columns(dict(careful), own)
        twice = [with_own_columns(record, {"asked_at_": 2}) for record in once]
        for one, other in (once, twice):
            assert json.dumps(plain(one)) == json.dumps(other)
            assert msgspec.json.encode(one) == msgspec.json.encode(other)
            assert not gc.is_tracked(one)
    assert plain(typed) == before


def test_a_field_of_binance_s_that_is_named_as_an_own_column_gets_an_underscore() -> None:
    """Such a record is a dict; the field comes last, and the dict that was given stays."""
    given = {"window_end": 1, "groupId": 2, "occurrence": 3}
    found = with_own_columns(given, {WINDOW_END: 7})
    assert list(plain(found).items()) == [
        ("window_end", 7),
        ("groupId", 2),
        ("occurrence", 3),
        ("window_end_", 1),
    ]
    assert list(given) == ["window_end", "groupId", "occurrence"]


@pytest.mark.parametrize("typed", [True, False])
def test_copies_are_numbered_as_dicts_are(*, typed: bool) -> None:
    """Rows of one key are numbered by their contents, whichever parser has read the answer."""
    amounts = ["9", "10", "1", "10.5", "100"]
    rows = [
        TRANSACTIONS.documented_row(Event(START_MS, 1, 3)) | {"amount": amount, "principal": None}
        for amount in amounts
    ]
    request = requests_of(TRANSACTIONS)[-1]
    body = write_json(TRANSACTIONS.payload(*rows))
    found = Response(request if typed else carefully(request), 200, {}, body, 0).content.rows
    assert are_typed(found) is typed
    assert {row["amount"]: row[OCCURRENCE] for row in found} == {
        "1": 0,
        "10": 1,
        "10.5": 2,
        "100": 3,
        "9": 4,
    }
    assert [row[ASKED_GROUP_ID] for row in found] == [1] * 5


def test_a_column_has_the_values_of_all_records() -> None:
    """In the order of the records."""
    records = [pair(LIQUIDATIONS, Event(START_MS - number, 1))[0] for number in (3, 1, 2)]
    assert column_of(records, "liquidationStartTime") == [START_MS - number for number in (3, 1, 2)]
    assert are_typed(records)
    assert are_typed([])
    assert not are_typed([*records, {}])
