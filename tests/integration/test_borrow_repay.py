"""What was borrowed and repaid, pulled from the sandbox's world through both clients."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.history import UNITS
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.integration.sandbox.test_ledger import rows_of
from tests.support.clock import NOW

pytestmark = pytest.mark.usefixtures("real_time")

START, END = NOW - timedelta(days=8), NOW


@pytest.fixture(scope="module")
def world() -> Any:
    with SandboxServer(Exchange()) as server:
        yield server


def listed(exchange: Exchange, group_id: int) -> list[dict[str, Any]]:
    """Return the rows of a unit that the sandbox lists for the window."""
    start_ms, end_ms = (int(instant.timestamp() * 1000) for instant in (START, END))
    return [
        row
        for kind in ("BORROW", "REPAY")
        for row in rows_of(exchange.borrow_repay_records, start_ms, end_ms - 1, kind, group_id)
    ]


def key(row: dict[str, Any], group_id: int | None) -> tuple[Any, ...]:
    amounts = (Decimal(-1 if row.get(name) is None else row[name]) for name in AMOUNTS)
    return group_id, *(row[name] for name in NAMES), *amounts


NAMES = ("timestamp", "tranId", "type", "status", "assetName")
AMOUNTS = ("amount", "principal", "interest")


@pytest.mark.parametrize("client", ["get", "iter", "aget"])
def test_pulls_what_every_risk_unit_borrowed_and_repaid(
    connect: Any, world: SandboxServer, client: str
) -> None:
    """Every row of active and of closed units comes, each once, with its unit and every digit."""
    connect(host=world.url)
    hook = BinanceLoanHook()
    if client == "aget":
        records = asyncio.run(hook.aget_borrow_repay(START, END))
    else:
        records = list(getattr(hook, f"{client}_borrow_repay")(START, END))
    units = {unit.group_id for unit in UNITS}
    expected = [key(row, group_id) for group_id in units for row in listed(world.exchange, group_id)]
    assert len(expected) > 500
    assert sorted(key(record, record["asked_group_id"]) for record in records) == sorted(expected)
    assert {record["occurrence"] for record in records} == {0}
    assert {record["status"] for record in records} == {"CONFIRM", "FAILED"}
