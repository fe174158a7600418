"""The suite itself: no test fails because the machine is busy, and none hangs for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import settings

from tests.support.paths import ROOT

HANGING = """
import time

def test_hangs():
    time.sleep(60)
"""


def test_examples_have_no_deadline() -> None:
    """An example of a property may take as long as it takes."""
    assert settings().deadline is None


def test_a_test_that_hangs_ends_the_run(tmp_path: Path, pytestconfig: Any) -> None:
    """The run ends with an error and the stack of the test, by the options that this run has as well."""
    assert float(pytestconfig.getini("faulthandler_timeout")) == 600
    (tmp_path / "test_hanging.py").write_text(HANGING)
    options = ["--rootdir", str(tmp_path), "-c", str(ROOT / "pyproject.toml"), "-o", "faulthandler_timeout=1"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert run.returncode == 1
    assert "in test_hangs" in run.stderr
