"""A Binance of a few lines, for plans: it lists rows, and closed units, and notes every request."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.reader import ReadLimits, read_window
from airflow_provider_binance_loan.binance.risk_units import RiskUnits
from airflow_provider_binance_loan.binance.time_range import DAY_MS, TimeRange
from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset
from airflow_provider_binance_loan.exceptions import RequestRefusedError
from tests.support.plans import PlanRunner

NOW = 1_772_366_400_000
LATER = NOW + 4000 * DAY_MS  # when the read takes place


@dataclass
class Ledger:
    """Rows as (start, group), the closed units with their times, and every request that was made.

    :param max_span_ms: the longest span of a request; a longer one is refused with `refusal`.
    """

    rows: list[tuple[int, int]]
    closed: dict[int, tuple[int, int]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    max_concurrency: int = 1
    page_cap: int = 100
    total: str = "rows"
    max_span_ms: int = FORCE_LIQUIDATIONS.max_span_ms + 1
    refusal: int = -1127

    def __post_init__(self) -> None:
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
        dataset: WindowedDataset = FORCE_LIQUIDATIONS,
        rows_in_memory: int = 8000,
        **options: Any,
    ) -> list[list[tuple[int, int]]]:
        """Return the keys of the records, part by part."""
        plans = read_window(
            dataset,
            TimeRange(start, end),
            risk_units,
            limits=ReadLimits(rows_in_memory=rows_in_memory),
            **options,
        )
        return [
            [(record["liquidationStartTime"], record["groupId"]) for record in self.runner.run(plan)]
            for plan in plans
        ]

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
        else:
            assert request.path == FORCE_LIQUIDATIONS.path
            assert 0 < asked["endTime"] - asked["startTime"] <= FORCE_LIQUIDATIONS.max_span_ms + 1
            if asked["endTime"] - asked["startTime"] > self.max_span_ms:
                return self.refuse(request)
            wanted: Callable[[int], bool] = (
                (lambda group: group == asked["groupId"]) if "groupId" in asked else self.is_active
            )
            rows = [
                {"groupId": group, "liquidationStartTime": start}
                for start, group in sorted(self.rows, reverse=True)
                if wanted(group) and asked["startTime"] <= start <= asked["endTime"]
            ]
        size = min(asked["size"], self.page_cap)
        first = (asked["current"] - 1) * size
        total = len(rows) if self.total == "rows" else len({row["groupId"] for row in rows})
        body = {"total": total, "rows": rows[first : first + size]}
        return Response(request, 200, {}, json.dumps(body).encode(), LATER)

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


def evenly(count: int, start: int, end: int, group: int = 1) -> list[tuple[int, int]]:
    """Return so many rows of a unit, spread evenly over a time."""
    return [(start + (end - start) * number // count, group) for number in range(count)]
