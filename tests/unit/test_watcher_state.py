"""The state of a watcher: the liquidations that it fired for, as JSON that outlives this version."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_provider_binance_loan.fired_events import FiredEvents
from airflow_provider_binance_loan.watcher_state import StateStore

DAY_MS = 24 * 60 * 60 * 1000
SINCE_MS = 1_772_355_600_000  # 2026-03-01 09:00 UTC
STATE = {"since_ms": SINCE_MS, "fired": [[SINCE_MS + 1, 6, False], [SINCE_MS + 2, 7, True]]}


def record(group_id: int, start_ms: int, end_ms: int | None = None) -> dict[str, Any]:
    return {"groupId": group_id, "liquidationStartTime": start_ms, "liquidationEndTime": end_ms}


def added(fired: FiredEvents, *records: dict[str, Any], finished: bool = True) -> list[tuple[str, int]]:
    """Add records, and return the kind and the risk unit of each event."""
    return [
        (event["what"], event["group_id"]) for one in records for event in fired.add(one, finished=finished)
    ]


@pytest.mark.parametrize("stored", [STATE, STATE | {"version": 1}], ids=["without a version", "version 1"])
def test_reads_what_it_stored(stored: dict[str, Any]) -> None:
    """State without a version, as 0.1.0 stored it, is of version 1, and is stored with it from then on."""
    fired = FiredEvents.from_json(json.loads(json.dumps(stored)))
    assert fired.to_json() == STATE | {"version": 1}
    records = (record(6, SINCE_MS + 1, SINCE_MS + 9), record(7, SINCE_MS + 2, SINCE_MS + 9))
    assert added(fired, *records) == [("finished", 6)]


def test_fires_once_for_a_start_and_once_for_a_finish() -> None:
    """A record fires when it is new, and again when it is finished; one from before the start never does."""
    fired = FiredEvents(SINCE_MS)
    assert added(fired, record(6, SINCE_MS - 1), record(6, SINCE_MS - 1, SINCE_MS + 1)) == []
    assert added(fired, record(6, SINCE_MS)) == [("started", 6)]
    assert added(fired, record(6, SINCE_MS, 0)) == []
    assert added(fired, record(6, SINCE_MS, SINCE_MS + 5), finished=False) == []
    assert added(fired, record(6, SINCE_MS, SINCE_MS + 5)) == [("finished", 6)]
    assert added(fired, record(6, SINCE_MS, SINCE_MS + 5)) == []
    assert added(fired, record(7, SINCE_MS, SINCE_MS + 5)) == [("started", 7), ("finished", 7)]


def test_names_the_window_of_a_record() -> None:
    """The payload names the risk unit, and a window that holds this record alone."""
    (payload,) = FiredEvents(SINCE_MS).add(record(6, SINCE_MS), finished=False)
    assert payload == {
        "what": "started",
        "group_id": 6,
        "start": "2026-03-01T09:00:00+00:00",
        "end": "2026-03-01T09:00:00.001000+00:00",
    }


@pytest.mark.parametrize(
    ("after_ms", "keep_running", "left"),
    [
        (0, True, [6, 7]),
        (3, False, []),
        (3, True, [6]),
        (99 * DAY_MS + 1, True, [6]),
        (99 * DAY_MS + 2, True, []),
    ],
)
def test_forgets_what_can_fire_no_more(after_ms: int, keep_running: bool, left: list[int]) -> None:
    """Liquidations before the lookback are forgotten, running ones after as long as a request may span."""
    fired = FiredEvents.from_json(STATE)
    assert fired.forget_before(SINCE_MS + after_ms, keep_running=keep_running) is (left != [6, 7])
    assert [group_id for _, group_id in fired.keys] == left
    assert fired.oldest_ms == min([SINCE_MS + after_ms, *(start_ms for start_ms, _ in fired.keys)])


class BlockingStore:
    """An asset's state store as Airflow 3.3.0 has it."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any) -> None:
        self.values[key] = value


class AsyncStore(BlockingStore):
    """The same as Airflow 3.3.2 has it."""

    async def aget(self, key: str) -> Any:
        return self.get(key)

    async def aset(self, key: str, value: Any) -> None:
        self.set(key, value)


@pytest.mark.parametrize("kind", [BlockingStore, AsyncStore])
def test_uses_either_kind_of_store(kind: type[BlockingStore]) -> None:
    """A value is read and written under its key, with the calls that this version of Airflow has."""

    async def use(store: StateStore) -> list[Any]:
        before = await store.read()
        await store.write({"since_ms": 5})
        return [before, await store.read()]

    made = kind()
    assert asyncio.run(use(StateStore(made, "key"))) == [None, {"since_ms": 5}]
    assert made.values == {"key": {"since_ms": 5}}
