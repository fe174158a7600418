"""Lists that are read by page number, and come in another order each time, or change meanwhile."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.plans import paginate
from airflow_provider_binance_loan.exceptions import TransientError
from tests.support.ledger import NOW, Ledger
from tests.support.plans import PlanRunner


@dataclass
class Shelf:
    """A list of numbered units, in another order at each request, or in the same one.

    :param change: called with the shelf before each answer.
    """

    units: list[int]
    seed: int | None = None
    page_size: int = 100
    total: Callable[[list[int]], int | None] = len
    change: Callable[[Shelf], None] = lambda _: None
    requests: int = 0
    dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def answer(self, request: Request) -> Response:
        self.requests += 1
        self.change(self)
        asked: dict[str, Any] = dict(request.params)
        order = sorted(self.units) if self.seed is None else self.dice.sample(self.units, len(self.units))
        first = (asked["current"] - 1) * self.page_size
        rows = [{"groupId": unit, "createTime": 1} for unit in order[first : first + self.page_size]]
        body = json.dumps({"total": self.total(self.units), "rows": rows}).encode()
        return Response(request, 200, {}, body, NOW)

    def read(self) -> set[int]:
        listing = replace(CLOSED_RISK_UNITS, page_size=self.page_size)
        rows = PlanRunner(self.answer).run(paginate(listing, listing.page_request))
        assert len(rows) == len({row["groupId"] for row in rows})
        return {row["groupId"] for row in rows}


TOTALS: dict[str, Callable[[list[int]], int | None]] = {
    "rows": len,
    "fewer": lambda units: len(units) * 9 // 10,  # as where it counts units, and some have two rows
    "absent": lambda _: None,
    "many": lambda _: 4711,
}


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("seed", range(20))
def test_a_list_in_another_order_each_time_is_read(seed: int, total: str) -> None:
    """What `total` counts is not known, so the pages themselves say how long the list is."""
    units = list(range(1, 131))
    assert Shelf(units, seed, total=TOTALS[total]).read() == set(units)


@pytest.mark.parametrize("seed", range(5))
def test_ties_in_another_order_each_time_are_read(seed: int) -> None:
    """So are 130 records of one millisecond."""

    class Shuffled(Ledger):
        def answer(self, request: Request) -> Response:
            answer = super().answer(request._replace(params=(*request.params, ("current", 1), ("size", 999))))
            body = json.loads(answer.body)
            asked: dict[str, Any] = dict(request.params)
            if "startTime" in asked:
                dice.shuffle(body["rows"])
            first = (asked["current"] - 1) * 100
            body["rows"] = body["rows"][first : first + 100]
            return Response(request, 200, {}, json.dumps(body).encode(), answer.sent_ms)

    dice = random.Random(seed)
    rows = [(NOW + 5, unit) for unit in range(1, 131)]
    ledger = Shuffled(rows, page_cap=999)
    assert ledger.read(NOW, NOW + 1000) == rows
    assert len(ledger.requests) < 120


@pytest.mark.parametrize("seed", range(300))
def test_a_unit_that_stays_is_not_missed(seed: int) -> None:
    """Units that come and go while the list is read hide none of those that stay."""
    plot = random.Random(seed)
    units = list(range(plot.randrange(5, 14)))
    stays = set(units)
    moments = {
        plot.randrange(1, 30): plot.choice(["come", "go", "swap"]) for _ in range(plot.randrange(1, 5))
    }

    def change(shelf: Shelf) -> None:
        what = moments.get(shelf.requests)
        if what in ("go", "swap"):
            gone = shelf.units.pop(plot.randrange(len(shelf.units)))
            stays.discard(gone)
        if what in ("come", "swap"):
            shelf.units.append(100 + shelf.requests)

    total = plot.choice(list(TOTALS.values()))
    shelf = Shelf(units, plot.choice([None, seed]), page_size=5, total=total, change=change)
    try:
        assert stays <= shelf.read()
    except TransientError:
        assert shelf.requests > 20


def test_a_list_that_never_stands_still_is_an_error() -> None:
    """It is given up, and the task is retried as its DAG says."""

    def change(shelf: Shelf) -> None:
        shelf.units = [unit + 1000 for unit in shelf.units]

    with pytest.raises(TransientError, match="the list changed"):
        Shelf(list(range(250)), change=change).read()


def test_a_list_whose_end_was_not_seen_has_no_known_length() -> None:
    """Pages that repeat one another do not add up to the length of the list."""
    shown = [first for _ in range(40) for first in (0, 5, 10) for _ in range(3)]

    def answer(request: Request) -> Response:
        first = shown.pop(0)
        rows = [{"groupId": unit, "createTime": 1} for unit in range(first, first + 5)]
        return Response(request, 200, {}, json.dumps({"rows": rows}).encode(), NOW)

    listing = replace(CLOSED_RISK_UNITS, page_size=5)
    with pytest.raises(TransientError, match="the list changed"):
        PlanRunner(answer).run(paginate(listing, listing.page_request))
