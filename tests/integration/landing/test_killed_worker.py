"""A worker that is killed at any point of a run: the object is whole or as it was, and the rerun is the same.

Each run is a process of its own, forked from one that has imported Airflow. Its traffic goes through relays
that stop at a given byte. The run then makes no progress, and is killed there.
"""

from __future__ import annotations

import gzip
import math
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.server import SandboxServer, airflow_connection
from tests.support.connections import aws_client, aws_connection
from tests.support.relay import Relay
from tests.support.runs import run_context

END = datetime(2026, 3, 1, tzinfo=UTC)
START = END - timedelta(days=250)  # three spans of what Binance accepts, each spooled before the next is read
RECORDS = 270
NOTE_BYTES = 20_000  # in each record, so that the object takes two parts
PART_BYTES = 5 * 2**20  # S3 takes none that is smaller
LAST_ANSWER_BYTES = 100  # fewer than the answer has that ends an upload

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "airflow.providers.amazon.aws.assets.s3",  # the hook imports it late
        "airflow.providers.amazon.aws.hooks.s3",
        "pytest",
        __name__,
    ]
)


@dataclass(frozen=True)
class Run:
    """How a run ended, and how far it got.

    :param exit_code: the exit code of the process; the negative number of the signal that ended it.
    :param read: how many bytes went to Binance and back.
    :param spooled: how many bytes of records are left on the worker's disk.
    :param sent: how many bytes went to S3 and back.
    """

    exit_code: int | None
    read: int
    spooled: int
    sent: int


class Place:
    """Runs between a local Binance and a bucket."""

    def __init__(self, binance_url: str, s3_url: str) -> None:
        self._binance_url, self._s3_url = binance_url, s3_url
        self._s3: Any = aws_client(s3_url)
        self._s3.create_bucket(Bucket="killed")

    def put(self, key: str, body: bytes) -> None:
        self._s3.put_object(Bucket="killed", Key=key, Body=body)

    def get(self, key: str) -> bytes | None:
        """Return the object, or None when there is none."""
        try:
            body: bytes = self._s3.get_object(Bucket="killed", Key=key)["Body"].read()
        except self._s3.exceptions.NoSuchKey:
            return None
        return body

    def run(
        self, key: str, *, read: float = math.inf, spooled: float = math.inf, sent: float = math.inf
    ) -> Run:
        """Run the task in a process, and kill it once it reaches one of the given numbers of bytes."""
        with (
            Relay(self._binance_url, read) as binance,
            Relay(self._s3_url, sent) as s3,
            tempfile.TemporaryDirectory() as folder,
        ):
            disk = Path(folder)
            worker = FORKS.Process(target=land, args=(binance.url, s3.url, disk, key))
            worker.start()
            held = 0
            while worker.is_alive() and not (binance.held_back or s3.held_back or held >= spooled):
                time.sleep(0.001)
                held = size(worker.pid, disk) or held
            if worker.is_alive():
                worker.kill()
            worker.join()
            assert list(disk.iterdir()) == []  # a file without a name dies with its worker
            return Run(worker.exitcode, binance.passed, held, s3.passed)


def size(pid: int | None, disk: Path) -> int:
    """Return how much a process holds in files of a folder, with or without a name."""
    total = 0
    with suppress(OSError):  # the worker has ended
        for opened in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(opened.readlink()).startswith(str(disk)):
                    total += opened.stat().st_size
    return total


def land(binance_url: str, s3_url: str, disk: Path, key: str) -> None:
    """Run the task, in the worker."""
    in_parts = {"multipart_threshold": PART_BYTES, "multipart_chunksize": PART_BYTES}
    service_config = {"s3": {"transfer_config_args": in_parts}}
    os.environ["AIRFLOW_CONN_BINANCE_LOAN_DEFAULT"] = airflow_connection(binance_url)
    os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = aws_connection(s3_url, service_config=service_config)
    tempfile.tempdir = str(disk)
    context = run_context(START, END)
    BinanceLoanForceLiquidationOperator(task_id="land", s3_bucket="killed", s3_key=key).execute(context)


@pytest.fixture(scope="module")
def place(s3_url: str) -> Iterator[Place]:
    exchange, dice = Exchange(history=False), random.Random(1)
    exchange.add_unit(1)
    for number in range(RECORDS):
        at_ms = int((START + (END - START) * number / RECORDS).timestamp() * 1000)
        exchange.add_liquidation(1, at_ms, at_ms + 1, note=dice.randbytes(NOTE_BYTES // 20).hex() * 10)
    with SandboxServer(exchange) as server:
        yield Place(server.url, s3_url)


@pytest.fixture(scope="module", params=["in_parts.jsonl", "in_one.jsonl.gz"])
def undisturbed(request: pytest.FixtureRequest, place: Place) -> tuple[str, bytes, Run]:
    """The key, the object and the figures of a run that is not killed."""
    run = place.run(request.param)
    body = place.get(request.param)
    assert body is not None
    lines = gzip.decompress(body) if request.param.endswith(".gz") else body
    assert (run.exit_code, lines.count(b"\n")) == (0, RECORDS)
    return request.param, body, run


@pytest.fixture(scope="module")
def asked(place: Place) -> int:
    """How many bytes pass between a worker and S3 before Binance is asked: whether the bucket exists."""
    return place.run("asked.jsonl", read=0).sent


@pytest.mark.parametrize("older", [None, b"older"], ids=["absent", "older"])
@pytest.mark.parametrize(
    ("stage", "earliest", "latest"),
    [
        pytest.param("read", 0, 1, id="pull"),
        pytest.param("spooled", 0, 1, id="spool"),
        pytest.param("sent", 0, 0.5, id="upload"),
        pytest.param("sent", 0.5, 1, id="late in the upload"),
        pytest.param("sent", 1, 1, id="last answer"),
    ],
)
def test_leaves_the_object_whole_or_as_it_was(
    request: pytest.FixtureRequest,
    place: Place,
    undisturbed: tuple[str, bytes, Run],
    asked: int,
    older: bytes | None,
    stage: str,
    earliest: float,
    latest: float,
) -> None:
    """A worker killed at a random point leaves the whole object or what was there; a rerun lands it whole."""
    name, whole, run = undisturbed
    key = f"{request.node.name}/{name}"
    if older is not None:
        place.put(key, older)
    most = {"read": run.read, "spooled": len(whole), "sent": run.sent - LAST_ANSWER_BYTES}[stage]
    least = asked if stage == "sent" else 0
    point = least + int((most - least) * random.Random(request.node.name).uniform(earliest, latest))
    # A worker that spools too fast to be killed in time is stopped before the upload.
    limits = {"spooled": point, "sent": asked} if stage == "spooled" else {stage: point}

    killed = place.run(key, **limits)
    assert killed.exit_code == -signal.SIGKILL
    assert killed.sent == (point if stage == "sent" else asked)
    assert point <= getattr(killed, stage) <= most
    # When S3 answers, the object exists, even if the worker is killed before it has read the answer.
    assert place.get(key) in ([whole] if earliest == 1 else [whole, older])

    assert place.run(key).exit_code == 0
    assert place.get(key) == whole
