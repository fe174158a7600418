"""Arguments of the hook: a wrong window, and a connection that is not there."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timezone
from typing import Any

import pytest

from airflow_provider_binance_loan.exceptions import ConfigurationError, TransientError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from tests.support.bad_input import PULLS, Case, Environment, case, cases, pull_sync
from tests.support.clock import HOUR, NOW
from tests.support.runs import run_context


class Endless:
    """An object that cannot be written out."""

    def __repr__(self) -> str:
        raise RecursionError


CASES = [
    case("start", start=datetime(2026, 3, 1), end=NOW),
    case("end", start=NOW, end=datetime(2026, 3, 2)),
    case("end", start=NOW, end=NOW - HOUR),
    case("start", start=datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), end=NOW),
    case("start", start="2026-03-01T00:00:00Z", end=NOW),
    case("start", start=None, end=NOW),
    case("end", start=NOW, end=1772323200000),
    case("start", start=date(2026, 3, 1), end=NOW),
    case("start", start=Endless(), end=NOW),
    case("start", start="5" * 5000, end=NOW),
    case("end", start=NOW, end=datetime.max.replace(tzinfo=timezone(-HOUR))),
    case("start", start=datetime.min.replace(tzinfo=timezone(HOUR)), end=NOW),
    case("end", start=NOW, end=datetime(3000, 1, 1, tzinfo=UTC)),
]
MISSING = cases("conn_id", "missing", "", None, "a b", 5, "\ud800", "x" * 9999, "binance-loan://hush:hush@")


def provoke(case: Case, environment: Environment) -> None:
    """Run into the error of a wrong window."""
    with environment.connection():
        pull_sync(**case.given)


def provoke_missing(case: Case, environment: Environment) -> None:
    """Run into the error of a connection that is not there."""
    BinanceLoanHook(case.given["conn_id"]).get_force_liquidations(NOW - HOUR, NOW)


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize("pull", PULLS)
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_names_what_is_wrong_with_a_window(case: Case, pull: Any, refused: Any) -> None:
    """A window without time zone, or one that ends before it starts, is an error in both clients."""
    refused(ConfigurationError, case.field, lambda: pull(**case.given))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in MISSING])
def test_names_the_connection_that_is_missing(case: Case, environment: Environment, refused: Any) -> None:
    """A connection that is not found is named, unless its name may be a secret; Airflow retries the task."""
    conn_id = case.given["conn_id"]
    hook, window = BinanceLoanHook(conn_id), (NOW - HOUR, NOW)
    task = BinanceLoanForceLiquidationOperator(task_id="pull", binance_loan_conn_id=conn_id)
    errors = [
        refused(TransientError, "binance_loan", lambda: hook.get_force_liquidations(*window)),
        refused(TransientError, "binance_loan", lambda: asyncio.run(hook.aget_force_liquidations(*window))),
        refused(TransientError, "binance_loan", lambda: task.execute(run_context())),
    ]
    shown = "hidden" if len(str(conn_id)) > 50 or "@" in str(conn_id) else str(conn_id)
    assert [shown in error.conn_id for error in errors[:2]] == [True, True]
    assert len({str(error) for error in errors}) == 1
