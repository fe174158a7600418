"""Concurrency: how many requests are under way, and when a plan is sent answers, in both clients."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.plans import Plan
from airflow_provider_binance_loan.client.asynchronous import AsyncClient
from airflow_provider_binance_loan.client.sync import SyncClient
from airflow_provider_binance_loan.exceptions import BadResponseError, BinanceLoanError
from airflow_provider_binance_loan.hooks import BinanceLoanHook

SLOW_S = 0.5


class Server:
    """A server that answers `/slow` after half a second and anything else at once.

    It counts how many requests are under way.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.most_under_way = 0
        self._under_way = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with server._lock:
                    server._under_way += 1
                    server.most_under_way = max(server.most_under_way, server._under_way)
                    server.paths.append(self.path.partition("?")[0])
                time.sleep(SLOW_S if self.path.startswith("/slow") else 0.05)
                with server._lock:
                    server._under_way -= 1
                with suppress(OSError):  # of a client that has given up
                    self.send_response(200)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def run(client_kind: str, plan: Plan[Any]) -> Any:
    """Return the result of a plan that one of the clients runs."""
    settings = BinanceLoanHook()._settings()

    async def run_async() -> Any:
        async with AsyncClient(settings) as client:
            return await client.run(plan)

    if client_kind == "async":
        return asyncio.run(run_async())
    with SyncClient(settings) as client:
        return client.run(plan)


def send_all(paths: list[str]) -> Plan[list[str]]:
    """Send requests as soon as there is room, and return their paths in the order of the answers."""
    answered: list[str] = []
    unsent = iter(paths)
    while len(answered) < len(paths):
        path = next(unsent, None)
        if response := (yield Request(path) if path else None):
            answered.append(response.request.path)
    return answered


@pytest.mark.parametrize(("max_concurrency", "slow_at"), [(1, 0), (2, 5), (8, 5)])
def test_sends_answers_as_they_arrive(
    client_kind: str, server: Server, connect: Any, max_concurrency: int, slow_at: int
) -> None:
    """A slow answer holds up no other one, and no more requests are under way than the connection allows."""
    connect(host=server.url, extra={"max_concurrency": max_concurrency})
    paths = ["/slow", *(f"/{number}" for number in range(5))]
    answered = run(client_kind, send_all(paths))
    assert sorted(answered) == sorted(server.paths) == sorted(paths)
    assert answered.index("/slow") == slow_at
    assert server.most_under_way == min(max_concurrency, len(paths))


@pytest.mark.parametrize("max_concurrency", [1, 8])
def test_runs_a_plan_that_needs_each_answer(
    client_kind: str, server: Server, connect: Any, max_concurrency: int
) -> None:
    """A plan that asks for an answer after each request is sent it before it goes on."""

    def one_by_one() -> Plan[list[str]]:
        paths = []
        for number in range(3):
            response: Response | None = yield Request(f"/{number}")
            response = response or (yield None)
            assert response
            paths.append(response.request.path)
        return paths

    connect(host=server.url, extra={"max_concurrency": max_concurrency})
    assert run(client_kind, one_by_one()) == server.paths == ["/0", "/1", "/2"]
    assert server.most_under_way == 1


def test_runs_a_plan_without_requests(client_kind: str, server: Server, connect: Any) -> None:
    """A plan that needs nothing ends with its result."""
    connect(host=server.url)
    assert run(client_kind, send_all([])) == []
    assert server.paths == []


def test_raises_the_error_of_a_plan(client_kind: str, server: Server, connect: Any) -> None:
    """An error of the plan itself names the connection, and ends the requests that are under way."""

    def failing() -> Plan[None]:
        yield Request("/slow")
        yield Request("/1")
        yield None
        raise BadResponseError("Check the host: the list is wrong.", path="/1")

    connect(host=server.url, extra={"max_concurrency": 8})
    with pytest.raises(BinanceLoanError, match="Check the host") as caught:
        run(client_kind, failing())
    assert type(caught.value) is BadResponseError
    assert (caught.value.path, caught.value.conn_id) == ("/1", "binance_loan_default")


def test_a_client_runs_several_plans(client_kind: str, server: Server, connect: Any) -> None:
    """One client runs plan after plan."""
    connect(host=server.url)
    settings = BinanceLoanHook()._settings()
    plans = [send_all(["/1", "/2"]), send_all(["/3"])]

    async def run_async() -> list[list[str]]:
        async with AsyncClient(settings) as client:
            return [await client.run(plan) for plan in plans]

    if client_kind == "async":
        answered = asyncio.run(run_async())
    else:
        with SyncClient(settings) as client:
            answered = [client.run(plan) for plan in plans]
    assert [sorted(paths) for paths in answered] == [["/1", "/2"], ["/3"]]


def test_refuses_to_wait_for_nothing(client_kind: str, server: Server, connect: Any) -> None:
    """A plan that waits for an answer to no request is an error, and not a wait without end."""

    def waiting() -> Plan[None]:
        yield None

    connect(host=server.url)
    with pytest.raises(RuntimeError, match="no request is under way"):
        run(client_kind, waiting())
