"""A server that says just what a test tells it to, byte for byte."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

EMPTY = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n{"total":0,"rows":[]}'
)


def answer(status: str, body: bytes | str, *headers: str) -> bytes:
    body = body.encode() if isinstance(body, str) else body
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Lines(list[str]):
    """The first lines of the requests, their other lines, and from which port each came."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.headers: list[str] = []


@contextmanager
def raw_server(
    answers: Sequence[bytes | Callable[[], bytes]], certificate: Path | None = None
) -> Iterator[tuple[str, Lines]]:
    """Serve the answers one after another, byte for byte, and keep each request's first line."""
    lines = Lines()
    listener = socket.create_server(("127.0.0.1", 0))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
    if tls and certificate:
        tls.load_cert_chain(certificate)

    def serve() -> None:
        remaining = iter(answers)
        data = next(remaining, None)
        while data is not None:
            try:
                connection, (_, port) = listener.accept()
            except OSError:  # closed at the end of the test
                return
            try:
                connection = tls.wrap_socket(connection, server_side=True) if tls else connection
            except OSError:  # the client hung up on the certificate
                continue
            # A client that hangs up on unread bytes resets the connection.
            with connection, suppress(ConnectionError), connection.makefile("rb") as stream:
                while data is not None and (line := stream.readline()):
                    lines.append(line.decode().strip())
                    lines.ports.append(port)
                    while header := stream.readline().decode().strip():
                        lines.headers.append(header)
                    data = data if isinstance(data, bytes) else data()
                    connection.sendall(data)
                    closes = b"Connection: close" in data
                    data = next(remaining, None)
                    if closes:
                        break
        listener.close()  # whoever asks once more is refused at once

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}", lines
    finally:
        listener.close()


def error(code: int, text: str = "Text.") -> str:
    return json.dumps({"code": code, "msg": text})
