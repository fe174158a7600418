"""Transfers of collateral over HTTP, in both clients: every one, digit for digit, whatever fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_binance_loan.exceptions import BadResponseError, RequestRefusedError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.faults import Fault
from tests.support.clock import NOW, FakeClock
from tests.support.raw import answer, raw_server

DAY_MS = 24 * 60 * 60 * 1000
NOW_MS = int(NOW.timestamp() * 1000)
QUARTER = timedelta(days=99)
KNOBS: list[dict[str, Any]] = [
    {},
    *({"total": total} for total in ("units", "absent")),
    *({"order": order} for order in ("oldest", "random")),
    {"page_cap": 40},
    {"max_days": 7},
]
FAULTS = [Fault("error"), Fault("truncate"), Fault("html", 200), Fault("reset")]


def get_transfers(clock: FakeClock, kind: str, **arguments: Any) -> list[Any]:
    hook = BinanceLoanHook(clock=clock)
    if kind == "sync":
        return hook.get_liquidation_transfers(NOW - QUARTER, NOW, **arguments)
    return asyncio.run(hook.aget_liquidation_transfers(NOW - QUARTER, NOW, **arguments))


@pytest.fixture
def busy(exchange: Exchange, connect: Any) -> Exchange:
    """Three pages of liquidations that have ended, some within one millisecond."""
    for number in range(260):
        unit = exchange.add_unit(10 + number)
        start_ms = NOW_MS - 90 * DAY_MS + number // 4 * 30 * 60_000
        exchange.add_liquidation(unit.group_id, start_ms, start_ms + 600_000)
    return exchange


def shown_by(exchange: Exchange) -> dict[int, Any]:
    """Return what the exchange shows in one page that is large enough, by liquidation."""
    rows = exchange.transfer_records(NOW_MS - 99 * DAY_MS, NOW_MS, size=1000)["rows"]
    return {row["liquidationId"]: row for row in rows}


def amounts(record: Any) -> list[str]:
    return [
        asset["amount"].replace("0E-8", "0.00000000")
        for moved in record["liquidationTransferRecord"]
        for asset in moved["assets"]
    ]


@pytest.mark.parametrize("knobs", KNOBS, ids=str)
def test_reads_all_of_them(busy: Exchange, clock: FakeClock, client_kind: str, knobs: dict[str, Any]) -> None:
    """Whatever Binance counts and sorts by, there is a record for each liquidation, and no digit differs."""
    expected = shown_by(busy)
    assert len(expected) == 260
    busy.behaviour = replace(busy.behaviour, **knobs)
    records = get_transfers(clock, client_kind)
    assert sorted(record["liquidationId"] for record in records) == sorted(expected)
    assert all(amounts(record) == amounts(expected[record["liquidationId"]]) for record in records)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_a_fault_loses_none(busy: Exchange, clock: FakeClock, client_kind: str, fault: Fault) -> None:
    """What fails is asked for again."""
    busy.fail(None, fault, None, fault)
    assert len(get_transfers(clock, client_kind)) == 260


def test_a_key_of_a_parent_account_is_refused(busy: Exchange, clock: FakeClock, client_kind: str) -> None:
    """The endpoint is for credit accounts, and the error says so."""
    busy.keys.update({key: replace(value, account="parent") for key, value in busy.keys.items()})
    with pytest.raises(RequestRefusedError, match="Use the key of a credit account"):
        get_transfers(clock, client_kind)


def test_a_malformed_row_is_refused(clock: FakeClock, client_kind: str, connect: Any) -> None:
    """The error names the field and the record."""
    body = (
        '{"total":1,"rows":[{"liquidationId":5,"liquidationTransferRecord":[{"assets":[{"amount":"x"}]}]}]}'
    )
    with raw_server([answer("200 OK", body)]) as (url, _):
        connect(host=url)
        text = r"rows\[0\]\.liquidationTransferRecord\[0\]\.assets\[0\]\.amount is 'x'.*liquidationId 5"
        with pytest.raises(BadResponseError, match=text):
            get_transfers(clock, client_kind)
