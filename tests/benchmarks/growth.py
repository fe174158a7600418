"""Peak memory and time of a pull to S3, by format and size, records spread evenly over three years.

    uv run python tests/benchmarks/growth.py [RECORDS …]

The local Binance and the local S3 each run in a process of their own, and so does each pull. It fails when a
pull takes more than 60 MB beyond what the idle process has.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

END = datetime(2026, 3, 1, tzinfo=UTC)
START = END - timedelta(days=3 * 365)
BOUND_MB = 60
# What is landed: the end of the key, and whether as three tables.
FORMATS = [
    (".jsonl.gz", False),
    (".jsonl", False),
    (".parquet", False),
    (".jsonl.gz", True),
    (".parquet", True),
]


def serve_binance(ready: Connection, records: int) -> None:
    from airflow_provider_binance_loan.sandbox.exchange import Exchange
    from airflow_provider_binance_loan.sandbox.server import SandboxServer, airflow_connection

    exchange = Exchange(history=False)
    start_ms, length_ms = int(START.timestamp() * 1000), int((END - START).total_seconds() * 1000)
    for group in range(1, 11):
        exchange.add_unit(group)
    for number in range(records):
        at_ms = start_ms + length_ms * number // records
        exchange.add_liquidation(1 + number % 10, at_ms, at_ms + 60_000)
    with SandboxServer(exchange) as server:
        ready.send(airflow_connection(server.url))
        ready.recv()


def serve_s3(ready: Connection) -> None:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    ready.send("http://{}:{}".format(*server.get_host_and_port()))
    ready.recv()
    server.stop()


def pull(ready: Connection, loan: str, s3_url: str, suffix: str, flatten: bool) -> None:
    """Report the memory of the idle process, then what the pull adds to it at its peak, and its time."""
    extra = {"endpoint_url": s3_url, "region_name": "us-east-1"}
    aws = {"conn_type": "aws", "login": "testing", "password": "testing", "extra": extra}
    os.environ.update(
        AIRFLOW_HOME=tempfile.mkdtemp(),
        AIRFLOW__CORE__UNIT_TEST_MODE="True",
        AIRFLOW_CONN_BINANCE_LOAN_DEFAULT=loan,
        AIRFLOW_CONN_AWS_DEFAULT=json.dumps(aws),
    )
    from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator

    def operator(start: datetime) -> Any:
        return BinanceLoanForceLiquidationOperator(
            task_id="pull", start=start, end=END, s3_key=f"s3://lake/records{suffix}", flatten=flatten
        )

    operator(END - timedelta(milliseconds=1)).execute({"dag_run": None})  # imports and first connections
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    manifest = operator(START).execute({"dag_run": None})
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    written = manifest.get("tables", {"": manifest}).values()
    size = sum(one["bytes"] for one in written)
    ready.send((manifest["records"], size, idle / 1024, peak / 1024, seconds))


@contextmanager
def process(target: Callable[..., None], *arguments: Any) -> Iterator[Any]:
    """Run a function in a fresh process, and yield the first thing that it reports."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    child.start()
    theirs.close()
    yield ours.recv()
    if child.is_alive():
        ours.send("stop")
    child.join()


def main(sizes: list[int]) -> None:
    import boto3

    os.environ.update(AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing")
    header = f"{'records':>9} {'format':>9} {'tables':>6} {'object MB':>10} {'idle MB':>8} {'added MB':>9}"
    print(f"{header} {'seconds':>8} {'records/s':>10}")
    most = 0.0
    with process(serve_s3) as s3_url:
        boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1").create_bucket(Bucket="lake")
        for size in sizes:
            with process(serve_binance, size) as loan:
                for suffix, flatten in FORMATS:
                    with process(pull, loan, s3_url, suffix, flatten) as result:
                        records, written, idle, peak, seconds = result
                    most = max(most, peak - idle)
                    print(
                        f"{records:>9,} {suffix:>9} {3 if flatten else 1:>6} {written / 2**20:>10.1f} "
                        f"{idle:>8.0f} {peak - idle:>9.1f} {seconds:>8.1f} {records / seconds:>10,.0f}",
                        flush=True,
                    )
    print(f"\nmost added: {most:.1f} MB, of {BOUND_MB} MB")
    if most > BOUND_MB:
        raise SystemExit(1)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [10_000, 250_000])
