"""One run of one DAG in an Airflow of its own: temporary home, local S3, no real account in reach.

Imports Airflow only inside functions, after the environment is sealed. Prints nothing. Once per process.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import gzip
import hashlib
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow.sdk import DAG
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

Record = dict[str, Any]

# Port 9 is "discard": without a local S3 every AWS call is refused here instead of reaching Amazon.
NOWHERE = "http://127.0.0.1:9"
REGION = "us-east-1"
GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"


class UsageError(Exception):
    """Say, in one sentence, why what was asked for cannot be run."""


@dataclass(frozen=True)
class Landing:
    """Hold the records a task produced, and where they are: an s3:// URI, or None for its XCom."""

    records: list[Record]
    s3_uri: str | None = None
    size: int | None = None
    window: tuple[datetime, datetime] | None = None


@dataclass(frozen=True)
class TaskResult:
    """Hold how one task instance ended."""

    name: str
    state: str
    error: str | None = None
    landing: Landing | None = None


@dataclass(frozen=True)
class RunResult:
    """Hold how the run ended, task by task."""

    dag_id: str
    run_id: str
    state: str
    data_interval: tuple[datetime, datetime] | None
    tasks: list[TaskResult]

    @property
    def succeeded(self) -> bool:
        """Tell whether tasks ran, the run succeeded, and what they say they wrote is there."""
        unread = any(task.error for task in self.tasks if task.state == "success")
        return self.state == "success" and bool(self.tasks) and not unread


@contextlib.contextmanager
def quiet(log: Path) -> Iterator[TextIO]:
    """Send all output of the process to a log file, and yield where errors went before.

    At the level of file descriptors, since structlog, Alembic and child processes each keep a stream.
    """
    encoding = sys.stderr.encoding
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    try:
        with log.open("ab") as sink:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
        with open(saved[1], "w", encoding=encoding, closefd=False) as errors:
            yield errors
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, original in enumerate(saved, start=1):
            os.dup2(original, descriptor)
            os.close(original)


@contextlib.contextmanager
def local_s3() -> Iterator[str | None]:
    """Serve S3 on this machine and yield its address, or None when moto is not installed."""
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        yield None
        return
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


def sealed_environment(
    parent: Mapping[str, str], *, home: Path, dag_file: Path, loan_connection: str, s3_url: str | None
) -> dict[str, str]:
    """Return the parent's environment with every way to the user's Airflow, Binance or AWS account cut.

    Variables and connections of other kinds stay: the DAG may need them to load.
    """
    environment = {
        name: value
        for name, value in parent.items()
        if name.startswith(("AIRFLOW_CONN_", "AIRFLOW_VAR_"))
        or not name.startswith(("AIRFLOW", "_AIRFLOW", "__AIRFLOW", "AWS_"))
    }
    # A task may name its connection in code, where nobody can see it: what can be told by type is replaced.
    sandboxed = {"binance_loan": loan_connection, "aws": _aws_connection(s3_url)}
    for name in [name for name in environment if name.startswith("AIRFLOW_CONN_")]:
        environment[name] = sandboxed.get(_connection_type(environment[name]), environment[name])
    # The bundle is the file alone, so that a broken or slow neighbour is never parsed.
    bundle = {
        "name": "dags-folder",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(dag_file)},
    }
    direct = [parent.get("NO_PROXY") or parent.get("no_proxy"), "127.0.0.1", "localhost"]
    no_proxy = ",".join(filter(None, direct))
    return environment | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dag_file.parent),
        "AIRFLOW__CORE__DAG_DISCOVERY_SAFE_MODE": "False",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW_CONN_BINANCE_LOAN_DEFAULT": sandboxed["binance_loan"],
        "AIRFLOW_CONN_AWS_DEFAULT": sandboxed["aws"],
        "AWS_ENDPOINT_URL": s3_url or NOWHERE,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def run_dag(
    dag_file: Path,
    *,
    home: Path,
    loan_connection: str,
    s3_url: str | None = None,
    dag_id: str | None = None,
    logical_date: datetime,
) -> RunResult:
    """Run the file's DAG once, in this process, and return how it went.

    :raises UsageError: when the file has no such DAG, does not import, or needs an S3 that is not there.
    """
    # Two thousand modules are imported, and what they make stays: looking for garbage in it, now and at the
    # end of the process, is a quarter of the run.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    environment = sealed_environment(
        os.environ, home=home, dag_file=dag_file, loan_connection=loan_connection, s3_url=s3_url
    )
    os.environ.clear()
    os.environ.update(environment)
    sys.path.append(str(dag_file.parent))

    from airflow.utils.db import initdb

    initdb()
    dag = _load(dag_file, dag_id)
    for conn_id in _named(dag, "binance_loan_conn_id"):
        os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = loan_connection
    for conn_id in _named(dag, "aws_conn_id"):
        os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = _aws_connection(s3_url)
    _create_buckets(dag, s3_url)
    errors = _prepare_tasks(dag)
    run = dag.test(logical_date=logical_date)
    return _collect(dag, run, errors)


def _aws_connection(s3_url: str | None) -> str:
    extra = {"endpoint_url": s3_url or NOWHERE, "region_name": REGION}
    return json.dumps({"conn_type": "aws", "login": "testing", "password": "testing", "extra": extra})


def _connection_type(value: str) -> str:
    """Return the type of an AIRFLOW_CONN_ value, which is JSON or a URI."""
    if value.lstrip().startswith("{"):
        with contextlib.suppress(ValueError):
            value = str(json.loads(value).get("conn_type"))
    return value.partition(":")[0].strip().lower().replace("-", "_")


def _load(dag_file: Path, dag_id: str | None) -> DAG:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=dag_file)
    if bag.import_errors:
        raise UsageError(f"{dag_file} does not import.\n\n" + "\n".join(bag.import_errors.values()).strip())
    names = ", ".join(sorted(bag.dags))
    if not bag.dags:
        raise UsageError(f"{dag_file} holds no DAG.")
    if dag_id is None and len(bag.dags) > 1:
        raise UsageError(f"{dag_file} holds several DAGs; choose one with --dag-id: {names}.")
    dag = bag.dags.get(dag_id or names)
    if dag is None:
        raise UsageError(f"{dag_file} holds no DAG {dag_id!r}; it holds: {names}.")
    return dag


def _named(dag: DAG, attribute: str) -> set[str]:
    """Return the strings that the DAG's tasks, mapped or not, have for an attribute."""
    found: list[object] = []
    for task in dag.tasks:
        found.append(getattr(task, attribute, None))
        found.append(getattr(task, "partial_kwargs", {}).get(attribute))
        expanded = getattr(getattr(task, "expand_input", None), "value", None)
        for kwargs in expanded if isinstance(expanded, (list, tuple)) else [expanded]:
            value = kwargs.get(attribute) if isinstance(kwargs, Mapping) else None
            found.extend(value if isinstance(value, (list, tuple)) else [value])
    return {value for value in found if value and isinstance(value, str)}


def _create_buckets(dag: DAG, s3_url: str | None) -> None:
    keys = _named(dag, "s3_key")
    if keys and s3_url is None:
        raise UsageError(
            "A task has an s3_key, and the local S3 for it is not installed: run pip install 'moto[server]'."
        )
    in_keys = {match[1] for key in keys if (match := re.match(r"s3://([^/]+)/", key))}
    # A templated bucket is not known before the task runs.
    buckets = [name for name in _named(dag, "s3_bucket") | in_keys if "{" not in name]
    if buckets:
        s3 = _s3_client()
        for name in buckets:
            with contextlib.suppress(Exception):  # a name that S3 refuses is for the task to report
                s3.create_bucket(Bucket=name)


def _s3_client() -> Any:
    import boto3  # type: ignore[import-untyped]

    return boto3.client("s3")  # the endpoint is the environment's, as for the tasks


def _prepare_tasks(dag: DAG) -> dict[tuple[str, int], str]:
    """Let each task fail at its first error, and return where its error will be noted."""
    from airflow.listeners import hookimpl
    from airflow.sdk.listener import get_listener_manager

    errors: dict[tuple[str, int], str] = {}

    class Notes:
        # Not a callback of the task's, whose context has no exception here before Airflow 3.3.
        @staticmethod
        @hookimpl
        def on_task_instance_failed(task_instance: RuntimeTaskInstanceProtocol, error: object) -> None:
            index = -1 if task_instance.map_index is None else task_instance.map_index
            errors[task_instance.task_id, index] = (
                _last_lines(error) if isinstance(error, BaseException) else str(error)
            )

    get_listener_manager().add_listener(Notes)
    for task in dag.tasks:
        task.retries = 0  # a retry's delay, five minutes by default, would only hide what went wrong
    return errors


def _last_lines(error: BaseException) -> str:
    """Return the error, and the innermost lines of code that are not Airflow's; the log has the rest."""
    told = traceback.TracebackException.from_exception(error)
    frames = [frame for frame in told.stack if "/site-packages/airflow/" not in frame.filename]
    lines = [*traceback.StackSummary.from_list(frames[-3:]).format(), *told.format_exception_only()]
    return "".join(lines).rstrip()


def _collect(dag: DAG, run: Any, errors: Mapping[tuple[str, int], str]) -> RunResult:
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    def rows(model: Any) -> Any:
        return session.scalars(select(model).where(model.dag_id == dag.dag_id, model.run_id == run.run_id))

    with create_session() as session:
        returned = {
            (row.task_id, row.map_index): XComModel.deserialize_value(row)
            for row in rows(XComModel)
            if row.key == "return_value"
        }
        instances = [(row.task_id, row.map_index, str(row.state)) for row in rows(TaskInstance)]
    order = list(dag.task_dict)
    tasks = []
    for task_id, map_index, state in sorted(instances, key=lambda row: (order.index(row[0]), row[1])):
        key = (task_id, map_index)
        landing, error = None, errors.get(key)
        try:
            # An empty list says "no records" only when it comes from a task that reads loans.
            reads_loans = "binance_loan_conn_id" in dag.task_dict[task_id].template_fields
            landing = _landing(returned.get(key)) if returned.get(key) or reads_loans else None
        except Exception as unreadable:  # noqa: BLE001 - whatever it is, the run's own result comes first
            error = f"What the task says it wrote could not be read back: {unreadable}"
        name = task_id if map_index < 0 else f"{task_id}[{map_index}]"
        tasks.append(TaskResult(name, state, error, landing))
    interval = (run.data_interval_start, run.data_interval_end) if run.data_interval_start else None
    return RunResult(dag.dag_id, run.run_id, str(run.state), interval, tasks)


def _landing(returned: Any) -> Landing | None:
    """Find the records in what a task returned: themselves, or the manifest of an object in S3."""
    if isinstance(returned, dict) and returned.get("s3_uri"):
        bucket, _, key = str(returned["s3_uri"]).removeprefix("s3://").partition("/")
        body: bytes = _s3_client().get_object(Bucket=bucket, Key=key)["Body"].read()
        if returned.get("sha256") not in (None, hashlib.sha256(body).hexdigest()):
            raise ValueError(f"{returned['s3_uri']} is not the object that the manifest describes.")
        window = None
        if returned.get("window_start") and returned.get("window_end"):
            start, end = returned["window_start"], returned["window_end"]
            window = datetime.fromisoformat(start), datetime.fromisoformat(end)
        return Landing(_read(body), returned["s3_uri"], len(body), window)
    if isinstance(returned, list) and all(
        isinstance(row, dict) and "liquidationStartTime" in row for row in returned
    ):
        return Landing(returned)
    return None


def _read(body: bytes) -> list[Record]:
    """Return the records of an object of JSON Lines or Parquet, with times in epoch milliseconds."""
    if not body.startswith(PARQUET_MAGIC):
        lines = (gzip.decompress(body) if body.startswith(GZIP_MAGIC) else body).splitlines()
        return [json.loads(line) for line in lines]
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    table = pq.read_table(io.BytesIO(body))
    for index, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            table = table.set_column(index, column.name, table.column(index).cast(pa.int64()))
    return [{name: _shortened(value) for name, value in row.items()} for row in table.to_pylist()]


def _shortened(value: Any) -> Any:
    """Return a decimal without the zeros that only its column's scale has; anything else as it is."""
    return f"{value:f}".rstrip("0").rstrip(".") if isinstance(value, Decimal) else value
