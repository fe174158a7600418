"""What counts as a new liquidation, for sensor and triggers alike, and what they tell of it. Asks nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from airflow_provider_binance_loan.binance.fields import ForceLiquidation, is_running
from airflow_provider_binance_loan.binance.time_range import utc_datetime, epoch_ms
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import require_duration, require_aware, require_seconds, shown

WaitFor = Literal["started", "finished"]

# How much earlier to ask for liquidations that finish: Binance may filter on the start.
DEFAULT_LOOKBACK = timedelta(days=7)
# How far Binance's clock may be ahead: what it shows already must not wait for another look.
_AHEAD = timedelta(minutes=1)
# How long to wait between two looks, in seconds: each takes two requests at least, and too many invite a ban.
_LEAST_INTERVAL_S, _MOST_INTERVAL_S = 1, 7 * 24 * 60 * 60


def require_poll_interval(value: Any, name: str) -> None:
    """Return when a value may pass, in seconds, between two looks.

    :raises ConfigurationError: it is no number of seconds, too short or too long.
    """
    require_seconds(value, name, _LEAST_INTERVAL_S, _MOST_INTERVAL_S)


@dataclass(frozen=True)
class Watch:
    """Look for liquidations that started, or finished, at or after an instant.

    Waiting since 2026-03-01 09:00 UTC for started ones, the record of a liquidation that starts at 09:17
    counts; the event says `{"count": 1, "group_ids": [6], "start": "2026-03-01T09:17:…", "end": …}`, and an
    operator that is given this start and end pulls just that record.

    :param since: the instant, with time zone.
    :param wait_for: `"started"` or `"finished"`.
    :param risk_units: `"all"`, `"active"`, or ids.
    :param lookback: for finished ones, how long before `since` they may have started.
    """

    since: datetime
    wait_for: WaitFor = "started"
    risk_units: str | list[int] = "all"
    lookback: timedelta = DEFAULT_LOOKBACK

    def check(self) -> None:
        """Raise when a value is wrong.

        :raises ConfigurationError: the message names it.
        """
        require_aware(self.since, "since")
        if self.wait_for not in get_args(WaitFor):
            raise ConfigurationError(f"wait_for is {shown(self.wait_for)}: give 'started' or 'finished'.")
        require_duration(self.lookback, "lookback")
        require_aware(self._start, "since less lookback")

    @property
    def _start(self) -> datetime:
        return self.since - (self.lookback if self.wait_for == "finished" else timedelta())

    def window(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the window to ask for, up to the present."""
        return self._start, max(now, self.since) + _AHEAD

    def _counts(self, record: ForceLiquidation, since_ms: int) -> bool:
        """Tell whether a record is one that is waited for."""
        if self.wait_for == "started":
            return record["liquidationStartTime"] >= since_ms
        return not is_running(record) and (record["liquidationEndTime"] or 0) >= since_ms

    def event(self, records: Iterable[ForceLiquidation]) -> dict[str, Any] | None:
        """Return what to tell of the records that count, or None when there are none.

        It is small and JSON, and holds no e-mail address and no amount, as it goes through Airflow's
        database. `start` and `end` are a window, by the start of the records, that holds all of them.
        """
        since_ms = epoch_ms(self.since, "since")
        new = [record for record in records if self._counts(record, since_ms)]
        if not new:
            return None
        starts = [record["liquidationStartTime"] for record in new]
        return {
            "count": len(new),
            "group_ids": sorted({record["groupId"] for record in new}),
            "start": utc_datetime(min(starts)).isoformat(),
            "end": utc_datetime(max(starts) + 1).isoformat(),
        }
