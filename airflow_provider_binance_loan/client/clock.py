"""The clock that the client goes by, and how far it is from Binance's."""

from __future__ import annotations

import asyncio
import time
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading

# Binance refuses a timestamp more than a second ahead of its own clock, however large recvWindow is, so the
# corrected clock stays a little behind.
# https://developers.binance.com/legacy-docs/institutional_loan/general-info
_MAX_AHEAD_MS = 1000
_BIAS_MS = 250
# How long a correction is taken for exact: clocks drift by a second a day, and people set them.
_FRESH_S = 600.0


class Clock:
    """The time of day, the monotonic time, and waits."""

    def now_ms(self) -> int:
        """Return the time of day in epoch milliseconds, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds on a clock that nobody can set."""
        return time.monotonic()

    def sleep(self, seconds: float, cancelled: threading.Event) -> None:
        """Wait, in a worker, for so many seconds or until the event is set."""
        cancelled.wait(seconds)

    async def asleep(self, seconds: float) -> None:
        """Wait, in an event loop, for so many seconds."""
        await asyncio.sleep(seconds)


SYSTEM_CLOCK = Clock()


class ClockSkew:
    """How far Binance's clock is ahead of this machine's: `offset_ms`, which is 0 until it is known.

    `passed_ms` is a time that Binance's clock has passed, whatever this machine's clock says: the last
    timestamp that it accepted, less the second by which that may be ahead. It is 0 until there is one.
    """

    def __init__(self) -> None:
        self.offset_ms = 0
        self.corrections = 0
        self.passed_ms = 0
        self._corrected_at = -inf

    @property
    def ahead_s(self) -> float:
        """How far this machine's clock was ahead at the last correction, in seconds."""
        return -(self.offset_ms + _BIAS_MS) / 1000

    def is_stale(self, clock: Clock) -> bool:
        """Return whether the last correction was more than ten minutes ago, or there was none."""
        return clock.monotonic() - self._corrected_at > _FRESH_S

    def correct(self, clock: Clock, sent_ms: int, received_ms: int, server_ms: int) -> None:
        """Take Binance's time as the time at the midpoint of a round trip, timed by this machine's clock."""
        self.offset_ms = server_ms - (sent_ms + received_ms) // 2 - _BIAS_MS
        self.corrections += 1
        self._corrected_at = clock.monotonic()

    def note_accepted(self, timestamp_ms: int) -> None:
        """Note that Binance has accepted a timestamp."""
        self.passed_ms = timestamp_ms - _MAX_AHEAD_MS
