"""Arguments of the triggers: a wrong one ends the wait, or fails where the DAG is parsed, and is named."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_binance_loan.exceptions import ConfigurationError, RequestRefusedError
from airflow_provider_binance_loan.fired_events import FiredEvents
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor
from airflow_provider_binance_loan.triggers import (
    BinanceLoanForceLiquidationEventTrigger,
    BinanceLoanForceLiquidationTrigger,
)
from airflow_provider_binance_loan.watcher_state import M, WatcherState
from tests.support.bad_input import Case, Environment, cases
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.watchers import Store

CASES = [
    *cases("since", "", "yesterday", "2026-03-01T09:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
    *cases("wait_for", "ended"),
    *cases("lookback", "60", None, 1e300),
    *cases("poke_interval", 0, -1, float("nan"), "60"),
    *cases("max_wait", 0, "60"),
    *cases("not_before", "now", 1e300),
    *cases("deadline", float("nan"), NOW),
    *cases("risk_units", "six", []),
]
WATCHERS = [
    *cases("lookback", HOUR, "60", None, -1, float("nan"), float("inf"), 10**400),
    *cases("poke_interval", HOUR, 0, 0.9, float("inf"), True),
    *cases("asset_name", None, " ", 5),
    *cases("finished", "no"),
    *cases("queue", "", 5),
]
STATES = [
    *cases("asset_name", "another"),
    *cases(
        "state", {"version": 2}, {"since_ms": 10**18}, {"fired": {}}, {"fired": [[0, 6, False, 0]]}, "text"
    ),
]


def provoke(case: Case, environment: Environment) -> None:
    """Run into the error that the sensor raises for the event of a trigger with a wrong argument."""
    with environment.connection():
        (event,) = events(case.given)
    BinanceLoanForceLiquidationSensor(task_id="wait").execute_complete({}, event)


def provoke_watcher(case: Case, environment: Environment) -> None:
    """Run into the error of a watcher's trigger with a wrong argument."""
    BinanceLoanForceLiquidationEventTrigger(**{"asset_name": "a", **case.given})


def provoke_state(case: Case, environment: Environment) -> None:
    """Run into the error of a watcher that cannot load its state."""
    given = case.given.get("state")
    value = {"version": 1, "since_ms": 0, "fired": [], **given} if isinstance(given, dict) else given
    load_state(value, FiredEvents.from_json, case.given.get("asset_name", "watched"))


def load_state(value: Any, parse: Callable[[Any], M], asset_name: str = "watched") -> None:
    """Load what the state store of an asset has."""
    stores = Store()
    stores.values["binance_loan_fired_0"] = json.dumps(value)
    state = WatcherState(
        stores,
        "binance_loan_fired_0",
        parse,
        asset_name=asset_name,
        conn_id="binance_loan_default",
        clock=FakeClock(),  # type: ignore[arg-type]
        log=logging.getLogger(__name__),
    )
    asyncio.run(state.load())


def events(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the payloads of a trigger's events."""
    trigger = BinanceLoanForceLiquidationTrigger(**{"since": NOW.isoformat(), **arguments}, clock=FakeClock())

    async def run() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    return asyncio.run(run())


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_names_the_argument_of_the_trigger(case: Case, environment: Environment, refused: Any) -> None:
    """A wrong argument ends the wait with one event, from which the sensor fails its task."""
    (event,) = events(case.given)
    error = refused(RequestRefusedError, case.field, lambda: provoke(case, environment))
    assert event == {"status": "refused", "message": str(error)}


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in WATCHERS])
def test_names_the_argument_of_the_event_trigger(case: Case, environment: Environment, refused: Any) -> None:
    """A wrong argument fails where the DAG is parsed, and not again and again in the triggerer."""
    refused(ConfigurationError, case.field, lambda: provoke_watcher(case, environment))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in STATES])
def test_names_what_a_watcher_cannot_load(case: Case, environment: Environment, refused: Any) -> None:
    """A state that cannot be read, or a wrong name of its asset, is an error that names the connection."""
    error = refused(ConfigurationError, case.field, lambda: provoke_state(case, environment))
    assert error.conn_id == "binance_loan_default"
