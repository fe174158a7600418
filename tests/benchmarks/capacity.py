"""How much the servers of the other benchmarks can do, to show that these measure the clients.

    uv run python -m tests.benchmarks.capacity

Eight connections request the same full page of a hundred records, again and again, and only count the bytes;
then clients pull from the server. The table compares CPU time, the server's and each client's on its own: how
many records a second one core of it could do.
"""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from multiprocessing import Pipe
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.benchmarks.canned import serve_canned
from tests.benchmarks.clients import AIOHTTP, ASYNC, CONCURRENCY, PATH, PLAIN, SEQUENTIAL, headers, page_query
from tests.benchmarks.pull import pull_once
from tests.benchmarks.stage import END, PAGE_SIZE, process, row, serve_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

RECORDS = 5_000
LENGTH = timedelta(days=90)
# The sandbox allows a weight of 12,000 a minute, as Binance does, and clients slow down beyond four fifths.
REQUESTS = 1_000
ROUNDS = 3
CLIENTS = (PLAIN, AIOHTTP, SEQUENTIAL, ASYNC)
WIDTHS = (9, 16, *(max(18, len(name)) for name in CLIENTS))


def serve_and_report(ready: Connection, serve: Callable[..., None], *arguments: Any) -> None:
    """Serve in this process, and report the URLs, then the CPU seconds used whenever asked."""
    ours, theirs = Pipe()
    threading.Thread(target=serve, args=(theirs, *arguments), daemon=True).start()
    ready.send(ours.recv())
    while ready.recv() != "stop":
        ready.send(time.process_time())
    ours.send("stop")


async def request_pages(url: str, requests: int) -> None:
    """Request a full page so many times, on several connections."""
    address = urlsplit(url)
    end_ms = int(END.timestamp() * 1000)
    query = page_query(end_ms - int(LENGTH.total_seconds() * 1000), end_ms, 1)
    lines = {"Host": address.netloc, "Accept-Encoding": "gzip, deflate", **headers()}
    head = "\r\n".join(f"{name}: {value}" for name, value in lines.items())
    request = f"GET {PATH}?{query} HTTP/1.1\r\n{head}\r\n\r\n".encode()

    async def connect(times: int) -> None:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        for _ in range(times):
            writer.write(request)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert answer.startswith(b"http/1.1 200"), answer
            length = answer.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
        writer.close()

    await asyncio.gather(*(connect(requests // CONCURRENCY) for _ in range(CONCURRENCY)))


def measure(name: str, serve: Callable[..., None], *arguments: Any) -> None:
    with process(serve_and_report, serve, RECORDS, LENGTH, *arguments) as server:
        urls: list[str] = server.recv()

        def cpu_s() -> float:
            server.send("how long")
            return float(server.recv())

        def capacity() -> float:
            before_s = cpu_s()
            asyncio.run(request_pages(urls[0], REQUESTS))
            return REQUESTS * PAGE_SIZE / (cpu_s() - before_s)

        def speed(client: str) -> float:
            _, client_cpu_s, _ = pull_once(client, urls, LENGTH, RECORDS)
            return float(RECORDS / client_cpu_s)

        most = median(capacity() for _ in range(ROUNDS))
        speeds = {client: median(speed(client) for _ in range(ROUNDS)) for client in CLIENTS}
        row(
            name,
            f"{most:,.0f}",
            *(f"{one:,.0f} ({most / one:.1f} x)" for one in speeds.values()),
            widths=WIDTHS,
        )


def main() -> None:
    print("records a second of one core; in brackets, how much more the server could do than the client\n")
    row("", "server", *CLIENTS, widths=WIDTHS)
    measure("canned", serve_canned, [0.0])
    measure("sandbox", serve_sandbox)


if __name__ == "__main__":
    main()
