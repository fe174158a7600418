"""Bad input about LTVs: arguments of sensor and watcher, stored states, and answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import read_ltvs
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.exceptions import (
    BadResponseError,
    BinanceLoanError,
    ConfigurationError,
    TransientError,
)
from airflow_provider_binance_loan.ltv_condition import parse_ltv_condition
from airflow_provider_binance_loan.passed_levels import PassedLevels
from airflow_provider_binance_loan.triggers import BinanceLoanLtvEventTrigger
from tests.integration.bad_input.test_triggers import load_state
from tests.support.bad_input import Case, Environment, case, cases
from tests.support.ltvs import unit
from tests.support.plans import PlanRunner

SENSORS = [
    Case("neither", "at_or_above", {}),
    case("at_or_above", at_or_above=0.8, below=0.7),
    *cases("at_or_above", 0, 80, "80%", True, [0.8], {}, {"six": 0.8}, {6: 80}),
    *cases("below", -0.1, "", {True: 0.7}, {6: 0.7, "6": 0.8}),
]
WATCHERS = [
    *cases("levels", [], 0.7, "0.7", [0.7, 70], [None]),
    *cases("hysteresis", -0.01, "x", None, 0.7),
    *cases("remind_every", 0, "60", float("nan")),
]
STATES = cases("state", {"version": 2}, {"units": {}}, {"units": [[6]]}, 5)
ANSWERS = [
    Case("groupId='six'", "groupId", {"rows": [unit("six", "0.5")]}),
    Case("groupId=None", "groupId", {"rows": [unit(None, "0.5")]}),
    Case("ltv='high'", "ltv", {"rows": [unit(6, "high")]}),
    Case("ltv={}", "ltv", {"rows": [unit(6, {})]}),
    Case("totalLiability='INF'", "totalLiability", {"rows": [unit(6, "0.5", totalLiability="INF")]}),
    Case("an object", "the body", {"rows": {"rows": []}}),
    Case("rows of another endpoint", "ltv", {"rows": [{"groupId": 6}]}),
    Case("a risk unit twice", "groupId", {"rows": [unit(6, "0.5"), unit(6, "0.6")]}),
    Case("no risk unit", "key", {"rows": []}),
]


def provoke_sensor(case: Case, _: Environment) -> None:
    """Run into the error of a sensor, or of its trigger, with a wrong argument."""
    parse_ltv_condition(**{"at_or_above": None, "below": None, **case.given})


def provoke_watcher(case: Case, _: Environment) -> None:
    """Run into the error of a watcher's trigger with a wrong argument."""
    BinanceLoanLtvEventTrigger(**{"asset_name": "a", "levels": [0.7], **case.given})


def provoke_state(case: Case, _: Environment) -> None:
    """Run into the error of a watcher that cannot load its state."""
    given = case.given["state"]
    load_state(
        {"version": 1, "units": [], **given} if isinstance(given, dict) else given, PassedLevels.from_json
    )


def provoke_answer(case: Case, _: Environment) -> None:
    """Run into the error of an answer that is not what Binance documents."""
    rows = case.given["rows"]

    def answer(request: Request) -> Response:
        body: Any = {"total": 0, "rows": []} if request.path.endswith("closed") else rows
        return Response(request, 200, {}, json.dumps(body).encode(), 1_772_366_400_000)

    PlanRunner(answer, 1).run(read_ltvs())


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in SENSORS])
def test_names_the_argument_of_the_sensor(case: Case, environment: Environment, refused: Any) -> None:
    """A wrong argument ends the wait, and is named."""
    refused(ConfigurationError, case.field, lambda: provoke_sensor(case, environment))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in WATCHERS])
def test_names_the_argument_of_the_event_trigger(case: Case, environment: Environment, refused: Any) -> None:
    """A wrong argument fails where the DAG is parsed."""
    refused(ConfigurationError, case.field, lambda: provoke_watcher(case, environment))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in STATES])
def test_names_what_a_watcher_cannot_load(case: Case, environment: Environment, refused: Any) -> None:
    """A state that cannot be read is an error that names the connection."""
    error = refused(ConfigurationError, case.field, lambda: provoke_state(case, environment))
    assert error.conn_id == "binance_loan_default"


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in ANSWERS])
def test_names_what_is_wrong_with_an_answer(case: Case, environment: Environment, refused: Any) -> None:
    """A malformed answer names the field and the record."""
    kind: type[BinanceLoanError] = TransientError if case.field == "key" else BadResponseError
    refused(kind, case.field, lambda: provoke_answer(case, environment))
