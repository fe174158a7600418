"""The HTTP server of the sandbox: Binance's endpoints, as strict as the real ones, admin calls, a dashboard.

`endpoints.py` checks requests, `exchange.py` makes the content of the responses, and `middleware.py` limits
requests and injects faults.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_binance_loan.sandbox.dashboard import (
    HTML,
    HTML_HEADERS,
    MOST_MINUTES,
    dashboard_data,
    may_post,
)
from airflow_provider_binance_loan.sandbox.endpoints import (
    ENDPOINTS,
    Refusal,
    check_request,
    is_whole,
    require_no_params,
)
from airflow_provider_binance_loan.sandbox.exchange import (
    SANDBOX_API_KEY,
    SANDBOX_API_SECRET,
    ApiKey,
    Behaviour,
    Exchange,
)
from airflow_provider_binance_loan.sandbox.extra import install_advice
from airflow_provider_binance_loan.sandbox.faults import Fault
from airflow_provider_binance_loan.sandbox.rows import format_ltv

try:
    import uvicorn
    from fastapi import FastAPI, Request, Response
    from fastapi.middleware.gzip import GZipMiddleware
    from fastapi.responses import HTMLResponse
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    from airflow_provider_binance_loan.sandbox.middleware import LimitsAndFaults, json_response
except ImportError as error:
    raise ImportError(install_advice(error.name or str(error)), name=error.name) from error

if TYPE_CHECKING:
    from types import TracebackType

MAX_QUEUED = 10_000  # faults that one admin call may queue


# The application


def create_app(exchange: Exchange, host: str) -> FastAPI:  # noqa: C901 - a small function for each route
    """Return the application that serves an exchange on a host."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=1)
    weights = {path: endpoint.weight for path, endpoint in ENDPOINTS.items()}
    app.add_middleware(LimitsAndFaults, exchange=exchange, weights=weights)  # added last, so it runs first

    @app.exception_handler(Refusal)
    async def refuse(_: Request, refusal: Refusal) -> Response:
        return json_response({"code": refusal.code, "msg": refusal.msg}, refusal.status)

    @app.get("/api/v3/ping")
    async def ping(request: Request) -> Response:
        require_no_params(request.scope["query_string"])
        return json_response({})

    @app.get("/api/v3/time")
    async def server_time(request: Request) -> Response:
        require_no_params(request.scope["query_string"])
        return json_response({"serverTime": exchange.now_ms()})

    @app.api_route("/sapi/{path:path}", methods=["GET", "POST", "PUT", "DELETE"])
    async def sapi(request: Request) -> Response:
        path, query = request.scope["path"], request.scope["query_string"]
        endpoint = ENDPOINTS.get(path)
        if endpoint is None or request.method != "GET":
            return json_response({"code": -1, "msg": f"There is no {request.method} {path}."}, 404)
        key, values = check_request(exchange, endpoint, request.headers.get("X-MBX-APIKEY"), query)
        if exchange.behaviour.latency_s:
            with suppress(asyncio.CancelledError):  # a server that is stopping responds at once
                await asyncio.sleep(exchange.behaviour.latency_s)
        if endpoint.respond is None:
            return json_response(_restrictions(key))
        more = {"key": key} if endpoint.takes_key else {}
        return json_response(endpoint.respond(exchange, **values, **more))

    @app.get("/")
    async def dashboard() -> Response:
        return HTMLResponse(HTML, headers=HTML_HEADERS)

    @app.get("/sandbox/watch")
    async def watch(request: Request) -> Response:
        minutes = request.query_params.get("minutes", str(MOST_MINUTES))
        if not (is_whole(minutes) and 1 <= int(minutes) <= MOST_MINUTES):
            msg = f"minutes must be a number from 1 to {MOST_MINUTES}, not {minutes!r}."
            return json_response({"error": msg}, 400)
        return json_response(dashboard_data(exchange, int(minutes)))

    @app.get("/sandbox/state")
    async def state() -> Response:
        return json_response(exchange.state() | {"behaviour": asdict(exchange.behaviour)})

    @app.post("/sandbox/{action}")
    async def admin(request: Request, action: str) -> Response:
        if not may_post(request.headers, host):
            msg = "Open the dashboard at the URL that `serve` prints: no other web page may post."
            return json_response({"error": msg}, 403)
        try:
            return json_response(
                _run_action(exchange, action, dict(request.query_params), await request.body())
            )
        except LookupError as error:
            return json_response({"error": str(error)}, 404)
        except ValueError as error:
            return json_response({"error": str(error)}, 400)

    return app


def _restrictions(key: ApiKey) -> dict[str, object]:
    return {
        "ipRestrict": key.ip_restrict,
        "createTime": 1_735_689_600_000,
        "enableReading": key.can_read,
        "enableWithdrawals": key.enable_withdrawals,
        "enableInternalTransfer": False,
        "enableMargin": False,
        "enableFutures": False,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
        "enableSpotAndMarginTrading": False,
        "enablePortfolioMarginTrading": False,
    }


def _set_behaviour(exchange: Exchange, **values: Any) -> object:
    """Change the given fields of the behaviour, and return all of them."""
    exchange.behaviour = replace(exchange.behaviour, **values)
    return asdict(exchange.behaviour)


def _queue_fault(exchange: Exchange, times: object = 1, **values: Any) -> object:
    """Queue a fault as often as `times` says, and return how many faults are queued."""
    if type(times) is not int or not 1 <= times <= MAX_QUEUED:
        msg = f"times must be a number from 1 to {MAX_QUEUED}, not {times!r}."
        raise ValueError(msg)
    if "kind" not in values:
        msg = "Give a kind: a fault has no default."
        raise ValueError(msg)
    exchange.fail(*[Fault(**values)] * times)
    return {"faults": exchange.state()["faults"]}


_JSON_ACTIONS = {"behaviour": _set_behaviour, "fault": _queue_fault}
_ACTIONS = {
    "liquidate": ("group_id",),
    "push": ("group_id", "ltv", "seconds"),
    "finish": ("group_id", "start_ms"),
    "close": ("group_id",),
    "behaviour": tuple(one.name for one in fields(Behaviour)),
    "fault": (*(one.name for one in fields(Fault)), "times"),
}


def _parse_numbers(arguments: dict[str, Any]) -> dict[str, int]:
    for name, value in arguments.items():
        if not is_whole(str(value)):
            msg = f"{name} must be a whole number, not {value!r}."
            raise ValueError(msg)
    return {name: int(value) for name, value in arguments.items()}


def _push(exchange: Exchange, **arguments: Any) -> object:
    """Push a unit, and return from which LTV to which, and when that starts a liquidation."""
    push = exchange.push(**arguments)
    return {
        "groupId": push.group_id,
        "fromLtv": format_ltv(push.from_ltv),
        "toLtv": format_ltv(push.to_ltv),
        "untilTime": push.until_ms,
        "liquidationStartTime": push.liquidation_ms,
    }


def _run_action(exchange: Exchange, action: str, arguments: dict[str, Any], body: bytes) -> object:
    """Run the action of an admin call, with arguments from its query and its JSON body.

    :raises LookupError: when there is no such action, unit or liquidation.
    :raises ValueError: when an argument is invalid, or the action impossible in the present state.
    """
    if action not in _ACTIONS:
        msg = f"Choose an action from {', '.join(_ACTIONS)}: there is no action {action}."
        raise LookupError(msg)
    try:
        arguments |= json.loads(body or b"{}")
    except (TypeError, ValueError, RecursionError):
        msg = "The body must be a JSON object."
        raise ValueError(msg) from None
    if unknown := arguments.keys() - set(_ACTIONS[action]):
        allowed, names = ", ".join(_ACTIONS[action]), ", ".join(sorted(unknown))
        msg = f"Give {action} only {allowed}: it does not know {names}."
        raise ValueError(msg)
    if action in _JSON_ACTIONS:
        return _JSON_ACTIONS[action](exchange, **arguments)
    ltv = arguments.pop("ltv", None)
    numbers = _parse_numbers(arguments)
    if action == "liquidate":
        return exchange.row(exchange.liquidate(**numbers))
    if "group_id" not in numbers:
        msg = f"Give a group_id: {action} has no default."
        raise ValueError(msg)
    if action == "push":
        return _push(exchange, ltv=ltv, **numbers)
    if action == "finish":
        return exchange.row(exchange.finish(**numbers))
    return asdict(exchange.close(**numbers))


# The server


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's HTTP protocol, which gives the application the connection, so that faults can break it."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put the connection into the state of each request's scope."""
        super().connection_made(transport)
        self.app_state = {"transport": transport}


def airflow_connection(url: str) -> str:
    """Return the JSON value of an AIRFLOW_CONN_... variable that connects Airflow to a sandbox.

    :param url: the URL of the sandbox, :attr:`SandboxServer.url`.
    """
    connection = {
        "conn_type": "binance_loan",
        "host": url,
        "login": SANDBOX_API_KEY,
        "password": SANDBOX_API_SECRET,
    }
    return json.dumps(connection)


class SandboxServer:
    """An HTTP server for an exchange, which runs in a thread while the `with` block lasts.

    In `with SandboxServer(Exchange()) as server:`, the server responds at `server.url` from the first line of
    the block.

    :param exchange: the exchange to serve; it may be changed while it is served.
    :param host: the address to listen on.
    :param port: the port; 0 takes any free one, which the attribute `port` then holds.
    """

    def __init__(self, exchange: Exchange, host: str = "127.0.0.1", port: int = 0) -> None:
        self.exchange = exchange
        self.host = host
        self.port = port

    @property
    def url(self) -> str:
        """The URL for clients on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def __enter__(self) -> Self:
        """Start the server, and return when it accepts requests.

        :raises OSError: when it cannot listen on the port.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listener = socket.create_server((self.host, self.port), family=family)
        except OSError as error:
            msg = f"The sandbox cannot listen on {self.host}, port {self.port}: {error.strerror}."
            raise OSError(error.errno, msg) from error
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            create_app(self.exchange, self.host),
            http=_Protocol,
            lifespan="off",
            log_config=None,  # leave the logging of the surrounding program as it is
            log_level="warning",
            access_log=False,
            server_header=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="binance-loan-sandbox", daemon=True
        )
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                msg = "Read the log of uvicorn: the sandbox did not start."
                raise RuntimeError(msg)
            time.sleep(0.001)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server, and return when its thread has ended."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
