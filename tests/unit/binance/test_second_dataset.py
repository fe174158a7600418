"""A second dataset, declared in one place, is read like the first: nothing else knows an endpoint.

Its rows, the transfers of liquidations, have no time of their own but their transfers', and some have none.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.fields import Record
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.reader import read_window
from airflow_provider_binance_loan.binance.time_range import DAY_MS, TimeRange
from tests.support.plans import PlanRunner
from tests.support.transfers import TRANSFERS

START_MS = 1_772_366_400_000


def history(count: int, seed: int) -> list[tuple[int, Record]]:
    """Return rows with the time by which the model selects them; every tenth has no transfer."""
    dice = random.Random(seed)
    rows = []
    for number in range(count):
        at_ms = START_MS + dice.randrange(200 * DAY_MS)
        assets = [{"assetName": "USDT", "amount": f"{dice.randrange(10**9)}.50"}]
        transfers = [{"transferTime": at_ms - back, "status": "DONE", "assets": assets} for back in (0, 5)]
        row = {"liquidationId": number, "liquidationTransferRecord": transfers if number % 10 else []}
        rows.append((at_ms, row))
    return rows


@pytest.mark.parametrize("max_concurrency", [1, 8])
@pytest.mark.parametrize("count", [0, 99, 1393])
def test_reads_every_row_once(count: int, max_concurrency: int) -> None:
    """Rows with and without a time are returned, each once, with their amounts digit for digit."""
    rows = history(count, seed=count)

    def answer(request: Request) -> Response:
        asked: dict[str, Any] = dict(request.params)
        assert request.path == TRANSFERS.path
        assert "groupId" not in asked
        found = [row for at_ms, row in rows if asked["startTime"] <= at_ms <= asked["endTime"]]
        first = (asked["current"] - 1) * asked["size"]
        body = {"total": len(found), "rows": found[first : first + asked["size"]]}
        return Response(request, 200, {}, json.dumps(body).encode(), START_MS + 300 * DAY_MS)

    runner = PlanRunner(answer, max_concurrency, seed=1)
    window = TimeRange(START_MS, START_MS + 200 * DAY_MS)
    records = [record for plan in read_window(TRANSFERS, window) for record in runner.run(plan)]
    assert sorted(record["liquidationId"] for record in records) == list(range(count))
    amounts = {
        asset["amount"]
        for record in records
        for transfer in record["liquidationTransferRecord"]
        for asset in transfer["assets"]
    }
    assert amounts == {
        row["liquidationTransferRecord"][0]["assets"][0]["amount"]
        for _, row in rows
        if row["liquidationTransferRecord"]
    }
