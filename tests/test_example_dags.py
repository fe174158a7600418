"""The example DAGs: each is parsed without a network, and run for real."""

from __future__ import annotations

import ast
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

FOLDER = Path(__file__).parents[1] / "example_dags"
DOCUMENTED = "2025-05-27T22:00:00Z"  # the run of the hour of the documented record
EXAMPLES = sorted(FOLDER.glob("*.py"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_is_parsed_without_a_network(file: Path, mocker: Any) -> None:
    """A file holds one DAG, named like it, and says what it is for; parsing it opens no socket."""
    mocker.patch.object(socket.socket, "connect", side_effect=AssertionError("a socket at parse time"))
    bag = DagBag(file, bundle_path=FOLDER, bundle_name="examples", collect_dags=True)
    assert not bag.import_errors
    assert list(bag.dags) == [file.stem]
    assert len((ast.get_docstring(ast.parse(file.read_text())) or "").splitlines()) > 2


@pytest.mark.parametrize(
    ("name", "arguments", "shows"),
    [
        ("force_liquidation_to_xcom", ["--logical-date", DOCUMENTED], ["1 record in", "16667.926"]),
        ("force_liquidation_to_s3", ["--logical-date", DOCUMENTED], ["1 record in", "16667.926"]),
        ("json_lines_to_pandas", ["--logical-date", DOCUMENTED], ["1 record in", "add_up: success"]),
        (
            "parquet_to_pandas",
            ["--logical-date", DOCUMENTED],
            [
                "1 record in s3://risk-lake/binance/liquidations/dt=2025-05-27/hour=21/part.parquet",
                "16667.926",
            ],
        ),
        ("asset_driven", [], ["records in the XCom of task pull"]),
        ("sensor_then_operator", [], ["wait: success", "in the XCom of task pull"]),
    ],
)
def test_runs(name: str, arguments: list[str], shows: list[str]) -> None:
    """It runs to its end in an Airflow of its own, and finds what is there."""
    file = FOLDER / f"{name}.py"
    command = [Path(sys.executable).with_name("binance-loan-sandbox"), "run", file, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run.stdout + run.stderr
    for text in (f"DAG {name} succeeded", *shows):
        assert text in run.stdout
