"""Arguments of the sensor: a wrong one fails the task without a retry in every mode, and is named."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout

from airflow_provider_binance_loan.exceptions import BinanceLoanError
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor
from tests.support.bad_input import Case, Environment, case, cases
from tests.support.clock import HOUR
from tests.support.runs import run_context

CASES = [
    *cases("since", "yesterday", "2026-03-01", 1772323200000, datetime(2026, 3, 1), "2026-03-01T09:00:00"),
    *cases("since", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T00:00:00Z"),
    case("lookback", since="1970-01-02T00:00:00Z", wait_for="finished"),
    *cases("wait_for", "ended", None),
    *cases("lookback", 7, -HOUR, timedelta(days=800_000)),
    *cases("deferrable", "no"),
    *cases("poke_interval", 0, timedelta(days=8)),
    *cases("max_wait", 0.5),
    *cases("timeout", timedelta(days=4000)),
    *cases("risk_units", "six"),
]
EVENTS = [
    Case("timeout", "timeout", {"event": {"status": "timeout"}}),
    Case("unknown status", "version", {"event": {"status": "another"}}),
    Case("no event", "version", {"event": None}),
    Case("failed trigger", "trigger", {"next_method": "__fail__"}),
]
FLAGS = [{}, {"soft_fail": True}, {"silent_fail": True}, {"never_fail": True}]


def provoke(case: Case, environment: Environment) -> None:
    """Run into the error of a case, in the mode `poke`."""
    with environment.connection():
        execute(case.given, "poke", {})


def provoke_event(case: Case, environment: Environment) -> None:
    """Run into the error of a deferred sensor that its trigger does not end well."""
    sensor = BinanceLoanForceLiquidationSensor(task_id="wait", timeout=60, soft_fail=True)
    if "event" in case.given:
        sensor.execute_complete(run_context(), case.given["event"])
    else:
        sensor.resume_execution("__fail__", {"error": "Trigger failure"}, run_context())


def execute(arguments: dict[str, Any], mode: str, flags: dict[str, Any]) -> Any:
    """Run a sensor that polls once."""
    sensor = BinanceLoanForceLiquidationSensor(
        task_id="wait",
        mode="reschedule" if mode == "reschedule" else "poke",
        **{"deferrable": mode == "deferrable", "poke_interval": 1, "timeout": 0, **flags, **arguments},
    )
    return sensor.execute(run_context())


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("mode", ["poke", "reschedule", "deferrable"])
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_names_the_argument_of_the_sensor(case: Case, mode: str, flags: Any, refused: Any) -> None:
    """A wrong argument fails the task without a retry in every mode, whatever flag is set."""
    refused(AirflowFailException, case.field, lambda: execute(case.given, mode, flags))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in EVENTS])
def test_names_what_a_deferred_sensor_ended_in(case: Case, environment: Environment, refused: Any) -> None:
    """A timeout is Airflow's own error; any other end without an event is an error of the package."""
    kind = AirflowSensorTimeout if case.id == "timeout" else BinanceLoanError
    error = refused(kind, case.field, lambda: provoke_event(case, environment))
    assert getattr(error, "conn_id", None) == (None if case.id == "timeout" else "binance_loan_default")
