"""What an hour without a record costs: the CPU time of an operator's `execute` that lands it in S3.

    uv run python -m tests.benchmarks.hourly

The first execution of a process also imports the HTTP client and boto3, and reads boto3's descriptions of S3:
each task has a process of its own, so that is what an hourly task pays. The later ones have all of that. One
in some executions has a full garbage collection, so their mean is above their median.
"""

from __future__ import annotations

import time
from datetime import timedelta
from statistics import mean, median
from typing import TYPE_CHECKING

from tests.benchmarks.canned import serve_canned
from tests.benchmarks.stage import END, local_s3, process, row, set_up_airflow

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
ROUNDS = 3
EXECUTIONS = 12
WIDTHS = (12, 14, 14, 12)


def execute(ready: Connection, url: str, s3_url: str, suffix: str) -> None:
    """Land some hours without a record, and report the CPU seconds of each."""
    set_up_airflow(url, s3_url)
    from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator

    costs = []
    for hour in range(EXECUTIONS):
        start = END + timedelta(hours=hour)
        operator = BinanceLoanForceLiquidationOperator(
            task_id="pull",
            start=start,
            end=start + timedelta(hours=1),
            s3_key=f"s3://lake/hour{hour}{suffix}",
        )
        cpu_s = time.process_time()
        manifest = operator.execute({})
        costs.append(time.process_time() - cpu_s)
        assert manifest["records"] == 0, manifest
    ready.send(costs)


def main() -> None:
    with process(serve_canned, 10, timedelta(days=99), [0.0]) as server, local_s3() as s3_url:
        (url,) = server.recv()
        row("", "first, CPU s", "later, median", "their mean", widths=WIDTHS)
        for suffix in SUFFIXES:
            first: list[float] = []
            later: list[float] = []
            for _ in range(ROUNDS):
                with process(execute, url, s3_url, suffix) as task:
                    costs = task.recv()
                first.append(costs[0])
                later += costs[1:]
            row(
                suffix,
                *(f"{cost:.2f}" for cost in (median(first), median(later), mean(later))),
                widths=WIDTHS,
            )


if __name__ == "__main__":
    main()
