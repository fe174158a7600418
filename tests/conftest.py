"""What all tests share: an Airflow of their own, and real servers to talk to."""

from __future__ import annotations

import os
import tempfile
import time

# Before any import of Airflow, which reads them once.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "True"
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from moto.server import ThreadedMotoServer

from airflow_provider_binance_loan.client.throttle import forget_shared_throttles
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.support.certificates import new_certificate
from tests.support.clock import FakeClock
from tests.support.connections import aws_client, aws_connection, binance_connection
from tests.support.hook_client import KINDS, HookClient
from tests.support.mail import MailServer

# On a busy machine an example may take any time, so none has a deadline.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def stopping() -> Iterator[ThreadPoolExecutor]:
    """Where servers are stopped while the next tests run: each takes a fifth of a second."""
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.fixture
def sandbox(clock: FakeClock, stopping: ThreadPoolExecutor) -> Iterator[SandboxServer]:
    """A local Binance without history, on the fake clock."""
    with ExitStack() as stack:
        yield stack.enter_context(SandboxServer(Exchange(clock=clock.time, history=False)))
        stopping.submit(stack.pop_all().close)


@pytest.fixture
def exchange(sandbox: SandboxServer) -> Exchange:
    """What the local Binance holds: two units, 1 and 2, that are active all the time."""
    sandbox.exchange.behaviour.total = "rows"
    sandbox.exchange.add_unit(1)
    sandbox.exchange.add_unit(2)
    return sandbox.exchange


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch, sandbox: SandboxServer) -> Callable[..., None]:
    """Define the default connection, to the sandbox unless told otherwise."""

    def define(**fields: Any) -> None:
        connection = binance_connection(**{"host": sandbox.url, **fields})
        monkeypatch.setenv("AIRFLOW_CONN_BINANCE_LOAN_DEFAULT", connection)

    define()
    return define


@pytest.fixture
def real_time(connect: Callable[..., None], exchange: Exchange) -> None:
    """Let the local Binance share the clock of operators and sensors, which is the machine's."""
    exchange.clock = time.time


@pytest.fixture(params=KINDS)
def client_kind(request: pytest.FixtureRequest) -> str:
    """Which of the two HTTP clients a test runs through: it runs through both."""
    return str(request.param)


@pytest.fixture
def client(client_kind: str, connect: object, clock: FakeClock) -> HookClient:
    """A hook on the fake clock that pulls through one HTTP client."""
    return HookClient(client_kind, clock=clock)


@pytest.fixture(autouse=True)
def own_throttles() -> None:
    """Start without what other tests were told: a port may be used again, on the same clock."""
    forget_shared_throttles()


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """A local S3 endpoint."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the local S3 endpoint with an empty bucket `lake`, and the connection `aws_default`."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", aws_connection(s3_url))
    client = aws_client(s3_url)
    client.create_bucket(Bucket="lake")
    yield client
    for item in client.list_objects_v2(Bucket="lake").get("Contents", []):
        client.delete_object(Bucket="lake", Key=item["Key"])
    client.delete_bucket(Bucket="lake")


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    """A mail server without a mail."""
    with MailServer() as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a new certificate and its key."""
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(new_certificate())
    return path
