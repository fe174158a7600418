"""How a hook stands with Binance: how far their clocks are apart, and when the next request may go.

All requests of a hook share it, those side by side and those of its next call. Sends nothing, and waits for
nothing itself.

https://developers.binance.com/docs/institutional_loan/general-info
"""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_binance_loan.exceptions import RateLimitedError

# Binance refuses a timestamp more than a second ahead of its own clock however wide recvWindow is, so the
# corrected clock stays a little behind.
_CLOCK_BIAS_MS = 250

_WEIGHT_LIMIT = 12_000  # a minute, of each endpoint, for an IP address
_WEIGHT_MINUTE_S = 60.0
_EASY_SHARE = 0.8


class Clock:
    """The time and the waiting that a hook uses; tests put their own in its place."""

    def now_ms(self) -> int:
        """Return the time in epoch milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds since some moment, whatever is done to the time of day."""
        return time.monotonic()

    def sleep(self, seconds: float, over: threading.Event) -> None:
        """Wait, in a worker, for so long or until it is over."""
        over.wait(seconds)

    async def asleep(self, seconds: float) -> None:
        """Wait, in an event loop."""
        await asyncio.sleep(seconds)


class Standing:
    """What Binance told a hook about its clock and its limits.

    A 429 at 12:00:00 with `Retry-After: 7` holds back every request of the hook until 12:00:07, by a clock
    that nobody sets. Past 80 % of a minute's weight, each further request waits for its share of what is
    left, so that the rest lasts a minute whether Binance counts by the clock's minutes or by the last 60 s.

    :param clock: the clock of this machine.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.clock_offset_ms = 0
        self.corrections = 0
        self.used_weight = 0  # of this minute, as Binance told last
        self._lock = threading.Lock()
        self._opens_at = -inf
        self._closed_by: RateLimitedError | None = None
        self._spacing_s: dict[str, float] = {}
        self._free_at: dict[str, float] = {}

    def now_ms(self) -> int:
        """Return the time by Binance's clock, as far as it is known."""
        return self.clock.now_ms() + self.clock_offset_ms

    @property
    def clock_ahead_s(self) -> float:
        """How far this machine's clock was ahead of Binance's when that was asked last."""
        return -(self.clock_offset_ms + _CLOCK_BIAS_MS) / 1000

    def correct_clock(self, sent_ms: int, received_ms: int, server_ms: int) -> None:
        """Take Binance's time as that of the midpoint of a round trip, by this machine's clock."""
        self.clock_offset_ms = server_ms - (sent_ms + received_ms) // 2 - _CLOCK_BIAS_MS
        self.corrections += 1

    def close_until(self, error: RateLimitedError) -> None:
        """Let no request go before the error's end."""
        opens_at = self.clock.monotonic() + (error.ends_at_ms - self.clock.now_ms()) / 1000
        with self._lock:
            if opens_at > self._opens_at:
                self._opens_at, self._closed_by = opens_at, error

    def closed_for_s(self) -> float:
        """Return for how long no request may go; not above 0 when one may."""
        return self._opens_at - self.clock.monotonic()

    def note_weight(self, path: str, used: int) -> None:
        """Take note of how much of the minute's weight an endpoint's requests have used."""
        with self._lock:
            self.used_weight = used
            if used > _WEIGHT_LIMIT * _EASY_SHARE:
                self._spacing_s[path] = _WEIGHT_MINUTE_S / max(1, _WEIGHT_LIMIT - used)
            else:
                self._spacing_s.pop(path, None)
                self._free_at.pop(path, None)

    def waits(self, path: str, max_wait_s: float) -> Iterator[float]:
        """Yield how long to wait, again and again, until a request may go.

        :raises RateLimitedError: this address is banned, or is to wait for longer than `max_wait_s`.
        """
        while (wait_s := self._wait_or_go(path, max_wait_s)) > 0:
            yield wait_s

    def _wait_or_go(self, path: str, max_wait_s: float) -> float:
        with self._lock:
            closed_s = self.closed_for_s()
            if self._closed_by and closed_s > 0 and (self._closed_by.banned or closed_s > max_wait_s):
                raise copy.copy(self._closed_by)
            now_s = self.clock.monotonic()
            wait_s = max(closed_s, self._free_at.get(path, now_s) - now_s)
            if wait_s <= 0 and path in self._spacing_s:
                self._free_at[path] = now_s + self._spacing_s[path]
            return wait_s
