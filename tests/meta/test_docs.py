"""The documentation: its code runs, its commands and links exist, and its tables say what the code does."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from importlib.metadata import entry_points, metadata
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet
import pytest
import requests
import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, Connection
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time import macros
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from airflow_provider_binance_loan import exceptions, operators
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.time_range import parse_window
from airflow_provider_binance_loan.client.base import DEFAULT_RETRY_POLICY
from airflow_provider_binance_loan.client.settings import EXTRAS, parse_connection
from airflow_provider_binance_loan.client.throttle import FREE_SHARE, WEIGHT_LIMIT
from airflow_provider_binance_loan.client.urls import DEFAULT_HOST
from airflow_provider_binance_loan.exceptions import BinanceLoanError
from airflow_provider_binance_loan.get_provider_info import get_provider_info
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.landing.formats import parse_format
from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sandbox.cli import _parser
from airflow_provider_binance_loan.sandbox.exchange import Behaviour, Exchange
from airflow_provider_binance_loan.sandbox.faults import Fault
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor, BinanceLoanLtvSensor
from airflow_provider_binance_loan.triggers import (
    BinanceLoanForceLiquidationEventTrigger,
    BinanceLoanLtvEventTrigger,
)
from airflow_provider_binance_loan.windows import resolve_window
from tests.support import docs, fields_table, package
from tests.support.clock import NOW, FakeClock
from tests.support.connections import binance_connection
from tests.support.ltvs import ltv_server
from tests.support.ltvs import unit as ltv_unit
from tests.support.package import PACKAGE
from tests.support.paths import DATA
from tests.support.watchers import first_payload

DISTRIBUTION = metadata("airflow-provider-binance-loan")
DOCUMENTED_HOUR = datetime(2025, 5, 27, 21, tzinfo=UTC), datetime(2025, 5, 27, 22, tzinfo=UTC)
# A block may leave out what its readers have already.
IMPORTS = f"""
from datetime import datetime, timedelta, timezone
from airflow.sdk import DAG, Asset, AssetAlias, AssetWatcher, task
from airflow.sdk import CronDataIntervalTimetable, CronTriggerTimetable
from {PACKAGE}.hooks import BinanceLoanHook
from {PACKAGE}.operators import BinanceLoanForceLiquidationOperator, BinanceLoanLtvOperator
from {PACKAGE}.operators import BinanceLoanReconciliationOperator
from {PACKAGE}.sensors import BinanceLoanForceLiquidationSensor, BinanceLoanLtvSensor
from {PACKAGE}.triggers import BinanceLoanForceLiquidationEventTrigger, BinanceLoanLtvEventTrigger
"""
ARCHITECTURE = docs.PAGES["docs/architecture.md"]
PYTHON = [block for block in docs.BLOCKS if block.language == "python"]
MANIFEST, EVENT, PAYLOAD, CROSSING, RECORD = "s3_uri", "group_ids", "group_id", "back_to_level", "groupId"
# The addresses that the documentation may link to: pages that exist.
BINANCE = "https://developers.binance.com"
REST_API = f"{BINANCE}/en/docs/catalog/advanced-trading-institutional-loan/api/rest-api"
ADDRESSES = {
    f"{REST_API}/trade#get-risk-unit-force-liquidation-record",
    f"{REST_API}/account#query-closed-risk-unit-record",
    f"{REST_API}/account#query-risk-unit-details",
    f"{BINANCE}/legacy-docs/institutional_loan/general-info",
    f"{BINANCE}/legacy-docs/institutional_loan/error-code",
}


def python_block(text: str) -> str:
    """Return the Python block that holds a text."""
    (found,) = (block.text for block in PYTHON if text in block.text)
    return found


def shown(key: str) -> Any:
    """The JSON block that has a key."""
    found = [value for block in docs.blocks("json") if key in (value := json.loads(block))]
    return min(found, key=len)


def dags(block: str, folder: Path) -> dict[str, DAG]:
    """The DAGs of a block, as Airflow reads them from a file."""
    file = folder / "block.py"
    file.write_text(block if "import" in block else IMPORTS + block)
    bag = DagBag(file, bundle_path=folder, bundle_name="docs", collect_dags=True)
    assert not bag.import_errors
    return bag.dags


def land(task: Any, dag: DAG) -> Any:
    """Render and execute a task as Airflow does, for the hour of the documented record."""
    start, end = DOCUMENTED_HOUR
    instance = SimpleNamespace(map_index=-1, task=task)
    run = SimpleNamespace(run_after=end, conf={})
    context: Any = {"data_interval_start": start, "data_interval_end": end, "dag": dag, "dag_run": run}
    context |= {"macros": macros, "ti": instance}
    task.render_template_fields(context, dag.get_template_env())
    return task.execute(context)


@pytest.fixture
def history(exchange: Exchange, connect: Any, s3: Any) -> Iterator[None]:
    """Binance's example, in a Binance on the operator's clock, and the bucket of the first DAG."""
    exchange.clock = time.time
    exchange.add_unit(6)
    example = next(one for one in Exchange().liquidations() if one.group_id == 6 and "startLtv" in one.fields)
    exchange.add_liquidation(6, example.start_ms, example.end_ms, **example.fields)
    s3.create_bucket(Bucket="risk-lake")
    yield
    for item in s3.list_objects_v2(Bucket="risk-lake").get("Contents", []):
        s3.delete_object(Bucket="risk-lake", Key=item["Key"])
    s3.delete_bucket(Bucket="risk-lake")


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"{block.page}-{block.number}")
def test_python_blocks_are_read_by_airflow(block: docs.Block, tmp_path: Path) -> None:
    """Every name exists, every argument is taken, and each DAG is one that Airflow accepts."""
    assert len(dags(block.text, tmp_path)) == block.text.count("with DAG(")


def test_the_first_dag_leaves_the_manifest_that_is_shown(history: None, tmp_path: Path) -> None:
    """The DAG of the README, run for the hour of the documented record, leaves exactly what is shown."""
    assert PYTHON[0].page == "README.md"
    ((_, dag),) = dags(PYTHON[0].text, tmp_path).items()
    manifest = land(dag.get_task("land"), dag)
    assert manifest | {"sha256": "…"} == shown(MANIFEST)


def test_the_page_that_is_shown_is_made(history: None) -> None:
    """The function returns the page of the documented record, with all of its digits."""
    names: dict[str, Any] = {}
    exec(python_block("def make_page"), names)
    page = names["make_page"](6, DOCUMENTED_HOUR[0])
    assert "Liquidation of risk unit 6" in page
    assert "16671.5507973" in page


def test_the_key_that_is_shown_is_parquet(history: None) -> None:
    """The key that names the window is valid in S3, and its ending selects the format."""
    block = python_block("s3_key = ")
    names: dict[str, Any] = {}
    exec(block, names)
    with DAG("key", schedule=None) as dag:
        task = BinanceLoanForceLiquidationOperator(task_id="land", s3_key=names["s3_key"])
    assert land(task, dag)["s3_uri"] == "s3://risk-lake/liquidations/dt=2025-05-27/hour=21/part.parquet"


def test_the_dag_that_is_started_by_an_asset_reads_its_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The task that reads the new object finds the manifest in the event."""
    block = python_block("triggering_asset_events")
    dag = dags(block, tmp_path)["load"]
    task: Any = dag.get_task("load")
    capsys.readouterr()
    task.python_callable({"the asset": [SimpleNamespace(extra=shown(MANIFEST))]})
    assert capsys.readouterr().out == f"{shown(MANIFEST)['s3_uri']} 1\n"


def test_the_sensor_and_the_operator_agree_on_what_is_shown(exchange: Exchange, connect: Any) -> None:
    """The sensor returns the JSON that is shown, and an operator with its window pulls that record."""
    exchange.clock = time.time
    exchange.add_unit(6)
    start_ms = int(datetime(2026, 3, 1, 9, 17, tzinfo=UTC).timestamp() * 1000)
    for around in (start_ms - 1, start_ms + 1):
        exchange.add_liquidation(1, around)
    exchange.add_liquidation(6, start_ms)
    sensor = BinanceLoanForceLiquidationSensor(task_id="wait", since="2026-03-01T09:17:00Z", risk_units=[6])
    event = sensor.execute({})
    assert event == shown(EVENT)
    records = BinanceLoanForceLiquidationOperator(
        task_id="pull", start=event["start"], end=event["end"]
    ).execute({})
    assert [record["groupId"] for record in records] == event["group_ids"]


def test_the_record_that_is_shown_is_that_of_the_documented_example(history: None) -> None:
    """The operator returns this for Binance's example; the table shows what differs from the answer."""
    start, end = DOCUMENTED_HOUR
    (record,) = BinanceLoanForceLiquidationOperator(task_id="pull", start=start, end=end).execute({})
    assert record == shown(RECORD)
    assert list(record) == list(shown(RECORD))
    sent, written = (DATA / "documented-example.json").read_text(), json.dumps(record)
    for cells in docs.table("Binance sends", "The record has", "Because"):
        for cell, text in zip(cells, (sent, written), strict=False):
            assert re.sub(r"\s", "", docs.names(cell)[0].rstrip("…}]")) in re.sub(r"\s", "", text)


def test_the_payload_that_is_shown_is_that_of_a_watcher(exchange: Exchange, connect: Any) -> None:
    """The watcher fires the JSON that is shown, and an operator with its window pulls that record."""
    exchange.clock = time.time
    exchange.add_unit(6)
    start = datetime.fromisoformat(shown(PAYLOAD)["start"])
    exchange.add_liquidation(6, int(start.timestamp() * 1000))
    lookback = (datetime.now(UTC) - start + timedelta(hours=1)).total_seconds()
    watcher = BinanceLoanForceLiquidationEventTrigger(asset_name="liquidations", lookback=lookback)

    payload = asyncio.run(first_payload(watcher))
    assert payload == shown(PAYLOAD)
    (record,) = BinanceLoanForceLiquidationOperator(
        task_id="pull", start=payload["start"], end=payload["end"]
    ).execute({})
    assert record["groupId"] == payload["group_id"]


def test_the_crossing_that_is_shown_is_that_of_a_watcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher of LTVs fires the JSON that is shown, for a risk unit with these figures."""
    now_ms = int(datetime.fromisoformat(shown(CROSSING)["asked_at"]).timestamp() * 1000)
    totals = {"totalLiability": "81", "totalNetEquity": "100", "totalMaintenanceMargin": "0"}
    with ltv_server(lambda: now_ms + 250) as server:  # the corrected clock stays a little behind
        monkeypatch.setenv("AIRFLOW_CONN_BINANCE_LOAN_DEFAULT", binance_connection(server.url))
        server.body = json.dumps([ltv_unit(6, "0.81", maxAllowedBorrowLimit="0", **totals)]).encode()
        clock: Any = FakeClock(datetime.fromtimestamp(now_ms / 1000, UTC))
        watcher = BinanceLoanLtvEventTrigger(asset_name="ltvs", levels=[0.8], clock=clock)
        assert asyncio.run(first_payload(watcher)) == shown(CROSSING)


def test_every_json_block_is_checked() -> None:
    """Each JSON block is one of those above."""
    keys = (MANIFEST, EVENT, PAYLOAD, CROSSING, RECORD)
    assert len(docs.blocks("json")) == len({id(block): block for block in map(shown, keys)})


def test_the_query_draws_the_history_that_is_landed(
    monkeypatch: pytest.MonkeyPatch, s3: Any, tmp_path: Path
) -> None:
    """The DAG of the page lands snapshots, and the query of the page draws them, in the order of time."""
    (query,) = docs.statements("docs/early-warning.md", "A history")
    (dag,) = dags(python_block("{asked_at}.parquet"), tmp_path).values()
    task = dag.get_task("sample")
    s3.create_bucket(Bucket="risk-lake")
    with ltv_server(lambda: int(time.time() * 1000)) as server:
        monkeypatch.setenv("AIRFLOW_CONN_BINANCE_LOAN_DEFAULT", binance_connection(server.url))
        for ltv in ("0.5", "0.75"):
            server.show(u6=ltv, u7="0.1")
            land(task, dag)
    for item in s3.list_objects_v2(Bucket="risk-lake")["Contents"]:
        file = tmp_path / item["Key"]
        file.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file("risk-lake", item["Key"], str(file))
        s3.delete_object(Bucket="risk-lake", Key=item["Key"])
    s3.delete_bucket(Bucket="risk-lake")
    with duckdb.connect() as database:
        rows = database.execute(query.replace("s3://risk-lake", str(tmp_path))).fetchall()
    assert [(ltv, len(curve.rstrip())) for _, ltv, curve in rows] == [
        (Decimal("0.5"), 20),
        (Decimal("0.75"), 30),
    ]


def test_the_table_of_fields() -> None:
    """It has the fields of the record that is shown, in their order."""
    record = shown(RECORD)
    snapshot = record["liquidationSnapshot"]
    fields = [
        *record,
        *(f"liquidationSnapshot.{name}" for name in snapshot),
        *(f"liquidationSnapshot.{name}.{field}" for name in snapshot for field in snapshot[name][0]),
    ]
    rows = docs.table("Field", "Type", "Meaning")
    assert sorted(docs.names(row[0])[0] for row in rows) == sorted(fields)


def test_the_table_of_fields_is_that_of_the_declaration() -> None:
    """Each field has its type and its meaning from the declaration of the dataset, in the same order."""
    for header, fields in fields_table.TABLES.items():
        assert docs.table(header, "Type", "Meaning") == list(fields_table.rows(fields))


def test_the_task_that_uses_the_hook_finds_the_record(history: None, tmp_path: Path) -> None:
    """The task that counts the records of the run's interval finds the documented one."""
    block = python_block("def count_liquidations")
    names: dict[str, Any] = {}
    exec(IMPORTS + block, names)
    start, end = DOCUMENTED_HOUR
    assert names["count_liquidations"].function(data_interval_start=start, data_interval_end=end) == 1


def test_the_pytest_example_passes(tmp_path: Path) -> None:
    """The tests that users copy pass, all of them, in a folder of their own."""
    block = python_block("import pytest")
    (tmp_path / "test_liquidations.py").write_text(block)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        env=clean,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{block.count('def test_')} passed" in run.stdout


@pytest.mark.e2e
def test_the_sensor_of_the_recipe_fires(tmp_path: Path) -> None:
    """The DAG of the recipe waits for the next liquidation, and ends once it has started."""
    file = tmp_path / "watch.py"
    file.write_text(python_block('DAG("watch"'))
    run = subprocess.run(
        [Path(sys.executable).with_name("binance-loan-sandbox"), "run", file, "--liquidate-every", "3"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "wait: success" in run.stdout


def test_the_faults_that_are_shown_exist() -> None:
    """The sandbox knows each fault and each behaviour of the tables."""
    for body, _ in docs.table("Body for `/sandbox/fault`", "The client meets"):
        assert Fault(**json.loads(body.strip("`")))
    for body, _ in docs.table("Body for `/sandbox/behaviour`", "From now on"):
        assert Behaviour(**json.loads(body.strip("`")))


def test_the_calls_to_the_sandbox_work() -> None:
    """The sandbox does what each `curl` of the pages asks for, in their order, and takes each body above."""
    calls = [shlex.split(command) for command in docs.commands() if command.startswith("curl ")]
    posts = [(urlsplit(url).path, body) for _, _, _, url, _, body in calls]
    for name, meaning in (("fault", "The client meets"), ("behaviour", "From now on")):
        rows = docs.table(f"Body for `/sandbox/{name}`", meaning)
        posts += [(f"/sandbox/{name}", body.strip("`")) for body, _ in rows]
    assert len(posts) > len(calls) > 3
    exchange = Exchange(history=False)  # a generated unit may be in a liquidation just now
    exchange.add_unit(6)
    with SandboxServer(exchange) as server:
        for path, body in posts:
            answer = requests.post(server.url + path, data=body, timeout=10)
            assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("command", docs.commands())
def test_commands_exist(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each program is there, and takes the arguments."""
    monkeypatch.chdir(docs.ROOT)
    match shlex.split(command):
        case ["pip", "install", *requirements]:
            for requirement in map(Requirement, requirements):
                assert requirement.name in {"uv", DISTRIBUTION["Name"]}
                assert requirement.extras <= set(DISTRIBUTION.get_all("Provides-Extra") or [])
        case ["airflow", *arguments] | ["uv", "run", "airflow", *arguments]:
            from airflow.cli.cli_parser import get_parser

            assert get_parser().parse_args(arguments).func
        case ["curl", "-X", "POST", url, "-d", body]:
            port = _parser().parse_args(["serve"]).port
            assert url.startswith(f"http://127.0.0.1:{port}/sandbox/")
            assert json.loads(body)
        case ["export", assignment]:
            assert re.fullmatch(r"AIRFLOW_\w+=\S+", assignment)
        case ["python3", "-m", "venv", ".uv"] | ["PATH=$PWD/.uv/bin:$PATH"]:
            pass  # run by test_the_first_commands_use_a_pip_that_may_install
        case [program] if program.startswith(".ci/"):
            assert os.access(program, os.X_OK)
        case ["uv", "run", *arguments]:
            check_program(*arguments)
        case _:
            pytest.fail("Nothing here knows this command: teach this test to check it.")


def check_program(*command: str) -> None:
    """Check a command of the project's environment."""
    match command:
        case ["binance-loan-sandbox", *arguments]:
            # A file that readers are told to save stands for any file.
            known = [__file__ if word.startswith("/tmp/") else word for word in arguments]
            assert _parser().parse_args(known).command
        case ["python", "-m", module]:
            assert find_spec(module)
        case ["python", script]:
            assert Path(script).is_file()
        case ["pytest" | "pre-commit" as program, *_]:
            assert Path(sys.executable).with_name(program).is_file()
        case _:
            assert shlex.join(["uv", "run", *command]) in Path(".ci/run").read_text().splitlines(), (
                "nothing runs this command"
            )


def test_every_block_is_found_and_checked() -> None:
    """No block is indented, left open, or in a language that nothing here checks."""
    assert docs.TEXT.count("```") == 2 * len(docs.BLOCKS)
    assert {block.language for block in docs.BLOCKS} == {"python", "json", "sh", "bash", "sql"}
    # Pasted as it is by the test of the package.
    assert [block.page for block in docs.BLOCKS if block.language == "bash"] == ["docs/first-object.md"]


def test_files_that_are_named_exist() -> None:
    """Every path into the repository, or into the package, leads somewhere."""
    named = r"(?<![\w/.-])(?:example_dags|tests|docs|\.ci|\.github)/[\w./-]*\w"
    paths = {(docs.ROOT, path) for path in re.findall(named, docs.TEXT)}
    paths |= {(docs.ROOT, path) for path in re.findall(r"`([A-Z]+\.md|\w+\.toml)`", docs.TEXT)}
    paths |= {(docs.ROOT / "example_dags", docs.names(row[0])[0]) for row in docs.table("Copy", "For")}
    paths |= {
        (package.FOLDER, path)
        for path in re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", ARCHITECTURE)
        if path.partition("/")[0] not in {"tests", PACKAGE}
    }
    assert len(paths) > 40
    assert [path for folder, path in paths if not (folder / path).exists()] == []


def test_all_examples_are_in_the_table() -> None:
    """The README names each of the example DAGs."""
    listed = [docs.names(row[0])[0] for row in docs.table("Copy", "For")]
    assert sorted(listed) == sorted(file.name for file in (docs.ROOT / "example_dags").glob("*.py"))


@pytest.mark.parametrize("page", docs.PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """A relative link leads to a file and one of its headings, any other to a page that is known to exist."""
    for link in docs.links(page):
        if "://" in link:
            assert link in ADDRESSES
            continue
        target, _, anchor = link.partition("#")
        file = (docs.ROOT / page).parent / target if target else docs.ROOT / page
        assert file.exists(), link
        if anchor:
            assert anchor in docs.anchors(file.resolve().relative_to(docs.ROOT).as_posix()), link


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    """Whoever reads the README finds the rest."""
    assert len(docs.PAGES["README.md"].splitlines()) <= 220
    assert docs.PAGES.keys() - {"README.md"} <= set(docs.links("README.md"))


def test_the_first_commands_are_those_that_ci_runs() -> None:
    """The README begins with two commands and what to type before; `.ci/run` runs that and the second."""
    run, test = docs.blocks("sh")[0].splitlines()
    assert run == (
        "pip install uv && uv run binance-loan-sandbox run example_dags/force_liquidation_to_s3.py"
    )
    (before,) = docs.blocks("sh")[1].splitlines()
    for line in (before, test):
        assert docs.PAGES["README.md"].splitlines().count(line) == 1
        assert f"$(grep -Fx '{line}' README.md)" in (docs.ROOT / ".ci" / "run").read_text()
    workflow = yaml.safe_load((docs.ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert [step["run"] for step in workflow["jobs"]["run"]["steps"] if "run" in step] == [".ci/run"]


def test_the_first_commands_use_a_pip_that_may_install(tmp_path: Path) -> None:
    """After the line before them, pip is that of a virtual environment, which no distribution protects."""
    command = ["bash", "-euc", f"{docs.blocks('sh')[1]}command -v pip; pip --version"]
    for _ in range(2):  # also when it is there already
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        place, version = run.stdout.splitlines()
        assert place == f"{tmp_path}/.uv/bin/pip"
        assert f" from {tmp_path}/.uv/lib/" in version
    assert "/.uv/" in (docs.ROOT / ".gitignore").read_text().splitlines()


def test_a_connection_that_is_added_has_a_port() -> None:
    """Airflow's test button sends port 0 for a connection without one, and refuses it: "Bad Request"."""
    files = [*docs.FILES, *(docs.ROOT / "example_dags").glob("*.py"), *package.FOLDER.rglob("*.py")]
    text = "\n".join(file.read_text() for file in files).replace("\\\n", " ")
    added = [line for line in re.findall(r"connections add .*", text) if "binance_loan " in line]
    assert len(added) >= 3
    assert [line for line in added if "--conn-port 443" not in line] == []


def test_names_the_versions_of_the_metadata() -> None:
    """The lowest Airflow and the lowest Python are those that an installer asks for."""
    named = re.search(r"Airflow ([\d.]+) or newer, Python ([\d.]+) or newer", docs.TEXT)
    assert named
    required = {
        one.name: one.specifier for one in map(Requirement, DISTRIBUTION.get_all("Requires-Dist") or [])
    }
    assert required["apache-airflow"] == SpecifierSet(f">={named[1]}")
    assert SpecifierSet(DISTRIBUTION["Requires-Python"]) == SpecifierSet(f">={named[2]}")


def test_the_table_of_extras() -> None:
    """It has the extras that an installer knows."""
    listed = {docs.names(row[0])[0] for row in docs.table("Extra", "Adds")}
    assert set(DISTRIBUTION.get_all("Provides-Extra") or []) == listed


def test_the_table_of_classes() -> None:
    """Each class or function is where the table says; each operator and each kind of Airflow's is in it."""
    modules, names = set(), set()
    for thing, place, _ in docs.table("Class or function", "Module", "What it does"):
        (name,) = docs.names(thing)
        if place == "command":
            assert entry_points(group="console_scripts")[name].value.startswith(PACKAGE)
        else:
            module = PACKAGE + docs.names(place)[0]
            found = getattr(import_module(module), name)
            assert inspect.isclass(found) or inspect.isfunction(found)
            names.add(name)
            if inspect.isclass(found):
                modules.add(module)
    found = [
        getattr(operators, name) for name in dir(operators) if re.fullmatch(r"BinanceLoan\w+Operator", name)
    ]
    bases = {base for operator in found for base in operator.__mro__[1:]}
    assert {operator.__name__ for operator in found if operator not in bases} <= names
    assert {"render_liquidation_page", "land_page"} <= names
    info = get_provider_info()
    listed = [info[kind] for kind in ("hooks", "operators", "sensors", "triggers")]
    assert modules == {
        module for entries in listed for entry in entries for module in entry["python-modules"]
    }


def test_the_table_of_formats() -> None:
    """Each end of a key means what the table says, and so does each `file_format`."""
    ends: list[str] = []
    for cell, _ in docs.table("The key ends in, or `file_format`", "Holds"):
        *named, file_format = docs.names(cell)
        ends = [end + named[0] for end in ends] if cell.startswith("the same") else named
        assert {parse_format("part" + end, None) for end in ends} == {file_format.strip('"')}
        assert parse_format("part", file_format.strip('"')) == file_format.strip('"')


def test_the_table_of_the_connection() -> None:
    """It has each field that is read, and the default of each that has one."""
    rows = docs.table("Field", "Meaning", "Default")
    assert [row[0] for row in rows[:3]] == ["login", "password", "host, port"]
    settings = parse_connection(
        Connection(conn_id="some", conn_type="binance_loan", login="key", password="secret")
    )
    assert (settings.base_url, rows[2][2]) == (DEFAULT_HOST, f"`{DEFAULT_HOST}`")
    extras = {docs.names(row[0])[0]: row for row in rows[3:]}
    assert all(row[0].startswith("extra ") for row in extras.values())
    assert sorted(extras) == sorted(EXTRAS)
    for name, (_, meaning, default) in extras.items():
        value = getattr(settings, name, None)
        if isinstance(value, bool):
            assert default == f"`{str(value).lower()}`"
        elif value is None:
            assert not re.search(r"\d", default)
        else:
            assert default == f"{value:g}"
        if limit := re.search(r"up to (\d+)", meaning):
            field = get_provider_info()["connection-types"][0]["conn-fields"][name]
            assert int(limit[1]) == field["schema"]["maximum"]


def test_the_table_of_errors(mocker: Any) -> None:
    """Each error is there, or one that it is a kind of, and the operator treats it as the table says."""
    listed = set()
    for name, when, _, outcome in docs.table("Error", "When", "What to do", "The task"):
        error = getattr(exceptions, *docs.names(name))
        mocker.patch.object(BinanceLoanHook, "get_connection", side_effect=error("Oh."))
        with pytest.raises((AirflowFailException, error)) as raised:
            BinanceLoanForceLiquidationOperator(
                task_id="pull", start=DOCUMENTED_HOUR[0], end=DOCUMENTED_HOUR[1]
            ).execute({})
        assert outcome == ("fails, no retry" if raised.type is AirflowFailException else "is retried")
        for status, code in re.findall(r"`(?:HTTP (\d+)|(-\d+))`", when):
            body = json.dumps({"code": int(code), "msg": "Oh."}) if code else ""
            with pytest.raises(BinanceLoanError) as answered:
                Response(Request("/path"), int(status or 400), {}, body.encode(), 0).raise_for_error()
            assert answered.type is error
        listed.add(error)

    def is_covered(error: type[BinanceLoanError]) -> bool:
        kinds = error.__subclasses__()  # a base class is covered by all its kinds together
        return bool(listed & set(error.__mro__) or (kinds and all(map(is_covered, kinds))))

    assert is_covered(BinanceLoanError)


def test_the_table_of_retries() -> None:
    """The numbers are those of the default policy, and every attribute is one that an error has."""
    policy = DEFAULT_RETRY_POLICY
    rules = dict(docs.table("Retry rule", "Value"))
    assert f"up to {policy.max_attempts} for" in rules["Attempts"]
    assert f"within {policy.deadline_s:g} s" in rules["Attempts"]
    assert f"from {policy.min_wait_s:g} s to {policy.max_wait_s:g} s" in rules["Wait between two"]
    error = exceptions.RateLimitedError("Wait.")
    for row in docs.table("Attribute", "Holds"):
        assert all(hasattr(error, name) for name in docs.names(row[0]))


def test_the_table_of_costs(exchange: Exchange, connect: Any, clock: FakeClock) -> None:
    """A pull makes as many requests to either endpoint as the table says."""

    def asked(**arguments: Any) -> list[int]:
        exchange.requests.clear()
        BinanceLoanHook(clock=clock).get_force_liquidations(NOW - timedelta(hours=1), NOW, **arguments)
        paths = Counter(one.path.rpartition("/")[2] for one in exchange.requests)
        assert {one.weight for one in exchange.requests} == {1}
        return [paths["force-liquidation"], paths["closed"]]

    for number in range(99):
        exchange.add_liquidation(1, exchange.now_ms() - 1000 * number - 1)
    costs = [
        [int(number) for number in row[1:]]
        for row in docs.table("What is read", "`…/force-liquidation`", "`…/loan-groups/closed`")
    ]
    assert asked() == costs[0]
    for unit in (6, 7):
        exchange.add_unit(unit)
    assert asked(risk_units="active") == costs[3]
    assert asked(risk_units=[6, 7]) == costs[4]
    exchange.close(6)
    exchange.close(7)
    assert asked() == [costs[0][0] + 2 * costs[2][0], costs[0][1] + 2 * costs[2][1]]

    def polled() -> list[int]:
        exchange.requests.clear()
        window = parse_window(NOW - timedelta(hours=1), NOW)
        list(BinanceLoanHook(clock=clock).iter_window(FORCE_LIQUIDATIONS.for_polls, window, "all"))
        return [
            sum(one.path.endswith(name) for one in exchange.requests) for name in ("liquidation", "closed")
        ]

    assert polled() == [costs[1][0] + 2 * costs[2][0], costs[1][1] + 2 * costs[2][1]]


def test_the_table_of_accounts() -> None:
    """The numbers follow from the weights."""
    rows = docs.table("One poll every", "no unit closed in the window", "five closed in the window")
    for every, *accounts in rows:
        polls_a_minute = 60 / int(every.removesuffix(" s"))
        easy = WEIGHT_LIMIT * FREE_SHARE
        assert [int(number) for number in accounts] == [int(easy / polls_a_minute / cost) for cost in (1, 6)]


def test_the_table_of_modules() -> None:
    """It has every module and folder of the package, and nothing else."""
    rows = [docs.names(row[0])[0] for row in docs.table("Module", "Holds")]
    assert sorted(rows) == sorted(package.paths())


def test_the_table_of_modules_is_in_the_order_of_imports() -> None:
    """A module imports from its own folder and from rows above, so that the table is read from the top."""
    rows = [docs.names(row[0])[0] for row in docs.table("Module", "Holds")]
    tops = list(dict.fromkeys(re.sub(r"/.*", "/", row) for row in rows))
    for row in rows:
        if not row.endswith("/"):
            top = re.sub(r"/.*", "/", row)
            for imported in package.imports(row):
                place = tops.index(re.sub(r"/.*", "/", imported))
                assert place < tops.index(top) or tops[place] == top, f"{row} imports {imported}"


def test_the_tables_of_arguments() -> None:
    """Every argument is one that the class takes, and every option is one that the command takes."""
    for cls, *header in (
        (BinanceLoanForceLiquidationSensor, "Argument of the sensor", "Meaning", "Default"),
        (BinanceLoanForceLiquidationEventTrigger, "Argument of the trigger", "Meaning", "Default"),
        (BinanceLoanLtvSensor, "Argument of the LTV sensor", "Meaning"),
        (BinanceLoanLtvEventTrigger, "Argument of the LTV trigger", "Meaning", "Default"),
        (BinanceLoanForceLiquidationOperator, "Argument", "Example"),
    ):
        taken = {name for base in cls.__mro__[:-1] for name in inspect.signature(base).parameters}
        assert {docs.names(row[0])[0] for row in docs.table(*header)} <= taken
    for option, _ in docs.table("Option", "Meaning"):
        (words,) = docs.names(option)
        assert _parser().parse_args(["run", __file__, *words.replace(" N", " 2").split()]).command


def test_the_tables_of_methods() -> None:
    """Every method and attribute is one that the class has."""
    exchange = Exchange(history=False)
    for owner, *header in (
        (BinanceLoanHook(), "Method of `BinanceLoanHook`", "Returns"),
        (exchange, "Method of `Exchange`", "Does"),
    ):
        for row in docs.table(*header):
            assert all(hasattr(owner, name.partition("(")[0]) for name in docs.names(row[0]))
    for row in docs.table("Attribute or argument of `Exchange`", "Holds"):
        assert hasattr(exchange, docs.names(row[0])[0]) or docs.names(row[0]) == ["history=False"]


def test_the_table_of_rules() -> None:
    """The log line says what the table says, rule by rule."""
    hour = timedelta(hours=1)
    runs: list[dict[str, Any]] = [
        {"start": NOW - hour, "end": NOW},
        {"data_interval_start": NOW - hour, "data_interval_end": NOW},
        {"data_interval_start": NOW, "data_interval_end": NOW, "prev_data_interval_end_success": NOW - hour},
        {"data_interval_start": NOW, "data_interval_end": NOW},
    ]
    rules = docs.table("No.", "Rule", "Applies to", "In the log")
    for run, row in zip(runs, rules, strict=True):
        given = {name: run.pop(name) for name in ("start", "end") if name in run}
        assert docs.names(row[3]) == [resolve_window(run, **given).rule]


@pytest.mark.parametrize("end", [".jsonl", ".jsonl.gz", ".parquet"])
def test_the_table_of_readers(exchange: Exchange, connect: Any, s3: Any, tmp_path: Path, end: str) -> None:
    """Those readers that the tests have take or refuse the object of a window without records as it says."""
    BinanceLoanForceLiquidationOperator(
        task_id="land", start=NOW - timedelta(hours=1), end=NOW, s3_key=f"s3://lake/a{end}"
    ).execute({})
    file = tmp_path / f"a{end}"
    s3.download_file("lake", f"a{end}", str(file))
    rows = docs.table("Reader", "`.jsonl`, `.jsonl.gz` without records", "Beside others that have records")
    refuse = {re.match(r"\w+", names)[0]: read.startswith("refused") for names, read, _ in rows}  # type: ignore[index]
    assert (refuse["pandas"], refuse["pyarrow"]) == (False, True)
    connection = duckdb.connect()  # of its own: what another test has not fetched blocks the shared one
    if end == ".parquet":
        assert len(pd.read_parquet(file)) == len(connection.read_parquet(str(file)).fetchall()) == 0
        assert pa.parquet.read_table(file).num_rows == 0
        return
    assert len(pd.read_json(file, lines=True)) == len(connection.read_json(str(file)).fetchall()) == 0
    with pytest.raises(pa.ArrowInvalid):
        pa.json.read_json(file)
