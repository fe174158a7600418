"""The time of the tests: an instant that they agree on, and a clock that moves only when someone waits."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class FakeClock:
    """A clock that moves only when someone waits on it, or sets its time of day."""

    def __init__(self, now: datetime = NOW) -> None:
        self.ms = int(now.timestamp() * 1000)
        self.waits: list[float] = []
        self._waited = 0.0

    def monotonic(self) -> float:
        return self._waited

    def now_ms(self) -> int:
        return self.ms

    def time(self) -> float:
        return self.ms / 1000

    def sleep(self, seconds: float, cancelled: threading.Event | None = None) -> None:
        self.waits.append(seconds)
        self._waited += seconds
        self.ms += round(seconds * 1000)

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)
