"""The stage of a measurement: processes for the servers and for what is measured, and rows of tables."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import random
import resource
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

# Nothing else is imported up here, since it would count as memory of what is measured.
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from airflow_provider_binance_loan.sandbox.exchange import Exchange

END = datetime(2026, 3, 1, tzinfo=UTC)
UNITS = 10
PAGE_SIZE = 100


@contextmanager
def process(target: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """Run a function in a fresh process, and yield the pipe to it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    child.start()
    theirs.close()
    yield ours
    if child.is_alive():
        ours.send("stop")
    child.join()


def filled(records: int, length: timedelta) -> Exchange:
    """Return an exchange whose liquidations are drawn at random from the time before `END`."""
    from airflow_provider_binance_loan.sandbox.exchange import Exchange

    exchange, dice = Exchange(history=False), random.Random(records)
    end_ms, length_ms = int(END.timestamp() * 1000), int(length.total_seconds() * 1000)
    for group_id in range(1, UNITS + 1):
        exchange.add_unit(group_id)
    for number, back_ms in enumerate(sorted(dice.sample(range(1, length_ms), records), reverse=True)):
        exchange.add_liquidation(1 + number % UNITS, end_ms - back_ms, end_ms - back_ms + 60_000)
    return exchange


def serve_sandbox(ready: Connection, records: int, length: timedelta) -> None:
    """Serve a sandbox with records, and send its URL."""
    from airflow_provider_binance_loan.sandbox.server import SandboxServer

    with SandboxServer(filled(records, length)) as server:
        ready.send([server.url])
        ready.recv()


def serve_s3(ready: Connection) -> None:
    """Serve a local S3, and send its URL."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    ready.send("http://{}:{}".format(*server.get_host_and_port()))
    ready.recv()
    server.stop()


@contextmanager
def local_s3() -> Iterator[str]:
    """Serve a local S3 with the bucket `lake`, and yield its URL."""
    with process(serve_s3) as s3:
        url: str = s3.recv()
        s3_client(url).create_bucket(Bucket="lake")
        yield url


def s3_client(url: str) -> Any:
    """Return a client of a local S3."""
    from tests.support.connections import aws_client

    return aws_client(url)


def set_up_airflow(loan_url: str, s3_url: str = "") -> None:
    """Give this process an Airflow of its own, with connections to the local servers; before its import."""
    from tests.support.connections import aws_connection, binance_connection

    os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp())
    os.environ.update(
        AIRFLOW__CORE__UNIT_TEST_MODE="True",
        AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR",
        AIRFLOW_CONN_BINANCE_LOAN_DEFAULT=binance_connection(loan_url),
        AIRFLOW_CONN_AWS_DEFAULT=aws_connection(s3_url),
        AIRFLOW_CONN_HTTP_DEFAULT=json.dumps({"conn_type": "http", "host": loan_url}),
    )


def rss_mb() -> float:
    """Return the memory of this process."""
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


def peak_mb() -> float:
    """Return the most memory that this process ever had; `ru_maxrss` would count its parent's as well."""
    with open("/proc/self/status") as status:  # noqa: PTH123
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


def row(*cells: Any, widths: tuple[int, ...]) -> None:
    """Print a row of a table: the first cell to the left, the others to the right."""
    first, *others = (str(cell) for cell in cells)
    print(
        first.ljust(widths[0]),
        *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)),
        flush=True,
    )
