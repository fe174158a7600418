"""The two doors to Binance, for workers and for event loops: the only place with a socket.

What to ask is decided in `binance.liquidations`; a door asks, signs each try anew, and asks again after a
transient fault. All but the sending and the waiting is written once, in `BaseClient`.
"""

from __future__ import annotations

import asyncio
import copy
import http.client
import io
import os
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import certifi
import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    wait_random_exponential,
)
from urllib3.exceptions import HTTPError

from airflow_provider_binance_loan import __version__
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.signing import signed_query
from airflow_provider_binance_loan.client.redaction import hide_signatures
from airflow_provider_binance_loan.client.settings import parse_proxy
from airflow_provider_binance_loan.exceptions import (
    BadResponseError,
    BinanceLoanError,
    ClockError,
    ConfigurationError,
    RateLimitedError,
    TransientError,
)
from airflow_provider_binance_loan.validation import LATEST_S, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_binance_loan.binance.plans import Plan
    from airflow_provider_binance_loan.client.settings import Settings
    from airflow_provider_binance_loan.client.throttle import Clock, Standing

T = TypeVar("T")

TIME = Request("/api/v3/time")

# Binance may take ten seconds to process a request, so only the connecting is held shorter.
_CONNECT_TIMEOUT_S = 5.0
_MAX_TRIES = 5
# At least so long that each try has a timestamp, and so a signature, of its own.
_BACK_OFF = wait_random_exponential(multiplier=1, min=0.1, max=10)
# No try begins later than so long after the first, and no answer may take longer to arrive.
_DEADLINE_S = 180.0
# A page of a hundred records takes some hundred thousand bytes.
_MAX_BODY_BYTES = 32 * 2**20
_CHUNK_BYTES = 2**16


class BaseClient:
    """What both doors share: what is sent, what an answer means, and when to ask again."""

    def __init__(self, settings: Settings, standing: Standing, deadline_s: float = _DEADLINE_S) -> None:
        hide_signatures()
        self._settings = settings
        self._standing = standing
        self._clock = standing.clock
        self._deadline_s = deadline_s

    def _url(self, request: Request, sent_ms: int) -> str:
        """Return the address to send as it is: the signature covers the very bytes of its query."""
        address = self._settings.base_url + request.path
        if request is TIME:
            return address
        params = (*request.params, ("recvWindow", self._settings.recv_window))
        return f"{address}?{signed_query(params, self._settings.credentials, sent_ms)}"

    def _waits(self, request: Request) -> Iterator[float]:
        """Yield how long to wait before a request is sent, while Binance or its limits ask for it."""
        return self._standing.waits(request.path, self._settings.max_wait)

    def _response(self, body: _Body, sent_ms: int, status: int, headers: Mapping[str, str]) -> Response:
        lowered = {name.lower(): value for name, value in headers.items()}
        received_ms, offset_ms = self._clock.now_ms(), self._standing.clock_offset_ms
        return Response(body.request, status, lowered, bytes(body), sent_ms, received_ms, offset_ms)

    def _accept(self, response: Response) -> Response:
        # Apart from where the answer is taken in, since it may quote the request: error trackers record the
        # variables of each frame that an error came through.
        if response.used_weight is not None:
            self._standing.note_weight(response.request.path, response.used_weight)
        try:
            response.raise_for_error()
            _ = response.content  # here, and not once all of its batch are there: others are still under way
        except RateLimitedError as error:
            self._standing.close_until(error)
            raise
        return response

    def _correct_clock(self, response: Response) -> None:
        server_ms = response.payload.get("serverTime") if isinstance(response.payload, dict) else None
        if type(server_ms) is not int or not 0 <= server_ms < LATEST_S * 1000:
            raise BadResponseError(
                f"{TIME.path} gave the serverTime {shown(server_ms)}, which is no time: check the host.",
                status=response.status,
            )
        # By this machine's clock, and by when the answer was under way: before that, it may have had to wait.
        sent_ms = response.sent_ms - response.clock_offset_ms
        self._standing.correct_clock(sent_ms, response.received_ms, server_ms)

    def _still_refused(self, error: ClockError) -> ClockError:
        """Return what to say when Binance refuses the timestamp also by its own clock."""
        ahead_s = self._standing.clock_ahead_s
        return ClockError(
            f"{error} That was after a correction by Binance's own time, by which this machine's clock is "
            f"{abs(ahead_s):.1f} s {'ahead' if ahead_s > 0 else 'behind'}: check that it is right and does "
            f"not jump; or raise recv_window, now {self._settings.recv_window} ms, if the network is slow.",
            status=error.status,
            code=error.code,
        )

    def _retrying(self) -> dict[str, Any]:
        """Return the keywords that `Retrying` and `AsyncRetrying` share, so that both doors wait alike."""
        ends_at = self._clock.monotonic() + self._deadline_s

        def enough(state: RetryCallState) -> bool:
            too_late = self._clock.monotonic() + state.upcoming_sleep > ends_at
            return state.attempt_number >= _MAX_TRIES or too_late

        return {
            "retry": retry_if_exception(self._may_pass),
            "stop": enough,
            "wait": self._wait_s,
            "reraise": True,
        }

    def _may_pass(self, error: BaseException) -> bool:
        """Tell whether to ask again here and now: a ban or a long wait is not slept out."""
        if isinstance(error, RateLimitedError):
            return not error.banned and self._standing.closed_for_s() <= self._settings.max_wait
        return isinstance(error, TransientError) and not isinstance(error, ClockError)

    def _wait_s(self, state: RetryCallState) -> float:
        return max(self._standing.closed_for_s(), _BACK_OFF(state))

    def _unreachable(self, request: Request, error: Exception) -> TransientError:
        """Return what to say when no answer came; never the client's own text, which holds the signature."""
        causes = list(_chain(error))
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            reason = "failed its TLS check: check verify, the host, and what intercepts its certificates"
        elif any(isinstance(cause, TimeoutError) for cause in causes):
            reason = "gave no answer in time: check the host, the network and the timeout"
        else:
            reason = "could not be reached, or hung up: check the host, the network and the proxy"
        return TransientError(f"{self._settings.base_url}{request.path} {reason}; or try again later.")


class _Body:
    """The bytes of an answer as they come, bounded in number."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self._bytes = bytearray()

    def add(self, chunk: bytes) -> None:
        """Add what came.

        :raises BadResponseError: it is more than any page.
        """
        self._bytes += chunk
        if len(self._bytes) > _MAX_BODY_BYTES:
            raise BadResponseError(
                f"{self.request.path} answered more than {_MAX_BODY_BYTES // 2**20} MiB, which no page has: "
                "check what stands between this machine and Binance."
            )

    def __bytes__(self) -> bytes:
        return bytes(self._bytes)


class SyncClient(BaseClient):
    """Ask over `requests`, in a worker."""

    def __init__(self, settings: Settings, standing: Standing, deadline_s: float = _DEADLINE_S) -> None:
        super().__init__(settings, standing, deadline_s)
        self._session = open_session(settings, partial(_Answer, clock=self._clock, within_s=deadline_s))
        # What stays the same is prepared once: to put together the headers takes longer than to send them.
        self._request = self._session.prepare_request(requests.Request("GET", settings.base_url))
        self._pool: ThreadPoolExecutor | None = None
        self._clock_lock = threading.Lock()
        self._failure: BinanceLoanError = TransientError("The pull was given up.")
        self._failed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Whatever ends the pull, a timeout of the task too, nobody waits for what would be of no use.
        self._failed.set()
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
        self._session.close()

    def run(self, reading: Plan[T]) -> T:
        """Run a reading to its end and return what it read."""
        batch = next(reading)
        while True:
            responses = self._ask_all(batch)
            try:
                batch = reading.send(responses)
            except StopIteration as stop:
                result: T = stop.value
                return result

    def _ask_all(self, batch: tuple[Request, ...]) -> list[Response]:
        if len(batch) == 1 or self._settings.max_concurrency == 1:
            return [self._ask(request) for request in batch]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._settings.max_concurrency)
        return list(self._pool.map(self._ask, batch))

    def _ask(self, request: Request) -> Response:
        try:
            return Retrying(**self._retrying(), sleep=self._sleep)(self._try, request)
        except BinanceLoanError as error:
            if not self._failed.is_set():
                self._give_up(error)
                raise
        raise copy.copy(self._failure)  # the first one says why the pull fails

    def _give_up(self, error: BinanceLoanError) -> None:
        """Let no request go any more, and wake those that wait."""
        self._failure = error
        self._failed.set()

    def _sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds, self._failed)

    def _may_pass(self, error: BaseException) -> bool:
        return not self._failed.is_set() and super()._may_pass(error)

    def _try(self, request: Request) -> Response:
        corrections = self._standing.corrections
        try:
            return self._send(request)
        except ClockError:
            with self._clock_lock:
                if self._standing.corrections == corrections:  # else one that runs beside has corrected it
                    self._correct_clock(self._send(TIME))
        try:
            return self._send(request)
        except ClockError as error:
            refused = self._still_refused(error)
        raise refused

    def _send(self, request: Request) -> Response:
        for wait_s in self._waits(request):
            if self._failed.is_set():
                break
            self._sleep(wait_s)
        if self._failed.is_set():  # beside this one: whatever came, it would be of no use
            raise copy.copy(self._failure)
        return self._accept(self._fetch(request))

    def _fetch(self, request: Request) -> Response:
        body, sent_ms = _Body(request), self._standing.now_ms()
        signed = self._request.copy()
        signed.url = self._url(request, sent_ms)
        timeout_s = min(self._settings.timeout, self._deadline_s)
        timeout = (min(_CONNECT_TIMEOUT_S, timeout_s), timeout_s)
        try:
            with self._session.send(signed, timeout=timeout, stream=True) as answer:
                while chunk := answer.raw.read1(_CHUNK_BYTES, decode_content=True):
                    body.add(chunk)
        except (OSError, ValueError, HTTPError) as error:  # of requests and urllib3, and what slips through
            failure = self._unreachable(request, error)
        else:
            return self._response(body, sent_ms, answer.status_code, answer.headers)
        # Outside the handler: the error of the HTTP client holds the signed address, and must not ride along.
        raise failure


class AsyncClient(BaseClient):
    """Ask over `httpx`, in an event loop."""

    def __init__(self, settings: Settings, standing: Standing, deadline_s: float = _DEADLINE_S) -> None:
        # Imported here, since operators and sensors that never defer need not pay for it.
        import httpx

        super().__init__(settings, standing, deadline_s)
        self._failures = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError)
        self._side_by_side = asyncio.Semaphore(settings.max_concurrency)
        self._clock_lock = asyncio.Lock()
        timeout = httpx.Timeout(
            settings.timeout, connect=min(_CONNECT_TIMEOUT_S, settings.timeout), pool=None
        )
        context, proxy = _tls_context(_certificates(settings)), _proxy(settings)
        self._client = httpx.AsyncClient(
            headers=_headers(settings),
            timeout=timeout,
            verify=context,
            proxy=proxy and httpx.Proxy(proxy, ssl_context=context if proxy.startswith("https:") else None),
            limits=httpx.Limits(max_keepalive_connections=settings.max_concurrency),
            event_hooks={"response": [_forget_location]},
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def run(self, reading: Plan[T]) -> T:
        """Run a reading to its end and return what it read."""
        batch = next(reading)
        while True:
            responses = await self._ask_all(batch)
            try:
                batch = reading.send(responses)
            except StopIteration as stop:
                result: T = stop.value
                return result

    async def _ask_all(self, batch: tuple[Request, ...]) -> list[Response]:
        tasks = [asyncio.ensure_future(self._ask(request)) for request in batch]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _ask(self, request: Request) -> Response:
        async with self._side_by_side:
            return await AsyncRetrying(**self._retrying(), sleep=self._clock.asleep)(self._try, request)

    async def _try(self, request: Request) -> Response:
        corrections = self._standing.corrections
        try:
            return await self._send(request)
        except ClockError:
            async with self._clock_lock:
                if self._standing.corrections == corrections:
                    self._correct_clock(await self._send(TIME))
        try:
            return await self._send(request)
        except ClockError as error:
            refused = self._still_refused(error)
        raise refused

    async def _send(self, request: Request) -> Response:
        for wait_s in self._waits(request):
            await self._clock.asleep(wait_s)
        return self._accept(await self._fetch(request))

    async def _fetch(self, request: Request) -> Response:
        body, sent_ms = _Body(request), self._standing.now_ms()
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._client.stream("GET", self._url(request, sent_ms)) as answer,
            ):
                async for chunk in answer.aiter_bytes():
                    body.add(chunk)
        except self._failures as error:
            failure = self._unreachable(request, error)
        else:
            return self._response(body, sent_ms, answer.status_code, answer.headers)
        raise failure


async def _forget_location(answer: Any) -> None:
    """Drop what httpx would look into though it follows no redirect, and stumble over."""
    answer.headers.pop("location", None)


class _Answer(http.client.HTTPResponse):
    """An answer that is given up when it is not there in time, however slowly its bytes drip in.

    :param sock: where it comes from.
    :param clock: the clock to go by.
    :param within_s: how long it may take to its last byte, in seconds, from when it is first waited for.
    """

    def __init__(self, sock: Any, *args: Any, clock: Clock, within_s: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_InTime(self.fp.detach(), clock, within_s))

    def _read_status(self) -> tuple[str, int, str]:
        # What a server says before its answer is passed over; Python does so for 100 alone.
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 101 < status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)


class _InTime(io.RawIOBase):
    """What a socket gives, until it has taken too long."""

    def __init__(self, raw: io.RawIOBase, clock: Clock, within_s: float) -> None:
        self._raw = raw
        self._clock = clock
        self._ends_at = clock.monotonic() + within_s

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


class _Adapter(HTTPAdapter):
    """An adapter whose connections share a TLS context, and read answers in a way of their own."""

    def __init__(
        self, context: ssl.SSLContext, answer: Callable[..., http.client.HTTPResponse], **kwargs: Any
    ) -> None:
        self._context = context
        self._answer = answer
        super().__init__(**kwargs)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, tls = super().build_connection_pool_key_attributes(request, bool(verify), cert)
        tls.pop("ca_certs", None)  # what is in the context already, and would be read for each connection
        return host, {**tls, "ssl_context": self._context} if host["scheme"] == "https" else tls

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, proxy_ssl_context=self._context, **kwargs)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:  # noqa: ARG002
        conn.cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if not isinstance(pool.ConnectionCls, partial):
            pool.ConnectionCls = partial(self._connection, pool.ConnectionCls)
        return pool

    def _connection(self, kind: Callable[..., Any], **kwargs: Any) -> Any:
        connection = kind(**kwargs)
        connection.response_class = self._answer
        return connection


class _Session(requests.Session):
    """A session that follows no redirect, which would carry the API key elsewhere."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002 - the base class names it
        return None


def open_session(
    settings: Settings, answer: Callable[..., http.client.HTTPResponse] = http.client.HTTPResponse
) -> requests.Session:
    """Return a session that carries the API key, to the connection's host alone."""
    session = _Session()
    session.trust_env = False  # a `.netrc` would add its own login; for the rest see below
    session.headers.update(_headers(settings))
    session.verify = _certificates(settings)
    if proxy := _proxy(settings):
        session.proxies = {"https": proxy}
    session.adapters.clear()  # so that no other host can be sent the key
    adapter = _Adapter(_tls_context(session.verify), answer, pool_maxsize=settings.max_concurrency)
    session.mount(f"{settings.base_url}/", adapter)
    return session


def _headers(settings: Settings) -> dict[str, str]:
    return {
        "X-MBX-APIKEY": settings.credentials.api_key,
        "User-Agent": f"airflow-provider-binance-loan/{__version__}",
    }


def _certificates(settings: Settings) -> bool | str:
    """Return what to check certificates against: the environment's bundle unless the connection says."""
    if not _is_https(settings):
        return False  # there are none
    if isinstance(settings.verify, str):
        sources = {"verify": settings.verify}
    else:
        names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE") if settings.verify else ()
        sources = {name: os.environ[name] for name in names if os.environ.get(name)}
    for name, path in sources.items():
        try:
            _tls_context(path)
        except OSError:
            raise ConfigurationError(f"{name} is {shown(path)}, which holds no certificates.") from None
        return path
    return settings.verify


def _is_https(settings: Settings) -> bool:
    return settings.base_url.startswith("https:")


def _proxy(settings: Settings) -> str | None:
    """Return the proxy to Binance: the connection's, or else the environment's.

    There is none on the way to a plain http address, which is this machine's own: it would be given the API
    key in the clear.
    """
    if not _is_https(settings):
        return None
    if settings.proxy:
        return settings.proxy
    url = settings.base_url
    found = select_proxy(url, get_environ_proxies(url))
    if not found:
        return None
    try:
        # It is urllib's own rule that what names no scheme is an http proxy.
        return parse_proxy(found if "://" in found else f"http://{found}", "The environment's HTTPS_PROXY")
    except ConfigurationError as error:
        problem = str(error)
    # From a frame that holds no password.
    del found
    raise ConfigurationError(problem)


def _tls_context(verify: bool | str) -> ssl.SSLContext:
    """Return the TLS context that all clients of a process share: each costs much time and memory."""
    # A bundle that is renewed in its place is read anew: a triggerer runs for weeks.
    changed_ns = Path(verify).stat().st_mtime_ns if isinstance(verify, str) else 0
    return _new_tls_context(verify, changed_ns)


@lru_cache(maxsize=8)
def _new_tls_context(verify: bool | str, changed_ns: int) -> ssl.SSLContext:  # noqa: ARG001 - of the cache
    if isinstance(verify, str):
        if Path(verify).is_dir():
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    if verify:
        return ssl.create_default_context(cafile=certifi.where())
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__
