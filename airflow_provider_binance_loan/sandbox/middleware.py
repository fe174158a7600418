"""ASGI middleware in front of the endpoints: the weight limit, bans, fault injection and the request log."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from fastapi import Response

from airflow_provider_binance_loan.sandbox.exchange import MINUTE_MS, Exchange, LoggedRequest, write_json
from airflow_provider_binance_loan.sandbox.fault_delivery import deliver, replacement_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

WEIGHT_LIMIT = 12_000  # a minute, for each endpoint and address
BAN_MS = 2 * MINUTE_MS


def json_response(body: object, status: int = 200, **headers: str) -> Response:
    """Return a response with a JSON body, as Binance formats it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(write_json(body), status, named, "application/json;charset=UTF-8")


class LimitsAndFaults:
    """Weighs and logs each request, refuses it while its address is blocked, and injects faults.

    After a 429 or 418, the address is blocked for the time in Retry-After (without it, for 60 or 120 s).
    If it sends a request earlier, the response is 418, and the address is banned for two minutes from then.
    """

    def __init__(self, app: ASGIApp, exchange: Exchange, weights: Mapping[str, int]) -> None:
        self._app = app
        self._exchange = exchange
        self._weights = weights
        self._minute = 0
        self._used: Counter[tuple[str, str]] = Counter()  # by address and path, in this minute
        self._blocked_until_ms: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the app, or respond in its place."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, path, query = scope["method"], scope["path"], scope["query_string"].decode("latin-1")
        weight = self._weights.get(path, 0) if method == "GET" else 0
        request = LoggedRequest(method, path, query, 0, weight, self._exchange.now_ms())
        address = scope["client"][0] if scope["client"] else ""
        used = self._add_weight(address, request) if weight else 0
        is_signed = path.startswith("/sapi/")
        refusal = self._refuse(address, request, used) if is_signed else None
        may_fail = refusal is None and (is_signed or path == "/api/v3/time")
        fault = self._exchange.next_fault(path) if may_fail else None
        if fault is None:
            await self._with_log(refusal or self._app, request, used)(scope, receive, send)
            return
        if not fault.responds:
            self._exchange.log(request)
        self._block(address, fault.blocked_until_ms(request.at_ms))
        response = self._with_log(replacement_response(fault) or self._app, request, used)
        await deliver(fault, response, scope, receive, send)

    def _with_log(self, app: ASGIApp, request: LoggedRequest, used: int) -> ASGIApp:
        """Wrap an app so that the request is logged, and the used weight added, when the response starts."""

        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_and_log(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self._exchange.log(replace(request, status=message["status"]))
                    if request.weight:
                        header = (b"x-sapi-used-ip-weight-1m", str(used).encode())
                        message["headers"] = [*message["headers"], header]
                await send(message)

            await app(scope, receive, send_and_log)

        return wrapped

    def _add_weight(self, address: str, request: LoggedRequest) -> int:
        """Count a request's weight, and return the weight used in this minute."""
        if self._minute != request.at_ms // MINUTE_MS:
            self._minute = request.at_ms // MINUTE_MS
            self._used.clear()
        self._used[address, request.path] += request.weight
        return self._used[address, request.path] + self._exchange.behaviour.used_weight

    def _refuse(self, address: str, request: LoggedRequest, used: int) -> Response | None:
        """Return the refusal of a request whose address is blocked or above the weight limit, else None."""
        if request.at_ms < self._blocked_until_ms[address]:
            self._block(address, request.at_ms + BAN_MS)
            until_ms = self._blocked_until_ms[address]
            msg = f"Way too many requests; IP banned until {until_ms}."
            return _limit_response(418, msg, math.ceil((until_ms - request.at_ms) / 1000))
        if used > WEIGHT_LIMIT:
            retry_after_s = 60 - request.at_ms // 1000 % 60
            self._block(address, request.at_ms + 1000 * retry_after_s)
            msg = f"Too much request weight used; current limit is {WEIGHT_LIMIT} per 1 MINUTE."
            return _limit_response(429, msg, retry_after_s)
        return None

    def _block(self, address: str, until_ms: int) -> None:
        self._blocked_until_ms[address] = max(self._blocked_until_ms[address], until_ms)


def _limit_response(status: int, msg: str, retry_after_s: int) -> Response:
    return json_response({"code": -1003, "msg": msg}, status, Retry_After=str(retry_after_s))
