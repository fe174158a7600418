"""What the operator lands is, byte for byte, what version 0.1.0 landed.

The golden files hold JSON Lines alone: compressed bytes depend on the versions of zlib and pyarrow.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.support.landed import END, GOLDEN, START, fill
from tests.support.runs import run_context


@pytest.fixture
def lake(s3: Any, connect: Any) -> Any:
    """The bucket's client; the default connection leads to the golden records."""
    exchange = Exchange(clock=time.time, history=False)
    fill(exchange)
    with SandboxServer(exchange) as server:
        connect(host=server.url)
        yield s3


@pytest.mark.parametrize(
    ("flatten", "objects"),
    [
        (False, {"records": "loans/dt=1/a.jsonl"}),
        (
            True,
            {table: f"loans/{table}/dt=1/a.jsonl" for table in ("snapshots", "liabilities", "liquidations")},
        ),
    ],
    ids=["records", "tables"],
)
def test_lands_the_same_bytes(lake: Any, objects: dict[str, str], *, flatten: bool) -> None:
    """The objects of a window with rows of every kind hold what the golden files hold."""
    operator = BinanceLoanForceLiquidationOperator(
        task_id="pull", s3_bucket="lake", s3_key="loans/dt=1/a.jsonl", flatten=flatten
    )
    operator.execute(run_context(START, END))
    for name, key in objects.items():
        body = lake.get_object(Bucket="lake", Key=key)["Body"].read()
        assert body.decode() == (GOLDEN / f"{name}.jsonl").read_text(), name
    assert lake.list_objects_v2(Bucket="lake")["KeyCount"] == len(objects)
