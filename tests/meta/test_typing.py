"""Types: what users write is accepted by mypy in its strict mode, and their mistakes are found."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FOLDER = Path(__file__).parent / "typing"
MISTAKES = FOLDER / "mistakes.py"

# As users run it: without the settings of this project, and silent about other packages.
MYPY = [
    *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent"),
    *("--explicit-package-bases", "--hide-error-context", "--no-error-summary"),
    *("--cache-dir", ".mypy_cache/users"),
]


@pytest.fixture(scope="module")
def errors() -> dict[str, dict[int, set[str]]]:
    """The codes of mypy's errors by file and line."""
    files = sorted(FOLDER.glob("*.py"))
    run = subprocess.run([*MYPY, *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stderr == ""
    found: dict[str, dict[int, set[str]]] = {file.name: {} for file in files}
    for path, line, code in re.findall(r"^(.*?):(\d+): error: .*\[(.*)\]$", run.stdout, re.MULTILINE):
        found[Path(path).name].setdefault(int(line), set()).add(code)
    assert sum(map(len, found.values())) > 0, run.stdout
    return found


@pytest.mark.parametrize("name", ["dag.py", "hook.py"])
def test_accepts_what_is_right(name: str, errors: dict[str, dict[int, set[str]]]) -> None:
    """Each argument is taken with each of its types, and each result has the type that is documented."""
    assert errors[name] == {}


def test_finds_mistakes(errors: dict[str, dict[int, set[str]]]) -> None:
    """An error is reported for each mistake, with the code beside it, and for nothing else."""
    lines = MISTAKES.read_text().splitlines()
    expected = {
        number: {line.partition("# error: ")[2]}
        for number, line in enumerate(lines, start=1)
        if "# error: " in line
    }
    assert len(expected) > 15
    assert errors[MISTAKES.name] == expected
