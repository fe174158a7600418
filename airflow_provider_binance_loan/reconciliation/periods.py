"""The times in which risk units were liquidated, and what was owed when each began."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_loan.binance.datasets.force_liquidations import is_finished
from airflow_provider_binance_loan.reconciliation.check import (
    ZERO,
    amount,
    decimals_of,
    known_total,
    liquidation_subject,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from decimal import Decimal

    from airflow_provider_binance_loan.binance.time_range import TimeRange

OVERLAPS = "another liquidation of the risk unit runs at the same time"


class Period(NamedTuple):
    """A liquidation: its record, its time with both ends, infinite while it runs.

    :param overlaps: whether another liquidation of the risk unit runs at the same time, so that their figures
        cannot be told apart.
    """

    record: Mapping[str, Any]
    start_ms: int
    end_ms: float
    overlaps: bool = False

    @property
    def group_id(self) -> int:
        """The risk unit."""
        group_id: int = self.record["groupId"]
        return group_id

    @property
    def loans(self) -> list[Mapping[str, Any]]:
        """What was owed at the start."""
        loans: list[Mapping[str, Any]] = self.record["liquidationSnapshot"]["liabilities"]
        return loans

    @property
    def knows_loans(self) -> bool:
        """Whether the record says what was owed in which asset."""
        if not self.loans:
            return amount(self.record["totalLiability"]) == ZERO
        return all(loan["assetName"] is not None for loan in self.loans)

    @property
    def assets(self) -> set[str]:
        """The assets that were owed."""
        return {loan["assetName"] for loan in self.loans}

    @property
    def has_ltv_decimals(self) -> bool:
        """Whether an LTV of the record has decimals, so that none is rounded to a whole number."""
        ltvs = (amount(self.record[name]) for name in ("startLtv", "endLtv"))
        return any(decimals_of(ltv) for ltv in ltvs if ltv is not None)

    def owed(self, name: str, asset: str) -> Decimal | None:
        """Return the principal or interest that was owed in an asset at the start; None where unknown."""
        return known_total(amount(loan[name]) for loan in self.loans if loan["assetName"] == asset)

    def subject(self, asset: str | None = None) -> str:
        """Return the subject of a row about it."""
        return liquidation_subject(self.record, asset)

    def why_incomplete(self, window: TimeRange) -> str | None:
        """Return why a window may not have all that the liquidation repaid, by asset; None if it has."""
        if self.overlaps:
            return OVERLAPS
        if self.start_ms < window.start_ms:
            return "it started before the window"
        if self.end_ms >= window.end_ms:
            return "it ran until after the window, or runs still"
        return None if self.knows_loans else "the record does not say what was owed in which asset"

    def holds(self, at_ms: int) -> bool:
        """Return whether it ran at a time; both its ends count."""
        return self.start_ms <= at_ms <= self.end_ms


def build_periods(records: Iterable[Mapping[str, Any]]) -> dict[int, list[Period]]:
    """Return the liquidations of each risk unit, in the order of their starts."""
    of_unit: defaultdict[int, list[Period]] = defaultdict(list)
    for record in records:
        end_ms = record["liquidationEndTime"] if is_finished(record) else math.inf
        of_unit[record["groupId"]].append(Period(record, record["liquidationStartTime"], end_ms))
    return {group_id: _with_overlaps(periods) for group_id, periods in sorted(of_unit.items())}


def running_at(of_unit: Sequence[Period], at_ms: int) -> list[Period]:
    """Return the liquidations of a risk unit that ran at a time."""
    found = []
    for index in range(bisect_right(of_unit, at_ms, key=attrgetter("start_ms")) - 1, -1, -1):
        if of_unit[index].holds(at_ms):
            found.append(of_unit[index])
        if of_unit[index].start_ms < at_ms and not of_unit[index].overlaps:
            break  # those before it have ended before it started
    return found


def _with_overlaps(periods: list[Period]) -> list[Period]:
    periods.sort(key=attrgetter("start_ms"))
    marked, latest_end_ms = [], -math.inf
    for index, period in enumerate(periods):
        next_start_ms = periods[index + 1].start_ms if index + 1 < len(periods) else math.inf
        overlaps = latest_end_ms > period.start_ms or period.end_ms > next_start_ms
        marked.append(period._replace(overlaps=overlaps))
        latest_end_ms = max(latest_end_ms, period.end_ms)
    return marked
