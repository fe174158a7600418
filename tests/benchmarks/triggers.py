"""What many deferred sensors cost on one event loop: CPU, memory, and the loop's lag.

    uv run python -m tests.benchmarks.triggers [TRIGGERS …]

All start at once, as when a triggerer starts, and each polls once a minute. The first minute, in which they
start, is shown apart from the two that follow. The share of a core excludes what the measurement takes.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from tests.benchmarks.canned import serve_canned
from tests.benchmarks.stage import process, row, rss_mb, set_up_airflow

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

INTERVAL_S = 60
WIDTHS = (9, 12, 15, 9, 9, 12, 10, 9)


class Minutes(NamedTuple):
    """Some minutes of the loop: its lags in ms, and its share of a core."""

    median_ms: float
    high_ms: float
    longest_ms: float
    cpu: float


def wait_on_one_loop(ready: Connection, url: str, count: int) -> None:
    """Run the triggers, and report the first minute, the next two, the MB added, and the idle loop's CPU."""
    set_up_airflow(url)
    from airflow_provider_binance_loan.hooks import BinanceLoanHook
    from airflow_provider_binance_loan.triggers import BinanceLoanForceLiquidationTrigger

    async def wait() -> None:
        since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        trigger = BinanceLoanForceLiquidationTrigger(since=since, poke_interval=INTERVAL_S)
        async for _ in trigger.run():
            raise AssertionError("there is nothing to fire for")

    async def observe(seconds: float) -> Minutes:
        late_ms, end, cpu_s = [], time.perf_counter() + seconds, time.process_time()
        while (now := time.perf_counter()) < end:
            await asyncio.sleep(0.01)
            late_ms.append((time.perf_counter() - now - 0.01) * 1000)
        late_ms.sort()
        return Minutes(
            late_ms[len(late_ms) // 2],
            late_ms[len(late_ms) * 99 // 100],
            late_ms[-1],
            (time.process_time() - cpu_s) / seconds,
        )

    async def measure() -> tuple[Minutes, Minutes, float, float]:
        now = datetime.now(UTC)
        await BinanceLoanHook().aget_force_liquidations(now, now)  # imports, and the first connection
        idle = await observe(INTERVAL_S / 4)
        before_mb = rss_mb()
        waiting = [asyncio.create_task(wait()) for _ in range(count)]
        first = await observe(INTERVAL_S)
        later = await observe(2 * INTERVAL_S)
        added_mb = rss_mb() - before_mb
        for task in waiting:
            task.cancel()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
        return first, later, added_mb, idle.cpu

    ready.send(asyncio.run(measure()))


def main(counts: list[int]) -> None:
    row("triggers", "minutes", "lag ms, median", "99th", "longest", "of one core", "added MB", "KB each",
        widths=WIDTHS)  # fmt: skip
    for count in counts:
        with (
            process(serve_canned, 0, timedelta(1), [0.0]) as server,
            process(wait_on_one_loop, server.recv()[0], count) as loop,
        ):
            first, later, added_mb, idle_cpu = loop.recv()
        for minutes, seen in (("first", first), ("2nd and 3rd", later)):
            row(
                f"{count:,}",
                minutes,
                f"{seen.median_ms:.2f}",
                f"{seen.high_ms:.1f}",
                f"{seen.longest_ms:.1f}",
                f"{seen.cpu - idle_cpu:.1%}",
                f"{added_mb:.0f}",
                f"{added_mb * 1024 / count:.0f}",
                widths=WIDTHS,
            )


if __name__ == "__main__":
    main([int(count) for count in sys.argv[1:]] or [100, 1_000, 3_000])
