"""The example DAGs: each is parsed without a network, and run for real."""

from __future__ import annotations

import ast
import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowSkipException
from packaging.version import Version

from tests.support.mail import MailServer

FOLDER = Path(__file__).parents[2] / "example_dags"
DOCUMENTED = "2025-05-27T22:00:00Z"  # the run of the hour of the documented record
EXAMPLES = sorted(FOLDER.glob("*.py"))
LANDED = "1 record in s3://risk-lake"

# What to run each with beside its name, and what the run shows.
RUNS = {
    "alert": ([], ["records in the XCom of task pull"]),
    "asset_driven": ([], ["records in the XCom of task pull"]),
    "borrow_when_safe": ([], ["wait: success", "borrow: success"]),
    "backfill": (["--logical-date", "2025-05-28T00:00:00Z"], [f"{LANDED}/daily/dt=2025-05-27/part.jsonl.gz"]),
    "early_warning": ([], ["write_mails: success", "mail: skipped"]),
    "continuous": (["--liquidate-every", "1"], ["wait: success", "records in s3://risk-lake/continuous/dt="]),
    "force_liquidation_to_s3": (["--logical-date", DOCUMENTED], [LANDED, "16667.926"]),
    "force_liquidation_to_xcom": (["--logical-date", DOCUMENTED], ["1 record in the XCom", "16667.926"]),
    "json_lines_to_pandas": (["--logical-date", DOCUMENTED], [LANDED, "add_up: success"]),
    "late_figures": (["--logical-date", "2025-05-29T22:00:00Z"], ["1 record in the XCom", "merge: success"]),
    "liquidation_story": (
        [],
        ["records in s3://risk-lake/stories/unit=", "story.write_page[0]: success", "story.mail[0]: success"],
    ),
    "ltv_history": ([], ["records in s3://risk-lake/ltv/risk_units/dt=", "draw: success"]),
    "many_accounts": (
        ["--logical-date", DOCUMENTED],
        [f"{LANDED}/liquidations/account=binance_loan_{name}/dt=" for name in ("asia", "market_making")],
    ),
    "parquet_to_pandas": (
        ["--logical-date", DOCUMENTED],
        [f"{LANDED}/binance/liquidations/dt=2025-05-27/hour=21/part.parquet", "add_up: success"],
    ),
    "partitioned": (
        ["--logical-date", "2025-05-28T00:00:00Z"],
        ["partition 2025-05-27", f"{LANDED}/partitioned/dt=2025-05-27/part.jsonl.gz", "16667.926"],
    ),
    "reconcile": (
        ["--logical-date", "2026-03-02T00:00:00Z"],
        [
            "s3://risk-lake/audited/liquidations/dt=2026-03-01/part.jsonl.gz",
            "reconcile: success",
            "seconds, without a gap",
        ],
    ),
    "sensor_then_operator": ([], ["wait: success", "in the XCom of task pull"]),
}
SEND_A_MAIL = {"alert", "liquidation_story"}
# Each takes an Airflow of its own, a quarter of a minute.
ALSO_WITHOUT_E2E = {"force_liquidation_to_xcom", "parquet_to_pandas"}
# The oldest Airflow that runs an example, where it is not the oldest that is supported.
SINCE = {"partitioned": "3.3"}


def marks(name: str) -> list[pytest.MarkDecorator]:
    """Return what pytest must know before it runs an example."""
    since = SINCE.get(name, "3.2")
    is_too_old = Version(airflow_version) < Version(since)
    skip = pytest.mark.skipif(is_too_old, reason=f"{name} needs Airflow {since}, as its docstring says")
    return [skip] if name in ALSO_WITHOUT_E2E else [skip, pytest.mark.e2e]


def parse(file: Path) -> DagBag:
    return DagBag(file, bundle_path=FOLDER, bundle_name="examples", collect_dags=True)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_is_parsed_without_a_network(file: Path, mocker: Any) -> None:
    """A file holds one DAG of its name, and says what, why, and what it needs; parsing opens no socket."""
    mocker.patch.object(socket.socket, "connect", side_effect=AssertionError("a socket at parse time"))
    bag = parse(file)
    assert not bag.import_errors
    assert list(bag.dags) == [file.stem]
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    told = " ".join(text.split())
    assert [
        part for part in ("What: ", "Why: ", "There must be ", "Switch the DAG on") if part not in told
    ] == []


def test_late_figures_replace_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that comes again stays one row, which shows what came last, digit for digit."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    merge = parse(FOLDER / "late_figures.py").dags["late_figures"].get_task("merge").python_callable
    amounts = dict.fromkeys(("totalNetEquity", "totalMaintenanceMargin", "totalLiability"), "1.50")
    running = {
        "groupId": 6,
        "liquidationStartTime": 1,
        "liquidationEndTime": None,
        "startLtv": "1",
        **amounts,
    }
    another = running | {"groupId": 7, "endLtv": "0.4"}
    finished = {"liquidationEndTime": 2, "endLtv": "0", "totalLiability": "12345678901234567890.10"}
    merge([running | {"endLtv": "0.9"}, another])
    merge([running | finished])
    merge([])
    with closing(sqlite3.connect(tmp_path / "liquidations.sqlite")) as database:
        rows = database.execute("SELECT * FROM liquidations ORDER BY group_id").fetchall()
    assert rows == [
        (6, 1, 2, "1", "0", "1.50", "1.50", "12345678901234567890.10"),
        (7, 1, None, "1", "0.4", "1.50", "1.50", "1.50"),
    ]


def test_a_story_without_a_mail_server_says_where_its_page_is() -> None:
    """Without the connection the task is skipped, which breaks nothing, and says what to add."""
    mail = parse(FOLDER / "liquidation_story.py").dags["liquidation_story"].get_task("story.mail")
    page = {"page": "s3://risk-lake/page.html", "console": "https://console"}
    with pytest.raises(AirflowSkipException, match=r"connection smtp_default .*s3://risk-lake/page\.html"):
        mail.python_callable(6, "2026-03-01T09:17:00+00:00", page)


def test_all_are_run() -> None:
    """No example is forgotten below."""
    assert sorted(RUNS) == [file.stem for file in EXAMPLES]


def test_examples_say_which_airflow_they_need() -> None:
    """An example that an Airflow of those supported cannot run names the oldest that can."""
    for name, since in SINCE.items():
        assert f"Airflow {since} or newer" in (FOLDER / f"{name}.py").read_text()


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in sorted(RUNS)])
def test_runs_in_the_sandbox(name: str, mail_server: MailServer) -> None:
    """It runs to its end in an Airflow of its own, and finds what is there."""
    arguments, shows = RUNS[name]
    command = [Path(sys.executable).with_name("binance-loan-sandbox"), "run", FOLDER / f"{name}.py"]
    run = subprocess.run(
        [*command, *arguments],
        env=os.environ
        | {
            "AIRFLOW_CONN_SMTP_DEFAULT": mail_server.airflow_connection,
            "AIRFLOW_VAR_BORROW_BELOW": "0.95",  # above what the sandbox's LTVs reach
        },
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    for text in (f"DAG {name} succeeded", *shows):
        assert text in run.stdout
    assert [mail["To"] for mail in mail_server.mails] == ["risk@example.com"] * (name in SEND_A_MAIL)
