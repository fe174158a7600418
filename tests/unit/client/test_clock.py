"""The clock, and how far it is from Binance's."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from airflow_provider_binance_loan.client.clock import SYSTEM_CLOCK, ClockSkew
from tests.support.clock import NOW, FakeClock

NOW_MS = int(NOW.timestamp() * 1000)


class TestSystemClock:
    """The machine's own clock."""

    def test_gives_the_time(self) -> None:
        """The time of day is in milliseconds, and the monotonic time in seconds."""
        before_s, before = time.time(), time.monotonic()
        now_ms, now = SYSTEM_CLOCK.now_ms(), SYSTEM_CLOCK.monotonic()
        assert before_s * 1000 - 1 <= now_ms <= time.time() * 1000
        assert before <= now <= time.monotonic()

    def test_waits(self) -> None:
        """Both waits take the time that they are given."""
        before = time.monotonic()
        SYSTEM_CLOCK.sleep(0.02, threading.Event())
        asyncio.run(SYSTEM_CLOCK.asleep(0.02))
        assert time.monotonic() - before >= 0.04

    def test_a_wait_ends_when_it_is_cancelled(self) -> None:
        """A worker's wait ends at once when its event is set."""
        cancelled = threading.Event()
        cancelled.set()
        before = time.monotonic()
        SYSTEM_CLOCK.sleep(60, cancelled)
        assert time.monotonic() - before < 10


class TestClockSkew:
    """The difference to Binance's clock."""

    def test_is_none_at_first(self) -> None:
        """Until Binance has told its time, this machine's is taken for it."""
        skew = ClockSkew()
        assert (skew.offset_ms, skew.corrections) == (0, 0)

    @pytest.mark.parametrize(
        ("sent_ms", "received_ms", "server_ms", "offset_ms", "ahead_s"),
        [
            (0, 0, 0, -250, 0),
            (0, 4000, 2000, -250, 0),
            (0, 4000, 62_000, 59_750, -60),
            (0, 4000, -58_000, -60_250, 60),
            (1000, 1001, 1000, -250, 0),  # half a millisecond is rounded
        ],
    )
    def test_takes_the_time_as_that_of_the_midpoint(
        self,
        sent_ms: int,
        received_ms: int,
        server_ms: int,
        offset_ms: int,
        ahead_s: float,
    ) -> None:
        """The corrected clock is that of the midpoint of the round trip, less 250 ms."""
        skew = ClockSkew()
        skew.correct(FakeClock(), NOW_MS + sent_ms, NOW_MS + received_ms, NOW_MS + server_ms)
        assert (skew.offset_ms, skew.ahead_s) == (offset_ms, ahead_s)

    def test_a_correction_replaces_the_last_one(self) -> None:
        """Corrections do not add up, and are counted."""
        skew = ClockSkew()
        for number, server_ms in enumerate((60_000, 1000), 1):
            skew.correct(FakeClock(), NOW_MS, NOW_MS, NOW_MS + server_ms)
            assert (skew.offset_ms, skew.corrections) == (server_ms - 250, number)
