"""Pull a window of records: ours against what others write, in one run.

    uv run python -m tests.benchmarks.pull [RECORDS …]

All read the same records from the same server, without a round trip and with one of 20 ms, in turn; with
one of 150 ms, as from Europe to Tokyo, those that send requests concurrently. The table shows medians of
the rounds, and ratios of records a second within a round. The others count pages and check nothing; ours
slices time, reads active risk units twice, and so sends more requests.

A second table compares the CPU time of ours for rows as Binance documents them, and for unusual ones: another
order, numbers as texts, nulls, and a field that is not documented.
"""

from __future__ import annotations

import gc
import gzip
import json
import ssl
import sys
import time
from contextlib import ExitStack
from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import urlopen

from tests.benchmarks.canned import COUNTS_PATH, serve_canned
from tests.benchmarks.clients import (
    ASYNC,
    CLIENTS,
    DATASETS,
    HTTPX,
    LANDINGS,
    NESTED,
    ONE_BY_ONE,
    PLAIN,
    SYNC,
)
from tests.benchmarks.stage import END, local_s3, peak_mb, process, row, set_up_airflow

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

LENGTH = timedelta(days=99)
IDLE_MS = 2 * 24 * 3_600_000
ROUND_TRIPS_MS = (0, 20, 150)
LONGEST_FOR_ONE_BY_ONE_MS = 20  # else they take minutes
ROUNDS = 3
WIDTHS = (30, 10, 15, 9, 9, 12, 9, 9)


class Sample(NamedTuple):
    """One pull."""

    records: int
    seconds: float
    cpu_s: float
    requests: int
    connections: int


def run(ready: Connection, name: str, urls: list[str], length: timedelta, s3_url: str) -> None:
    """Pull from each URL that is received, and report the duration, the CPU time and the memory used."""
    end_ms = int(END.timestamp() * 1000)
    set_up_airflow(urls[0], s3_url)
    import airflow.sdk  # noqa: F401 - every client runs in a task

    client = {**CLIENTS, **LANDINGS, **DATASETS}[name]
    # Imports, and the first connections. With records, for which pyarrow imports pandas, if it is there.
    client(urls[0])(end_ms - IDLE_MS, end_ms)
    idle_mb = peak_mb()
    ready.send("ready")
    while (url := ready.recv()) != "stop":
        set_up_airflow(url, s3_url)
        pull = client(url)
        gc.collect()
        seconds, cpu_s = time.perf_counter(), time.process_time()
        pulled = pull(end_ms - int(length.total_seconds() * 1000), end_ms)
        seconds, cpu_s = time.perf_counter() - seconds, time.process_time() - cpu_s
        ready.send((pulled if isinstance(pulled, int) else len(pulled), seconds, cpu_s, peak_mb() - idle_mb))
        del pulled


def pull_once(name: str, urls: list[str], length: timedelta, records: int, s3_url: str = "") -> Any:
    """Pull once, in a process of its own, and return the seconds, the CPU seconds and the MB used."""
    with process(run, name, urls, length, s3_url) as client:
        client.recv()
        client.send(urls[0])
        pulled, *took = client.recv()
    assert pulled == records, (name, pulled)
    return took


def counted(url: str, certificate: Path | None = None) -> dict[str, int]:
    """Return what the server has counted since the last call.

    :param certificate: the file with its certificate, if it has one.
    """
    tls = ssl.create_default_context(cafile=certificate) if certificate else None
    with urlopen(url + COUNTS_PATH, context=tls) as answer:
        return json.loads(gzip.decompress(answer.read()))  # type: ignore[no-any-return]


def measure(records: int, names: list[str], s3_url: str) -> None:
    with (
        process(serve_canned, records, LENGTH, [ms / 1000 for ms in ROUND_TRIPS_MS]) as server,
        ExitStack() as stack,
    ):
        urls: list[str] = server.recv()
        clients: dict[str, Any] = {
            name: stack.enter_context(process(run, name, urls, LENGTH, s3_url)) for name in names
        }
        for client in clients.values():
            client.recv()
        memory: dict[str, float] = {}

        def pull(name: str, url: str) -> Sample:
            counted(url)
            clients[name].send(url)
            pulled, seconds, cpu_s, memory[name] = clients[name].recv()
            assert pulled == records, (name, pulled)
            return Sample(pulled, seconds, cpu_s, **counted(url))

        for name in names:
            pull(name, urls[0])  # so that the server has all answers ready
        for url, round_trip_ms in zip(urls, ROUND_TRIPS_MS, strict=True):
            if round_trip_ms > LONGEST_FOR_ONE_BY_ONE_MS:
                names = [name for name in names if name not in ONE_BY_ONE]
            rounds = [{name: pull(name, url) for name in names} for _ in range(ROUNDS)]
            print(f"\n{records:,} records, round trip {round_trip_ms} ms")
            row(
                "",
                "records/s",
                "CPU s / 10,000",
                "added MB",
                "requests",
                "connections",
                "x plain",
                "x httpx",
                widths=WIDTHS,
            )
            for name in names:
                samples = [one[name] for one in rounds]
                row(
                    name,
                    f"{median(records / one.seconds for one in samples):,.0f}",
                    f"{median(one.cpu_s for one in samples) * 10_000 / records:.2f}",
                    f"{memory[name]:.0f}",
                    f"{samples[-1].requests:,}",
                    samples[-1].connections,
                    *(
                        f"{median(one[mark].seconds / one[name].seconds for one in rounds):.2f}"
                        if mark in names
                        else "-"
                        for mark in (PLAIN, HTTPX)
                    ),
                    widths=WIDTHS,
                )


def measure_unusual(records: int, names: list[str], s3_url: str) -> None:
    with ExitStack() as stack:
        urls: list[str] = [
            stack.enter_context(process(serve_canned, records, LENGTH, [0.0], False, unusual)).recv()[0]
            for unusual in (False, True)
        ]
        print(f"\n{records:,} records, round trip 0 ms, CPU s / 10,000")
        row("", "documented", "unusual", "x", widths=(30, 12, 12, 9))
        for name in names:
            client = stack.enter_context(process(run, name, urls, LENGTH, s3_url))
            client.recv()
            rounds = []
            for _ in range(ROUNDS + 1):  # the first makes the servers' answers ready
                costs = []
                for url in urls:
                    client.send(url)
                    pulled, _, cpu_s, _ = client.recv()
                    assert pulled == records, (name, pulled)
                    costs.append(cpu_s)
                rounds.append(costs)
            documented, unusual = zip(*rounds[1:], strict=True)
            row(
                name,
                f"{median(documented) * 10_000 / records:.2f}",
                f"{median(unusual) * 10_000 / records:.2f}",
                f"{median(b / a for a, b in rounds[1:]):.2f}",
                widths=(30, 12, 12, 9),
            )


def main(sizes: list[int], names: list[str]) -> None:
    with local_s3() as s3_url:
        for size in sizes:
            measure(size, names, s3_url)
        measure_unusual(sizes[-1], [SYNC, ASYNC, *NESTED], s3_url)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [5_000, 50_000], list(CLIENTS))
