"""A wire that can be cut: what is sent passes up to a number of bytes, and then nothing more."""

from __future__ import annotations

import math
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit


class Relay:
    """Pass on what goes to a server and back, for as long as the `with` block lasts.

    :param target: the server's address.
    :param most: how many bytes may pass, in both directions together.
    """

    def __init__(self, target: str, most: float = math.inf) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._most = most
        self._lock = threading.Lock()
        self.passed = 0
        self.held_back = False

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                client = self._greet(client)
                server = socket.create_connection(self._target)
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _greet(self, client: socket.socket) -> socket.socket:
        """Return the connection to pass on; it says nothing of its own."""
        return client

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError), source:
            while data := source.recv(65_536):
                with self._lock:
                    passes = data[: max(0, int(min(self._most - self.passed, len(data))))]
                    self.passed += len(passes)
                    self.held_back |= len(passes) < len(data)
                sink.sendall(passes)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)  # also after a reset


class TunnelProxy(Relay):
    """A relay that is asked for a tunnel first, as a proxy is; it notes in what words."""

    def __init__(self, target: str, certificate: Path | None = None) -> None:
        super().__init__(target)
        self.heads: list[str] = []
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if self._tls and certificate:
            self._tls.load_cert_chain(certificate)

    def __enter__(self) -> Self:
        super().__enter__()
        if self._tls:
            self.url = self.url.replace("http:", "https:")
        return self

    def _greet(self, client: socket.socket) -> socket.socket:
        client = self._tls.wrap_socket(client, server_side=True) if self._tls else client
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        self.heads.append(head.decode())
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return client
