"""What many deferred sensors cost on one event loop: CPU, memory, requests, and the loop's lag.

    uv run python -m tests.benchmarks.triggers [TRIGGERS:CONNECTIONS …]

All start at once, as when a triggerer starts, and each polls once a minute, with TLS. The first minute, in
which they start, is shown apart from the two that follow. The share of a core excludes what the measurement
takes.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.benchmarks.canned import serve_canned
from tests.benchmarks.pull import counted
from tests.benchmarks.stage import process, row, rss_mb, set_up_airflow
from tests.support.certificates import new_certificate
from tests.support.connections import binance_connection

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

INTERVAL_S = 60
WIDTHS = (9, 12, 12, 15, 9, 9, 12, 10, 9, 9)


class Minutes(NamedTuple):
    """Some minutes of the loop: its lags in ms, and its share of a core."""

    median_ms: float
    high_ms: float
    longest_ms: float
    cpu: float


def wait_on_one_loop(ready: Connection, url: str, certificate: Path, count: int, connections: int) -> None:
    """Run the triggers, and report the first minute, the next two, the MB added, and the idle loop's CPU."""
    set_up_airflow(url)
    allow_open_files()
    for number in range(connections):
        connection = binance_connection(url, extra={"verify": str(certificate)})
        os.environ[f"AIRFLOW_CONN_ACCOUNT_{number}"] = connection
    from airflow_provider_binance_loan.hooks import BinanceLoanHook
    from airflow_provider_binance_loan.triggers import BinanceLoanForceLiquidationTrigger

    async def wait(number: int) -> None:
        since = (datetime.now(UTC) - timedelta(minutes=30, seconds=number)).isoformat()
        trigger = BinanceLoanForceLiquidationTrigger(
            since=since,
            poke_interval=INTERVAL_S,
            binance_loan_conn_id=f"account_{number % connections}",
        )
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

    async def measure() -> None:
        now = datetime.now(UTC)
        await BinanceLoanHook("account_0").aget_force_liquidations(now, now)  # imports
        ready.send((await observe(INTERVAL_S / 4)).cpu)
        before_mb = rss_mb()
        waiting = [asyncio.create_task(wait(number)) for number in range(count)]
        ready.send(await observe(INTERVAL_S))
        ready.send(await observe(2 * INTERVAL_S))
        ready.send(rss_mb() - before_mb)
        for task in waiting:
            task.cancel()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends

    asyncio.run(measure())


def allow_open_files() -> None:
    """Let this process have as many connections as the machine allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(cases: list[tuple[int, int]]) -> None:
    row("triggers", "connections", "minutes", "lag ms, median", "99th", "longest", "of one core", "requests",
        "added MB", "KB each", widths=WIDTHS)  # fmt: skip
    allow_open_files()
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "certificate.pem"
        certificate.write_bytes(new_certificate())
        for count, connections in cases:
            with (
                process(serve_canned, 0, timedelta(1), [0.0], False, False, certificate) as server,
                process(wait_on_one_loop, url := server.recv()[0], certificate, count, connections) as loop,
            ):
                idle_cpu = loop.recv()
                counted(url, certificate)
                seen = [("first", loop.recv(), counted(url, certificate))]
                seen.append(("2nd and 3rd", loop.recv(), counted(url, certificate)))
                added_mb = loop.recv()
            for minutes, observed, counts in seen:
                row(
                    f"{count:,}",
                    f"{connections:,}",
                    minutes,
                    f"{observed.median_ms:.2f}",
                    f"{observed.high_ms:.1f}",
                    f"{observed.longest_ms:.1f}",
                    f"{observed.cpu - idle_cpu:.1%}",
                    f"{counts['requests']:,}",
                    f"{added_mb:.0f}",
                    f"{added_mb * 1024 / count:.0f}",
                    widths=WIDTHS,
                )


def parse_case(text: str) -> tuple[int, int]:
    """Return the numbers of triggers and of connections of an argument such as `1000:10`."""
    count, _, connections = text.partition(":")
    return int(count), int(connections or count)


if __name__ == "__main__":
    main([parse_case(text) for text in sys.argv[1:]] or [(1_000, 1_000), (1_000, 10), (3_000, 3_000)])
