"""Failures of tasks: what causes each, and the advice that the log page must show."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_SECRET, Exchange
from airflow_provider_binance_loan.sandbox.faults import Fault
from airflow_provider_binance_loan.sandbox.server import SandboxServer, airflow_connection

Fields = dict[str, str]

# More attempts than any request has.
ATTEMPTS = 20
RECORDS = "/force-liquidation"


@dataclass(frozen=True)
class Failure:
    """One failure of a task of the DAG `fail`.

    :param task_id: the id of the task; the id of its connection is this with `failing_` before it.
    :param advice: how the advice begins; it ends at the next colon.
    :param fault: what the requests for records meet.
    :param faultless: how many of them meet nothing at first.
    :param change: returns what is wrong with the connection, from the URL of its sandbox.
    """

    task_id: str
    advice: str
    fault: Fault | None = None
    faultless: int = 0
    change: Callable[[str], Fields] | None = None


FAILURES = (
    Failure("empty_password", "Put the HMAC secret into password", change=lambda _: {"password": ""}),
    Failure(
        "wrong_secret",
        "Check that the secret or private key belongs to the API key",
        change=lambda _: {"password": SANDBOX_API_SECRET[::-1]},
    ),
    Failure("unknown_key", "Check the API key, its permission to read", change=lambda _: {"login": "A" * 64}),
    Failure("no_connection", "Add the binance_loan connection "),
    Failure(
        "rate_limited",
        "Wait until 20",
        Fault("error", 429, -1003, "Too many requests.", retry_after=600, path=RECORDS),
    ),
    Failure(
        "banned",
        "Wait until 20",
        Fault("error", 418, -1003, "Way too many requests; IP banned until 1893456000000.", path=RECORDS),
    ),
    Failure(
        "wrong_clock",
        "Raise recv_window, 5000 ms, on a slow network",
        Fault("error", 400, -1021, "Timestamp for this request is outside of the recvWindow.", path=RECORDS),
    ),
    Failure("unreachable", "Check the host, the network and the proxy"),  # has a connection to a closed port
    # The sandbox speaks no TLS.
    Failure(
        "failed_tls",
        "Check verify, the host, and what intercepts its certificates",
        change=lambda url: {"host": url.replace("http:", "https:")},
    ),
    Failure("firewall", "Use another IP address or region", Fault("html", 403, path=RECORDS)),
    Failure("no_bucket", "Create the bucket 'no-such-bucket'"),
    Failure(
        "refused_in_triggerer",
        "Check the API key, its permission to read",
        Fault("error", 401, -2015, "Invalid API-key, IP, or permissions for action.", path=RECORDS),
        faultless=1,
    ),
)


@contextmanager
def failing_connections() -> Iterator[dict[str, str]]:
    """Yield the connections of the failures, by their ids; each leads to a sandbox of its own."""
    with ExitStack() as stack:
        connections = {}
        for failure in FAILURES:
            if failure.task_id == "no_connection":
                continue  # it is not defined
            exchange = Exchange(history=False)
            exchange.add_unit(1)
            if failure.fault:
                exchange.fail(*[None] * failure.faultless, *[failure.fault] * ATTEMPTS)
            url = stack.enter_context(SandboxServer(exchange)).url
            if failure.task_id == "unreachable":
                url = stack.enter_context(_closed_port())
            fields = json.loads(airflow_connection(url)) | (failure.change(url) if failure.change else {})
            connections[f"failing_{failure.task_id}"] = json.dumps(fields)
        yield connections


@contextmanager
def _closed_port() -> Iterator[str]:
    """Yield a URL whose port refuses connections, and which no other process can take meanwhile."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
