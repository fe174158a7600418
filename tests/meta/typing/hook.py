"""What type checkers see of the hook, its records and its errors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import assert_type

import requests

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import ClosedRiskUnit
from airflow_provider_binance_loan.binance.datasets.force_liquidations import (
    ForceLiquidation,
    Liability,
    Snapshot,
)
from airflow_provider_binance_loan.exceptions import (
    AuthRefusedError,
    BadResponseError,
    BinanceLoanError,
    ClockError,
    ConfigurationError,
    PermanentError,
    RateLimitedError,
    RequestRefusedError,
    TransientError,
)
from airflow_provider_binance_loan.hooks import BinanceLoanHook

START, END = datetime(2026, 3, 1, 9, tzinfo=UTC), datetime(2026, 3, 1, 10, tzinfo=UTC)


def pulls(hook: BinanceLoanHook) -> None:
    """Every way to the records takes the same arguments."""
    assert_type(hook.get_force_liquidations(START, END), list[ForceLiquidation])
    assert_type(hook.iter_force_liquidations(START, END, risk_units="active"), Iterator[ForceLiquidation])
    hook.get_force_liquidations(START, END, risk_units=6)
    hook.get_force_liquidations(START, END, risk_units="6,7")
    hook.get_force_liquidations(START, END, risk_units=[6, "7"])
    hook.get_force_liquidations(START, END, risk_units={6, 7})


async def pulls_asynchronously() -> None:
    """The asynchronous pull returns what the synchronous one returns."""
    hook = BinanceLoanHook("another_account")
    assert_type(await hook.aget_force_liquidations(START, END, risk_units=(6, 7)), list[ForceLiquidation])


def others(hook: BinanceLoanHook) -> None:
    """What else a hook gives."""
    assert_type(hook.get_closed_risk_units(), list[ClosedRiskUnit])
    assert_type(hook.get_conn(), requests.Session)
    assert_type(hook.test_connection(), tuple[bool, str])
    assert_type(hook.now(), datetime)
    assert_type(hook.binance_loan_conn_id, str)
    assert_type(BinanceLoanHook.default_conn_name, str)


def fields(record: ForceLiquidation, unit: ClosedRiskUnit) -> None:
    """Amounts are texts and times are milliseconds; what Binance may leave out may be None."""
    assert_type(record["groupId"], int)
    assert_type(record["startLtv"], str | None)
    assert_type(record["liquidationStartTime"], int)
    assert_type(record["liquidationEndTime"], int | None)
    assert_type(record["totalLiability"], str | None)
    assert_type(record["liquidationSnapshot"]["snapshots"], list[Snapshot])
    assert_type(record["liquidationSnapshot"]["snapshots"][0]["netEquity"], str | None)
    assert_type(record["liquidationSnapshot"]["liabilities"], list[Liability])
    assert_type(record["liquidationSnapshot"]["liabilities"][0]["principal"], str | None)
    assert_type(unit["groupId"], int)
    assert_type(unit["closeTime"], int | None)


def errors(error: BinanceLoanError) -> int:
    """Errors are told apart by class, and carry what happened as attributes."""
    assert_type(error.message, str)
    assert_type(error.status, int | None)
    assert_type(error.code, int | None)
    assert_type(error.path, str | None)
    assert_type(error.conn_id, str | None)
    match error:
        case RateLimitedError():
            assert_type(error.banned, bool)
            return error.ends_at_ms
        case AuthRefusedError() | RequestRefusedError() | ConfigurationError():
            permanent: PermanentError = error
            return len(permanent.message)
        case ClockError():
            transient: TransientError = error
            return len(transient.message)
        case BadResponseError() | _:
            return 0
