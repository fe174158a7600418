"""The sensor for LTVs: the same outcome whether it pokes, is rescheduled, or waits in the triggerer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_binance_loan.exceptions import RequestRefusedError
from airflow_provider_binance_loan.sensors import BinanceLoanLtvSensor
from airflow_provider_binance_loan.triggers import BinanceLoanLtvTrigger
from tests.support.clock import FakeClock
from tests.support.ltvs import LtvServer
from tests.support.runs import run_context

MODES = ["poke", "reschedule", "deferrable"]


@pytest.fixture(autouse=True)
def real_time(ltvs: LtvServer) -> None:
    """Sensors go by the machine's clock."""
    ltvs.now_ms = lambda: int(datetime.now(UTC).timestamp() * 1000)


async def fire(trigger: Any) -> Any:
    """Rebuild the trigger from its row, as the triggerer does, and return its event without waits."""
    _, kwargs = trigger.serialize()
    clock = FakeClock(datetime.now(UTC))
    (event,) = [event async for event in type(trigger)(**json.loads(json.dumps(kwargs)), clock=clock).run()]
    return event.payload


def run(mode: str, meanwhile: Callable[[], object] = lambda: None, **arguments: Any) -> Any:
    """Run a sensor as Airflow does: again after each reschedule, in the triggerer after a deferral."""
    sensor = BinanceLoanLtvSensor(
        task_id="wait",
        mode="reschedule" if mode == "reschedule" else "poke",
        deferrable=mode == "deferrable",
        **{"poke_interval": 1, "timeout": 20, **arguments},
    )
    while True:
        try:
            return sensor.execute(run_context())
        except AirflowRescheduleException:
            meanwhile()
        except TaskDeferred as deferred:
            meanwhile()
            kwargs: Any = {"event": asyncio.run(fire(deferred.trigger))}
            return sensor.resume_execution(
                deferred.method_name, json.loads(json.dumps(kwargs)), run_context()
            )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("arguments", "script", "found"),
    [
        ({"at_or_above": 0.8}, [{6: "0.83", 7: "0.5"}], [6]),
        ({"at_or_above": 0.8}, [{6: "0.7"}, {6: None}, {6: "0.80"}], [6]),
        ({"at_or_above": {7: "0.6"}}, [{6: "0.83", 7: "0.59"}, {6: "0.83", 7: "0.6"}], [7]),
        ({"below": "0.7"}, [{6: "0.83", 7: "0.5"}, {6: None, 7: "0.5"}, {6: "0.69", 7: "0.5"}], [6, 7]),
        ({"below": {6: 0.7}}, [{7: "0.5"}, {6: "0.69", 7: "0.9"}], [6]),
    ],
)
def test_waits_for_an_ltv(
    ltvs: LtvServer, mode: str, arguments: Any, script: list[dict[int, Any]], found: list[int]
) -> None:
    """It asks until the LTVs are as wanted, and returns which they are, and what it takes to get back."""
    ltvs.script = list(script)
    event = run(mode, **arguments)
    assert event["group_ids"] == found
    assert event.keys() == {"count", "group_ids", "asked_at", "units", "unknown", "gone"}
    assert [unit["group_id"] for unit in event["units"]] == found
    assert all(isinstance(amount, str) for amount in event["units"][0]["back_to_level"].values())
    assert ltvs.asked() == len(script)
    assert "@" not in json.dumps(event)


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
@pytest.mark.parametrize("soft_fail", [False, True])
def test_times_out(ltvs: LtvServer, mode: str, soft_fail: bool) -> None:
    """The error says that there was no such LTV; with `soft_fail` the task is skipped."""
    ltvs.show(u6="0.7")
    with pytest.raises(AirflowSkipException if soft_fail else AirflowSensorTimeout):
        run(mode, at_or_above=0.8, timeout=1, soft_fail=soft_fail)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "Give at_or_above or below"),
        ({"at_or_above": 0.8, "below": 0.7}, "one of the two: both are set"),
        ({"at_or_above": 80}, "Give at_or_above as a ratio"),
        ({"below": {"a": 0.8}}, "Give below as levels by id"),
    ],
)
def test_refuses_wrong_arguments(ltvs: LtvServer, mode: str, arguments: Any, text: str) -> None:
    """A wrong argument fails the task for good, before anything is requested."""
    with pytest.raises(AirflowFailException, match=text):
        run(mode, soft_fail=True, **arguments)
    assert ltvs.paths == []


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_logs_what_it_waits_for(ltvs: LtvServer, mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The log says what it waits for, what holds it back, and what it found."""
    ltvs.script = [{6: "0.7", 7: None}, {6: "0.81", 7: None}]
    run(mode, at_or_above={6: 0.8, 7: 0.8, 8: 0.8})
    out = capsys.readouterr().out
    for line in (
        "Waiting for an LTV at or above 0.8 for risk unit 6, 0.8 for risk unit 7",
        "highest for its level is risk unit 6, LTV 0.7, level 0.8; unknown: 7; gone: 8.",
        "Found risk unit 6 with an LTV of 0.81, level 0.8; unknown: 7; gone: 8.",
    ):
        assert line in out


def test_a_refusal_ends_the_trigger(ltvs: LtvServer, clock: FakeClock) -> None:
    """What no retry can help reaches the task, and fails it for good."""
    ltvs.body = b'{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}'
    event = asyncio.run(fire(BinanceLoanLtvTrigger(at_or_above="0.8", clock=clock)))
    assert event["status"] == "refused"
    sensor = BinanceLoanLtvSensor(task_id="wait", at_or_above=0.8)
    with pytest.raises(RequestRefusedError, match="-2015"):
        sensor.execute_complete({}, event)  # type: ignore[typeddict-item]


@pytest.mark.parametrize("arguments", [{}, {"at_or_above": "0.8", "below": "0.7"}, {"below": "x"}])
def test_a_trigger_with_wrong_arguments_says_so(ltvs: LtvServer, clock: FakeClock, arguments: Any) -> None:
    """A row of another version ends in an event, and not in a loop of restarts."""
    event = asyncio.run(fire(BinanceLoanLtvTrigger(**arguments, clock=clock)))
    assert event["status"] == "refused"
    assert event["message"].startswith("Give ")


def test_defers_with_every_argument(ltvs: LtvServer) -> None:
    """Every argument, off its default, arrives at the trigger as it was given."""
    ltvs.show(u6="0.5")
    sensor = BinanceLoanLtvSensor(
        task_id="wait",
        below={"6": 0.4, 7: "0.30"},
        deferrable=True,
        poke_interval=7,
        exponential_backoff=True,
        timeout=1000,
        binance_loan_conn_id="binance_loan_default",
    )
    with pytest.raises(TaskDeferred) as raised:
        sensor.execute(run_context())
    path, kwargs = raised.value.trigger.serialize()
    assert path.endswith(".triggers.BinanceLoanLtvTrigger")
    deadline = kwargs.pop("deadline")
    assert abs(deadline - datetime.now(UTC).timestamp() - 1000) < 5
    assert kwargs == {
        "at_or_above": None,
        "below": {"6": "0.4", "7": "0.3"},
        "poke_interval": 7,
        "exponential_backoff": True,
        "max_wait": None,
        "not_before": None,
        "binance_loan_conn_id": "binance_loan_default",
    }
