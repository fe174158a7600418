"""The argument `risk_units`: what names no risk unit is refused alike wherever it is given."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor
from airflow_provider_binance_loan.triggers import BinanceLoanForceLiquidationEventTrigger
from tests.support.bad_input import PULLS, Case, Environment, cases, pull_sync
from tests.support.runs import run_context

CASES = [
    *cases("risk_units", "", "ALL", " all", "6,", "6;7", "6\n7", "[6, 7]", "all,6", "None", "-6", "٦"),
    *cases("risk_units", [10**5000], 2**63, "9" * 5000, ["all"], ["6,7"], [[6]], [6.5], [None], [True]),
    *cases("risk_units", True, -1, [], (), None, 6.5, b"6"),
    Case("risk_units=object()", "risk_units", {"risk_units": object()}),
]


def provoke(case: Case, environment: Environment) -> None:
    """Run into the error of a case."""
    with environment.connection():
        pull_sync(**case.given)


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_names_what_is_wrong_with_risk_units(case: Case, refused: Any) -> None:
    """Hook, watcher, operator and sensor say the same."""
    units = case.given["risk_units"]
    operator = BinanceLoanForceLiquidationOperator(task_id="pull", risk_units=units)
    sensor = BinanceLoanForceLiquidationSensor(task_id="wait", risk_units=units)

    def watch() -> object:
        return BinanceLoanForceLiquidationEventTrigger(asset_name="a", risk_units=units)

    errors = [
        *(
            refused(ConfigurationError, case.field, lambda pull=pull: pull(risk_units=units))
            for pull in PULLS
        ),
        refused(ConfigurationError, case.field, watch),
        refused(AirflowFailException, case.field, lambda: operator.execute(run_context())),
        refused(AirflowFailException, case.field, lambda: sensor.execute(run_context())),
    ]
    assert len({str(error) for error in errors}) == 1
