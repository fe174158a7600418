"""Real runs of small DAG files: isolation from real accounts, and the report."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import (
    DAG,
    Asset,
    CronDataIntervalTimetable,
    CronPartitionTimetable,
    PartitionedAssetTimetable,
)

from airflow_provider_binance_loan.sandbox.embedded import due_partition, sealed_environment

COMMAND = str(Path(sys.executable).with_name("binance-loan-sandbox"))

READS = """
import gzip, hashlib, json
from datetime import UTC, datetime

import helper
from airflow.sdk import DAG, BaseHook, BaseOperator, CronDataIntervalTimetable, task

class Reads(BaseOperator):
    template_fields = ("binance_loan_conn_id",)

    def __init__(self, binance_loan_conn_id, **kwargs):
        super().__init__(**kwargs)
        self.binance_loan_conn_id = binance_loan_conn_id

    def execute(self, context):
        for conn_id in (self.binance_loan_conn_id, "untyped"):
            connection = BaseHook.get_connection(conn_id)
            if not connection.host.startswith("http://127.0.0.1:"):
                raise RuntimeError(f"reached {connection.host}")
        times = {"liquidationStartTime": 1772341200000, "liquidationEndTime": None}
        figures = {"startLtv": "0.95", "endLtv": "0.40", "totalLiability": "7.10"}
        return [{"groupId": helper.GROUP} | times | figures]

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
        return {"uri": "s3://lake/nothing"}

    after(pull())
    lost()
"""


PARTITIONED = """
from datetime import UTC, datetime

from airflow.sdk import DAG, CronPartitionTimetable, task

schedule = CronPartitionTimetable("0 8 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d")
with DAG("partitioned", schedule=schedule, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
    @task
    def show(dag_run):
        given = (dag_run.partition_key, dag_run.run_after, dag_run.logical_date, dag_run.data_interval_start)
        return [dict(zip(("key", "run_after", "logical_date", "interval_start"), map(str, given)))]

    show()
"""


def run(
    dag_file: Path, *arguments: str, errors_to: int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a DAG file in a process of its own, with `tmp` next to the DAGs folder as the temporary folder."""
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
    """Open a terminal, and yield its file descriptor and its output, complete when the block has ended."""
    controller, terminal_fd = pty.openpty()
    output = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # on Linux, raised when no process has the terminal open
            while chunk := os.read(controller, 65536):
                output.extend(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield terminal_fd, output
    finally:
        os.close(terminal_fd)
        reader.join()
        os.close(controller)


def sealed(name: str, value: str) -> str | None:
    """Return what a run has in place of a variable of the user's environment."""
    environment = sealed_environment(
        {name: value}, home=Path("/home"), dag_file=Path("/dags/a.py"), loan_connection="LOANS", s3_url=None
    )
    return environment.get(name)


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    """An empty DAGs folder."""
    (tmp_path / "dags").mkdir()
    return tmp_path / "dags"


def test_reports_records_without_access_to_real_accounts(dags: Path) -> None:
    """The report shows the records of each task, whatever accounts and other DAG files there are."""
    (dags / "reads.py").write_text(READS)
    (dags / "helper.py").write_text("GROUP = 7\n")
    (dags / "broken.py").write_text("open(__file__ + '.parsed', 'w')\nraise RuntimeError('airflow DAG')\n")
    done = run(
        dags / "reads.py",
        "--logical-date",
        "2026-03-01T07:30:00+01:00",
        AIRFLOW_CONN_PROD='{"conn_type": "generic", "host": "https://api.binance.com"}',
        AIRFLOW_CONN_PROD_EU="binance-loan://key:secret@api.binance.com",
        AIRFLOW_CONN_UNTYPED="//key:secret@api.binance.com",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN="postgresql://nobody@127.0.0.1:9/real",
        AWS_ENDPOINT_URL_S3="http://127.0.0.1:9",
    )
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert lines[0] == "Running reads.py in a temporary Airflow …"
    assert all(re.fullmatch(r"\d+ s · 0 requests · [a-z]+(\[[01]\])?: [a-z]+", line) for line in lines[1:])
    assert {"mapped[0]: success", "mapped[1]: success", "land: success"} <= {
        line.rpartition(" · ")[2] for line in lines
    }
    assert re.match(r"DAG reads succeeded \(\d+ s\)\n", done.stdout)
    assert "interval  2026-03-01 05:00:00 → 2026-03-01 06:00:00 UTC" in done.stdout
    assert "1 record in the XCom of task mapped[0]\n" in done.stdout
    assert "1 record in the XCom of task mapped[1]\n" in done.stdout
    assert re.search(r"groupId +7\n +liquidationStartTime +2026-03-01 05:00:00Z\n", done.stdout)
    assert re.search(r"liquidationEndTime +-\n +startLtv +0.95\n +endLtv +0.40\n", done.stdout)
    assert "totalLiability        7.10\n" in done.stdout
    assert re.search(r"\n +8 +2026-03-01 05:00:00Z *\n", done.stdout)
    assert re.search(
        r"12 records in s3://lake/a/b.jsonl.gz \(\d+ bytes\)\nwindow: 2026-03-01 05", done.stdout
    )
    assert "… and 2 more records\n" in done.stdout
    assert not (dags / "broken.py.parsed").exists()
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert list((dags.parent / "tmp").iterdir()) == []


def test_reports_errors_and_keeps_the_log(dags: Path) -> None:
    """A failed run exits with 1 after one attempt, shows each error, and keeps the log.

    A terminal shows a live view of the states, which is erased in the end.
    """
    (dags / "fails.py").write_text(FAILS)
    with terminal() as (terminal_fd, output):
        done = run(dags / "fails.py", errors_to=terminal_fd, TERM="xterm")
    assert done.returncode == 1
    live_view = output.decode()
    assert re.search(r". Running fails.py in a temporary Airflow · \d+ s · 0 requests", live_view)
    for task in ("pull: failed", "after: upstream_failed"):
        assert task in live_view
    assert "\n" not in live_view.rpartition("\x1b[2K")[2]
    assert "task      pull: failed\n" in done.stdout
    assert "task      after: upstream_failed\n" in done.stdout
    assert re.search(r'Task pull failed:\n    File ".*/fails.py", line \d+, in pull\n', done.stdout)
    assert "  RuntimeError: the [moon] is gone\n" in done.stdout
    assert (
        "Task lost failed:\n  The object that the task's manifest describes could not be read: "
        in done.stdout
    )
    log = Path(done.stdout.rpartition("Log: ")[2].strip())
    assert log.is_relative_to(dags.parent / "tmp")
    assert "the [moon] is gone" in log.read_text()


def test_runs_the_partition_that_is_due(dags: Path) -> None:
    """A DAG with partitions runs as it would on its schedule: with a key, and without an interval."""
    (dags / "partitioned.py").write_text(PARTITIONED)
    done = run(dags / "partitioned.py", "--logical-date", "2026-03-02T07:30:00Z")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  partition 2026-02-28\n" in done.stdout
    assert "interval  " not in done.stdout
    assert re.search(
        r"key +2026-02-28\n +run_after +2026-03-01 08:00:00\+00:00\n +logical_date +None\n"
        r" +interval_start +None\n",
        done.stdout,
    )


@pytest.mark.parametrize(
    ("cron", "offset", "date", "run_after", "key"),
    [
        ("@daily", -1, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-02-28T00:00:00"),
        ("@daily", -1, "2026-03-01T23:59:59Z", "2026-03-01T00:00:00Z", "2026-02-28T00:00:00"),
        ("@daily", 0, "2026-03-01T23:59:59Z", "2026-03-01T00:00:00Z", "2026-03-01T00:00:00"),
        ("@hourly", 0, "2026-03-01T05:30:00+01:00", "2026-03-01T04:00:00Z", "2026-03-01T04:00:00"),
        ("* * * * *", -1, "2026-03-01T05:30:30Z", "2026-03-01T05:30:00Z", "2026-03-01T05:29:00"),
        ("0 0 29 2 *", -1, "2026-03-01T00:00:00Z", "2024-02-29T00:00:00Z", "2020-02-29T00:00:00"),
    ],
)
def test_the_partition_that_is_due(cron: str, offset: int, date: str, run_after: str, key: str) -> None:
    """The run is the last one up to the date, whatever the cadence, with the partition of the schedule."""
    schedule = CronPartitionTimetable(cron, timezone="UTC", run_offset=offset)
    due = due_partition(DAG("a", schedule=schedule), datetime.fromisoformat(date))
    assert due is not None
    assert (due.run_after, due.partition_key) == (datetime.fromisoformat(run_after), key)


@pytest.mark.parametrize(
    "schedule",
    [
        None,
        "@daily",
        CronDataIntervalTimetable("@daily", timezone="UTC"),
        PartitionedAssetTimetable(assets=Asset("other")),
    ],
)
def test_other_schedules_have_no_partition(schedule: Any) -> None:
    """No partition is due on a schedule that has none, or whose partitions come from assets."""
    assert due_partition(DAG("a", schedule=schedule), datetime(2026, 3, 1, tzinfo=UTC)) is None


def test_names_the_extra_when_the_local_s3_cannot_start(dags: Path) -> None:
    """With a moto that cannot be imported, a DAG that writes to S3 does not run, and the error says why."""
    (dags / "reads.py").write_text(READS)
    (dags / "helper.py").write_text("GROUP = 7\n")
    (dags / "moto.py").write_text("raise ImportError\n")
    done = run(dags / "reads.py", PYTHONPATH=str(dags))
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'airflow-provider-binance-loan[sandbox]'" in done.stderr
    assert "moto[server], cannot be imported" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor", None),
        ("AIRFLOW__SECRETS__BACKEND", "real.Vault", None),
        ("AIRFLOW_CONFIG", "/real/airflow.cfg", None),
        ("AIRFLOW_HOME", "/real", "/home"),
        ("AIRFLOW_VAR_LAKE", "lake", "lake"),
        ("AIRFLOW_CONN_CHAT", "slack://x", "slack://x"),
        ("AIRFLOW_CONN_BINANCE_LOAN_DEFAULT", "generic://real", "LOANS"),
        ("AWS_PROFILE", "prod", None),
        ("AWS_ENDPOINT_URL_S3", "https://real", None),
        ("AWS_ACCESS_KEY_ID", "real", "testing"),
        ("NO_PROXY", "lake.example", "lake.example,127.0.0.1,localhost"),
        ("PATH", "/bin", "/bin"),
    ],
)
def test_seals_the_environment(name: str, value: str, expected: str | None) -> None:
    """Settings of real accounts are removed or replaced; variables that a DAG may need to load are kept."""
    assert sealed(name, value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "binance-loan://k:s@api.binance.com",
        "BINANCE-LOAN://k:s@api.binance.com",
        "binance_loan://k:s@api.binance.com",
        '{"conn_type": "binance_loan", "login": "k"}',
        ' {"conn_type": "binance-loan", "login": "k"}',
        '{"conn_type": "Binance_Loan", "login": "k"}',
        # Without a type:
        "//k:s@api.binance.com",
        "//k:s@https%3A%2F%2Fapi.binance.com",
        "//k:s@https://api.binance.com",
        "://k:s@api.binance.com",
        " //k:s@api.binance.com",
        "k:s@api.binance.com",
        "1k:s@api.binance.com",
        "k:s@https://api.binance.com",
        "api.binance.com",
        "?login=k",
        '{"login": "k"}',
        ' {"login": "k"}',
        '{"conn_type": null, "login": "k"}',
        '{"conn_type": "", "login": "k"}',
        '{"conn_type": " ", "login": "k"}',
        '{"uri": "binance-loan://k:s@api.binance.com"}',
        '{"login": "k"',
        "{}",
    ],
)
def test_seals_connections_to_binance_and_those_without_a_type(value: str) -> None:
    """Airflow accepts a connection without a type, and so does the hook: it may hold a real key."""
    assert sealed("AIRFLOW_CONN_PROD", value) == "LOANS"


@pytest.mark.parametrize(
    "value",
    [
        "http://k:s@api.binance.com",
        "https://k:s@api.binance.com",
        "slack://",
        "fs:///data",
        "smtp:",
        "generic:?region=eu",
        "google_cloud_platform://?key_path=k",
        '{"conn_type": "http", "host": "https://api.binance.com"}',
        '{"conn_type": "generic", "login": "k"}',
    ],
)
def test_keeps_connections_of_other_types(value: str) -> None:
    """The hook refuses a connection of another type, and other operators may need it."""
    assert sealed("AIRFLOW_CONN_PROD", value) == value


@pytest.mark.parametrize(
    "value", ["aws://k:s@", "aws:", "AWS://", '{"conn_type": "aws"}', '{"conn_type": "aws", "login": "k"}']
)
def test_seals_connections_to_aws(value: str) -> None:
    """A connection to AWS has the credentials of the local S3 in place of its own."""
    connection = json.loads(sealed("AIRFLOW_CONN_PROD", value) or "")
    assert (connection["conn_type"], connection["login"]) == ("aws", "testing")
