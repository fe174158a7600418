"""Risk units, active and closed, through both HTTP clients and the operator."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_binance_loan.exceptions import BadResponseError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.operators import BinanceLoanRiskUnitOperator
from tests.support.clock import FakeClock
from tests.support.ltvs import ACTIVE_PATH, CLOSED_PATH, TIME_PATH, LtvServer
from tests.support.runs import run_context

# The example of Binance's page, with the first unit last.
ACTIVE: list[dict[str, Any]] = [
    {
        "groupId": 10002,
        "members": [
            {"email": "1003@test.com", "type": "CREDIT", "enableMargin": True, "enableSpot": True},
            {"email": "1004@test.com", "type": "COLLATERAL", "enableMargin": True, "enableSpot": True},
        ],
        "createTime": 1747637956083,
    },
    {"groupId": 10001, "members": [], "createTime": 1747637956083},
]
CLOSED = [
    {
        "groupId": group_id,
        "parentEmail": "parent@test.com",
        "creditEmail": "credit@test.com",
        "enabled": False,
        "createTime": 1753410654608,
        "closeTime": 1753422899052,
    }
    for group_id in (73, 72)
]


@pytest.fixture(autouse=True)
def units(ltvs: LtvServer) -> None:
    """Two active risk units, and two closed ones."""
    ltvs.active = json.dumps(ACTIVE).encode()
    ltvs.closed = json.dumps({"total": 2, "rows": CLOSED}).encode()


def read(clock: FakeClock, kind: str, status: str) -> list[Any]:
    hook = BinanceLoanHook(clock=clock)
    if kind == "sync":
        found: list[Any] = getattr(hook, f"get_{status}_risk_units")()
        return found
    return asyncio.run(getattr(hook, f"aget_{status}_risk_units")())


def test_reads_the_active_ones(ltvs: LtvServer, kind: str, clock: FakeClock) -> None:
    """In the order of their ids, each with when Binance was asked, in one request."""
    records = read(clock, kind, "active")
    assert [record.pop("asked_at") for record in records] == [clock.ms - 250] * 2
    assert records == ACTIVE[::-1]
    assert ltvs.paths == [TIME_PATH, ACTIVE_PATH]


def test_reads_the_closed_ones(ltvs: LtvServer, kind: str, clock: FakeClock) -> None:
    """In the order of their ids, as Binance sends them."""
    assert read(clock, kind, "closed") == CLOSED[::-1]
    assert set(ltvs.paths) == {TIME_PATH, CLOSED_PATH}


@pytest.mark.parametrize(
    ("status", "says"), [("active", "parent account's key"), ("closed", "credit account")]
)
def test_says_whose_key_is_needed(ltvs: LtvServer, clock: FakeClock, status: str, says: str) -> None:
    """The parent account's for active risk units, and a credit account's for closed ones."""
    ltvs.active = ltvs.closed = (
        b'{"code":-3999,"msg":"This function can only be available for invited users."}'
    )
    operator = BinanceLoanRiskUnitOperator(task_id="land", status=status)
    operator.hook = BinanceLoanHook(clock=clock)
    with pytest.raises(AirflowFailException, match=f"^Use the .*{says}"):
        operator.execute(run_context())


def test_refuses_rows_of_another_endpoint(ltvs: LtvServer, kind: str, clock: FakeClock) -> None:
    """Rows that have none of the fields of a risk unit are not taken for risk units."""
    ltvs.active = b'[{"groupId":6,"ltv":"0.5"}]'
    with pytest.raises(BadResponseError, match="is not of active_risk_units"):
        read(clock, kind, "active")


@pytest.mark.parametrize(("status", "tables"), [("active", ["members", "risk_units"]), ("closed", None)])
def test_lands_them(ltvs: LtvServer, s3: Any, status: Any, tables: list[str] | None) -> None:
    """With when Binance was asked in the manifest, and for active ones a table of their accounts."""
    ltvs.now_ms = lambda: int(datetime.now(UTC).timestamp() * 1000)
    task = BinanceLoanRiskUnitOperator(
        task_id="land", status=status, s3_key="s3://lake/units.jsonl", flatten=tables is not None
    )
    manifest = task.execute(run_context())
    assert isinstance(manifest, dict)
    assert (manifest["records"], sorted(manifest.get("tables", {})) or None) == (2, tables)
    assert abs((datetime.fromisoformat(manifest["asked_at"]) - datetime.now(UTC)).total_seconds()) < 5


@pytest.mark.parametrize("status", ["open", "", None, 5])
def test_refuses_another_status(ltvs: LtvServer, status: Any) -> None:
    """The error says which there are, before anything is requested."""
    task = BinanceLoanRiskUnitOperator(task_id="land", status=status)
    with pytest.raises(AirflowFailException, match=r"^Give status as 'active' or 'closed': it is "):
        task.execute(run_context())
    assert ltvs.paths == []
