"""The sandbox's HTTP: Binance's endpoints, as strict as the real ones, admin calls, its page, and a server.

Checks requests and signatures by itself. What the answers hold is decided in `exchange.py`; what becomes of a
request before it gets here, and of an answer on its way, in `middleware.py`.
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

import uvicorn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from fastapi import FastAPI, Request, Response
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import HTMLResponse
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from airflow_provider_binance_loan.sandbox.dashboard import PAGE, PAGE_HEADERS, may_act, watched
from airflow_provider_binance_loan.sandbox.exchange import (
    SANDBOX_API_KEY,
    SANDBOX_API_SECRET,
    ApiKey,
    Behaviour,
    Exchange,
    split_query,
)
from airflow_provider_binance_loan.sandbox.faults import Fault
from airflow_provider_binance_loan.sandbox.middleware import Gate, written

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

DAY_MS = 24 * 60 * 60 * 1000
MAX_TIMES = 10_000

Params = list[tuple[str, str]]
Asked = dict[str, int]


class Refusal(Exception):  # noqa: N818
    """Refuse a request with Binance's code, text and status."""

    def __init__(self, code: int, msg: str, status: int = 400) -> None:
        super().__init__(code, msg, status)
        self.code, self.msg, self.status = code, msg, status


@dataclass(frozen=True)
class Endpoint:
    """An endpoint: what answers it, its parameters and what they are called there, its weight and access."""

    answer: Callable[..., object] | None
    params: dict[str, str] = field(default_factory=dict)
    weight: int = 1
    credit_only: bool = True


# https://developers.binance.com/docs/institutional_loan/trade, and beside it account, risk-unit, transfer
_UNIT = {"groupId": "group_id"}
_WINDOW = {"startTime": "start_ms", "endTime": "end_ms"}
_PAGE = {"current": "current", "size": "size"}
ENDPOINTS = {
    "/sapi/v1/margin/loan-group/force-liquidation": Endpoint(
        Exchange.force_liquidations, _UNIT | _WINDOW | _PAGE
    ),
    "/sapi/v1/margin/loan-groups/closed": Endpoint(Exchange.closed_units, _PAGE),
    "/sapi/v1/margin/loan-group/ltv-details": Endpoint(
        Exchange.ltv_details, _UNIT, weight=200, credit_only=False
    ),
    "/sapi/v1/margin/loan-group/force-liquidation-transfer-record": Endpoint(
        Exchange.transfer_records, _WINDOW | _PAGE
    ),
    "/sapi/v1/account/apiRestrictions": Endpoint(None, credit_only=False),
}


# The checks


def _admit(exchange: Exchange, endpoint: Endpoint, header: str | None, query: bytes) -> tuple[ApiKey, Asked]:
    """Check a request in Binance's order, and return its key and the arguments of the answering method.

    https://developers.binance.com/docs/institutional_loan/general-info
    """
    now_ms = exchange.now_ms()
    if not header:
        raise Refusal(-2014, "API-key format invalid.", 401)
    key = exchange.keys.get(header)
    if key is None:
        raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    asked = _read(split_query(query.decode("latin-1")), endpoint)
    _complete(asked, endpoint, now_ms)
    if asked["timestamp"] >= now_ms + 1000:
        raise Refusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - asked["timestamp"] > asked["recvWindow"]:
        raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")
    if not _signed(key, query):
        raise Refusal(-1022, "Signature for this request is not valid.")
    if not (key.ip_allowed and key.can_read):
        raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    if endpoint.credit_only and key.account != "credit":
        raise Refusal(
            -3999, "This function can only be available for invited users who meet the requirement."
        )
    return key, {name: asked[sent] for sent, name in endpoint.params.items() if sent in asked}


def _read(params: Params, endpoint: Endpoint) -> Asked:
    """Read the parameters that were sent, each a whole number."""
    sent = dict(params)
    for name in ("timestamp", "signature"):
        if not sent.get(name) or (name == "timestamp" and not _whole(sent[name])):
            raise Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    read = sent.keys() & {*endpoint.params, "timestamp", "signature", "recvWindow"}
    if len(read) < len(sent):
        what = f"read '{len(read)}' parameter(s) but was sent '{len(sent)}'"
        raise Refusal(-1104, f"Not all sent parameters were read; {what}.")
    if len(sent) < len(params):
        raise Refusal(-1101, "Duplicate values for a parameter detected.")
    del sent["signature"]
    for name, value in sent.items():
        if not value:
            raise Refusal(-1105, f"Parameter '{name}' was empty.")
        if not _whole(value):
            what = f"'{name}'; legal range is '^[0-9]{{1,20}}$'"
            raise Refusal(-1100, f"Illegal characters found in parameter {what}.")
    return {name: int(value) for name, value in sent.items()}


def _whole(text: str) -> bool:
    return re.fullmatch("[0-9]{1,20}", text) is not None


def _complete(asked: Asked, endpoint: Endpoint, now_ms: int) -> None:
    """Add the documented defaults, and check the ranges.

    https://developers.binance.com/docs/institutional_loan/trade
    """
    if not 0 < asked.setdefault("recvWindow", 5000) < 60_000:
        raise Refusal(-1131, "recvWindow must be less than 60000")
    if not 1 <= asked.get("size", 10) <= 100:
        raise Refusal(-1130, "Data sent for parameter 'size' is not valid.")
    if asked.get("current", 1) < 1:
        raise Refusal(-1130, "Data sent for parameter 'current' is not valid.")
    if "endTime" in endpoint.params:
        end_ms = asked.setdefault("endTime", now_ms)
        start_ms = asked.setdefault("startTime", end_ms - 7 * DAY_MS)
        if start_ms > end_ms:
            raise Refusal(-1127, "startTime is after endTime.")
        if end_ms - start_ms > 100 * DAY_MS:
            raise Refusal(-1127, "More than 100 days between startTime and endTime.")


def _signed(key: ApiKey, query: bytes) -> bool:
    """Tell whether the key signed the bytes that were sent; the signature comes last.

    https://developers.binance.com/docs/institutional_loan/general-info
    """
    payload, _, sent = query.rpartition(b"&signature=")
    if key.secret is not None:
        expected = hmac.new(key.secret.encode(), payload, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected.encode(), sent.lower())
    text = unquote(sent.decode("latin-1"))
    if quote(text, safe="").encode() != sent:
        return False  # the + / = of base64 are to be percent-encoded
    try:
        signature = base64.b64decode(text, validate=True)
        if isinstance(key.public_key, RSAPublicKey):
            key.public_key.verify(signature, payload, PKCS1v15(), SHA256())
        elif key.public_key is not None:
            key.public_key.verify(signature, payload)
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return key.public_key is not None


# The app


def create_app(exchange: Exchange, host: str) -> FastAPI:  # noqa: C901 - a small function for each route
    """Make the app that speaks for an exchange, on that host."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=1)
    weights = {path: endpoint.weight for path, endpoint in ENDPOINTS.items()}
    app.add_middleware(Gate, exchange=exchange, weights=weights)  # the last one added comes first

    @app.get("/api/v3/ping")
    async def ping() -> Response:
        return written({})

    @app.get("/api/v3/time")
    async def server_time() -> Response:
        return written({"serverTime": exchange.now_ms()})

    @app.api_route("/sapi/{path:path}", methods=["GET", "POST", "PUT", "DELETE"])
    async def sapi(request: Request) -> Response:
        path, query = request.scope["path"], request.scope["query_string"]
        endpoint = ENDPOINTS.get(path)
        if endpoint is None or request.method != "GET":
            return written({"code": -1, "msg": f"There is no {request.method} {path}."}, 404)
        try:
            key, asked = _admit(exchange, endpoint, request.headers.get("X-MBX-APIKEY"), query)
        except Refusal as refusal:
            return written({"code": refusal.code, "msg": refusal.msg}, refusal.status)
        if exchange.behaviour.latency_s:
            with suppress(asyncio.CancelledError):  # a server that stops answers at once
                await asyncio.sleep(exchange.behaviour.latency_s)
        return written(endpoint.answer(exchange, **asked) if endpoint.answer else _restrictions(key))

    @app.get("/")
    async def page() -> Response:
        return HTMLResponse(PAGE, headers=PAGE_HEADERS)

    @app.get("/sandbox/watch")
    async def watch() -> Response:
        return written(watched(exchange))

    @app.get("/sandbox/state")
    async def state() -> Response:
        return written(exchange.state() | {"behaviour": asdict(exchange.behaviour)})

    @app.post("/sandbox/{action}")
    async def admin(request: Request, action: str) -> Response:
        if not may_act(request.headers, host):
            msg = "From a browser only the sandbox's own page may post, by the address that serve prints."
            return written({"error": msg}, 403)
        try:
            return written(_act(exchange, action, dict(request.query_params), await request.body()))
        except LookupError as error:
            return written({"error": str(error)}, 404)
        except ValueError as error:
            return written({"error": str(error)}, 400)

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


def _behave(exchange: Exchange, **given: Any) -> object:
    """Turn knobs, and leave the others."""
    exchange.behaviour = replace(exchange.behaviour, **given)
    return asdict(exchange.behaviour)


def _fail(exchange: Exchange, times: object = 1, **given: Any) -> object:
    """Queue a fault some times."""
    if type(times) is not int or not 1 <= times <= MAX_TIMES:
        msg = f"times is a number from 1 to {MAX_TIMES}, not {times!r}."
        raise ValueError(msg)
    if "kind" not in given:
        msg = "fault needs a kind."
        raise ValueError(msg)
    exchange.fail(*[Fault(**given)] * times)
    return {"faults": exchange.state()["faults"]}


_SETTINGS = {"behaviour": _behave, "fault": _fail}
_ACTIONS = {
    "liquidate": ("group_id",),
    "finish": ("group_id", "start_ms"),
    "close": ("group_id",),
    "behaviour": tuple(knob.name for knob in fields(Behaviour)),
    "fault": (*(given.name for given in fields(Fault)), "times"),
}


def _act(exchange: Exchange, action: str, given: dict[str, Any], body: bytes) -> object:
    """Do what an admin call asks for.

    :raises LookupError: for what is not there, and ValueError for what cannot be.
    """
    if action not in _ACTIONS:
        msg = f"There is no action {action}, only {', '.join(_ACTIONS)}."
        raise LookupError(msg)
    try:
        given |= json.loads(body or b"{}")
    except (TypeError, ValueError, RecursionError):
        msg = "The body has to be a JSON object."
        raise ValueError(msg) from None
    if unknown := given.keys() - set(_ACTIONS[action]):
        msg = f"{action} does not know {', '.join(sorted(unknown))}, only {', '.join(_ACTIONS[action])}."
        raise ValueError(msg)
    if action in _SETTINGS:
        return _SETTINGS[action](exchange, **given)
    for name, value in given.items():
        if not _whole(str(value)):
            msg = f"{name} is a whole number, not {value!r}."
            raise ValueError(msg)
    whole = {name: int(value) for name, value in given.items()}
    if action == "liquidate":
        return exchange.row(exchange.liquidate(**whole))
    if "group_id" not in whole:
        msg = f"{action} needs a group_id."
        raise ValueError(msg)
    if action == "finish":
        return exchange.row(exchange.finish(**whole))
    return asdict(exchange.close(**whole))


# The server


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Speak HTTP, and let the app reach the connection: faults break it."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put the connection into the state of each request's scope."""
        super().connection_made(transport)
        self.app_state = {"transport": transport}


def airflow_connection(url: str) -> str:
    """Write the JSON of an AIRFLOW_CONN_... variable that leads to the sandbox at that address.

    :param url: the address, as :attr:`SandboxServer.url` has it.
    """
    connection = {
        "conn_type": "binance_loan",
        "host": url,
        "login": SANDBOX_API_KEY,
        "password": SANDBOX_API_SECRET,
    }
    return json.dumps(connection)


class SandboxServer:
    """Serve an exchange from a thread, for as long as the `with` block lasts.

    In `with SandboxServer(Exchange()) as server:`, `server.url` answers from the block's first line on.

    :param exchange: what there is to serve; it may change meanwhile.
    :param host: the address to listen on.
    :param port: the port; 0 takes any free one, and then becomes it.
    """

    def __init__(self, exchange: Exchange, host: str = "127.0.0.1", port: int = 0) -> None:
        self.exchange = exchange
        self.host = host
        self.port = port

    @property
    def url(self) -> str:
        """Write the address, for clients on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def __enter__(self) -> Self:
        """Start, and return once the server answers.

        :raises OSError: when the port is taken.
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
            log_config=None,  # the logging of the program around us is not ours to configure
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
                msg = "The sandbox did not start; its log says why."
                raise RuntimeError(msg)
            time.sleep(0.001)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and return once the server has stopped."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
