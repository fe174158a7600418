"""Triggers and states that version 0.1.0 wrote into users' databases are still read, and written alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.module_loading import import_string

from airflow_provider_binance_loan.fired_events import FiredEvents
from airflow_provider_binance_loan.triggers import BinanceLoanForceLiquidationEventTrigger
from tests.support.arguments import keyword_arguments
from tests.support.paths import DATA

if TYPE_CHECKING:
    from pytest_mock import MockerFixture

TRIGGERS = json.loads((DATA / "golden" / "triggers.json").read_text())
WATCHER = json.loads((DATA / "golden" / "watcher-state.json").read_text())


@pytest.mark.parametrize("name", TRIGGERS)
@pytest.mark.parametrize("made_with", ["arguments", "kwargs"])
def test_serializes_as_before(name: str, made_with: str) -> None:
    """Made by a DAG or anew from its row, a trigger has the class path and the JSON that it always had."""
    stored = TRIGGERS[name]
    trigger = import_string(stored["class_path"])(**stored[made_with])
    path, kwargs = trigger.serialize()
    assert path == stored["class_path"]
    assert json.dumps(kwargs) == json.dumps(stored["kwargs"])


@pytest.mark.parametrize("name", [name for name in TRIGGERS if "nothing at its default" in name])
def test_compares_every_argument(name: str) -> None:
    """The golden file has, off its default, every argument of version 0.1.0's triggers."""
    stored = TRIGGERS[name]
    defaults = keyword_arguments(import_string(stored["class_path"]))
    for later in ("clock", "queue"):
        defaults.pop(later, None)
    assert defaults.keys() == stored["kwargs"].keys()
    assert [key for key in defaults if defaults[key] == stored["kwargs"][key]] == []


def test_passes_the_queue_on_when_it_is_set(mocker: MockerFixture) -> None:
    """Airflow gets the queue, and a watcher without one is the watcher that it was."""
    base = mocker.patch("airflow.triggers.base.BaseEventTrigger.__init__")
    for given in ({}, {"queue": "eu"}):
        trigger = BinanceLoanForceLiquidationEventTrigger(asset_name="a", **given)
        path, kwargs = trigger.serialize()
        assert {name: kwargs[name] for name in kwargs if name == "queue"} == given
        assert import_string(path)(**kwargs).serialize() == (path, kwargs)
        assert [call.kwargs for call in base.call_args_list[-2:]] == [given, given]


@pytest.mark.parametrize("stored", WATCHER["keys"], ids=lambda stored: json.dumps(stored["arguments"]))
def test_finds_the_state_of_before(stored: dict[str, Any]) -> None:
    """The watcher's state has the key that it always had."""
    assert BinanceLoanForceLiquidationEventTrigger(**stored["arguments"])._state_key == stored["state_key"]


@pytest.mark.parametrize("state", WATCHER["states"], ids=["nothing fired", "some fired"])
def test_reads_and_writes_the_state_of_before(state: dict[str, Any]) -> None:
    """A state without a version is of version 1: it is written as it was, and the version with it."""
    written = json.loads(json.dumps(FiredEvents.from_json(state).to_json()))
    assert written == {**state, "version": 1}
    assert FiredEvents.from_json(written).to_json() == written
