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
EXAMPLES = sorted(FOLDER.glob("*.py"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_is_parsed_without_a_network(file: Path, mocker: Any) -> None:
    """A file holds one DAG, named like it, and says what it is for; parsing it opens no socket."""
    mocker.patch.object(socket.socket, "connect", side_effect=AssertionError("a socket at parse time"))
    bag = DagBag(file, bundle_path=FOLDER, bundle_name="examples", collect_dags=True)
    assert not bag.import_errors
    assert list(bag.dags) == [file.stem]
    assert len((ast.get_docstring(ast.parse(file.read_text())) or "").splitlines()) > 2


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_runs(file: Path) -> None:
    """It runs to its end in an Airflow of its own, and finds the documented record in its hour."""
    command = [Path(sys.executable).with_name("binance-loan-sandbox"), "run", file]
    run = subprocess.run(
        [*command, "--logical-date", "2025-05-27T22:00:00Z"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"DAG {file.stem} succeeded" in run.stdout
    assert "1 record in" in run.stdout
    assert "16667.926" in run.stdout
