"""What all tests share: an Airflow of their own, and real servers to talk to."""

from __future__ import annotations

import os
import tempfile

# Before any import of Airflow, which reads them once.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "True"
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from moto.server import ThreadedMotoServer

from airflow_provider_binance_loan.client.throttle import shared_throttle
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_KEY, SANDBOX_API_SECRET, Exchange
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.support.clock import FakeClock
from tests.support.mail import MailServer

DATA = Path(__file__).parent / "data"


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
        extra = fields.pop("extra", {})
        connection = {
            "conn_type": "binance_loan",
            "host": sandbox.url,
            "login": SANDBOX_API_KEY,
            "password": SANDBOX_API_SECRET,
            **fields,
            "extra": extra,
        }
        monkeypatch.setenv("AIRFLOW_CONN_BINANCE_LOAN_DEFAULT", json.dumps(connection))

    define()
    return define


class HookClient:
    """A hook that uses the synchronous or the asynchronous client, so that one table covers both.

    :param kind: `"sync"` or `"async"`.
    :param arguments: those of the hook.
    """

    def __init__(self, kind: str, **arguments: Any) -> None:
        self.kind = kind
        self.hook = BinanceLoanHook(**arguments)

    def pull(self, start: datetime, end: datetime, **arguments: Any) -> list[Any]:
        if self.kind == "sync":
            return self.hook.get_force_liquidations(start, end, **arguments)
        return asyncio.run(self.hook.aget_force_liquidations(start, end, **arguments))


@pytest.fixture(params=["sync", "async"])
def client_kind(request: pytest.FixtureRequest) -> str:
    """Which of the two HTTP clients a test runs through: it runs through both."""
    return str(request.param)


@pytest.fixture
def client(client_kind: str, connect: object, clock: FakeClock) -> HookClient:
    """A hook on the fake clock that pulls through one HTTP client."""
    return HookClient(client_kind, clock=clock)


def assert_holds_no_secret(error: BaseException | None) -> None:
    """Neither the error nor any that it was raised from holds the key, the secret or a signature."""
    while error:
        text = f"{error!s} {error!r} {vars(error)}"
        assert not any(part in text for part in (SANDBOX_API_KEY, SANDBOX_API_SECRET, "signature="))
        error = error.__cause__ or error.__context__


@pytest.fixture(autouse=True)
def own_throttles() -> None:
    """Start without what other tests were told: a port may be used again, on the same clock."""
    shared_throttle.cache_clear()


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
    connection = {
        "conn_type": "aws",
        "login": "testing",
        "password": "testing",
        "extra": {"endpoint_url": s3_url, "region_name": "us-east-1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    client = boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
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


def new_certificate() -> bytes:
    """Return a certificate for 127.0.0.1 that nobody vouches for, and its key, as PEMs."""
    key = generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return made.public_bytes(Encoding.PEM) + key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a new certificate and its key."""
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(new_certificate())
    return path
