"""A hook whose pulls go through one of the two HTTP clients."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from airflow_provider_binance_loan.hooks import BinanceLoanHook

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
        if self.kind == "sync":
            return self.hook.get_force_liquidations(start, end, **arguments)
        return asyncio.run(self.hook.aget_force_liquidations(start, end, **arguments))
