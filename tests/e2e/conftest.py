"""One Airflow for all end-to-end tests, local Binances beside it, and their logs when a test fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_SECRET, Exchange
from airflow_provider_binance_loan.sandbox.server import SandboxServer, airflow_connection
from tests.e2e.failures import failing_connections
from tests.e2e.harness import Airflow
from tests.support.connections import aws_connection
from tests.support.mail import MailServer

DAGS = Path(__file__).parent / "dags"
DAG_IDS = (
    "wait_then_pull",
    "wait_with_form",
    "wait_softly",
    "wait_with_wrong_secret",
    "wait_five_seconds",
    "pull_watched",
    "land",
    "land_mapped",
    "land_wrong_window",
    "land_nothing",
    "hear_of_asset",
    "hear_of_alias",
    "hear_of_ltvs",
    "hear_of_liquidations",
    "wait_for_calm",
    "fail",
)
# The connections that the example DAGs name.
SHOWN = ("default", "asia", "europe", "market_making")
RUNNING = pytest.StashKey[Airflow]()


def serve() -> SandboxServer:
    """A local Binance without history, and with units 1 and 2."""
    exchange = Exchange(history=False)
    exchange.add_unit(1)
    exchange.add_unit(2)
    return SandboxServer(exchange)


@pytest.fixture(scope="session")
def waited() -> Iterator[SandboxServer]:
    """The local Binance that the sensors ask."""
    with serve() as server:
        yield server


@pytest.fixture(scope="session")
def watched() -> Iterator[SandboxServer]:
    """The local Binance that the watcher asks, so that neither sees what happens in the other."""
    with serve() as server:
        yield server


@pytest.fixture(scope="session")
def warned() -> Iterator[SandboxServer]:
    """The local Binance whose LTVs are watched."""
    exchange = Exchange(history=False)
    exchange.add_unit(1)
    with SandboxServer(exchange) as server:
        yield server


@pytest.fixture(scope="session")
def shown() -> Iterator[SandboxServer]:
    """The local Binance that the example DAGs ask, where a liquidation or three start in each hour."""
    with SandboxServer(Exchange()) as server:
        yield server


@pytest.fixture
def exchange(waited: SandboxServer) -> Exchange:
    return waited.exchange


@pytest.fixture
def watched_exchange(watched: SandboxServer) -> Exchange:
    return watched.exchange


@pytest.fixture(scope="session")
def store(s3_url: str) -> Any:
    """The local S3."""
    session = boto3.Session("testing", "testing", region_name="us-east-1")
    return session.resource("s3", endpoint_url=s3_url)


@pytest.fixture(scope="session")
def lake(store: Any) -> Any:
    """The bucket that the DAGs land in."""
    return store.create_bucket(Bucket="lake")


@pytest.fixture(scope="session")
def mail_server() -> Iterator[MailServer]:
    """The mail server that the connection `smtp_default` leads to."""
    with MailServer() as server:
        yield server


@pytest.fixture(scope="session")
def failing() -> Iterator[dict[str, str]]:
    """The connections of the tasks that fail, each to a local Binance of its own."""
    with failing_connections() as connections:
        yield connections


@pytest.fixture(scope="session")
def airflow(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    waited: SandboxServer,
    watched: SandboxServer,
    shown: SandboxServer,
    warned: SandboxServer,
    s3_url: str,
    lake: Any,
    mail_server: MailServer,
    failing: dict[str, str],
) -> Iterator[Airflow]:
    """A running Airflow that has read the DAGs and whose watcher watches."""
    home = tmp_path_factory.mktemp("airflow")
    wrong = json.loads(airflow_connection(waited.url)) | {"password": SANDBOX_API_SECRET[::-1]}
    connections = {
        "binance_loan_waited": airflow_connection(waited.url),
        "binance_loan_wrong_secret": json.dumps(wrong),
        "binance_loan_watched": airflow_connection(watched.url),
        "binance_loan_warned": airflow_connection(warned.url),
        **{f"binance_loan_{name}": airflow_connection(shown.url) for name in SHOWN},
        **failing,
        "smtp_default": mail_server.airflow_connection,
        "aws_default": aws_connection(s3_url),
    }
    dags = Path(shutil.copytree(DAGS, home / "dags", ignore=shutil.ignore_patterns("__pycache__")))
    running = Airflow(home, dags, connections)
    request.config.stash[RUNNING] = running
    with running:
        running.wait_for_dags(*DAG_IDS)
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what Airflow's components and tasks logged."""
    report = yield
    if report.failed and RUNNING in item.config.stash:
        report.sections += item.config.stash[RUNNING].logs(since=call.start).items()
    return report
