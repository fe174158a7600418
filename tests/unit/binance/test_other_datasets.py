"""The datasets beside the liquidations are read like those, by the same code."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.interest_history import INTEREST_HISTORY
from airflow_provider_binance_loan.binance.datasets.liquidation_transfers import LIQUIDATION_TRANSFERS
from airflow_provider_binance_loan.binance.fields import Record
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.reader import read_window
from airflow_provider_binance_loan.binance.risk_units import RiskUnits
from airflow_provider_binance_loan.binance.time_range import DAY_MS, TimeRange
from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset
from airflow_provider_binance_loan.exceptions import BadResponseError
from tests.support.plans import PlanRunner

START_MS = 1_772_366_400_000
HOUR_MS = 3_600_000
Rows = list[tuple[int, Record]]


class Fake:
    """Rows with the time by which each is selected, and closed risk units, listed as Binance does.

    :param dataset: what the rows are of.
    :param rows: the rows, each with its time.
    :param closed: the risk units that only a query that names them returns.
    """

    def __init__(self, dataset: WindowedDataset, rows: Rows, closed: tuple[int, ...] = ()) -> None:
        self.dataset, self.rows, self.closed = dataset, rows, closed
        self.requests: list[Request] = []

    def read(
        self, start_ms: int, end_ms: int, risk_units: RiskUnits = "all", *, max_concurrency: int = 1
    ) -> list[Record]:
        runner = PlanRunner(self.answer, max_concurrency, seed=1)
        plans = read_window(self.dataset, TimeRange(start_ms, end_ms), risk_units)
        return [record for plan in plans for record in runner.run(plan)]

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        asked: dict[str, Any] = dict(request.params)
        if request.path == CLOSED_RISK_UNITS.path:
            found: list[Record] = [{"groupId": group_id, "closeTime": None} for group_id in self.closed]
        else:
            assert request.path == self.dataset.path
            assert request.weight == self.dataset.weight
            assert "groupId" not in asked or self.dataset.by_risk_unit
            found = [
                row
                for at_ms, row in self.rows
                if asked["startTime"] <= at_ms <= asked["endTime"] and self._is_of(row, asked.get("groupId"))
            ]
        first = (asked["current"] - 1) * asked["size"]
        body = {"total": len(found), "rows": found[first : first + asked["size"]]}
        return Response(request, 200, {}, json.dumps(body).encode(), START_MS + 300 * DAY_MS)

    def _is_of(self, row: Record, group_id: int | None) -> bool:
        if not self.dataset.by_risk_unit:
            return True
        return row["groupId"] == group_id if group_id else row["groupId"] not in self.closed


# The times of a liquidation that Binance may select its transfers by: its start, and its transfers'.
SELECTED_BY: dict[str, Callable[[int, list[int]], int]] = {
    "the liquidation's start": lambda start_ms, _: start_ms,
    "the first transfer": lambda start_ms, times: times[0] if times else start_ms,
    "the latest transfer": lambda start_ms, times: times[-1] if times else start_ms,
}


def transfers(count: int, selected_by: str) -> Rows:
    """Return liquidations with up to three transfers within hours, each under the time that selects it."""
    dice = random.Random(count)
    rows = []
    for number in range(count):
        start_ms = START_MS + dice.randrange(200 * DAY_MS)
        times = sorted(start_ms + dice.randrange(1, 5 * HOUR_MS) for _ in range(dice.randrange(4)))
        assets = [{"assetName": "USDT", "amount": f"{dice.randrange(10**9)}.50"}]
        moved = [{"transferTime": time_ms, "status": "CONFIRM", "assets": assets} for time_ms in times]
        row = {"liquidationId": number, "liquidationTransferRecord": moved}
        rows.append((SELECTED_BY[selected_by](start_ms, times), row))
    return rows


@pytest.mark.parametrize("selected_by", SELECTED_BY)
@pytest.mark.parametrize("max_concurrency", [1, 8])
@pytest.mark.parametrize("count", [0, 99, 1393])
def test_reads_the_transfers_of_every_liquidation(count: int, max_concurrency: int, selected_by: str) -> None:
    """Whichever time Binance selects by, all are returned, each once, with their amounts digit for digit."""
    rows = transfers(count, selected_by)
    fake = Fake(LIQUIDATION_TRANSFERS, rows)
    records = fake.read(START_MS, START_MS + 201 * DAY_MS, max_concurrency=max_concurrency)
    assert sorted(record["liquidationId"] for record in records) == list(range(count))
    amounts = {record["liquidationId"]: _amounts(record) for record in records}
    assert amounts == {row["liquidationId"]: _amounts(row) for _, row in rows}


@pytest.mark.parametrize("selected_by", SELECTED_BY)
def test_no_transfers_are_lost_between_windows(selected_by: str) -> None:
    """Whichever time Binance selects by, adjacent windows together have every liquidation."""
    fake = Fake(LIQUIDATION_TRANSFERS, transfers(300, selected_by))
    found: dict[int, Record] = {}
    for day in range(0, 201, 3):
        start_ms = START_MS + day * DAY_MS
        found |= {record["liquidationId"]: record for record in fake.read(start_ms, start_ms + 3 * DAY_MS)}
    assert len(found) == 300


def _amounts(row: Record) -> list[str]:
    return [asset["amount"] for moved in row["liquidationTransferRecord"] for asset in moved["assets"]]


def interest(hours: int, units: tuple[int, ...], assets: tuple[str, ...] = ("USDT", "USDC")) -> Rows:
    """Return a row for each hour, risk unit and asset, with numbers as Binance sends them."""
    return [
        (
            START_MS + hour * HOUR_MS,
            {
                "groupId": unit,
                "assetName": asset,
                "principal": 851340.57601652,
                "interestRate": "0.00000833",
                "interest": hour,
                "interestTimestamp": START_MS + hour * HOUR_MS,
            },
        )
        for hour in range(hours)
        for unit in units
        for asset in assets
    ]


@pytest.mark.parametrize("max_concurrency", [1, 8])
@pytest.mark.parametrize("units", [(1,), (1, 2, 3), tuple(range(1, 71))], ids=len)
def test_reads_the_interest_of_every_hour(max_concurrency: int, units: tuple[int, ...]) -> None:
    """Each hour, unit and asset once, also of closed units, and where an hour has more than a page."""
    rows = interest(60, units)
    fake = Fake(INTEREST_HISTORY, rows, closed=units[:2] if len(units) > 1 else ())
    records = fake.read(START_MS + HOUR_MS, START_MS + 50 * HOUR_MS, max_concurrency=max_concurrency)
    expected = sorted(INTEREST_HISTORY.key(row) for _, row in rows[len(units) * 2 :][: 49 * len(units) * 2])
    assert [INTEREST_HISTORY.key(record) for record in records] == expected


def test_windows_of_interest_neither_overlap_nor_leave_a_gap() -> None:
    """What is stamped on a full hour belongs to the window that begins with it."""
    fake = Fake(INTEREST_HISTORY, interest(48, (1, 2)))
    hours = [fake.read(START_MS + hour * HOUR_MS, START_MS + (hour + 1) * HOUR_MS) for hour in range(48)]
    assert {len(records) for records in hours} == {4}
    assert hours[0][0]["interest"] == "0"
    assert hours[0][0]["principal"] == "851340.57601652"


def test_interest_of_another_risk_unit_is_refused() -> None:
    """An answer is checked against its question, as for liquidations."""
    fake = Fake(INTEREST_HISTORY, interest(2, (1,)))
    fake._is_of = lambda *_: True  # type: ignore[method-assign]
    with pytest.raises(BadResponseError, match="is of risk unit 1, and 7 was asked for"):
        fake.read(START_MS, START_MS + HOUR_MS, (7,))
