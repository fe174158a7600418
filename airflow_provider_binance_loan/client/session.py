"""The `requests` session: its TLS, its proxy, and its connections.

A connection reads each answer by a deadline, is used again only when nothing is left to read, and can be
ended from another thread.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from airflow_provider_binance_loan import __version__
from airflow_provider_binance_loan.client.body import ACCEPTED_CODINGS
from airflow_provider_binance_loan.client.tls import tls_context
from airflow_provider_binance_loan.client.urls import parse_proxy
from airflow_provider_binance_loan.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_binance_loan.client.clock import Clock
    from airflow_provider_binance_loan.client.settings import Settings


def headers(settings: Settings) -> dict[str, str]:
    """Return the headers of every request."""
    return {
        "X-MBX-APIKEY": settings.credentials.api_key,
        "Accept-Encoding": ACCEPTED_CODINGS,
        "User-Agent": f"airflow-provider-binance-loan/{__version__}",
    }


def proxy_url(settings: Settings) -> str | None:
    """Return the proxy to Binance: the connection's, or else the environment's; None for none.

    A plain http address is this machine's own, and is reached without a proxy, which would be given the API
    key in the clear.

    :raises ConfigurationError: the environment's proxy is not one that both HTTP clients can use.
    """
    if not settings.is_https:
        return None
    if settings.proxy:
        return settings.proxy
    found = select_proxy(settings.base_url, get_environ_proxies(settings.base_url))
    if not found:
        return None
    try:
        # urllib takes a proxy without a scheme as an http proxy.
        return parse_proxy(found if "://" in found else f"http://{found}", _proxy_source(found))
    except ConfigurationError as error:
        message = error.message
    # Raised from a frame without the URL, which may hold a password: error trackers record frame locals.
    del found
    raise ConfigurationError(message, conn_id=settings.conn_id)


def _proxy_source(url: str) -> str:
    """Return what an error message calls a proxy of the environment: its variable, as the user wrote it."""
    for variable in ("https_proxy", "all_proxy"):
        for name in sorted(os.environ, reverse=True):  # lower case is read first
            if name.lower() == variable and os.environ[name] == url:
                return f"the environment's {name}"
    return "the system's proxy"


def open_session(settings: Settings, connections: Connections | None = None) -> requests.Session:
    """Return a session that sends the API key, to the connection's host alone.

    :param settings: the connection.
    :param connections: what its connections have in common; None for plain connections of urllib3.
    """
    session = _Session()
    session.trust_env = False  # a `.netrc` would add its own login; for the rest see `proxy_url` and `tls`
    session.headers.update(headers(settings))
    session.verify = bool(settings.verify)  # the certificates are in the context
    if proxy := proxy_url(settings):
        session.proxies = {"https": proxy}
    session.adapters.clear()  # so that the key cannot be sent to another host
    adapter = _Adapter(tls_context(settings), connections, pool_maxsize=settings.max_concurrency)
    session.mount(f"{settings.base_url}/", adapter)
    return session


class _Session(requests.Session):
    """A session that follows no redirect, which would send the API key elsewhere."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002 - the base class names it
        return None


class _Adapter(HTTPAdapter):
    """An adapter whose connections share a TLS context, and have something in common.

    Only what `requests` and urllib3 document for subclassing is overridden.
    """

    def __init__(self, context: ssl.SSLContext, connections: Connections | None, **kwargs: Any) -> None:
        self._context = context
        self._pool_classes = {
            "http": _pool_class(HTTPConnectionPool, HTTPConnection, connections),
            "https": _pool_class(HTTPSConnectionPool, HTTPSConnection, connections),
        }
        super().__init__(**kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pool_classes

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(
            proxy, ssl_context=self._context, proxy_ssl_context=self._context, **kwargs
        )
        manager.pool_classes_by_scheme = self._pool_classes
        return manager

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:  # noqa: ARG002
        # The base class would load certifi's bundle once more for each connection.
        conn.cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"


def _pool_class(pool: type[Any], connection: type[Any], connections: Connections | None) -> type[Any]:
    """Return a pool whose connections print nothing, and are among those given."""
    mixin = _SilentConnection if connections is None else _Connection
    connection = type(connection.__name__, (mixin, connection), {"connections": connections})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


class Connections:
    """The connections of a session.

    :param clock: the clock to go by.
    :param deadline_s: how many seconds an answer may take up to its last byte.
    """

    def __init__(self, clock: Clock, deadline_s: float) -> None:
        self.ended = False
        self._clock = clock
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._all: WeakSet[Any] = WeakSet()

    def add(self, connection: Any) -> Callable[..., http.client.HTTPResponse]:
        """Add a connection, and return its `response_class`."""
        with self._lock:
            self._all.add(connection)
        return partial(
            _DeadlineResponse,
            clock=self._clock,
            deadline_s=self._deadline_s,
            found_more=connection.note_more,
        )

    def end(self) -> None:
        """End all of them at once, also where another thread waits for bytes, and let none begin."""
        self.ended = True
        with self._lock:
            connections = list(self._all)
        for connection in connections:
            # TLS within TLS has the socket inside. Closing would not wake the other thread; shutting a TLS
            # socket down by its own method would let that thread read on without TLS.
            if sock := getattr(connection.sock, "socket", connection.sock):
                with suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _SilentConnection:
    """A connection that never prints its requests, which hold the API key and the signature."""

    debuglevel = property(lambda _: 0, lambda _, __: None)  # of http.client, whose class's it overrides


class _Connection(_SilentConnection):
    """What the session's connections add to urllib3's."""

    connections: Connections
    sock: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._has_more = False
        self.response_class = self.connections.add(self)

    def note_more(self) -> None:
        """Note that more was received than an answer."""
        self._has_more = True

    def connect(self) -> None:
        self._has_more = False
        super().connect()  # type: ignore[misc] # urllib3's
        if self.connections.ended:
            self.close()  # type: ignore[attr-defined] # urllib3's
            raise ConnectionAbortedError

    @property
    def is_connected(self) -> bool:
        """Whether it can be used again: urllib3 closes it when not.

        urllib3 asks the socket alone, and so does not see what TLS has read ahead.
        """
        if self.sock is None or self._has_more:
            return False
        timeout_s = self.sock.gettimeout()
        try:
            self.sock.settimeout(0)
            self.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        finally:
            self.sock.settimeout(timeout_s)
        return False  # the end, or a byte that belongs to no answer


class _DeadlineResponse(http.client.HTTPResponse):
    """An answer that is given up when it is not complete in time, however slowly its bytes arrive.

    :param sock: the socket.
    :param clock: the clock to go by.
    :param deadline_s: how many seconds it may take up to its last byte, from when it is first waited for.
    :param found_more: called when more was received than the answer.
    """

    def __init__(
        self,
        sock: Any,
        *args: Any,
        clock: Clock,
        deadline_s: float,
        found_more: Callable[[], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineStream(self.fp.detach(), clock, deadline_s, found_more))

    def begin(self) -> None:
        super().begin()
        while 101 < self.status < 200:  # an interim answer; the standard library skips 100 alone
            # Without headers `begin` reads the next one.
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()


class _DeadlineStream(io.RawIOBase):
    """A socket's stream that fails after a deadline, and notices what is left when it is closed.

    It keeps the last byte that it has received until it is asked for it. A reader that has read ahead has not
    asked for it when the answer ends.
    """

    def __init__(
        self, raw: io.RawIOBase, clock: Clock, deadline_s: float, found_more: Callable[[], None]
    ) -> None:
        self._raw = raw
        self._clock = clock
        self._ends_at = clock.monotonic() + deadline_s
        self._found_more = found_more
        self._last = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._last:
            buffer[:1], self._last = self._last, b""
            return 1
        count: int | None = self._raw.readinto(buffer)
        if self._clock.monotonic() > self._ends_at:
            raise TimeoutError
        if count and count > 1:
            count -= 1
            self._last = bytes(buffer[count : count + 1])
        return count

    def close(self) -> None:
        if self._last:
            self._found_more()
        self._raw.close()
        super().close()
