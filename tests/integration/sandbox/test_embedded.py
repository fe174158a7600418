"""Real runs of small DAG files: what they may reach, and what is said of how they went."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_binance_loan.sandbox.embedded import sealed_environment

COMMAND = str(Path(sys.executable).with_name("binance-loan-sandbox"))

READS = """
import gzip, hashlib, json
from datetime import UTC, datetime

import neighbour
from airflow.sdk import DAG, BaseHook, BaseOperator, CronDataIntervalTimetable, task

class Reads(BaseOperator):
    template_fields = ("binance_loan_conn_id",)

    def __init__(self, binance_loan_conn_id, **kwargs):
        super().__init__(**kwargs)
        self.binance_loan_conn_id = binance_loan_conn_id

    def execute(self, context):
        connection = BaseHook.get_connection(self.binance_loan_conn_id)
        if not connection.host.startswith("http://127.0.0.1:"):
            raise RuntimeError(f"reached {connection.host}")
        times = {"liquidationStartTime": 1772341200000, "liquidationEndTime": None}
        figures = {"startLtv": "0.95", "endLtv": "0.40", "totalLiability": "7.10"}
        return [{"groupId": neighbour.GROUP} | times | figures]

class Lands(BaseOperator):
    def __init__(self, s3_bucket, s3_key, **kwargs):
        super().__init__(**kwargs)
        self.s3_bucket, self.s3_key = s3_bucket, s3_key

    def execute(self, context):
        import boto3
        rows = [{"groupId": 8, "liquidationStartTime": 1772341200000 + n} for n in range(12)]
        body = gzip.compress("".join(json.dumps(row) + "\\n" for row in rows).encode())
        boto3.client("s3").put_object(Bucket=self.s3_bucket, Key=self.s3_key, Body=body)
        return {
            "s3_uri": f"s3://{self.s3_bucket}/{self.s3_key}",
            "sha256": hashlib.sha256(body).hexdigest(),
            "window_start": "2026-03-01T05:00:00+00:00",
            "window_end": "2026-03-01T06:00:00+00:00",
        }

schedule = CronDataIntervalTimetable("@hourly", timezone="UTC")
with DAG("reads", schedule=schedule, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
    Reads.partial(task_id="mapped").expand(binance_loan_conn_id=["prod", "prod_eu"])
    Lands(task_id="land", s3_bucket="lake", s3_key="a/b.jsonl.gz")
"""

FAILS = """
from datetime import UTC, datetime

from airflow.sdk import DAG, task

with DAG("fails", schedule=None, default_args={"retries": 5}):
    @task
    def pull():
        raise RuntimeError("the [moon] is gone")

    @task
    def after(pulled): ...

    @task(trigger_rule="all_done")
    def lost():
        return {"s3_uri": "s3://lake/nothing"}

    after(pull())
    lost()
"""


def run(
    dag_file: Path, *arguments: str, errors_to: int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a DAG file in a process of its own, whose temporary folder is beside the file's."""
    temporary = dag_file.parent.parent / "tmp"
    temporary.mkdir()
    return subprocess.run(
        [COMMAND, "run", str(dag_file), *arguments],
        env=os.environ | {"TMPDIR": str(temporary)} | environment,
        stdout=subprocess.PIPE,
        stderr=errors_to,
        text=True,
        timeout=180,
        check=False,
    )


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, bytearray]]:
    """Open a terminal, and yield where to write to it and what it was sent by the end of the block."""
    ours, theirs = pty.openpty()
    sent = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # how Linux tells that nobody has the terminal open any longer
            while chunk := os.read(ours, 65536):
                sent.extend(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield theirs, sent
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    """Make a dags folder."""
    (tmp_path / "dags").mkdir()
    return tmp_path / "dags"


def test_shows_what_landed_and_reaches_nothing_real(dags: Path) -> None:
    """A run shows its records from where they landed, past a broken neighbour and real accounts."""
    (dags / "reads.py").write_text(READS)
    (dags / "neighbour.py").write_text("GROUP = 7\n")
    (dags / "broken.py").write_text("open(__file__ + '.parsed', 'w')\nraise RuntimeError('airflow DAG')\n")
    done = run(
        dags / "reads.py",
        "--logical-date",
        "2026-03-01T07:30:00+01:00",
        AIRFLOW_CONN_PROD='{"conn_type": "generic", "host": "https://api.binance.com"}',
        AIRFLOW_CONN_PROD_EU="binance-loan://key:secret@api.binance.com",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN="postgresql://nobody@127.0.0.1:9/real",
        AWS_ENDPOINT_URL_S3="http://127.0.0.1:9",
    )
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert lines[0] == "Running reads.py in an Airflow of its own …"
    assert all(re.fullmatch(r"\d+ s · 0 requests · [a-z]+(\[[01]\])?: [a-z]+", line) for line in lines[1:])
    assert {"mapped[0]: success", "mapped[1]: success", "land: success"} <= {
        line.rpartition(" · ")[2] for line in lines
    }
    assert re.match(r"DAG reads succeeded \(\d+ s\)\n", done.stdout)
    assert "interval  2026-03-01 05:00:00 → 2026-03-01 06:00:00 UTC" in done.stdout
    assert "1 record in the XCom of task mapped[0]\n" in done.stdout
    assert "1 record in the XCom of task mapped[1]\n" in done.stdout
    assert re.search(r"2026-03-01 05:00:00 +running +7 +0.95 → 0.40 +7.10 *\n", done.stdout)
    assert re.search(
        r"12 records in s3://lake/a/b.jsonl.gz \(\d+ bytes\)\nwindow: 2026-03-01 05", done.stdout
    )
    assert "… and 2 more\n" in done.stdout
    assert not (dags / "broken.py.parsed").exists()
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert list((dags.parent / "tmp").iterdir()) == []


def test_shows_what_failed(dags: Path) -> None:
    """A failed run exits with 1 at the first try, shows each error, and keeps the log.

    In a terminal, what is going on is shown while it does, and wiped away in the end.
    """
    (dags / "fails.py").write_text(FAILS)
    with terminal() as (theirs, sent):
        done = run(dags / "fails.py", errors_to=theirs, TERM="xterm")
    assert done.returncode == 1
    shown = sent.decode()
    assert re.search(r". Running fails.py in an Airflow of its own · \d+ s · 0 requests", shown)
    for task in ("pull: failed", "after: upstream_failed"):
        assert task in shown
    assert "\n" not in shown.rpartition("\x1b[2K")[2]
    assert "task      pull: failed\n" in done.stdout
    assert "task      after: upstream_failed\n" in done.stdout
    assert re.search(r'Task pull failed:\n    File ".*/fails.py", line \d+, in pull\n', done.stdout)
    assert "  RuntimeError: the [moon] is gone\n" in done.stdout
    assert "Task lost failed:\n  What the task says it wrote could not be read back" in done.stdout
    log = Path(done.stdout.rpartition("Log: ")[2].strip())
    assert log.is_relative_to(dags.parent / "tmp")
    assert "the [moon] is gone" in log.read_text()


def test_names_moto_when_it_is_missing(dags: Path) -> None:
    """Without moto, a DAG that writes to S3 does not run, and the sentence says what to install."""
    (dags / "reads.py").write_text(READS)
    (dags / "neighbour.py").write_text("GROUP = 7\n")
    (dags / "moto.py").write_text("raise ImportError\n")
    done = run(dags / "reads.py", PYTHONPATH=str(dags))
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'moto[server]'" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "sealed"),
    [
        ("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor", None),
        ("AIRFLOW__SECRETS__BACKEND", "real.Vault", None),
        ("AIRFLOW_CONFIG", "/real/airflow.cfg", None),
        ("AIRFLOW_HOME", "/real", "/home"),
        ("AIRFLOW_VAR_LAKE", "lake", "lake"),
        ("AIRFLOW_CONN_CHAT", "slack://x", "slack://x"),
        ("AIRFLOW_CONN_UNNAMED", "binance-loan://k:s@api.binance.com", "LOANS"),
        ("AIRFLOW_CONN_UNNAMED", '{"conn_type": "binance_loan", "login": "k"}', "LOANS"),
        ("AIRFLOW_CONN_BINANCE_LOAN_DEFAULT", "generic://real", "LOANS"),
        ("AWS_PROFILE", "prod", None),
        ("AWS_ENDPOINT_URL_S3", "https://real", None),
        ("AWS_ACCESS_KEY_ID", "real", "testing"),
        ("NO_PROXY", "lake.example", "lake.example,127.0.0.1,localhost"),
        ("PATH", "/bin", "/bin"),
    ],
)
def test_seals_the_environment(name: str, value: str, sealed: str | None) -> None:
    """Whatever leads to a real account is gone or replaced, and what a DAG needs to load stays."""
    environment = sealed_environment(
        {name: value}, home=Path("/home"), dag_file=Path("/dags/a.py"), loan_connection="LOANS", s3_url=None
    )
    assert environment.get(name) == sealed
