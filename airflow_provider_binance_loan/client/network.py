"""The asynchronous client's network: connections that show when more was received than an answer.

`httpcore` would take bytes that are left when an answer ends for the next answer. Before it uses a
connection again, it asks whether there is something to read, and closes it then. So a connection here keeps
the last byte that it has received until it is asked for it, and says that there is something to read while it
has bytes.

https://www.encode.io/httpcore/network-backends/
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpcore
from requests.utils import get_auth_from_url
from urllib3.util import wait_for_read

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

# What a server may send ahead of what is read.
_MAX_AHEAD_BYTES = 2**18
# The recommended delay of RFC 8305, "Happy Eyeballs": another address is tried after it.
_NEXT_ADDRESS_S = 0.25
_CLOSING_S = 1.0
# An idle connection is used again within this time: from one poll to the next, and before NAT gateways and
# load balancers forget it.
_KEPT_S = 90.0

#: What httpcore raises, and what it lets through.
FAILURES = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    OSError,
    ValueError,
)


def open_pool(context: ssl.SSLContext, proxy: str | None, max_kept: int) -> httpcore.AsyncConnectionPool:
    """Return a pool of connections, which are never used again with bytes left.

    :param context: the TLS context, of Binance and of an https proxy.
    :param proxy: the proxy's URL, or None.
    :param max_kept: how many idle connections are kept.
    """
    options: dict[str, Any] = {
        "ssl_context": context,
        "max_connections": None,
        "max_keepalive_connections": max_kept,
        "keepalive_expiry": _KEPT_S,
        "network_backend": _Backend(),
    }
    if not proxy:
        return httpcore.AsyncConnectionPool(**options)
    user, password = (part.encode() for part in get_auth_from_url(proxy))
    return httpcore.AsyncHTTPProxy(
        proxy_url=proxy,
        proxy_auth=(user, password) if user or password else None,
        proxy_ssl_context=context if proxy.startswith("https:") else None,
        **options,
    )


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects to hosts, in asyncio's event loop."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the base class names it
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        # Other event loops, such as uvloop's, do not know the option.
        is_asyncio = isinstance(loop, asyncio.BaseEventLoop)
        options: dict[str, Any] = {"happy_eyeballs_delay": _NEXT_ADDRESS_S} if is_asyncio else {}
        try:
            async with asyncio.timeout(timeout):
                _, connection = await loop.create_connection(_Connection, host, port, **options)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        return connection

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Connection(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """A connection, encrypted or not: its bytes are received as they arrive, and read later."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._lost = asyncio.Event()
        self._transport: Any = None
        self._paused = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > _MAX_AHEAD_BYTES and not self._paused:
            self._transport.pause_reading()
            self._paused = True
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended, self._error = True, exc
        self._lost.set()
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    # What httpcore calls.

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        if not self._received and not self._ended:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._waiter
            except TimeoutError as error:
                raise httpcore.ReadTimeout(str(error)) from error
        if not self._received and self._error:
            raise httpcore.ReadError(str(self._error)) from self._error
        count = min(max_bytes, max(1, len(self._received) - 1))  # all but the last, see above
        data = bytes(self._received[:count])
        del self._received[:count]
        if self._paused and len(self._received) <= _MAX_AHEAD_BYTES:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
        if self._ended:
            raise httpcore.WriteError
        self._transport.write(buffer)  # requests are small, so nothing waits for them to be sent

    async def aclose(self) -> None:
        self._transport.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_S):
                await self._lost.wait()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        if self._received:
            raise httpcore.ConnectError("The proxy sent more than its answer.")
        try:
            async with asyncio.timeout(timeout):
                self._transport = await asyncio.get_running_loop().start_tls(
                    self._transport, self, ssl_context, server_hostname=server_hostname
                )
        except BaseException as error:
            self.connection_lost(None)  # which the event loop does not call then
            if isinstance(error, TimeoutError):
                raise httpcore.ConnectTimeout(str(error)) from error
            if isinstance(error, OSError):  # also of TLS
                raise httpcore.ConnectError(str(error)) from error
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            raw = self._transport.get_extra_info("socket")
            return bool(self._received) or self._ended or wait_for_read(raw, timeout=0)
        if info in {"ssl_object", "socket"}:
            return self._transport.get_extra_info(info)
        names = {"client_addr": "sockname", "server_addr": "peername"}
        return self._transport.get_extra_info(names[info]) if info in names else None
