"""The `requests` session: its TLS, its proxy, and answers that must be complete by a deadline."""

from __future__ import annotations

import http.client
import io
from functools import partial
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from airflow_provider_binance_loan import __version__
from airflow_provider_binance_loan.client.tls import tls_context
from airflow_provider_binance_loan.client.urls import parse_proxy
from airflow_provider_binance_loan.exceptions import ConfigurationError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from airflow_provider_binance_loan.client.clock import Clock
    from airflow_provider_binance_loan.client.settings import Settings


def headers(settings: Settings) -> dict[str, str]:
    """Return the headers of every request."""
    return {
        "X-MBX-APIKEY": settings.credentials.api_key,
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
        return parse_proxy(found if "://" in found else f"http://{found}", "the environment's HTTPS_PROXY")
    except ConfigurationError as error:
        message = error.message
    # Raised from a frame without the URL, which may hold a password: error trackers record frame locals.
    del found
    raise ConfigurationError(message, conn_id=settings.conn_id)


def open_session(
    settings: Settings,
    response_class: Callable[..., http.client.HTTPResponse] = http.client.HTTPResponse,
) -> requests.Session:
    """Return a session that sends the API key, to the connection's host alone."""
    session = _Session()
    session.trust_env = False  # a `.netrc` would add its own login; for the rest see `proxy_url` and `tls`
    session.headers.update(headers(settings))
    session.verify = bool(settings.verify)  # the certificates are in the context
    if proxy := proxy_url(settings):
        session.proxies = {"https": proxy}
    session.adapters.clear()  # so that the key cannot be sent to another host
    adapter = _Adapter(tls_context(settings), response_class, pool_maxsize=settings.max_concurrency)
    session.mount(f"{settings.base_url}/", adapter)
    return session


class _Session(requests.Session):
    """A session that follows no redirect, which would send the API key elsewhere."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002 - the base class names it
        return None


class _Adapter(HTTPAdapter):
    """An adapter whose connections share a TLS context, and read answers by `response_class`.

    Only what `requests` and urllib3 document for subclassing is overridden.
    """

    def __init__(
        self, context: ssl.SSLContext, response_class: Callable[..., http.client.HTTPResponse], **kwargs: Any
    ) -> None:
        self._context = context
        self._pool_classes = {
            "http": _pool_class(HTTPConnectionPool, HTTPConnection, response_class),
            "https": _pool_class(HTTPSConnectionPool, HTTPSConnection, response_class),
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


def _pool_class(
    pool: type[Any], connection: type[Any], response_class: Callable[..., http.client.HTTPResponse]
) -> type[Any]:
    """Return a pool whose connections read answers by `response_class`."""
    connection = type(connection.__name__, (connection,), {"response_class": staticmethod(response_class)})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


def deadline_responses(clock: Clock, deadline_s: float) -> Callable[..., http.client.HTTPResponse]:
    """Return a `response_class` whose answers raise TimeoutError when they take longer than a deadline."""
    return partial(_DeadlineResponse, clock=clock, deadline_s=deadline_s)


class _DeadlineResponse(http.client.HTTPResponse):
    """An answer that is given up when it is not complete in time, however slowly its bytes arrive.

    :param sock: the socket.
    :param clock: the clock to go by.
    :param deadline_s: how many seconds it may take up to its last byte, from when it is first waited for.
    """

    def __init__(self, sock: Any, *args: Any, clock: Clock, deadline_s: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineStream(self.fp.detach(), clock, deadline_s))

    def begin(self) -> None:
        super().begin()
        while 101 < self.status < 200:  # an interim answer; the standard library skips 100 alone
            # Without headers `begin` reads the next one.
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()


class _DeadlineStream(io.RawIOBase):
    """A socket's stream that fails after a deadline."""

    def __init__(self, raw: io.RawIOBase, clock: Clock, deadline_s: float) -> None:
        self._raw = raw
        self._clock = clock
        self._ends_at = clock.monotonic() + deadline_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count: int | None = self._raw.readinto(buffer)
        if self._clock.monotonic() > self._ends_at:
            raise TimeoutError
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
