"""What was borrowed and repaid: two questions for each span, risk units by question, and rows by count."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.datasets.borrow_repay import BORROW_REPAY
from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS
from airflow_provider_binance_loan.binance.fields import Record
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.reader import read_window
from airflow_provider_binance_loan.binance.risk_units import RiskUnits
from airflow_provider_binance_loan.binance.time_range import DAY_MS, TimeRange
from airflow_provider_binance_loan.exceptions import BadResponseError, RequestRefusedError
from tests.support.plans import PlanRunner

START_MS = 1_772_366_400_000
REPAYS = ("REPAY", "NORMAL_REPAY", "FORCE_REPAY")
# A row without the field `unit` is as Binance sends it.
Row = dict[str, Any]


def transaction(number: int, unit: int, at_ms: int, kind: str = "BORROW", status: str = "CONFIRM") -> Row:
    return {
        "unit": unit,
        "tranId": number,
        "assetName": "USDT",
        "amount": f"{number}.50",
        "status": status,
        "type": kind,
        "timestamp": at_ms,
    }


def transactions(count: int, days: int, seed: int = 1) -> list[Row]:
    """Return transactions of the units 1 (active) and 2 and 3 (closed) at random times."""
    dice = random.Random(seed)
    return [
        transaction(
            number,
            dice.choice((1, 2, 3)),
            START_MS + dice.randrange(days * DAY_MS),
            dice.choice(("BORROW", *REPAYS)),
            dice.choice(("CONFIRM", "FAILED")),
        )
        for number in range(count)
    ]


class Fake:
    """A Binance whose answers do not say of which risk unit a row is, and come in any order."""

    def __init__(self, rows: list[Row], *, closed: tuple[int, ...] = (2, 3), ltv_code: int = 0) -> None:
        self.rows, self.closed, self.ltv_code = rows, closed, ltv_code
        self.requests: list[Request] = []
        self._dice = random.Random(1)

    def read(self, days: int, risk_units: RiskUnits = "all", *, max_concurrency: int = 1) -> list[Record]:
        runner = PlanRunner(self.answer, max_concurrency, seed=1)
        window = TimeRange(START_MS, START_MS + days * DAY_MS)
        plans = read_window(BORROW_REPAY, window, risk_units)
        return [record for plan in plans for record in runner.run(plan)]

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        asked: dict[str, Any] = dict(request.params)
        sent_ms = START_MS + 300 * DAY_MS
        if request.path == RISK_UNIT_LTVS.path:
            if self.ltv_code:
                assert self.ltv_code in request.handled_codes
                refused = Response(request, 400, {}, b"{}", sent_ms)
                refused.refusal = RequestRefusedError("Refused.")
                return refused
            active = sorted({row["unit"] for row in self.rows} - set(self.closed))
            body: Any = [{"groupId": unit, "ltv": "0.5"} for unit in active]
            return Response(request, 200, {}, json.dumps(body).encode(), sent_ms)
        if request.path == CLOSED_RISK_UNITS.path:
            found: list[Row] = [{"groupId": unit, "closeTime": None} for unit in self.closed]
        else:
            assert asked["endTime"] - asked["startTime"] < 7 * DAY_MS
            found = [row for row in self.rows if self._answers(row, asked)]
            self._dice.shuffle(found)
        first = (asked["current"] - 1) * asked["size"]
        sent = [{name: value for name, value in row.items() if name != "unit"} for row in found]
        body = {"total": len(sent), "rows": sent[first : first + asked["size"]]}
        return Response(request, 200, {}, json.dumps(body).encode(), sent_ms)

    def _answers(self, row: Row, asked: dict[str, Any]) -> bool:
        of_unit = row["unit"] == asked["groupId"] if "groupId" in asked else row["unit"] not in self.closed
        of_type = (row["type"] == "BORROW") == (asked["type"] == "BORROW")
        return of_unit and of_type and asked["startTime"] <= row["timestamp"] <= asked["endTime"]


def content(records: list[Record]) -> Counter[str]:
    """Return how often each row is there, by what Binance sends."""
    names = ("tranId", "assetName", "amount", "status", "type", "timestamp")
    return Counter(json.dumps([record[name] for name in names]) for record in records)


@pytest.mark.parametrize("max_concurrency", [1, 8])
@pytest.mark.parametrize("count", [0, 1, 700])
def test_reads_what_was_borrowed_and_repaid(count: int, max_concurrency: int) -> None:
    """All types of active and of closed risk units are returned, each once, with the unit of each."""
    rows = transactions(count, 30)
    records = Fake(rows).read(30, max_concurrency=max_concurrency)
    assert content(records) == content(rows)
    units = {row["tranId"]: row["unit"] for row in rows}
    assert {record["tranId"]: record["asked_group_id"] for record in records} == units
    assert [record["timestamp"] for record in records] == sorted(row["timestamp"] for row in rows)


def test_asks_for_the_active_risk_unit_once() -> None:
    """A window of many spans takes one request of the LTVs, which have a large weight."""
    fake = Fake(transactions(50, 60))
    fake.read(60)
    assert [request.path for request in fake.requests].count(RISK_UNIT_LTVS.path) == 1


@pytest.mark.parametrize("code", [-2015, -3003, -3999])
def test_leaves_the_risk_unit_open_where_it_is_not_known(code: int) -> None:
    """A key that may not see LTVs has the records of active units all the same, without their unit."""
    rows = transactions(90, 5)
    records = Fake(rows, ltv_code=code).read(5)
    assert content(records) == content(rows)
    closed = {row["tranId"]: row["unit"] for row in rows if row["unit"] != 1}
    units = {record["tranId"]: record["asked_group_id"] for record in records}
    assert units == {row["tranId"]: closed.get(row["tranId"]) for row in rows}


@pytest.mark.parametrize(("risk_units", "units"), [("active", {1}), ((1, 3), {1, 3}), ((2,), {2})])
def test_reads_the_chosen_risk_units(risk_units: RiskUnits, units: set[int]) -> None:
    """Those that are active, or those that are named."""
    rows = transactions(90, 5)
    records = Fake(rows).read(5, risk_units)
    assert content(records) == content([row for row in rows if row["unit"] in units])
    assert {record["asked_group_id"] for record in records} == units


def test_keeps_identical_rows_by_count() -> None:
    """Three equal rows in one answer are three records, wherever slices meet and in whatever order."""
    noon = START_MS + DAY_MS
    rows = [transaction(7, 1, noon, "FORCE_REPAY") for _ in range(3)] + [transaction(7, 1, noon, "REPAY")]
    rows += [transaction(100 + number, 1, noon + number % 3 - 1, "REPAY") for number in range(150)]
    records = Fake(rows).read(2)
    assert content(records) == content(rows)
    thrice = [record["occurrence"] for record in records if record["type"] == "FORCE_REPAY"]
    assert thrice == [0, 1, 2]


def test_keeps_different_rows_of_one_key() -> None:
    """A transaction in two assets is two records, numbered alike whatever the order of the answer."""
    noon = START_MS + DAY_MS
    rows = [transaction(7, 1, noon), transaction(7, 1, noon) | {"assetName": "USDC", "amount": "9"}]
    seen = {
        tuple((record["assetName"], record["occurrence"]) for record in Fake(sent).read(2))
        for sent in (rows, rows[::-1])
    }
    assert seen == {(("USDC", 0), ("USDT", 1))}
    assert content(Fake(rows).read(2)) == content(rows)


def test_a_unit_that_closes_meanwhile_is_not_read_twice() -> None:
    """Its rows are in the first answer, and again in that of the closed unit: they are kept once."""
    rows = transactions(120, 5)
    fake = Fake(rows, closed=())
    whole = fake.answer

    def answer(request: Request) -> Response:
        if len(fake.requests) == 2:
            fake.closed = (1, 2, 3)
        return whole(request)

    fake.answer = answer  # type: ignore[method-assign]
    records = fake.read(5)
    assert content(records) == content(rows)
    assert all(record["asked_group_id"] for record in records)


@pytest.mark.parametrize(
    ("asked", "sent"), [("BORROW", "REPAY"), ("BORROW", "FORCE_REPAY"), ("REPAY", "BORROW")]
)
def test_refuses_the_answer_to_another_question(asked: str, sent: str) -> None:
    """What was repaid is no answer to what was borrowed."""

    def answer(request: Request) -> Response:
        params: dict[str, Any] = dict(request.params)
        row = transaction(1, 1, START_MS + 5, sent)
        rows = [row] if params.get("type") == asked else []
        return Response(request, 200, {}, json.dumps({"total": 1, "rows": rows}).encode(), START_MS)

    plans = read_window(BORROW_REPAY, TimeRange(START_MS, START_MS + DAY_MS), (1,))
    with pytest.raises(BadResponseError, match=rf"of type '{sent}', and {asked} was asked for"):
        PlanRunner(answer).run(next(plans))


@pytest.mark.parametrize("kind", REPAYS)
def test_takes_every_type_of_repayment(kind: str) -> None:
    """The page names three types in its example, all of which are asked for as REPAY."""
    rows = [transaction(1, 1, START_MS + 5, kind)]
    assert content(Fake(rows).read(1)) == content(rows)
