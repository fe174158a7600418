"""The README: its code runs, its commands exist, and its tables say what the code does."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.metadata import entry_points, metadata
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, Connection
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time import macros
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from airflow_provider_binance_loan import exceptions
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.client.settings import DEFAULT_HOST, EXTRAS, parse_connection
from airflow_provider_binance_loan.client.throttle import _EASY_SHARE, _WEIGHT_LIMIT
from airflow_provider_binance_loan.exceptions import BinanceLoanError
from airflow_provider_binance_loan.get_provider_info import get_provider_info
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.landing.formats import parse_format
from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sandbox.cli import _parser
from airflow_provider_binance_loan.sandbox.exchange import Behaviour, Exchange
from airflow_provider_binance_loan.sandbox.faults import Fault
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor
from tests.conftest import DATA
from tests.meta.test_ladder import LADDER, PACKAGE
from tests.support import readme
from tests.support.clock import NOW, FakeClock

DISTRIBUTION = metadata("airflow-provider-binance-loan")
DOCUMENTED_HOUR = datetime(2025, 5, 27, 21, tzinfo=UTC), datetime(2025, 5, 27, 22, tzinfo=UTC)
# A block may leave out what its readers have already.
IMPORTS = f"""
from datetime import datetime, timedelta, timezone
from airflow.sdk import DAG, Asset, AssetAlias, AssetWatcher, task
from airflow.sdk import CronDataIntervalTimetable, CronTriggerTimetable
from {PACKAGE}.hooks import BinanceLoanHook
from {PACKAGE}.operators import BinanceLoanForceLiquidationOperator
from {PACKAGE}.sensors import BinanceLoanForceLiquidationSensor
from {PACKAGE}.triggers import BinanceLoanForceLiquidationEventTrigger
"""
PYTHON = readme.blocks("python")
MANIFEST, EVENT, RECORD = "s3_uri", "group_ids", "groupId"


def shown(key: str) -> Any:
    """The JSON block that has a key."""
    (found,) = (value for block in readme.blocks("json") if key in (value := json.loads(block)))
    return found


def dags(block: str, folder: Path) -> dict[str, DAG]:
    """The DAGs of a block, as Airflow reads them from a file."""
    file = folder / "block.py"
    file.write_text(block if "import" in block else IMPORTS + block)
    bag = DagBag(file, bundle_path=folder, bundle_name="readme", collect_dags=True)
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
    """What Binance's page shows, in a Binance that shares the operator's clock, and the README's bucket."""
    exchange.clock = time.time
    exchange.add_unit(6)
    example = next(one for one in Exchange().liquidations() if one.group_id == 6 and "startLtv" in one.fields)
    exchange.add_liquidation(6, example.start_ms, example.end_ms, **example.fields)
    s3.create_bucket(Bucket="risk-lake")
    yield
    for item in s3.list_objects_v2(Bucket="risk-lake").get("Contents", []):
        s3.delete_object(Bucket="risk-lake", Key=item["Key"])
    s3.delete_bucket(Bucket="risk-lake")


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_python_blocks_are_read_by_airflow(block: str, tmp_path: Path) -> None:
    """Every name exists, every argument is taken, and each DAG is one that Airflow accepts."""
    assert len(dags(block, tmp_path)) == block.count("with DAG(")


def test_the_first_dag_leaves_the_manifest_that_is_shown(history: None, tmp_path: Path) -> None:
    """The DAG that everybody copies, run for the hour of the documented record, lands just what is shown."""
    ((_, dag),) = dags(PYTHON[0], tmp_path).items()
    manifest = land(dag.get_task("land"), dag)
    assert manifest | {"sha256": "…"} == shown(MANIFEST)


def test_the_key_that_is_shown_is_parquet(history: None) -> None:
    """The key that names the window is one that S3 takes, and its format is known by its end."""
    (block,) = (block for block in PYTHON if block.startswith("s3_key = "))
    names: dict[str, Any] = {}
    exec(block, names)
    with DAG("key", schedule=None) as dag:
        task = BinanceLoanForceLiquidationOperator(task_id="land", s3_key=names["s3_key"])
    assert land(task, dag)["s3_uri"] == "s3://risk-lake/liquidations/dt=2025-05-27/hour=21/part.parquet"


def test_the_dag_that_is_started_by_an_asset_reads_its_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The task that loads what landed finds the manifest in the event."""
    (block,) = (block for block in PYTHON if "triggering_asset_events" in block)
    dag = dags(block, tmp_path)["load"]
    task: Any = dag.get_task("load")
    capsys.readouterr()
    task.python_callable({"the asset": [SimpleNamespace(extra=shown(MANIFEST))]})
    assert capsys.readouterr().out == f"{shown(MANIFEST)['s3_uri']} 1\n"


def test_the_sensor_and_the_operator_agree_on_what_is_shown(exchange: Exchange, connect: Any) -> None:
    """The sensor's XCom is what is shown, and an operator that is given its window pulls that record."""
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
    """The operator makes just this of Binance's example, and the differences are those of the table."""
    start, end = DOCUMENTED_HOUR
    (record,) = BinanceLoanForceLiquidationOperator(task_id="pull", start=start, end=end).execute({})
    assert record == shown(RECORD)
    assert list(record) == list(shown(RECORD))
    sent, written = (DATA / "documented-example.json").read_text(), json.dumps(record)
    for cells in readme.table("Binance sends", "The record has", "Because"):
        for cell, text in zip(cells, (sent, written), strict=False):
            assert re.sub(r"\s", "", readme.names(cell)[0].rstrip("…}]")) in re.sub(r"\s", "", text)


def test_no_json_is_shown_that_nothing_is_held_against() -> None:
    """Each block is one of those above."""
    assert len(readme.blocks("json")) == len({MANIFEST, EVENT, RECORD})
    assert [shown(key) for key in (MANIFEST, EVENT, RECORD)]


def test_the_faults_that_are_shown_exist() -> None:
    """The sandbox takes the JSON that the README posts to it."""
    posted = [json.loads(text) for text in re.findall(r'`(\{"(?:kind|fault_rate)".*?\})`', readme.TEXT)]
    assert [Fault(**one) for one in posted if "kind" in one]
    assert [Behaviour(**one) for one in posted if "kind" not in one]


@pytest.mark.parametrize("command", readme.commands())
def test_commands_exist(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each program is there, and takes the arguments."""
    monkeypatch.chdir(readme.ROOT)
    match shlex.split(command):
        case ["pip", "install", *requirements]:
            for requirement in map(Requirement, requirements):
                assert requirement.name in {"uv", DISTRIBUTION["Name"]}
                assert requirement.extras <= set(DISTRIBUTION.get_all("Provides-Extra") or [])
        case ["airflow", *arguments]:
            from airflow.cli.cli_parser import get_parser

            assert get_parser().parse_args(arguments).func
        case ["uv", "run", "binance-loan-sandbox", *arguments]:
            assert _parser().parse_args(arguments).command
        case ["uv", "run", "python", "-m", module]:
            assert find_spec(module)
        case ["uv", "run", "python", script]:
            assert Path(script).is_file()
        case ["uv", "run", "pytest" | "pre-commit" as program, *_]:
            assert Path(sys.executable).with_name(program).is_file()
        case [program] if program.startswith(".ci/"):
            assert os.access(program, os.X_OK)
        case ["uv", "run", *_]:
            assert command in Path(".ci/run").read_text().splitlines(), "run by nobody"
        case _:
            pytest.fail("Nothing here knows this command: teach this test to check it.")


def test_files_that_are_named_exist() -> None:
    """Every path into the repository leads somewhere."""
    paths = set(re.findall(r"\b(?:example_dags|tests)/[\w./]*", readme.TEXT))
    assert len(paths) > 3
    assert [path for path in paths if not (readme.ROOT / path).exists()] == []


def test_names_the_versions_of_the_metadata() -> None:
    """The lowest Airflow and the lowest Python are those that an installer asks for."""
    named = re.search(r"Airflow ([\d.]+) or newer, Python ([\d.]+) or newer", readme.TEXT)
    assert named
    required = {
        one.name: one.specifier for one in map(Requirement, DISTRIBUTION.get_all("Requires-Dist") or [])
    }
    assert required["apache-airflow"] == SpecifierSet(f">={named[1]}")
    assert SpecifierSet(DISTRIBUTION["Requires-Python"]) == SpecifierSet(f">={named[2]}")


def test_the_table_of_classes() -> None:
    """Each class is where the table says, and each kind that Airflow lists is in the table."""
    modules = set()
    for thing, place, _ in readme.table("Class", "Module", "What it does"):
        (name,) = readme.names(thing)
        if place == "command":
            assert entry_points(group="console_scripts")[name].value.startswith(PACKAGE)
        else:
            module = PACKAGE + readme.names(place)[0]
            assert getattr(import_module(module), name).__module__ == module
            modules.add(module)
    info = get_provider_info()
    listed = [info[kind] for kind in ("hooks", "operators", "sensors", "triggers")]
    assert modules == {
        module for entries in listed for entry in entries for module in entry["python-modules"]
    }


def test_the_table_of_formats() -> None:
    """Each end of a key means what the table says, and so does each `file_format`."""
    ends: list[str] = []
    for cell, _ in readme.table("The key ends in, or `file_format`", "Holds"):
        *named, file_format = readme.names(cell)
        ends = [end + named[0] for end in ends] if cell.startswith("the same") else named
        assert {parse_format("part" + end, None) for end in ends} == {file_format.strip('"')}
        assert parse_format("part", file_format.strip('"')) == file_format.strip('"')


def test_the_table_of_the_connection() -> None:
    """It has each field that is read, and the default of each that has one."""
    rows = readme.table("Field", "Meaning", "Default")
    assert [row[0] for row in rows[:3]] == ["login", "password", "host, port"]
    settings = parse_connection(
        Connection(conn_id="some", conn_type="binance_loan", login="key", password="secret")
    )
    assert (settings.base_url, rows[2][2]) == (DEFAULT_HOST, f"`{DEFAULT_HOST}`")
    extras = {readme.names(row[0])[0]: row for row in rows[3:]}
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
    for name, when, _, outcome in readme.table("Error", "When", "What to do", "The task"):
        error = getattr(exceptions, *readme.names(name))
        mocker.patch.object(BinanceLoanHook, "iter_force_liquidations", side_effect=error("Oh."))
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
    for error in vars(exceptions).values():
        if isinstance(error, type) and issubclass(error, BinanceLoanError) and error is not BinanceLoanError:
            assert listed & set(error.__mro__), error


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
        for row in readme.table("What is read", "`…/force-liquidation`", "`…/loan-groups/closed`")
    ]
    assert asked() == costs[0]
    for unit in (6, 7):
        exchange.add_unit(unit)
    assert asked(risk_units="active") == costs[2]
    assert asked(risk_units=[6, 7]) == costs[3]
    exchange.close(6)
    exchange.close(7)
    assert asked() == [costs[0][0] + 2 * costs[1][0], costs[0][1] + 2 * costs[1][1]]


def test_the_table_of_accounts() -> None:
    """It follows from the weights."""
    rows = readme.table("A look every", "no unit closed in the window", "five closed in the window")
    for every, *accounts in rows:
        looks_a_minute = 60 / int(every.removesuffix(" s"))
        easy = _WEIGHT_LIMIT * _EASY_SHARE
        assert [int(number) for number in accounts] == [int(easy / looks_a_minute / cost) for cost in (1, 6)]


def test_the_table_of_modules() -> None:
    """The ladder that the README shows is the one that is kept, rung by rung."""
    rungs = [name.strip("/") for row in readme.table("Module", "Holds") for name in readme.names(row[0])]
    assert rungs == [name for name in LADDER if name and "." not in name]
