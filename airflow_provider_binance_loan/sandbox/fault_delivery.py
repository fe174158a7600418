"""Delivery of faults over HTTP: another response in place of the real one, or the real one damaged.

Works on responses and connections, whatever the endpoint.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import zlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import Response
from fastapi.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from airflow_provider_binance_loan.sandbox.faults import Fault

_EMPTY_PAGE = b'{"total":0,"rows":[]}'
_PADDING = b"0" * 2**20
_HTML = "<!DOCTYPE html>\n<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"


# Replacement of the response


def replacement_response(fault: Fault) -> Response | None:
    """Return the response that a fault sends in place of the real one, or None when it sends the real one."""
    status, media_type = fault.status, None
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    body: str | bytes = b""
    if fault.kind == "error":
        body = json.dumps({"code": fault.code, "msg": fault.msg}, separators=(",", ":"))
        media_type = "application/json;charset=UTF-8"
    elif fault.kind == "html":
        body, media_type = _HTML.format(f"{status} {_phrase(status)}".strip()), "text/html"
    elif fault.kind == "redirect":
        status, headers = 302, {"Location": fault.msg}
    elif fault.kind == "garbled":
        status, headers, body, media_type = 200, {"Content-Encoding": "gzip"}, _EMPTY_PAGE, "application/json"
    elif fault.kind == "huge":
        return StreamingResponse(_huge(), 200, {"Content-Encoding": "gzip"}, "application/json")
    elif fault.kind != "empty":
        return None
    return Response(body, status, headers, media_type)


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else ""


async def _huge() -> AsyncIterator[bytes]:
    """Yield an empty page with 200 MiB of padding, gzipped, in chunks."""
    gzip = zlib.compressobj(1, wbits=31)  # 31: with the header and trailer of gzip
    yield gzip.compress(_EMPTY_PAGE[:-1] + b',"padding":"')
    for _ in range(200):
        yield gzip.compress(_PADDING)
        await asyncio.sleep(0)  # let the server answer other requests
    yield gzip.compress(b'"}') + gzip.flush()


# Delivery


async def deliver(fault: Fault, response: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a response, all or a part of it, as the fault demands; abort the connection when the server stops.

    The server puts the connection's transport into the state of the scope.
    """
    transport: asyncio.Transport = scope["state"]["transport"]
    try:
        if fault.kind == "silence":
            await _disconnected(receive)
        elif fault.kind == "reset":
            await _reset(transport, receive)
        elif fault.kind in {"reset_in_body", "truncate", "cut"}:
            head, body = await _render(response, scope, receive, close_delimited=fault.kind == "cut")
            if not transport.is_closing():  # the client may disconnect before the response is ready
                transport.write(head + body[: len(body) // 2])
            await (_reset if fault.kind == "reset_in_body" else _close)(transport, receive)
        else:
            await response(scope, receive, send)
            if fault.kind == "hang_up":
                transport.close()
    except asyncio.CancelledError:
        transport.abort()
        await _disconnected(receive)


async def _render(
    response: ASGIApp, scope: Scope, receive: Receive, *, close_delimited: bool
) -> tuple[bytes, bytes]:
    """Return the head and body of a response in bytes; a close-delimited one has no gzip and no length."""
    start: Message = {}
    body = b""

    async def collect(message: Message) -> None:
        nonlocal start, body
        if message["type"] == "http.response.start":
            start = message
        else:
            body += message.get("body", b"")

    if close_delimited:
        scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]}
    await response(scope, receive, collect)
    head = f"HTTP/1.1 {start['status']} {_phrase(start['status'])}\r\n".encode()
    for name, value in start["headers"]:
        if not (close_delimited and name == b"content-length"):
            head += name + b": " + value + b"\r\n"
    return head + b"\r\n", body


async def _reset(transport: asyncio.Transport, receive: Receive) -> None:
    """Reset the connection."""
    if not transport.is_closing():
        connection: Any = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    await _disconnected(receive)


async def _close(transport: asyncio.Transport, receive: Receive) -> None:
    transport.close()
    await _disconnected(receive)


async def _disconnected(receive: Receive) -> None:
    """Wait until the client is gone: uvicorn logs an error when an app returns earlier without a response."""
    while (await receive())["type"] != "http.disconnect":
        pass
