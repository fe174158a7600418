"""The HTTP server of the sandbox: Binance's endpoints, as strict as the real ones, admin calls, a dashboard.

Checks requests and signatures with code of its own. `exchange.py` makes the content of the responses;
`middleware.py` limits requests and injects faults.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, unquote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from airflow_provider_binance_loan.sandbox.dashboard import (
    HTML,
    HTML_HEADERS,
    MOST_MINUTES,
    dashboard_data,
    may_post,
)
from airflow_provider_binance_loan.sandbox.exchange import (
    SANDBOX_API_KEY,
    SANDBOX_API_SECRET,
    ApiKey,
    Behaviour,
    Exchange,
    split_query,
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
    from collections.abc import Callable
    from types import TracebackType

DAY_MS = 24 * 60 * 60 * 1000
MAX_QUEUED = 10_000  # faults that one admin call may queue
MAX_LONG = 2**63 - 1

Params = list[tuple[str, str]]
Values = dict[str, int]


class Refusal(Exception):  # noqa: N818
    """A refusal of a request, with Binance's code, text and HTTP status."""

    def __init__(self, code: int, msg: str, status: int = 400) -> None:
        super().__init__(code, msg, status)
        self.code, self.msg, self.status = code, msg, status


@dataclass(frozen=True)
class Endpoint:
    """An endpoint of Binance."""

    respond: Callable[..., object] | None
    """The method of `Exchange` that returns the response; None for the permissions of the API key."""
    params: dict[str, str] = field(default_factory=dict)
    """The argument of that method for each parameter of the query."""
    weight: int = 1
    credit_only: bool = True
    """Whether only the API key of a credit account may use the endpoint."""
    takes_key: bool = False
    """Whether the response depends on the API key, which the method then takes as `key`."""


# https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/
# on the pages trade, account, risk-unit and transfer
_RISK_UNIT = {"groupId": "group_id"}
_TIME_RANGE = {"startTime": "start_ms", "endTime": "end_ms"}
_PAGINATION = {"current": "current", "size": "size"}
ENDPOINTS = {
    "/sapi/v1/margin/loan-group/force-liquidation": Endpoint(
        Exchange.force_liquidations, _RISK_UNIT | _TIME_RANGE | _PAGINATION
    ),
    "/sapi/v1/margin/loan-groups/closed": Endpoint(Exchange.closed_units, _PAGINATION),
    "/sapi/v1/margin/loan-group/ltv-details": Endpoint(
        Exchange.ltv_details, _RISK_UNIT, weight=200, credit_only=False, takes_key=True
    ),
    "/sapi/v1/margin/loan-group/force-liquidation-transfer-record": Endpoint(
        Exchange.transfer_records, _TIME_RANGE | _PAGINATION
    ),
    "/sapi/v1/account/apiRestrictions": Endpoint(None, credit_only=False),
}


# Checks of requests


def _check_request(
    exchange: Exchange, endpoint: Endpoint, header: str | None, query: bytes
) -> tuple[ApiKey, Values]:
    """Check a request in Binance's order, and return its key and the arguments of the endpoint's method.

    https://developers.binance.com/legacy-docs/institutional_loan/general-info
    """
    now_ms = exchange.now_ms()
    if not header:
        raise Refusal(-2014, "API-key format invalid.", 401)
    key = exchange.keys.get(header)
    if key is None:
        raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    values = _parse_params(split_query(query.decode("latin-1")), endpoint)
    _add_defaults(values, endpoint, now_ms, exchange.behaviour.max_days)
    if values["timestamp"] >= now_ms + 1000:
        raise Refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - values["timestamp"] > values["recvWindow"]:
        raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")
    if not _is_signed_by(key, query):
        raise Refusal(-1022, "Signature for this request is not valid.")
    if not (key.ip_allowed and key.can_read):
        raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    if endpoint.credit_only and key.account != "credit":
        raise Refusal(
            -3999, "This function can only be available for invited users who meet the requirement."
        )
    return key, {name: values[sent] for sent, name in endpoint.params.items() if sent in values}


def _parse_params(params: Params, endpoint: Endpoint) -> Values:
    """Return the values of the parameters, all whole numbers, apart from the signature."""
    sent = dict(params)
    for name in ("timestamp", "signature"):
        if not sent.get(name) or (name == "timestamp" and not _is_whole(sent[name])):
            raise Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    known = sent.keys() & {*endpoint.params, "timestamp", "signature", "recvWindow"}
    if len(known) < len(sent):
        counts = f"read '{len(known)}' parameter(s) but was sent '{len(sent)}'"
        raise Refusal(-1104, f"Not all sent parameters were read; {counts}.")
    if len(sent) < len(params):
        raise Refusal(-1101, "Duplicate values for a parameter detected.")
    del sent["signature"]
    for name, value in sent.items():
        if not value:
            raise Refusal(-1105, f"Parameter '{name}' was empty.")
        if not _is_whole(value):
            rule = "legal range is '^[0-9]{1,20}$'"
            raise Refusal(-1100, f"Illegal characters found in parameter '{name}'; {rule}.")
        if int(value) > MAX_LONG:
            raise Refusal(-1130, f"Data sent for parameter '{name}' is not valid.")
    return {name: int(value) for name, value in sent.items()}


def _require_no_params(query: bytes) -> None:
    """Refuse any parameter, and so a signature: public endpoints take none.

    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints
    """
    if count := len(split_query(query.decode("latin-1"))):
        raise Refusal(-1101, f"Too many parameters; expected '0' and received '{count}'.")


def _is_whole(text: str) -> bool:
    return re.fullmatch("[0-9]{1,20}", text) is not None


def _add_defaults(values: Values, endpoint: Endpoint, now_ms: int, max_days: int) -> None:
    """Add the documented defaults to the values, and check the documented limits.

    https://developers.binance.com/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api/trade
    """
    if not 0 < values.setdefault("recvWindow", 5000) < 60_000:
        raise Refusal(-1131, "recvWindow must be less than 60000")
    if not 1 <= values.get("size", 10) <= 100:
        raise Refusal(-1130, "Data sent for parameter 'size' is not valid.")
    if values.get("current", 1) < 1:
        raise Refusal(-1130, "Data sent for parameter 'current' is not valid.")
    if "endTime" in endpoint.params:
        end_ms = values.setdefault("endTime", now_ms)
        start_ms = values.setdefault("startTime", end_ms - 7 * DAY_MS)
        if start_ms > end_ms:
            raise Refusal(-1127, "startTime is after endTime.")
        if end_ms - start_ms > max_days * DAY_MS:
            raise Refusal(-1127, f"More than {max_days} days between startTime and endTime.")


def _is_signed_by(key: ApiKey, query: bytes) -> bool:
    """Return whether the query ends with the key's signature of the bytes before it.

    https://developers.binance.com/legacy-docs/institutional_loan/general-info
    """
    payload, _, sent = query.rpartition(b"&signature=")
    if key.secret is not None:
        expected = hmac.new(key.secret.encode(), payload, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected.encode(), sent.lower())
    text = unquote(sent.decode("latin-1"))
    if quote(text, safe="").encode() != sent:
        return False  # the + / = of base64 must be percent-encoded
    try:
        signature = base64.b64decode(text, validate=True)
        if isinstance(key.public_key, RSAPublicKey):
            key.public_key.verify(signature, payload, PKCS1v15(), SHA256())
        elif key.public_key is not None:
            key.public_key.verify(signature, payload)
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return key.public_key is not None


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
        _require_no_params(request.scope["query_string"])
        return json_response({})

    @app.get("/api/v3/time")
    async def server_time(request: Request) -> Response:
        _require_no_params(request.scope["query_string"])
        return json_response({"serverTime": exchange.now_ms()})

    @app.api_route("/sapi/{path:path}", methods=["GET", "POST", "PUT", "DELETE"])
    async def sapi(request: Request) -> Response:
        path, query = request.scope["path"], request.scope["query_string"]
        endpoint = ENDPOINTS.get(path)
        if endpoint is None or request.method != "GET":
            return json_response({"code": -1, "msg": f"There is no {request.method} {path}."}, 404)
        key, values = _check_request(exchange, endpoint, request.headers.get("X-MBX-APIKEY"), query)
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
        if not (_is_whole(minutes) and 1 <= int(minutes) <= MOST_MINUTES):
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


def _parse_numbers(arguments: dict[str, Any]) -> Values:
    for name, value in arguments.items():
        if not _is_whole(str(value)):
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
