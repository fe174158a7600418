"""A hook whose pulls go through one of the two HTTP clients."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, TypeVar

from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.plans import Plan
from airflow_provider_binance_loan.client.asynchronous import AsyncClient
from airflow_provider_binance_loan.client.sync import SyncClient
from airflow_provider_binance_loan.hooks import BinanceLoanHook

T = TypeVar("T")

KINDS = ["sync", "async"]


class HookClient:
    """A hook that uses the synchronous or the asynchronous client, so that one table covers both.

    :param kind: `"sync"` or `"async"`.
    :param arguments: those of the hook.
    """

    def __init__(self, kind: str, **arguments: Any) -> None:
        self.kind = kind
        self.hook = BinanceLoanHook(**arguments)

    def pull(self, start: datetime, end: datetime, **arguments: Any) -> list[Any]:
        """Return the liquidations of a window."""
        return self.read("force_liquidations", start, end, **arguments)

    def read(self, name: str, *window: datetime, **arguments: Any) -> list[Any]:
        """Return what the hook's method `get_` or `aget_` of a name returns."""
        if self.kind == "sync":
            return getattr(self.hook, f"get_{name}")(*window, **arguments)  # type: ignore[no-any-return]
        return asyncio.run(getattr(self.hook, f"aget_{name}")(*window, **arguments))  # type: ignore[no-any-return]


def run_plan(kind: str, plan: Plan[T], **arguments: Any) -> T:
    """Return the result of a plan that one of the clients runs for the default connection.

    :param kind: `"sync"` or `"async"`.
    :param plan: the plan.
    :param arguments: those of the client.
    """
    settings = BinanceLoanHook()._settings()

    async def run() -> T:
        async with AsyncClient(settings, **arguments) as client:
            return await client.run(plan)

    if kind == "async":
        return asyncio.run(run())
    with SyncClient(settings, **arguments) as client:
        return client.run(plan)


def one_by_one(*paths: str) -> Plan[list[Response]]:
    """Send requests, each when the answer to the one before has come, and return the answers."""
    answers = []
    for path in paths:
        answer = (yield Request(path)) or (yield None)
        assert answer
        answers.append(answer)
    return answers
