"""The client for workers, over `requests`: requests of one plan run concurrently in threads."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self, TypeVar

import requests
from urllib3 import Timeout
from urllib3.exceptions import HTTPError

from airflow_provider_binance_loan.client.base import (
    CONNECT_TIMEOUT_S,
    BaseClient,
    Exclusive,
    Flow,
    Outcome,
    Send,
    Wait,
)
from airflow_provider_binance_loan.client.body import Body
from airflow_provider_binance_loan.client.session import Connections, open_session
from airflow_provider_binance_loan.exceptions import BinanceLoanError, TransientError

if TYPE_CHECKING:
    from urllib3.connectionpool import HTTPConnectionPool

    from airflow_provider_binance_loan.binance.messages import Request, Response
    from airflow_provider_binance_loan.binance.plans import Plan
    from airflow_provider_binance_loan.client.settings import Settings

T = TypeVar("T")

_CHUNK_BYTES = 2**16
# How long to wait for threads whose requests were ended.
_ENDING_S = 1.0


class SyncClient(BaseClient):
    """Runs request plans in a worker. Use it in a `with` block.

    However the block ends, on a task timeout too, no further request is sent; it waits for those on the wire.
    The parameters are those of the base class.
    """

    def __init__(self, settings: Settings, **kwargs: Any) -> None:
        super().__init__(settings, **kwargs)
        deadline_s = self._retry_policy.deadline_s
        self._connections = Connections(self._clock, deadline_s)
        self._session = open_session(settings, self._connections)
        # The session makes the pool and the headers, once. Requests then go to the pool itself: the layers of
        # `requests` above it cost as much time as the request.
        prepared = self._session.prepare_request(requests.Request("GET", settings.base_url))
        self._headers = dict(prepared.headers)
        self._origin = settings.base_url.removesuffix(prepared.path_url.rstrip("/"))
        self._http_pool = _connection_pool(self._session, prepared)
        timeout_s = min(settings.timeout, deadline_s)
        self._timeout = Timeout(connect=min(CONNECT_TIMEOUT_S, timeout_s), read=timeout_s)
        self._pool: ThreadPoolExecutor | None = None
        self._submitted: set[Future[None]] = set()
        self._exclusive = threading.Lock()
        self._cancelled = threading.Event()
        self._failure: BinanceLoanError = TransientError("Try again later: the pull was given up.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cancelled.set()
        self._connections.end()
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)
            # One that is connecting cannot be ended, and gives up within its timeout.
            unfinished = wait(tuple(self._submitted), timeout=_ENDING_S).not_done
            self._pool.shutdown(wait=not unfinished)
        self._session.close()

    def run(self, plan: Plan[T]) -> T:
        """Run a plan to its end and return its result.

        :raises BinanceLoanError: one of its subclasses, by what to do.
        """
        with self._naming_connection():
            return self._run(plan)

    def _run(self, plan: Plan[T]) -> T:
        # All requests are sent by other threads: a task timeout, which Airflow raises in this one, must have
        # no frame in its traceback that holds the API key or a signature.
        answers: SimpleQueue[Response | BaseException] = SimpleQueue()
        under_way = 0
        answer: Response | None = None
        while True:
            try:
                request = plan.send(answer)
            except StopIteration as stop:
                result: T = stop.value
                return result
            answer = None
            if request:
                self._submit(request, answers)
                under_way += 1
            elif not under_way:
                raise RuntimeError("The plan waits for an answer, and no request is under way.")
            if not request or under_way >= self._settings.max_concurrency:
                answer, under_way = _received(answers), under_way - 1

    def _submit(self, request: Request, answers: SimpleQueue[Response | BaseException]) -> None:
        def work() -> None:
            try:
                answers.put(self._perform(request))
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits for it
                answers.put(error)

        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._settings.max_concurrency, "binance_loan")
        future = self._pool.submit(work)
        self._submitted.add(future)
        future.add_done_callback(self._submitted.discard)

    def _perform(self, request: Request) -> Response:
        """Return the response to a request, after as many attempts as it takes.

        :raises BinanceLoanError: it failed, or a concurrent request did, and this one is of no use any more.
        """
        try:
            return self._drive(self._flow(request))
        except BinanceLoanError as error:
            if not self._cancelled.is_set():
                self._cancel(error)
                raise
        raise copy.copy(self._failure)  # the first error says why the pull fails

    def _cancel(self, failure: BinanceLoanError) -> None:
        """Let no more requests be sent, and end the waits and the answers of the others."""
        self._failure = failure
        self._cancelled.set()
        self._connections.end()

    def _drive(self, flow: Flow[T]) -> T:
        outcome: Outcome | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as stop:
                result: T = stop.value
                return result
            outcome = None
            if self._cancelled.is_set():
                raise copy.copy(self._failure)
            if isinstance(step, Wait):
                self._clock.sleep(step.seconds, self._cancelled)
            elif isinstance(step, Exclusive):
                try:
                    with self._exclusive:
                        self._drive(step.flow)
                except BinanceLoanError as error:
                    outcome = error
            else:
                outcome = self._fetch(step)

    def _fetch(self, step: Send) -> Outcome:
        # Errors are returned and not raised: error trackers record frame locals, and this frame holds the
        # signed URL.
        try:
            answer = self._http_pool.urlopen(
                "GET",
                self._url(step).removeprefix(self._origin),
                headers=self._headers,
                timeout=self._timeout,
                retries=False,
                redirect=False,  # it would send the API key elsewhere
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                body = Body(step.request.path, answer.status, answer.headers.get("content-encoding"))
                while chunk := answer.read1(_CHUNK_BYTES, decode_content=False):
                    if not body.add(chunk):
                        break
                content = body.content()
            finally:  # one that was not read to its end takes its connection with it
                answer.close()
                answer.release_conn()
        except BinanceLoanError as error:
            return error.with_traceback(None)
        except (OSError, ValueError, HTTPError) as error:  # of urllib3, and what it lets through
            return self._unreachable(step.request, error)
        return self._response(content, step, answer.status, answer.headers)


def _connection_pool(session: requests.Session, request: requests.PreparedRequest) -> HTTPConnectionPool:
    """Return the pool of connections to which the session would send a request."""
    adapter: Any = session.get_adapter(request.url or "")
    pool: HTTPConnectionPool = adapter.get_connection_with_tls_context(
        request, session.verify, proxies=session.proxies
    )
    return pool


def _received(answers: SimpleQueue[Response | BaseException]) -> Response:
    """Return the next answer of those under way, or raise its error."""
    answer = answers.get()
    if isinstance(answer, BaseException):
        raise answer
    return answer
