"""Runs a DAG once in a temporary Airflow, with a local S3 and without access to any real account.

Imports Airflow only inside functions, after the environment has been sealed. Prints nothing. Can be used once
in a process, as Airflow reads its configuration once.
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
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

from airflow_provider_binance_loan.sandbox.extra import INSTALL_COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow.sdk import DAG
    from airflow.sdk.types import RuntimeTaskInstanceProtocol
    from airflow.timetables.base import DagRunInfo, Timetable

Record = dict[str, Any]

# Nothing listens on port 9 ("discard"), so without a local S3 no AWS call reaches Amazon.
REFUSED_URL = "http://127.0.0.1:9"
REGION = "us-east-1"
GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
# In `key:secret@host` the text before the colon is an API key, and no scheme.
URI_SCHEME = re.compile(r"([A-Za-z][\w.+-]*):(?:[/?]|$)")


class UsageError(Exception):
    """Why the DAG cannot be started, in a sentence for the user."""


@dataclass(frozen=True)
class Output:
    """The records that a task produced, and their place: the URI of an object, or None for the XCom."""

    records: list[Record]
    uri: str | None = None
    size: int | None = None
    window: tuple[datetime, datetime] | None = None


@dataclass(frozen=True)
class TaskResult:
    """How one task instance ended."""

    name: str
    state: str
    error: str | None = None
    output: Output | None = None


@dataclass(frozen=True)
class RunResult:
    """How the run ended, task by task."""

    dag_id: str
    run_id: str
    state: str
    data_interval: tuple[datetime, datetime] | None
    tasks: list[TaskResult]
    partition_key: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether tasks ran, the run succeeded, and the objects of their manifests could be read back."""
        unreadable = any(task.error for task in self.tasks if task.state == "success")
        return self.state == "success" and bool(self.tasks) and not unreadable


@contextlib.contextmanager
def redirect_output(log: Path) -> Iterator[TextIO]:
    """Redirect all output of the process to a log file, and yield the original standard error.

    Redirects file descriptors, since structlog, Alembic and child processes each keep a stream of their own.
    """
    encoding = sys.stderr.encoding
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
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
    """Serve S3 on this machine and yield its URL, or None when moto or its server cannot be imported."""
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
    """Return the parent's environment without access to the user's Airflow, Binance or AWS account.

    Airflow variables and connections of other types stay: the DAG may need them to load.
    """
    environment = {
        name: value
        for name, value in parent.items()
        if name.startswith(("AIRFLOW_CONN_", "AIRFLOW_VAR_"))
        or not name.startswith(("AIRFLOW", "_AIRFLOW", "__AIRFLOW", "AWS_"))
    }
    # A task may name its connection in code that is not inspected here, so replace all of these types. The
    # hook accepts a connection without a type, so one may hold a real key.
    aws_connection = _aws_connection(s3_url)
    sandboxed = {"binance_loan": loan_connection, "": loan_connection, "aws": aws_connection}
    for name in [name for name in environment if name.startswith("AIRFLOW_CONN_")]:
        environment[name] = sandboxed.get(_connection_type(environment[name]), environment[name])
    # The bundle is this file alone, so that broken or slow DAG files in the same folder are not parsed.
    bundle = {
        "name": "dags-folder",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(dag_file)},
    }
    no_proxy_hosts = [parent.get("NO_PROXY") or parent.get("no_proxy"), "127.0.0.1", "localhost"]
    no_proxy = ",".join(filter(None, no_proxy_hosts))
    return environment | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dag_file.parent),
        "AIRFLOW__CORE__DAG_DISCOVERY_SAFE_MODE": "False",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW_CONN_BINANCE_LOAN_DEFAULT": loan_connection,
        "AIRFLOW_CONN_AWS_DEFAULT": aws_connection,
        "AWS_ENDPOINT_URL": s3_url or REFUSED_URL,
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
    """Run the file's DAG once, in this process, and return the result.

    :raises UsageError: when the file has no such DAG, cannot be imported, or needs an S3 that is not running.
    """
    # Airflow imports two thousand modules, whose objects live until the end. Searching them for garbage, now
    # and when the process exits, would take a quarter of the run.
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
    for conn_id in _attribute_values(dag, "binance_loan_conn_id"):
        os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = loan_connection
    for conn_id in _attribute_values(dag, "aws_conn_id"):
        os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = _aws_connection(s3_url)
    _create_buckets(dag, s3_url)
    errors = _prepare_tasks(dag)
    if due := due_partition(dag, logical_date):
        _set_partition(dag, due)
        run = dag.test(logical_date=None, run_after=due.run_after)
    else:
        run = dag.test(logical_date=logical_date)
    return _collect(dag, run, errors)


def due_partition(dag: DAG, date: datetime) -> DagRunInfo | None:
    """Return the last run up to a date of a DAG whose schedule gives partitions; None for another schedule.

    A run that is scheduled this way has neither a logical date nor a data interval.
    """
    from airflow.sdk import timezone
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    timetable: Timetable = coerce_to_core_timetable(dag.timetable)
    if not timetable.partitioned:
        return None
    due: DagRunInfo | None = None
    # A timetable states the run that follows, and not the one before: begin an hour back, up to sixty years.
    for hours in (2**exponent for exponent in range(20)):
        earliest = timezone.coerce_datetime(date - timedelta(hours=hours))
        restriction = TimeRestriction(earliest, None, catchup=True)
        while info := timetable.next_dagrun_info_v2(last_dagrun_info=due, restriction=restriction):
            if info.run_after > date:
                break
            due = info
        if due:
            break
    return due


def _set_partition(dag: DAG, due: DagRunInfo) -> None:
    """Give the DAG's runs a partition when they are created, since `dag.test` has no argument for one."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import event

    @event.listens_for(DagRun, "before_insert")
    def set_partition(_mapper: object, _connection: object, run: DagRun) -> None:
        if run.dag_id == dag.dag_id:
            run.partition_key, run.partition_date = due.partition_key, due.partition_date


def _aws_connection(s3_url: str | None) -> str:
    extra = {"endpoint_url": s3_url or REFUSED_URL, "region_name": REGION}
    return json.dumps({"conn_type": "aws", "login": "testing", "password": "testing", "extra": extra})


def _connection_type(value: str) -> str:
    """Return the type of an AIRFLOW_CONN_ value, which is JSON or a URI; empty when it has none."""
    text, conn_type = value.strip(), ""
    if text.startswith("{"):
        with contextlib.suppress(ValueError):
            conn_type = str(json.loads(text).get("conn_type") or "")
    elif scheme := URI_SCHEME.match(text):
        conn_type = scheme[1]
    return conn_type.strip().lower().replace("-", "_")


def _load(dag_file: Path, dag_id: str | None) -> DAG:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=dag_file)
    if bag.import_errors:
        errors = "\n".join(bag.import_errors.values()).strip()
        raise UsageError(f"Correct the DAG file: {dag_file} cannot be imported.\n\n{errors}")
    names = ", ".join(sorted(bag.dags))
    if not bag.dags:
        raise UsageError(f"Choose another file: {dag_file} holds no DAG.")
    if dag_id is None and len(bag.dags) > 1:
        raise UsageError(f"Choose a DAG with --dag-id: {dag_file} holds {names}.")
    dag = bag.dags.get(dag_id or names)
    if dag is None:
        raise UsageError(f"Choose another DAG with --dag-id: {dag_file} holds {names}, but not {dag_id}.")
    return dag


def _attribute_values(dag: DAG, attribute: str) -> set[str]:
    """Return the string values of an attribute in all tasks of the DAG, mapped or not."""
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
    keys = _attribute_values(dag, "s3_key")
    if keys and s3_url is None:
        raise UsageError(
            f"Install the extra 'sandbox' with {INSTALL_COMMAND}: "
            "a task has an s3_key, and the local S3, moto[server], cannot be imported."
        )
    in_keys = {match[1] for key in keys if (match := re.match(r"s3://([^/]+)/", key))}
    # A templated bucket name is unknown before the task runs.
    buckets = [name for name in _attribute_values(dag, "s3_bucket") | in_keys if "{" not in name]
    if buckets:
        s3 = _s3_client()
        for name in buckets:
            with contextlib.suppress(Exception):  # the task reports a name that S3 refuses
                s3.create_bucket(Bucket=name)


def _s3_client() -> Any:
    import boto3  # type: ignore[import-untyped]

    return boto3.client("s3")  # takes the endpoint from the environment, as the tasks do


def _prepare_tasks(dag: DAG) -> dict[tuple[str, int], str]:
    """Switch off retries, and return a dict that receives the error of each task that fails."""
    from airflow.listeners import hookimpl
    from airflow.sdk.listener import get_listener_manager

    errors: dict[tuple[str, int], str] = {}

    class ErrorListener:
        # A callback of the task would not do: before Airflow 3.3 its context has no exception here.
        @staticmethod
        @hookimpl
        def on_task_instance_failed(task_instance: RuntimeTaskInstanceProtocol, error: object) -> None:
            index = -1 if task_instance.map_index is None else task_instance.map_index
            errors[task_instance.task_id, index] = (
                _last_lines(error) if isinstance(error, BaseException) else str(error)
            )

    get_listener_manager().add_listener(ErrorListener)
    for task in dag.tasks:
        task.retries = 0  # a retry waits five minutes by default, which would only delay the error
    return errors


def _last_lines(error: BaseException) -> str:
    """Return the error with its three innermost frames outside of Airflow; the log has the full traceback."""
    full = traceback.TracebackException.from_exception(error)
    frames = [frame for frame in full.stack if "/site-packages/airflow/" not in frame.filename]
    lines = [*traceback.StackSummary.from_list(frames[-3:]).format(), *full.format_exception_only()]
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
        output, error = None, errors.get(key)
        try:
            # An empty list means "no records" only when the task has a connection to Binance.
            reads_loans = "binance_loan_conn_id" in dag.task_dict[task_id].template_fields
            output = _find_output(returned.get(key)) if returned.get(key) or reads_loans else None
        except Exception as cause:  # noqa: BLE001 - show the result of the run, whatever cannot be read
            error = f"The object that the task's manifest describes could not be read: {cause}"
        name = task_id if map_index < 0 else f"{task_id}[{map_index}]"
        tasks.append(TaskResult(name, state, error, output))
    interval = (run.data_interval_start, run.data_interval_end) if run.data_interval_start else None
    return RunResult(dag.dag_id, run.run_id, str(run.state), interval, tasks, run.partition_key)


def _find_output(returned: Any) -> Output | None:
    """Return the records in a task's return value: a list of rows, or the manifest of an object in S3."""
    if isinstance(returned, dict):
        uri = str(returned.get("uri") or returned.get("s3_uri") or "")
        return _read_object(uri, returned) if uri.startswith("s3://") else None
    if isinstance(returned, list) and all(isinstance(row, dict) for row in returned):
        return Output(returned)
    return None


def _read_object(uri: str, manifest: Mapping[str, Any]) -> Output:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body: bytes = _s3_client().get_object(Bucket=bucket, Key=key)["Body"].read()
    if manifest.get("sha256") not in (None, hashlib.sha256(body).hexdigest()):
        raise ValueError(f"{uri} does not have the SHA-256 of the manifest.")
    start, end = manifest.get("window_start"), manifest.get("window_end")
    window = (datetime.fromisoformat(start), datetime.fromisoformat(end)) if start and end else None
    return Output(_parse(body), uri, len(body), window)


def _parse(body: bytes) -> list[Record]:
    """Return the records of a JSON Lines or Parquet object, with times in epoch milliseconds."""
    if not body.startswith(PARQUET_MAGIC):
        lines = (gzip.decompress(body) if body.startswith(GZIP_MAGIC) else body).splitlines()
        return [json.loads(line) for line in lines]
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    table = pq.read_table(io.BytesIO(body))
    for index, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            times = table.column(index).cast(pa.timestamp("ms", column.type.tz), safe=False)
            table = table.set_column(index, column.name, times.cast(pa.int64()))
    return [{name: _strip_zeros(value) for name, value in row.items()} for row in table.to_pylist()]


def _strip_zeros(value: Any) -> Any:
    """Return a decimal as text without the trailing zeros of its column's scale; other values unchanged."""
    if not isinstance(value, Decimal):
        return value
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
