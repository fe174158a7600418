"""Risk units, their liquidations, and the history that a seed generates."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from airflow_provider_binance_loan.sandbox.loans import Dice, Figures, initial_figures, liquidation_ltvs
from airflow_provider_binance_loan.sandbox.rows import number

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
HISTORY_START_MS = 1_751_328_000_000  # 2025-07-01T00:00Z


def full_hours(start_ms: int, end_ms: int) -> int:
    """Return how many full hours lie after a time and up to another one; interest is charged at each."""
    return end_ms // HOUR_MS - start_ms // HOUR_MS


@dataclass(slots=True)
class Unit:
    """A risk unit: a credit account and its collateral accounts, from creation to closing."""

    group_id: int
    create_ms: int
    close_ms: int | None = None

    def active(self, at_ms: int) -> bool:
        """Return whether the unit exists, and is not closed, at that time."""
        return self.create_ms <= at_ms and not self.closed(at_ms)

    def closed(self, at_ms: int) -> bool:
        """Return whether the unit is closed at that time."""
        return self.close_ms is not None and self.close_ms <= at_ms


@dataclass(slots=True)
class Liquidation:
    """A liquidation; without `end_ms` it runs until it is finished, and `fields` replace generated fields."""

    group_id: int
    start_ms: int
    end_ms: int | None
    opened_ms: int
    """Since when it was decided which loans and wallets the unit has; see `book`."""
    borrowed_ms: int
    """When the loans that are liquidated were borrowed: then, or later."""
    fields: dict[str, Any] = field(default_factory=dict)
    planned_end_ms: int | None = field(init=False)
    """The end as known at the start: the LTV falls towards it, also if the liquidation is finished sooner."""

    def __post_init__(self) -> None:
        """Keep the end that is known now."""
        self.planned_end_ms = self.end_ms

    def running(self, at_ms: int) -> bool:
        """Return whether the liquidation has not ended at that time."""
        return self.end_ms is None or at_ms < self.end_ms

    def initial_figures(self, seed: int) -> Figures:
        """Return the figures of the unit in the millisecond of the start."""
        hours = full_hours(self.borrowed_ms, self.start_ms)
        return initial_figures(seed, self.group_id, self.opened_ms, hours, self.start_ms)

    def final_figures(self, seed: int) -> Figures:
        """Return what is left when the liquidation has ended."""
        _, ltv = liquidation_ltvs(seed, self.group_id, self.start_ms)
        return self.initial_figures(seed).repaid_to(ltv)


UNITS = (
    Unit(1, 1_735_689_600_000),  # 2025-01-01
    Unit(2, 1_736_294_400_000),
    Unit(3, 1_748_850_000_000, 1_757_840_000_000),  # 2025-06-02 to 2025-09-14
    Unit(4, 1_738_368_000_000),
    Unit(5, 1_740_787_200_000),
    Unit(6, 1_742_000_000_000),
    Unit(7, 1_745_000_000_000),
    Unit(8, 1_752_990_000_000, 1_764_500_000_000),  # 2025-07-20 to 2025-11-30
    Unit(9, 1_750_000_000_000),
    Unit(10, 1_756_700_000_000),
    Unit(11, 1_759_300_000_000, 1_770_700_000_000),  # 2025-10-01 to 2026-02-10
    Unit(12, 1_768_460_000_000),  # 2026-01-15
)


@lru_cache(maxsize=4096)
def next_liquidation(seed: int, group_id: int, opened_ms: int) -> tuple[int, int]:
    """Return the start and end of the liquidation of loans that a unit has since `opened_ms`."""
    dice = Dice("next", seed, group_id, opened_ms)
    start_ms = opened_ms + HOUR_MS // 2 + min(dice(15 * HOUR_MS // 2), dice(15 * HOUR_MS // 2))
    if dice(10) == 0:  # so that liquidations of two units may start in the same millisecond
        start_ms += -start_ms % HOUR_MS
    return start_ms, start_ms + 3 * MINUTE_MS + dice(HOUR_MS if dice(30) else 40 * HOUR_MS)


# The response example of this page, digit for digit:
# https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/trade
EXAMPLE_MS = (1_748_381_716_906, 1_748_525_848_742)
EXAMPLE: dict[str, Any] = {
    "startLtv": number("1"),
    "endLtv": number("0"),
    "totalNetEquity": number("16671.5507973"),
    "totalMaintenanceMargin": number("0"),
    "totalLiability": number("16667.926"),
    "liquidationSnapshot": {
        "snapshots": [
            {"subEmail": e, "memberType": m, "walletType": w, "netEquity": n, "maintainMargin": "0E-8"}
            for e, m, w, n in (
                ("1000255973134@test.com", "CREDIT", "PORTFOLIO_MARGIN", "12671.05079731"),
                ("1000255973134@test.com", "CREDIT", "SPOT", "0E-8"),
                ("1000255973138@test.com", "COLLATERAL", "PORTFOLIO_MARGIN", "1000.25333000"),
                ("1000255973137@test.com", "COLLATERAL", "PORTFOLIO_MARGIN", "1000.24667000"),
                ("1000255973135@test.com", "COLLATERAL", "CROSS_MARGIN", "1000.00000000"),
                ("1000255973136@test.com", "COLLATERAL", "CROSS_MARGIN", "1000.00000000"),
            )
        ],
        "liabilities": {"assetName": "USDT", "principal": "11667.92600000", "interest": "5000.00000000"},
    },
}
