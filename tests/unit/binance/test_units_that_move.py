"""Risk units that close, open again, or are in neither list while a window is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import pytest

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.time_range import DAY_MS as DAY
from tests.support.descriptions import BY_UNIT, LIQUIDATIONS, Windowed
from tests.support.ledger import NOW, Ledger

UNIT = 7
ROW = (NOW + 5, UNIT)
# Where the unit is while the active units, the closed ones, and the active ones again are read.
HISTORIES = list(product(["active", "closed", "neither"], repeat=3))


@dataclass
class MovingLedger(Ledger):
    """A ledger with one unit that is in another list at each request."""

    history: tuple[str, ...] = field(kw_only=True)
    is_poll: bool = False

    def answer(self, request: Request) -> Response:
        if "groupId" not in dict(request.params):
            # The closed units are listed once, after the active ones, which are asked for by kind.
            paths = [one.path for one in self.requests]
            step = 1 if request.path == CLOSED_RISK_UNITS.path else 2 * (CLOSED_RISK_UNITS.path in paths)
            if self.is_poll:
                step = len(self.requests)
            state = self.history[min(step, len(self.history) - 1)]
            self.closed = {UNIT: (NOW - DAY, NOW)} if state == "closed" else {}
            self.hidden = state == "neither"
        return super().answer(request)

    def is_active(self, group: int) -> bool:
        return group not in self.closed and not self.hidden


def is_found(history: tuple[str, ...]) -> bool:
    """Return whether one of the three answers shows the unit; if not, it moved faster than a pull."""
    return history[0] == "active" or history[1] == "closed" or history[2] == "active"


@pytest.mark.parametrize("history", HISTORIES, ids="-".join)
@pytest.mark.parametrize("described", BY_UNIT, ids=str)
def test_a_unit_that_moves_is_read(described: Windowed, history: tuple[str, ...]) -> None:
    """A pull asks for the active units once more after the closed ones, so a unit hides from one at most."""
    ledger = MovingLedger([ROW], described=described, history=history)
    assert ledger.read(NOW, NOW + DAY) == ([ROW] if is_found(history) else [])
    if history[1] != "closed" and described is LIQUIDATIONS:
        assert len(ledger.requests) == 3


def test_a_poll_leaves_it_to_the_next_one() -> None:
    """A poll comes again, so it makes one request less."""
    ledger = MovingLedger([ROW], history=("neither", "neither", "active"), is_poll=True)
    assert ledger.read(NOW, NOW + DAY, dataset=FORCE_LIQUIDATIONS.for_polls) == []
    assert ledger.read(NOW, NOW + DAY, dataset=FORCE_LIQUIDATIONS.for_polls) == [ROW]
    assert [request.path == CLOSED_RISK_UNITS.path for request in ledger.requests] == [False, True] * 2
