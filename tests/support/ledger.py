"""A Binance of a few lines, for plans: it lists rows, and closed units, and notes every request."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS
from airflow_provider_binance_loan.binance.fields import Record
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.reader import ReadLimits, read_window
from airflow_provider_binance_loan.binance.risk_units import RiskUnits
from airflow_provider_binance_loan.binance.time_range import DAY_MS, TimeRange
from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset
from airflow_provider_binance_loan.exceptions import RequestRefusedError
from airflow_provider_binance_loan.sandbox.rows import write_json
from tests.support.descriptions import LIQUIDATIONS, Event, Windowed
from tests.support.plans import PlanRunner

NOW = 1_772_366_400_000
LATER = NOW + 4000 * DAY_MS  # when the read takes place


@dataclass
class Ledger:
    """Rows as (start, group), the closed units with their times, and every request that was made.

    :param max_span_ms: the longest span of a request; a longer one is refused with `refusal`. By default a
        millisecond more than the dataset allows, since a request begins one before its slice.
    :param described: the dataset of the rows.
    """

    rows: list[tuple[int, int]]
    closed: dict[int, tuple[int, int]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    max_concurrency: int = 1
    page_cap: int = 100
    total: str = "rows"
    max_span_ms: int = 0
    refusal: int = -1127
    described: Windowed = LIQUIDATIONS

    def __post_init__(self) -> None:
        self.longest_ms = int(self.described.longest.total_seconds() * 1000) + 1
        self.max_span_ms = self.max_span_ms or self.longest_ms
        self.runner = PlanRunner(self.answer, self.max_concurrency)

    def read(
        self, start: int, end: int, risk_units: RiskUnits = "all", **options: Any
    ) -> list[tuple[int, int]]:
        """Return the keys of the records, in the order in which they are returned."""
        return [key for part in self.read_parts(start, end, risk_units, **options) for key in part]

    def read_parts(
        self,
        start: int,
        end: int,
        risk_units: RiskUnits = "all",
        *,
        dataset: WindowedDataset | None = None,
        rows_in_memory: int = 8000,
        **options: Any,
    ) -> list[list[tuple[int, int]]]:
        """Return the keys of the records, part by part."""
        plans = read_window(
            dataset or self.described.dataset,
            TimeRange(start, end),
            risk_units,
            limits=ReadLimits(rows_in_memory=rows_in_memory),
            **options,
        )
        key = self.described.identity if dataset is None else _key_of_liquidation
        return [[key(record)[:2] for record in self.runner.run(plan)] for plan in plans]

    def is_active(self, group: int) -> bool:
        """Return whether the query without `groupId` returns a unit's rows."""
        return group not in self.closed

    def answer(self, request: Request) -> Response:
        """Return the answer to a request, with what is listed by then."""
        self.requests.append(request)
        asked: dict[str, Any] = dict(request.params)
        rows: list[dict[str, Any]]
        if request.path == CLOSED_RISK_UNITS.path:
            rows = [
                {"groupId": group, "createTime": created, "closeTime": closed}
                for group, (created, closed) in self.closed.items()
            ]
        elif request.path == RISK_UNIT_LTVS.path:
            active = {group for _, group in self.rows if self.is_active(group)}
            body = json.dumps([{"groupId": group, "ltv": "0.5"} for group in sorted(active)]).encode()
            return Response(request, 200, {}, body, LATER)
        else:
            assert request.path == self.described.path
            assert request.weight == self.described.dataset.weight
            assert 0 < asked["endTime"] - asked["startTime"] <= self.longest_ms
            if asked["endTime"] - asked["startTime"] > self.max_span_ms:
                return self.refuse(request)
            events = [
                Event(start, group)
                for start, group in sorted(self.rows, reverse=True)
                if asked["startTime"] <= start <= asked["endTime"]
            ]
            rows = [
                self.described.row(event)
                for event in events
                if self.described.is_asked_for(event, asked, is_active=self.is_active(event.unit))
            ]
        size = min(asked["size"], self.page_cap)
        first = (asked["current"] - 1) * size
        total = len(rows) if self.total == "rows" else len({group for _, group in self.rows})
        body = {"total": total, "rows": rows[first : first + size]}
        return Response(request, 200, {}, write_json(body), LATER)

    def refuse(self, request: Request) -> Response:
        """Return the refusal of a span, as a client returns it for the codes that a plan handles."""
        number = len(self.requests)
        body = json.dumps({"code": self.refusal, "msg": f"Too long, says answer {number}."}).encode()
        response = Response(request, 400, {}, body, LATER)
        with pytest.raises(RequestRefusedError) as caught:
            response.raise_for_error()
        assert caught.value.code in request.handled_codes
        response.refusal = caught.value
        return response


def _key_of_liquidation(record: Record) -> tuple[int, int]:
    """Return the key of a record that a poll reads, which has few fields."""
    return record["liquidationStartTime"], record["groupId"]


def evenly(count: int, start: int, end: int, group: int = 1) -> list[tuple[int, int]]:
    """Return so many rows of a unit, spread evenly over a time."""
    return [(start + (end - start) * number // count, group) for number in range(count)]
