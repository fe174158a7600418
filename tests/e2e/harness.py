"""A real Airflow in child processes, each of which can be killed and started. Knows nothing of Binance."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil
import requests

T = TypeVar("T")

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
# The log servers would listen on ports that are the same for every Airflow on the machine.
FLAGS = {"scheduler": ["--skip-serve-logs"], "triggerer": ["--skip-serve-logs"]}
FINAL = {"success", "failed", "skipped", "upstream_failed", "removed"}
DEADLINE_S = 90.0


def until(
    what: str, look: Callable[[], T | None], *, every_s: float = 0.2, within_s: float = DEADLINE_S
) -> T:
    """Look until there is something, and return it.

    :raises TimeoutError: the deadline passed; the message says what did not happen.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(every_s)
    raise TimeoutError(f"Within {within_s:.0f} s it did not happen that {what}.")


class Run:
    """A run of a DAG, and what its tasks made of it."""

    def __init__(self, airflow: Airflow, dag_id: str, run_id: str) -> None:
        self._airflow = airflow
        self._path = f"dags/{dag_id}/dagRuns/{run_id}"
        self.run_id = run_id

    def task(self, task_id: str) -> dict[str, Any]:
        return self._airflow.get(f"{self._path}/taskInstances/{task_id}")

    def wait_for(self, task_id: str, *states: str) -> dict[str, Any]:
        """Wait until a task is in one of the states, and return it; another final state is an error."""

        def arrived() -> dict[str, Any] | None:
            task = self.task(task_id)
            wrong = task["state"] in FINAL - set(states)
            assert not wrong, f"Task {task_id} is {task['state']}, not {' or '.join(states)}."
            return task if task["state"] in states else None

        return until(f"task {task_id} of {self.run_id} is {' or '.join(states)}", arrived)

    def wait_for_all(self, task_id: str, count: int) -> None:
        """Wait until so many tasks, to which one was expanded, have succeeded."""

        def arrived() -> bool:
            path = f"{self._path}/taskInstances/{task_id}/listMapped"
            states = [task["state"] for task in self._airflow.get(path)["task_instances"]]
            wrong = set(states) & (FINAL - {"success"})
            assert not wrong, f"Of the tasks {task_id} some are {wrong}."
            return states.count("success") == count

        until(f"{count} tasks {task_id} of {self.run_id} have succeeded", arrived)

    def wait_for_worker(self, task_id: str) -> None:
        """Wait until the scheduler has heard of the end of the task's worker.

        When the trigger fires before that, Airflow takes the task for one that died, and retries it.
        """
        task = f"task_id='{task_id}', run_id='{self.run_id}'"
        log = self._airflow.home / "scheduler.log"
        until(
            f"the worker of {task} ended",
            lambda: any("Received executor event" in line and task in line for line in log.open()),
        )

    def get(self) -> dict[str, Any]:
        return self._airflow.get(self._path)

    def links(self, task_id: str) -> dict[str, Any]:
        """Return the addresses of the links on the page of a task, by their names."""
        links: dict[str, Any] = self._airflow.get(f"{self._path}/taskInstances/{task_id}/links")[
            "extra_links"
        ]
        return links

    def xcom(self, task_id: str) -> Any:
        path = f"{self._path}/taskInstances/{task_id}/xcomEntries/return_value"
        return self._airflow.get(path, deserialize="true")["value"]


class Airflow:
    """An Airflow of its own, on SQLite, for as long as the `with` block lasts.

    :param home: an empty directory.
    :param dags: the directory with the DAG files.
    :param connections: values of connections, by their ids.
    """

    def __init__(self, home: Path, dags: Path, connections: Mapping[str, str]) -> None:
        self.home = home
        self.dags = dags
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._environment = _environment(home, dags, self.url, connections)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._session = requests.Session()
        self._session.trust_env = False

    def __enter__(self) -> Self:
        try:
            self._launch("migrate", "db", "migrate")
            code = self._processes.pop("migrate").wait(timeout=DEADLINE_S)
            assert code == 0, f"`airflow db migrate` ended with {code}."
            for component in COMPONENTS:
                self.start(component)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()
        for name in list(self._processes):
            self.kill(name)

    def start(self, component: str) -> None:
        """Start a component, and do not wait for it."""
        self._launch(component, component, *FLAGS.get(component, []))

    def stop(self, component: str) -> None:
        """Ask a component to end, as a service manager does, and wait until it has."""
        self._processes[component].terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._processes[component].wait(timeout=30)
        self.kill(component)

    def kill(self, component: str) -> None:
        """Kill a component and all that it started, at once and without warning."""
        process = self._processes.pop(component)
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            family = psutil.Process(process.pid)
            # The children of some components lead process groups of their own.
            doomed = [family, *family.children(recursive=True)]
            os.killpg(process.pid, signal.SIGKILL)
            for member in doomed:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            psutil.wait_procs(doomed[1:], timeout=10)
        process.wait(timeout=10)

    def get(self, path: str, **params: str) -> dict[str, Any]:
        return self._ask("GET", path, params=params)

    def wait_for_dags(self, *dag_ids: str) -> None:
        def known() -> bool:
            with contextlib.suppress(requests.ConnectionError):
                return {dag["dag_id"] for dag in self.get("dags")["dags"]} >= set(dag_ids)
            return False

        until(f"Airflow knows {', '.join(dag_ids)}", known)

    def trigger(self, dag_id: str) -> Run:
        run = self._ask("POST", f"dags/{dag_id}/dagRuns", json={"logical_date": None})
        return Run(self, dag_id, run["dag_run_id"])

    def backfill(self, dag_id: str, first: str, last: str) -> None:
        """Run a DAG for the dates from the first to the last, and do not wait for it."""
        body = {"dag_id": dag_id, "from_date": first, "to_date": last, "max_active_runs": 2}

        def begun() -> bool:
            # SQLite may be too busy to note it, and may have noted it all the same: then it is a conflict.
            answer = self._session.post(f"{self.url}/api/v2/backfills", json=body, timeout=30)
            assert answer.status_code in {200, 409, 500, 503}, answer.text[:500]
            return answer.status_code in {200, 409}

        until(f"{dag_id} is filled back", begun, every_s=1)

    def runs(self, dag_id: str) -> list[Run]:
        found = self.get(f"dags/{dag_id}/dagRuns", limit="100")["dag_runs"]
        return [Run(self, dag_id, run["dag_run_id"]) for run in found]

    def asset_payloads(self, name: str) -> list[dict[str, Any]]:
        """Return what the triggers sent to an asset."""
        # From the database: the API's list breaks while one of the runs that it names is yet to start.
        query = "select e.extra from asset_event e join asset a on a.id = e.asset_id where a.name = ?"
        return [json.loads(extra)["payload"] for extra in self._read(query, name)]

    def asset_state(self, name: str) -> str:
        """Return all that is in the state store of an asset."""
        # From the database: it is to be seen as soon as it is there.
        query = "select s.value from asset_state_store s join asset a on a.id = s.asset_id where a.name = ?"
        return "\n".join(self._read(query, name))

    @contextlib.contextmanager
    def refusing_writes(self, table: str) -> Iterator[None]:
        """Let the database refuse each write to a table, as one does that is full or read-only."""
        with self._writing() as database:
            for event in ("insert", "update"):
                refuse = "begin select raise(abort, 'refused for a test'); end"
                database.execute(f"create trigger refuse_{event} before {event} on {table} {refuse}")
        try:
            yield
        finally:
            with self._writing() as database:
                for event in ("insert", "update"):
                    database.execute(f"drop trigger refuse_{event}")

    def log(self, component: str) -> str:
        """Return all that a component logged."""
        return (self.home / f"{component}.log").read_text(errors="replace")

    def logs(self, since: float) -> dict[str, str]:
        """Return the ends of the components' logs, and of those of tasks that were written to since then."""
        files = [*self.home.glob("*.log")]
        files += [file for file in self.home.glob("logs/dag_id=*/**/*.log*") if file.stat().st_mtime >= since]
        return {str(file.relative_to(self.home)): _tail(file) for file in sorted(files)}

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        opened = contextlib.closing(sqlite3.connect(self.home / "airflow.db", timeout=DEADLINE_S))
        with opened as database, database:
            yield database

    def _read(self, query: str, *parameters: str) -> list[str]:
        with contextlib.closing(
            sqlite3.connect(f"file:{self.home}/airflow.db?mode=ro", uri=True)
        ) as database:
            return [value for (value,) in database.execute(query, parameters)]

    def _launch(self, name: str, *arguments: str) -> None:
        with (self.home / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", *arguments],
                cwd=self.home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _ask(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        answer = self._session.request(method, f"{self.url}/api/v2/{path}", timeout=30, **arguments)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        found: dict[str, Any] = answer.json()
        return found


def epoch_ms(instant: str) -> int:
    """Return an ISO 8601 instant in epoch milliseconds."""
    return round((datetime.fromisoformat(instant) - datetime.fromtimestamp(0, UTC)).total_seconds() * 1000)


def _environment(home: Path, dags: Path, url: str, connections: Mapping[str, str]) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))
    }
    return inherited | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": url.rpartition(":")[2],
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        # How soon a file that is put into the folder is found.
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1",
        # How soon a triggerer takes over what belonged to one that was killed.
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "3",
        # How long a worker may linger after its task.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        # An LTV in the sandbox's world may be at the level of the example DAG for hours.
        "AIRFLOW_VAR_BORROW_BELOW": "2",
        # A test does not wait for an hour.
        "AIRFLOW_VAR_MINUTES_AROUND_LIQUIDATION": "0",
        **{f"AIRFLOW_CONN_{conn_id.upper()}": value for conn_id, value in connections.items()},
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _tail(file: Path, lines: int = 60) -> str:
    return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
