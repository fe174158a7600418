"""Giving up: what ends a pull ends its outstanding requests at once, however slowly they are answered."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.messages import Request
from airflow_provider_binance_loan.binance.plans import Plan
from airflow_provider_binance_loan.client.asynchronous import AsyncClient
from airflow_provider_binance_loan.exceptions import AuthRefusedError, BadResponseError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from tests.support.hook_client import run_plan
from tests.support.raw import answer, error

# A busy machine may be slow, but answers below take a minute.
AT_ONCE_S = 4.0
REFUSED = answer("401 Unauthorized", error(-2015))
SLOW = {
    "silent": b"",
    "head": b"HTTP/1.1 200 OK\r\nServer: ",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n600\r\n",
}


@contextmanager
def slow_server(first: bytes, certificate: Path | None, most: int) -> Iterator[str]:
    """Answer with some bytes, and then one at a time; refuse `/refused` once so many others wait."""
    listener = socket.create_server(("127.0.0.1", 0))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
    if tls and certificate:
        tls.load_cert_chain(certificate)
    ended, waiting = threading.Event(), threading.Semaphore(0)

    def serve(connection: socket.socket) -> None:
        with suppress(OSError):
            connection = tls.wrap_socket(connection, server_side=True) if tls else connection
            with connection:
                if b"/refused" in connection.recv(65_536):
                    for _ in range(most):
                        waiting.acquire(timeout=10)
                    connection.sendall(REFUSED)
                    return
                connection.sendall(first)
                waiting.release()
                while not ended.wait(0.1):
                    connection.sendall(b"x" if first else b"")

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        listener.close()


def send_all(*paths: str) -> Plan[None]:
    """Send requests concurrently, and wait for all answers."""
    answered = 0
    unsent = iter(paths)
    while answered < len(paths):
        path = next(unsent, None)
        answered += (yield Request(path) if path else None) is not None


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("first", SLOW.values(), ids=SLOW)
def test_a_refusal_ends_the_other_requests(
    client_kind: str, connect: Any, certificate: Path, tls: bool, first: bytes
) -> None:
    """One refusal fails the pull at once, while other answers drip."""
    with slow_server(first, certificate if tls else None, 3) as url:
        connect(host=url, extra={"timeout": 60, **({"verify": str(certificate)} if tls else {})})
        began = time.monotonic()
        with pytest.raises(AuthRefusedError):
            run_plan(client_kind, send_all("/1", "/2", "/3", "/refused"))
    assert time.monotonic() - began < AT_ONCE_S


@pytest.mark.parametrize("first", SLOW.values(), ids=SLOW)
def test_an_error_of_the_plan_ends_the_requests(client_kind: str, connect: Any, first: bytes) -> None:
    """A plan that fails on one answer does not wait for the others."""

    def failing() -> Plan[None]:
        for path in ("/1", "/2"):
            yield Request(path)
        time.sleep(0.3)  # until they are under way
        raise BadResponseError("Check the host.")

    with slow_server(first, None, 2) as url:
        connect(host=url, extra={"timeout": 60})
        began = time.monotonic()
        with pytest.raises(BadResponseError):
            run_plan(client_kind, failing())
    assert time.monotonic() - began < AT_ONCE_S


class TaskTimeout(BaseException):
    """What Airflow raises in a task that has run for too long."""


@pytest.mark.parametrize("paths", [["/1"], ["/1", "/2", "/3"]], ids=["one", "several"])
@pytest.mark.parametrize("first", SLOW.values(), ids=SLOW)
def test_a_timeout_of_the_task_ends_the_requests(connect: Any, first: bytes, paths: list[str]) -> None:
    """A task that is timed out ends at once, and no thread of it is left."""

    def time_out(*_: object) -> None:
        raise TaskTimeout

    previous = signal.signal(signal.SIGALRM, time_out)
    try:
        with slow_server(first, None, 3) as url:
            connect(host=url, extra={"timeout": 60})
            began = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(TaskTimeout):
                run_plan("sync", send_all(*paths))
            assert not [thread for thread in threading.enumerate() if "binance_loan" in thread.name]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert time.monotonic() - began < AT_ONCE_S


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("first", SLOW.values(), ids=SLOW)
def test_a_cancelled_trigger_ends_its_requests(
    connect: Any, certificate: Path, tls: bool, first: bytes
) -> None:
    """A trigger that is cancelled ends at once."""

    async def time_out() -> None:
        async with AsyncClient(BinanceLoanHook()._settings()) as client:
            await asyncio.wait_for(client.run(send_all("/1", "/2", "/3")), 0.5)

    with slow_server(first, certificate if tls else None, 3) as url:
        connect(host=url, extra={"timeout": 60, **({"verify": str(certificate)} if tls else {})})
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            asyncio.run(time_out())
    assert time.monotonic() - began < AT_ONCE_S


def test_a_handshake_delays_the_end_by_a_second(connect: Any) -> None:
    """A request that still connects cannot be ended; it is not waited for."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connect(host=f"https://127.0.0.1:{silent.getsockname()[1]}", extra={"timeout": 60})

        def failing() -> Plan[None]:
            for path in ("/1", "/2"):
                yield Request(path)
            time.sleep(0.3)
            raise BadResponseError("Check the host.")

        began = time.monotonic()
        with pytest.raises(BadResponseError):
            run_plan("sync", failing())
    assert time.monotonic() - began < AT_ONCE_S
