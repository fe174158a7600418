"""The story of a liquidation of the sandbox: the arguments of its page, read as the hook reads them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from airflow_provider_binance_loan.binance.datasets.force_liquidations import started_ms
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS
from airflow_provider_binance_loan.binance.decoding import decode
from airflow_provider_binance_loan.binance.time_range import utc_datetime
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.operators import BinanceLoanReconciliationOperator
from airflow_provider_binance_loan.sandbox.exchange import Exchange, write_json
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.support.clock import HOUR, FakeClock
from tests.support.connections import binance_connection

STORY_HOUR = datetime(2026, 3, 1, tzinfo=UTC)
LONG_MS = 30 * 60_000
MANIFEST = {
    "uri": "s3://risk-lake/stories/unit=6/20260301T091702Z/transfers.jsonl",
    "records": 7,
    "bytes": 2310,
    "sha256": "a3f5" * 16,
    "window_start": "2026-03-01T08:17:02+00:00",
    "window_end": "2026-03-01T10:40:11+00:00",
    "dataset": "transfers",
}


def sandbox_story(hour: datetime = STORY_HOUR, *, finished: bool = True) -> dict[str, Any]:
    """Return the arguments of the page of the sandbox's first liquidation at or after an hour.

    LTVs were sampled each minute from an hour before it to an hour after it, or until the present of a
    liquidation that is not finished.
    """
    clock = FakeClock(hour + 48 * HOUR)
    with SandboxServer(Exchange(clock=clock.time)) as server:
        connection = {"AIRFLOW_CONN_BINANCE_LOAN_DEFAULT": binance_connection(server.url)}
        with patch.dict(os.environ, connection):
            hook = BinanceLoanHook(clock=clock)
            found = hook.get_force_liquidations(hour, hour + 12 * HOUR)
            chosen = next(one for one in found if one["liquidationEndTime"] - started_ms(one) > LONG_MS)
            start = utc_datetime(started_ms(chosen)) - HOUR
            end = utc_datetime(chosen["liquidationEndTime"]) + HOUR
            if not finished:
                end = utc_datetime((started_ms(chosen) + chosen["liquidationEndTime"]) // 2)
                clock.ms = int(end.timestamp() * 1000)
                hook = BinanceLoanHook(clock=clock)
            return _read(hook, clock, server.exchange, chosen["groupId"], start, end)


def _read(
    hook: BinanceLoanHook, clock: FakeClock, exchange: Exchange, group_id: int, start: datetime, end: datetime
) -> dict[str, Any]:
    started = start + HOUR
    liquidation, *_ = hook.get_force_liquidations(started, started + HOUR, risk_units=group_id)
    ended_ms = liquidation["liquidationEndTime"] or clock.ms
    return {
        "liquidation": liquidation,
        "start": start,
        "end": end,
        "transfers": [
            record
            for record in hook.get_liquidation_transfers(started, utc_datetime(ended_ms + 1))
            if {transfer["toUid"] for transfer in record["liquidationTransferRecord"]}
            == {1_000_255_900_000 + 100 * group_id}
        ],
        "transactions": hook.get_borrow_repay(start, end, risk_units=group_id),
        "interest": hook.get_interest_history(start, end, risk_units=group_id),
        "ltvs": ltv_samples(exchange, clock, group_id, start, end),
        "checks": check(hook, group_id, start, end),
        "manifests": [MANIFEST],
        "levels": ["0.70", 0.8, "0.85"],
    }


def check(hook: BinanceLoanHook, group_id: int, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """Return the table of the operator that checks that the records agree."""
    operator = BinanceLoanReconciliationOperator(
        task_id="check", start=start, end=end, risk_units=group_id, on_difference="warn"
    )
    operator.hook = hook
    return operator.execute({})


def ltv_samples(
    exchange: Exchange, clock: FakeClock, group_id: int, start: datetime, end: datetime
) -> list[dict[str, Any]]:
    """Return the LTVs of a risk unit that were sampled once a minute, as `get_ltv` returns them."""
    present_ms, asked_at, samples = clock.ms, start, []
    while asked_at < end:
        clock.ms = int(asked_at.timestamp() * 1000)
        rows = RISK_UNIT_LTVS.parse(decode(write_json(exchange.ltv_details(group_id))))
        samples += [{"asked_at": clock.ms, **row} for row in rows]
        asked_at += timedelta(minutes=1)
    clock.ms = present_ms
    return samples
