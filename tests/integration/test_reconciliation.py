"""The operator that reconciles: a window of the sandbox's world through HTTP, and what was landed of it."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_binance_loan.operators import BinanceLoanReconciliationOperator
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.support.clock import NOW
from tests.support.runs import run_context

START = NOW - timedelta(days=2)


@pytest.fixture(scope="module")
def world() -> Any:
    with SandboxServer(Exchange()) as server:
        yield server


def test_it(connect: Any, world: Any) -> None:
    connect(host=world.url)
    op = BinanceLoanReconciliationOperator(task_id="r", max_xcom_records=9999)
    t = time.time()
    table = op.execute(run_context(START, NOW))
    print(time.time() - t, len(table))
    for k, v in sorted(Counter((r["check"], r["outcome"], (r["note"] or "")[:50] if r["outcome"] != "equal" else "") for r in table).items()):
        print(v, k)
