"""The two doors to Binance, for workers and for event loops: the only place with a socket and a clock.

What to ask is decided in `binance.liquidations`; a door asks, signs each try anew, and asks again after a
transient fault. All but the sending and the waiting is written once, in `_Door`.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import requests
from requests.adapters import HTTPAdapter
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from airflow_provider_binance_loan import __version__
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.signing import signed_query
from airflow_provider_binance_loan.exceptions import (
    BadResponseError,
    ClockError,
    ConfigurationError,
    RateLimitedError,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_binance_loan.binance.reading import Reading
    from airflow_provider_binance_loan.connection import Settings

T = TypeVar("T")

TIME = Request("/api/v3/time")

# Binance may take ten seconds to process a request, so only the connecting is held shorter.
_CONNECT_TIMEOUT_S = 5.0
_MAX_TRIES = 5
_MAX_WAIT_MS = 60_000
# Binance refuses a timestamp more than a second ahead of its own clock however wide recvWindow is, so the
# corrected clock stays a little behind.
_CLOCK_BIAS_MS = 250
_BACK_OFF = wait_random_exponential(multiplier=1, max=10)


class Clock:
    """The time and the waiting that a door uses; tests put their own in its place."""

    def now_ms(self) -> int:
        """Return the time in epoch milliseconds."""
        return time.time_ns() // 1_000_000

    def sleep(self, seconds: float) -> None:
        """Wait, in a worker."""
        time.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        """Wait, in an event loop."""
        await asyncio.sleep(seconds)


class _Door:
    """What both doors share: what is sent, what an answer means, and when to ask again."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._clock_offset_ms = 0

    def _url(self, request: Request) -> str:
        """Return the address to send as it is: the signature covers the very bytes of its query."""
        address = self._settings.base_url + request.path
        if request is TIME:
            return address
        params = (*request.params, ("recvWindow", self._settings.recv_window))
        return f"{address}?{signed_query(params, self._settings.credentials, self._now_ms())}"

    def _now_ms(self) -> int:
        """Return the time by Binance's clock, as far as it is known."""
        return self._clock.now_ms() + self._clock_offset_ms

    def _accept(self, request: Request, status: int, headers: Mapping[str, str], body: bytes) -> Response:
        lowered = {name.lower(): value for name, value in headers.items()}
        response = Response(request, status, lowered, body, self._now_ms())
        response.raise_for_error()
        return response

    def _correct_clock(self, sent_ms: int, response: Response) -> None:
        """Take Binance's time as that of the midpoint of the round trip."""
        server_ms = response.payload.get("serverTime") if isinstance(response.payload, dict) else None
        if type(server_ms) is not int:
            raise BadResponseError(f"{TIME.path} gave no serverTime.", status=response.status)
        self._clock_offset_ms += server_ms - (sent_ms + response.received_ms) // 2 - _CLOCK_BIAS_MS

    def _retrying(self) -> dict[str, Any]:
        """Return the keywords that `Retrying` and `AsyncRetrying` share, so that both doors wait alike."""
        return {
            "retry": retry_if_exception(self._may_pass),
            "stop": stop_after_attempt(_MAX_TRIES),
            "wait": self._wait_s,
            "reraise": True,
        }

    def _may_pass(self, error: BaseException) -> bool:
        """Tell whether to ask again here and now: a ban or a long wait is not slept out."""
        if isinstance(error, RateLimitedError):
            return not error.banned and error.ends_at_ms - self._now_ms() <= _MAX_WAIT_MS
        return isinstance(error, TransientError) and not isinstance(error, ClockError)

    def _wait_s(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        told_s = (error.ends_at_ms - self._now_ms()) / 1000 if isinstance(error, RateLimitedError) else 0
        return max(told_s, _BACK_OFF(state))

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


class SyncDoor(_Door):
    """Ask over `requests`, in a worker."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        super().__init__(settings, clock)
        self._session = open_session(settings)
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
        self._session.close()

    def run(self, reading: Reading[T]) -> T:
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
        return Retrying(**self._retrying(), sleep=self._clock.sleep)(self._try, request)

    def _try(self, request: Request) -> Response:
        try:
            return self._send(request)
        except ClockError:
            sent_ms = self._now_ms()
            self._correct_clock(sent_ms, self._send(TIME))
            return self._send(request)

    def _send(self, request: Request) -> Response:
        failure = None
        try:
            answer = self._session.get(
                self._url(request),
                timeout=(min(_CONNECT_TIMEOUT_S, self._settings.timeout), self._settings.timeout),
            )
        except (OSError, ValueError) as error:  # all of requests' own, and some that slip through
            failure = self._unreachable(request, error)
        # Outside the handler: the error of the HTTP client holds the signed address, and must not ride along.
        if failure:
            raise failure
        return self._accept(request, answer.status_code, answer.headers, answer.content)


class AsyncDoor(_Door):
    """Ask over `httpx`, in an event loop."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        # Imported here, since operators and sensors that never defer need not pay for it.
        import httpx

        super().__init__(settings, clock)
        self._failures = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError)
        self._side_by_side = asyncio.Semaphore(settings.max_concurrency)
        timeout = httpx.Timeout(
            settings.timeout, connect=min(_CONNECT_TIMEOUT_S, settings.timeout), pool=None
        )
        try:
            self._client = httpx.AsyncClient(
                headers=_headers(settings),
                timeout=timeout,
                verify=_tls_context(_certificates(settings)) if _is_https(settings) else False,
                proxy=settings.proxy,
            )
        except (ImportError, ValueError, httpx.InvalidURL):
            raise ConfigurationError(
                "The proxy of the connection or the environment is not one that httpx can use."
            ) from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def run(self, reading: Reading[T]) -> T:
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
        try:
            return await self._send(request)
        except ClockError:
            sent_ms = self._now_ms()
            self._correct_clock(sent_ms, await self._send(TIME))
            return await self._send(request)

    async def _send(self, request: Request) -> Response:
        failure = None
        try:
            answer = await self._client.get(self._url(request))
        except self._failures as error:
            failure = self._unreachable(request, error)
        if failure:
            raise failure
        return self._accept(request, answer.status_code, answer.headers, answer.content)


class _Session(requests.Session):
    """A session that follows no redirect, and lets no environment variable overrule the connection."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002 - the base class names it
        return None  # the API key would be carried elsewhere

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        given = {"verify": self.verify, **({"proxies": self.proxies} if self.proxies else {})}
        return super().request(*args, **{**given, **kwargs})


def open_session(settings: Settings) -> requests.Session:
    """Return a session that carries the API key, to the connection's host alone."""
    session = _Session()
    session.headers.update(_headers(settings))
    session.verify = _certificates(settings) if _is_https(settings) else True
    if settings.proxy:
        session.proxies = {"http": settings.proxy, "https": settings.proxy}
    session.adapters.clear()  # so that no other host can be sent the key
    session.mount(f"{settings.base_url}/", HTTPAdapter(pool_maxsize=settings.max_concurrency))
    return session


def _headers(settings: Settings) -> dict[str, str]:
    return {
        "X-MBX-APIKEY": settings.credentials.api_key,
        "User-Agent": f"airflow-provider-binance-loan/{__version__}",
    }


def _certificates(settings: Settings) -> bool | str:
    """Return what to check certificates against: the environment's bundle unless the connection says."""
    if isinstance(settings.verify, str):
        sources = {"verify": settings.verify}
    else:
        names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if settings.verify else ()
        sources = {name: os.environ[name] for name in names if os.environ.get(name)}
    for name, path in sources.items():
        try:
            _tls_context(path)
        except OSError:
            raise ConfigurationError(f"{name} is {path!r}, which holds no certificates.") from None
        return path
    return settings.verify


def _is_https(settings: Settings) -> bool:
    return settings.base_url.startswith("https:")


@cache
def _tls_context(verify: bool | str) -> ssl.SSLContext:
    """Return the TLS context that all clients of a process share: each costs much time and memory."""
    import httpx

    if isinstance(verify, str):
        if Path(verify).is_dir():
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)
    return httpx.create_ssl_context(verify=verify)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__
