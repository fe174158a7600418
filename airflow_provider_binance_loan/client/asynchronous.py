"""The client for the triggerer, over `httpcore`: requests of one plan run concurrently in one event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, TypeVar

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
from airflow_provider_binance_loan.client.network import FAILURES, open_pool
from airflow_provider_binance_loan.client.session import headers, proxy_url
from airflow_provider_binance_loan.client.tls import tls_context
from airflow_provider_binance_loan.exceptions import BinanceLoanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_binance_loan.binance.messages import Request, Response
    from airflow_provider_binance_loan.binance.plans import Plan
    from airflow_provider_binance_loan.client.settings import Settings

T = TypeVar("T")


class AsyncClient(BaseClient):
    """Runs request plans in an event loop. Use it in an `async with` block.

    Further parameters are those of the base class.

    :param settings: the connection.
    :param max_kept: how many idle sockets are kept; by default as many as requests may run concurrently.
    """

    def __init__(self, settings: Settings, *, max_kept: int | None = None, **kwargs: Any) -> None:
        super().__init__(settings, **kwargs)
        self._exclusive = asyncio.Lock()
        self._tls_context = tls_context(settings)
        self._pool = open_pool(self._tls_context, self._proxy_url, max_kept or settings.max_concurrency)
        self._headers = list({"Accept": "*/*", **headers(settings)}.items())
        timeout_s = settings.timeout
        self._extensions = {
            "timeout": {
                "connect": min(CONNECT_TIMEOUT_S, timeout_s),
                "read": timeout_s,
                "write": timeout_s,
            }
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections to Binance."""
        await self._pool.aclose()

    def serves(self, settings: Settings) -> bool:
        """Return whether a client of these settings would be the same.

        :raises ConfigurationError: no client can be made of them.
        """
        return (
            settings.fingerprint == self._settings.fingerprint
            and tls_context(settings) is self._tls_context
            and proxy_url(settings) == self._proxy_url
        )

    async def run(self, plan: Plan[T]) -> T:
        """Run a plan to its end and return its result.

        However it ends, outstanding requests are cancelled.

        :raises BinanceLoanError: one of its subclasses, by what to do.
        """
        tasks: set[asyncio.Task[Response]] = set()
        try:
            with self._naming_connection():
                return await self._run(plan, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, plan: Plan[T], tasks: set[asyncio.Task[Response]]) -> T:
        answers: asyncio.Queue[asyncio.Task[Response]] = asyncio.Queue()
        answer: Response | None = None
        while True:
            try:
                request = plan.send(answer)
            except StopIteration as stop:
                result: T = stop.value
                return result
            answer = None
            if request:
                task = asyncio.ensure_future(self._perform(request))
                task.add_done_callback(answers.put_nowait)
                tasks.add(task)
            elif not tasks:
                raise RuntimeError("The plan waits for an answer, and no request is under way.")
            if not request or len(tasks) >= self._settings.max_concurrency:
                done = await answers.get()
                tasks.discard(done)
                answer = done.result()

    async def _perform(self, request: Request) -> Response:
        """Return the response to a request, after as many attempts as it takes."""
        return await self._drive(self._flow(request))

    async def _drive(self, flow: Flow[T]) -> T:
        outcome: Outcome | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as stop:
                result: T = stop.value
                return result
            outcome = None
            if isinstance(step, Wait):
                await self._clock.asleep(step.seconds)
            elif isinstance(step, Exclusive):
                try:
                    async with self._exclusive:
                        await self._drive(step.flow)
                except BinanceLoanError as error:
                    outcome = error
            else:
                outcome = await self._fetch(step)

    async def _fetch(self, step: Send) -> Outcome:
        # Errors are returned and not raised: error trackers record frame locals, and httpcore's frames hold
        # the signed URL.
        try:
            async with (
                asyncio.timeout(self._retry_policy.deadline_s),
                self._pool.stream(
                    "GET", self._url(step), headers=self._headers, extensions=self._extensions
                ) as answer,
            ):
                fields = _joined(answer.headers)
                body = Body(step.request.path, answer.status, fields.get("content-encoding"))
                async for chunk in answer.aiter_stream():
                    if not body.add(chunk):
                        break
                content = body.content()
        except BinanceLoanError as error:
            return error.with_traceback(None)
        except FAILURES as error:
            return self._unreachable(step.request, error)
        return self._response(content, step, answer.status, fields)


def _joined(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers of an answer by their names in lower case; one that comes twice is a list."""
    fields: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields
