"""How a fault is put on the wire: another answer in the place of the right one, or the right one spoiled.

Knows of answers and connections, and nothing of what is answered.
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

_PAGE = b'{"total":0,"rows":[]}'
_PADDING = b"0" * 2**20
_HTML = "<!DOCTYPE html>\n<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"


# The other answers


def other_answer(fault: Fault) -> Response | None:
    """Make the answer that a fault puts in the place of the right one; None when it leaves that in place."""
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
        status, headers, body, media_type = 200, {"Content-Encoding": "gzip"}, _PAGE, "application/json"
    elif fault.kind == "huge":
        return StreamingResponse(_huge(), 200, {"Content-Encoding": "gzip"}, "application/json")
    elif fault.kind != "empty":
        return None
    return Response(body, status, headers, media_type)


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else ""


async def _huge() -> AsyncIterator[bytes]:
    """Zip an empty page with very much padding, piece by piece."""
    zipper = zlib.compressobj(1, wbits=31)  # 31: with the head and tail of gzip
    yield zipper.compress(_PAGE[:-1] + b',"padding":"')
    for _ in range(200):
        yield zipper.compress(_PADDING)
        await asyncio.sleep(0)  # others are served meanwhile
    yield zipper.compress(b'"}') + zipper.flush()


# The wire


async def deliver(fault: Fault, answer: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Bring an answer to the client, or break off, as the fault has it; break off when the server stops.

    The server puts the connection's transport into the state of the scope.
    """
    transport: asyncio.Transport = scope["state"]["transport"]
    try:
        if fault.kind == "silence":
            await _gone(receive)
        elif fault.kind == "reset":
            await _reset(transport, receive)
        elif fault.kind in {"reset_in_body", "truncate", "cut"}:
            head, body = await _written(answer, scope, receive, close_delimited=fault.kind == "cut")
            if not transport.is_closing():  # the client may hang up before there is an answer
                transport.write(head + body[: len(body) // 2])
            await (_reset if fault.kind == "reset_in_body" else _close)(transport, receive)
        else:
            await answer(scope, receive, send)
            if fault.kind == "hang_up":
                transport.close()
    except asyncio.CancelledError:
        transport.abort()
        await _gone(receive)


async def _written(
    answer: ASGIApp, scope: Scope, receive: Receive, *, close_delimited: bool
) -> tuple[bytes, bytes]:
    """Write out head and body of an answer; a close-delimited one is not zipped, and tells no length."""
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
    await answer(scope, receive, collect)
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
    await _gone(receive)


async def _close(transport: asyncio.Transport, receive: Receive) -> None:
    transport.close()
    await _gone(receive)


async def _gone(receive: Receive) -> None:
    """Wait until the connection is gone: an answer is missed while it is there."""
    while (await receive())["type"] != "http.disconnect":
        pass
