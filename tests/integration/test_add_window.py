"""The column `window_end`: which pull a row is from, in every dataset, format and table."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_provider_binance_loan.operators import (
    BinanceLoanBorrowRepayOperator,
    BinanceLoanForceLiquidationOperator,
    BinanceLoanInterestOperator,
    BinanceLoanLiquidationTransferOperator,
)
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.support.clock import NOW
from tests.support.runs import run_context

pytestmark = pytest.mark.usefixtures("real_time")

OPERATORS = [
    BinanceLoanForceLiquidationOperator,
    BinanceLoanLiquidationTransferOperator,
    BinanceLoanInterestOperator,
    BinanceLoanBorrowRepayOperator,
]
END_MS = int(NOW.timestamp() * 1000)


@pytest.fixture(scope="module")
def world() -> Any:
    with SandboxServer(Exchange()) as server:
        yield server


@pytest.fixture
def lake(s3: Any, connect: Any, world: SandboxServer) -> Any:
    """The bucket's client; the default connection leads to the sandbox's generated world."""
    connect(host=world.url)
    return s3


def land(lake: Any, operator: type[Any], suffix: str, end: Any = NOW, **arguments: Any) -> dict[str, bytes]:
    """Return the objects that a day's pull lands, by their keys."""
    task = operator(task_id="pull", s3_bucket="lake", s3_key=f"a{suffix}", add_window=True, **arguments)
    task.execute(run_context(end - timedelta(days=1), end))
    listed = lake.list_objects_v2(Bucket="lake")["Contents"]
    bodies = {item["Key"]: lake.get_object(Bucket="lake", Key=item["Key"])["Body"].read() for item in listed}
    for key in bodies:
        lake.delete_object(Bucket="lake", Key=key)
    return bodies


@pytest.mark.parametrize("flatten", [False, True], ids=["records", "tables"])
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_each_row_says_which_pull_it_is_from(
    lake: Any, operator: type[Any], suffix: str, *, flatten: bool
) -> None:
    """The first column of each table is the end of the window; the same window gives the same bytes."""
    objects = land(lake, operator, suffix, flatten=flatten)
    rows = 0
    for body in objects.values():
        if suffix == ".parquet":
            table = pq.read_table(BytesIO(body))
            assert table.schema.field(0) == pa.field(
                "window_end", pa.timestamp("ms", tz="UTC"), nullable=False
            )
            assert set(table["window_end"].cast(pa.int64()).to_pylist()) <= {END_MS}
            rows += table.num_rows
        else:
            text = gzip.decompress(body) if suffix.endswith(".gz") else body
            for line in text.splitlines():
                assert next(iter(json.loads(line).items())) == ("window_end", END_MS)
                rows += 1
    assert rows > 0
    assert land(lake, operator, suffix, flatten=flatten) == objects


def test_a_record_that_two_windows_return_tells_them_apart(lake: Any) -> None:
    """With a lookback two pulls have the same liquidation, each under its own window."""
    pulls = [
        land(lake, BinanceLoanForceLiquidationOperator, ".jsonl", end, lookback=timedelta(days=1))["a.jsonl"]
        for end in (NOW, NOW + timedelta(hours=1))
    ]
    earlier, later = ([json.loads(line) for line in body.splitlines()] for body in pulls)
    keys = [{(row["groupId"], row["liquidationStartTime"]) for row in rows} for rows in (earlier, later)]
    assert keys[0] & keys[1]
    ends = ({row["window_end"] for row in rows} for rows in (earlier, later))
    assert list(ends) == [{END_MS}, {END_MS + 3_600_000}]


def test_a_field_of_that_name_is_kept(exchange: Exchange) -> None:
    """Should Binance send a field of that name, it gets an underscore."""
    start_ms = END_MS - 60_000
    exchange.add_liquidation(1, start_ms, start_ms + 1, window_end="theirs")
    (record,) = BinanceLoanForceLiquidationOperator(task_id="pull", add_window=True).execute(run_context())
    assert (record["window_end"], record["window_end_"]) == (END_MS, "theirs")
