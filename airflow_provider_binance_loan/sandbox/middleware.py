"""What a request passes before it is answered: the weight limit, the bans, the faults, and the log."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from fastapi import Response

from airflow_provider_binance_loan.sandbox.exchange import MINUTE_MS, Exchange, LoggedRequest, write_json
from airflow_provider_binance_loan.sandbox.fault_delivery import deliver, other_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

WEIGHT_LIMIT = 12_000  # a minute, for each endpoint and address
BAN_MS = 2 * MINUTE_MS


def written(body: object, status: int = 200, **headers: str) -> Response:
    """Write an answer as Binance does."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(write_json(body), status, named, "application/json;charset=UTF-8")


class Gate:
    """Weigh and log each request, refuse it when its address was told to wait, and let faults happen to it.

    An address that was answered 429 or 418, and comes again before the end of its Retry-After (60 or 120
    seconds when there is none), is answered 418 and banned for two minutes from then.
    """

    def __init__(self, app: ASGIApp, exchange: Exchange, weights: Mapping[str, int]) -> None:
        self._app = app
        self._exchange = exchange
        self._weights = weights
        self._minute = 0
        self._used: Counter[tuple[str, str]] = Counter()  # by address and path, in this minute
        self._closed_until_ms: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer a request, or answer in its place."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, path, query = scope["method"], scope["path"], scope["query_string"].decode("latin-1")
        weight = self._weights.get(path, 0) if method == "GET" else 0
        came = LoggedRequest(method, path, query, 0, weight, self._exchange.now_ms())
        address = scope["client"][0] if scope["client"] else ""
        used = self._weigh(address, came) if weight else 0
        signed = path.startswith("/sapi/")
        refusal = self._refuse(address, came, used) if signed else None
        may_fail = refusal is None and (signed or path == "/api/v3/time")
        fault = self._exchange.next_fault(path) if may_fail else None
        if fault is None:
            await self._logged(refusal or self._app, came, used)(scope, receive, send)
            return
        if not fault.answered:
            self._exchange.log(came)
        self._close(address, fault.closed_until_ms(came.at_ms))
        answer = self._logged(other_answer(fault) or self._app, came, used)
        await deliver(fault, answer, scope, receive, send)

    def _logged(self, app: ASGIApp, came: LoggedRequest, used: int) -> ASGIApp:
        """Log a request when its answer begins, and tell the used weight."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            async def tell(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self._exchange.log(replace(came, status=message["status"]))
                    if came.weight:
                        told = (b"x-sapi-used-ip-weight-1m", str(used).encode())
                        message["headers"] = [*message["headers"], told]
                await send(message)

            await app(scope, receive, tell)

        return answer

    def _weigh(self, address: str, came: LoggedRequest) -> int:
        """Add a request's weight, and return what is used by now."""
        if self._minute != came.at_ms // MINUTE_MS:
            self._minute = came.at_ms // MINUTE_MS
            self._used.clear()
        self._used[address, came.path] += came.weight
        return self._used[address, came.path] + self._exchange.behaviour.used_weight

    def _refuse(self, address: str, came: LoggedRequest, used: int) -> Response | None:
        """Refuse a request that comes too early, or is too much."""
        if came.at_ms < self._closed_until_ms[address]:
            self._close(address, came.at_ms + BAN_MS)
            until_ms = self._closed_until_ms[address]
            msg = f"Way too many requests; IP banned until {until_ms}."
            return _wait(418, msg, math.ceil((until_ms - came.at_ms) / 1000))
        if used > WEIGHT_LIMIT:
            wait_s = 60 - came.at_ms // 1000 % 60
            self._close(address, came.at_ms + 1000 * wait_s)
            msg = f"Too much request weight used; current limit is {WEIGHT_LIMIT} per 1 MINUTE."
            return _wait(429, msg, wait_s)
        return None

    def _close(self, address: str, until_ms: int) -> None:
        self._closed_until_ms[address] = max(self._closed_until_ms[address], until_ms)


def _wait(status: int, msg: str, seconds: int) -> Response:
    return written({"code": -1003, "msg": msg}, status, Retry_After=str(seconds))
