"""The conditions that end a wait, and the one for liquidations: what is read, and the event to send."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, get_args

from airflow_provider_binance_loan.binance.datasets.force_liquidations import (
    FORCE_LIQUIDATIONS,
    is_finished,
    started_ms,
)
from airflow_provider_binance_loan.binance.risk_units import RiskUnits, RiskUnitsArgument, parse_risk_units
from airflow_provider_binance_loan.binance.time_range import TimeRange, utc_datetime, utc_text
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import described, require_duration, require_seconds
from airflow_provider_binance_loan.windows import shift_back

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_binance_loan.binance.fields import Record
    from airflow_provider_binance_loan.hooks import BinanceLoanHook
    from airflow_provider_binance_loan.shared_polls import SharedPolls

WaitFor = Literal["started", "finished"]

# Binance may select records by their start, so liquidations that finish are read from this much earlier.
DEFAULT_LOOKBACK = timedelta(days=7)
# Binance's clock may be ahead by this much; a record that it shows already must not wait for the next poll.
_CLOCK_AHEAD_MS = 60_000
# A poll takes two requests or more, and too many requests invite a ban.
_MIN_INTERVAL_S, _MAX_INTERVAL_S = 1, 7 * 24 * 60 * 60


class Poll(NamedTuple):
    """What one poll found.

    :param event: the event that ends the wait; None to wait on.
    :param reason: why to wait on, for a line in the log.
    """

    event: dict[str, Any] | None
    reason: str


class Condition(Protocol):
    """What a sensor, or its trigger, waits for. Its text completes "Waiting for"."""

    def poll(self, hook: BinanceLoanHook) -> Poll:
        """Read what there is, and return whether it ends the wait.

        :raises BinanceLoanError: one of its subclasses, by what to do.
        """

    async def apoll(self, polls: SharedPolls) -> Poll:
        """Return what :meth:`poll` returns, by a poll that others may share, without blocking the loop."""


@dataclass(frozen=True, kw_only=True)
class LiquidationCondition:
    """Liquidations that started, or finished, at or after an instant.

    Waiting for liquidations that start at or after 2026-03-01 09:00 UTC, the record of one that starts at
    09:17 matches. Its event is `{"count": 1, "group_ids": [6], "start": "2026-03-01T09:17:…", "end": …}`, and
    an operator that is given this start and end pulls that record alone.

    :param since_ms: the instant, in epoch milliseconds, UTC.
    :param wait_for: `"started"` or `"finished"`.
    :param lookback_ms: how long before `since_ms` a matching liquidation may have started, at least: one that
        started earlier matches too, where Binance or a shared poll returns it.
    :param risk_units: the risk units to read.
    """

    since_ms: int
    wait_for: WaitFor = "started"
    lookback_ms: int = 0
    risk_units: RiskUnits = "all"

    _NOTHING: ClassVar[str] = "there is no such liquidation yet."

    def __str__(self) -> str:
        units = self.risk_units if isinstance(self.risk_units, str) else ", ".join(map(str, self.risk_units))
        since = utc_text(self.since_ms)
        return f"liquidations that {self.wait_for} at or after {since}, risk units: {units}"

    def poll(self, hook: BinanceLoanHook) -> Poll:
        """Read the liquidations, and return whether one matches."""
        window = self.window(hook.now_ms)
        event = self.event(hook.iter_window(FORCE_LIQUIDATIONS.for_polls, window, self.risk_units))
        if event is None and hook.now_ms > window.end_ms:  # the clock, which was behind, has been corrected
            window = self.window(hook.now_ms)
            event = self.event(hook.iter_window(FORCE_LIQUIDATIONS.for_polls, window, self.risk_units))
        return Poll(event, self._NOTHING)

    async def apoll(self, polls: SharedPolls) -> Poll:
        """Return what :meth:`poll` returns, without blocking the event loop."""
        found = await polls.liquidations(self.window(polls.now_ms), self.risk_units)
        return Poll(self.event(found.records), self._NOTHING)

    def window(self, now_ms: int) -> TimeRange:
        """Return the window that holds every matching record at a time, in epoch milliseconds."""
        return TimeRange(self.since_ms - self.lookback_ms, max(now_ms, self.since_ms) + _CLOCK_AHEAD_MS)

    def event(self, records: Iterable[Record]) -> dict[str, Any] | None:
        """Return the event for the records that match, or None where none does.

        The event goes through Airflow's database, so it is small JSON without e-mail addresses and amounts.
        Its `start` and `end`, ISO 8601 in UTC, are a window that holds all matching records.
        """
        matching = [record for record in records if self._matches(record)]
        if not matching:
            return None
        starts_ms = [started_ms(record) for record in matching]
        return {
            "count": len(matching),
            "group_ids": sorted({record["groupId"] for record in matching}),
            "start": utc_datetime(min(starts_ms)).isoformat(),
            "end": utc_datetime(max(starts_ms) + 1).isoformat(),
        }

    def _matches(self, record: Record) -> bool:
        if self.wait_for == "started":
            return started_ms(record) >= self.since_ms
        return is_finished(record) and record["liquidationEndTime"] >= self.since_ms


def parse_liquidation_condition(
    *, since_ms: int, wait_for: Any, lookback: Any, risk_units: RiskUnitsArgument
) -> LiquidationCondition:
    """Return the condition that the arguments of a sensor or a trigger describe.

    :param since_ms: the instant, in epoch milliseconds, UTC.
    :param wait_for: `"started"` or `"finished"`.
    :param lookback: a timedelta; used for liquidations that finish.
    :param risk_units: as the hook takes it.
    :raises ConfigurationError: an argument is wrong, or `since_ms` less `lookback` is before 1970.
    """
    if wait_for not in get_args(WaitFor):
        raise ConfigurationError(f"Give wait_for as 'started' or 'finished': it is {described(wait_for)}.")
    require_duration(lookback, "lookback")
    start_ms = shift_back(since_ms, lookback, "since") if wait_for == "finished" else since_ms
    return LiquidationCondition(
        since_ms=since_ms,
        wait_for=wait_for,
        lookback_ms=since_ms - start_ms,
        risk_units=parse_risk_units(risk_units),
    )


def require_poll_interval(value: Any, name: str) -> None:
    """Require a number of seconds that may pass between two polls: from one second to a week.

    :raises ConfigurationError: it is not; the message calls it `name`.
    """
    require_seconds(value, name, _MIN_INTERVAL_S, _MAX_INTERVAL_S)
