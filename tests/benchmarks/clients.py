"""The measured ways to pull a window: ours, and what others write. Each runs in a process of its own.

A client is made from a URL, and is called with the window; it returns the records, or their number.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import json
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tests.benchmarks.stage import PAGE_SIZE, UNITS

if TYPE_CHECKING:
    from collections.abc import Callable

    Pull = Callable[[int, int], list[Any] | int]

PATH = "/sapi/v1/margin/loan-group/force-liquidation"
CONCURRENCY = 8


# What others write. They count pages up to a short one, check nothing, and parse amounts as floats.


def page_query(start_ms: int, end_ms: int, page: int) -> str:
    """Return the signed query of a page."""
    from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_SECRET

    params = {
        "startTime": start_ms,
        "endTime": end_ms,
        "current": page,
        "size": PAGE_SIZE,
        "timestamp": time.time_ns() // 1_000_000,
    }
    query = urlencode(params)
    signature = hmac.digest(SANDBOX_API_SECRET.encode(), query.encode(), "sha256").hex()
    return f"{query}&signature={signature}"


def headers() -> dict[str, str]:
    from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_KEY

    return {"X-MBX-APIKEY": SANDBOX_API_KEY}


def requests_loop(url: str) -> Pull:
    import requests

    def pull(start_ms: int, end_ms: int) -> list[Any]:
        rows: list[Any] = []
        with requests.Session() as session:
            session.headers.update(headers())
            for page in itertools.count(1):
                answer = session.get(f"{url}{PATH}?{page_query(start_ms, end_ms, page)}", timeout=15)
                answer.raise_for_status()
                found = answer.json()["rows"]
                rows += found
                if len(found) < PAGE_SIZE:
                    break
        return rows

    return pull


async def read_concurrently(get: Callable[[int], Any]) -> list[Any]:
    """Read pages concurrently, each reader taking the next one, up to a short one."""
    pages, rows, done = itertools.count(1), [], False

    async def read() -> None:
        nonlocal done
        while not done:
            found = await get(next(pages))
            rows.extend(found)
            done = done or len(found) < PAGE_SIZE

    await asyncio.gather(*(read() for _ in range(CONCURRENCY)))
    return rows


def httpx_loop(url: str) -> Pull:
    import httpx

    async def pull(start_ms: int, end_ms: int) -> list[Any]:
        async with httpx.AsyncClient(headers=headers(), timeout=15) as client:

            async def get(page: int) -> list[Any]:
                answer = await client.get(f"{url}{PATH}?{page_query(start_ms, end_ms, page)}")
                answer.raise_for_status()
                return answer.json()["rows"]  # type: ignore[no-any-return]

            return await read_concurrently(get)

    return lambda start_ms, end_ms: asyncio.run(pull(start_ms, end_ms))


def aiohttp_loop(url: str) -> Pull:
    import aiohttp

    async def pull(start_ms: int, end_ms: int) -> list[Any]:
        async with aiohttp.ClientSession(headers=headers(), raise_for_status=True) as session:

            async def get(page: int) -> list[Any]:
                async with session.get(f"{url}{PATH}?{page_query(start_ms, end_ms, page)}") as answer:
                    return (await answer.json())["rows"]  # type: ignore[no-any-return]

            return await read_concurrently(get)

    return lambda start_ms, end_ms: asyncio.run(pull(start_ms, end_ms))


def http_operator(url: str) -> Pull:
    from airflow.providers.http.operators.http import HttpOperator

    def pull(start_ms: int, end_ms: int) -> list[Any]:
        pages = itertools.count(1)

        def following(answer: Any = None) -> dict[str, Any] | None:
            if answer is not None and len(answer.json()["rows"]) < PAGE_SIZE:
                return None
            return {"endpoint": f"{PATH}?{page_query(start_ms, end_ms, next(pages))}"}

        pull = HttpOperator(
            task_id="pull",
            method="GET",
            headers=headers(),
            pagination_function=following,
            response_filter=lambda answers: [row for answer in answers for row in answer.json()["rows"]],
            **(following() or {}),
        )
        rows: list[Any] = pull.execute({})
        return rows

    return pull


# Ours


def instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def sync_client(url: str) -> Pull:
    from airflow_provider_binance_loan.hooks import BinanceLoanHook

    return lambda start_ms, end_ms: BinanceLoanHook().get_force_liquidations(
        instant(start_ms), instant(end_ms)
    )


def sync_client_of(max_concurrency: int) -> Callable[[str], Pull]:
    """Return the synchronous client with so many concurrent requests."""

    def client(url: str) -> Pull:
        name = "AIRFLOW_CONN_BINANCE_LOAN_DEFAULT"
        extra = {"max_concurrency": max_concurrency}
        os.environ[name] = json.dumps(json.loads(os.environ[name]) | {"extra": extra})
        return sync_client(url)

    return client


def async_client(url: str) -> Pull:
    from airflow_provider_binance_loan.hooks import BinanceLoanHook

    return lambda start_ms, end_ms: asyncio.run(
        BinanceLoanHook().aget_force_liquidations(instant(start_ms), instant(end_ms))
    )


def landing(
    suffix: str,
    *,
    flatten: bool = False,
    risk_units: Any = "all",
    operator_name: str = "BinanceLoanForceLiquidationOperator",
) -> Callable[[str], Pull]:
    """Return the client that lands records in S3, as a task does."""

    def client(url: str) -> Pull:
        from airflow_provider_binance_loan import operators

        def pull(start_ms: int, end_ms: int) -> int:
            operator = getattr(operators, operator_name)(
                task_id="pull",
                start=instant(start_ms),
                end=instant(end_ms),
                s3_key=f"s3://lake/records{suffix}",
                flatten=flatten,
                risk_units=risk_units,
            )
            manifest = operator.execute({})
            return int(manifest["records"])

        return pull

    return client


PLAIN, HTTPX, AIOHTTP, HTTP_OPERATOR = (
    "requests loop",
    "httpx loop, 8 at once",
    "aiohttp loop, 8 at once",
    "HttpOperator",
)
SYNC, ASYNC = "ours, sync", "ours, async"
SEQUENTIAL, WIDE = "ours, sync, max_concurrency 1", "ours, sync, max_concurrency 64"
# Those that send one request after another.
ONE_BY_ONE = {PLAIN, HTTP_OPERATOR, SEQUENTIAL}
NESTED = {f"ours, to {suffix} in S3": landing(suffix) for suffix in (".jsonl", ".jsonl.gz", ".parquet")}
LANDINGS: dict[str, Callable[[str], Pull]] = {
    **NESTED,
    "ours, to three .jsonl.gz in S3": landing(".jsonl.gz", flatten=True),
    "ours, to three .parquet in S3": landing(".parquet", flatten=True),
    "ours, named units, to .jsonl in S3": landing(".jsonl", risk_units=range(1, UNITS + 1)),
}
# The windowed datasets to Parquet.
DATASETS: dict[str, Callable[[str], Pull]] = {
    name: landing(".parquet", operator_name=operator_name)
    for name, operator_name in {
        "force_liquidations": "BinanceLoanForceLiquidationOperator",
        "interest_history": "BinanceLoanInterestOperator",
        "liquidation_transfers": "BinanceLoanLiquidationTransferOperator",
        "borrow_repay": "BinanceLoanBorrowRepayOperator",
    }.items()
}
CLIENTS: dict[str, Callable[[str], Pull]] = {
    PLAIN: requests_loop,
    HTTPX: httpx_loop,
    AIOHTTP: aiohttp_loop,
    HTTP_OPERATOR: http_operator,
    SEQUENTIAL: sync_client_of(1),
    SYNC: sync_client,
    WIDE: sync_client_of(64),
    ASYNC: async_client,
    **NESTED,
}
