"""What many deferred sensors cost on one event loop: CPU, memory, and the loop's lag.

    uv run python tests/benchmarks/triggers.py [TRIGGERS …]

Each trigger looks once a minute at a local Binance in a process of its own; measured over two minutes, after
a first minute in which all of them start.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.dirname(__file__))  # noqa: PTH120 - before any import that costs memory

from growth import process, serve_binance

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

INTERVAL_S = 60


def rss_mb() -> float:
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


def watch(ready: Connection, loan: str, count: int) -> None:
    """Run the triggers, and report lags in ms, CPU share, and memory added in MB."""
    os.environ.update(
        AIRFLOW_HOME=tempfile.mkdtemp(),
        AIRFLOW__CORE__UNIT_TEST_MODE="True",
        AIRFLOW_CONN_BINANCE_LOAN_DEFAULT=loan,
    )
    from airflow_provider_binance_loan.triggers import BinanceLoanForceLiquidationTrigger

    async def wait() -> None:
        since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        trigger = BinanceLoanForceLiquidationTrigger(since=since, poke_interval=INTERVAL_S)
        async for _ in trigger.run():
            raise AssertionError("there is nothing to fire for")

    async def lags(seconds: float) -> list[float]:
        late, end = [], time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            await asyncio.sleep(0.01)
            late.append((time.perf_counter() - now - 0.01) * 1000)
        return sorted(late)

    async def measure() -> Any:
        one = asyncio.create_task(wait())  # imports and the first connection
        await asyncio.sleep(2)
        before = rss_mb()
        waiting = [asyncio.create_task(wait()) for _ in range(count - 1)]
        await asyncio.sleep(INTERVAL_S)
        cpu = time.process_time()
        late = await lags(2 * INTERVAL_S)
        cpu = (time.process_time() - cpu) / (2 * INTERVAL_S)
        added = rss_mb() - before
        for task in (one, *waiting):
            task.cancel()
        failed = await asyncio.gather(one, *waiting, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in failed), failed
        return late[len(late) // 2], late[len(late) * 99 // 100], late[-1], cpu, added

    ready.send(asyncio.run(measure()))


def main(counts: list[int]) -> None:
    print(
        f"{'triggers':>8} {'lag ms, median':>15} {'99th':>7} {'longest':>8} {'of one core':>12} "
        f"{'added MB':>9} {'KB each':>8}"
    )
    for count in counts:
        with process(serve_binance, 0) as loan, process(watch, loan, count) as result:
            median, high, longest, cpu, added = result
        print(
            f"{count:>8,} {median:>15.2f} {high:>7.1f} {longest:>8.1f} {cpu:>12.1%} {added:>9.1f} "
            f"{added * 1024 / count:>8.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main([int(count) for count in sys.argv[1:]] or [100, 1_000])
