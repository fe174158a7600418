"""The architecture: the import contracts of pyproject.toml, what each import loads, and the size of files."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter import api

import airflow_provider_binance_loan

PACKAGE = airflow_provider_binance_loan.__name__
ROOT = Path(airflow_provider_binance_loan.__file__).parent
PYPROJECT = ROOT.parent / "pyproject.toml"

# What the protocol may import: the standard library without clocks, threads and sockets, and two libraries.
# The contract forbids the rest by name; this list also forbids libraries that nobody has thought of.
PROTOCOL_MAY_IMPORT = sys.stdlib_module_names - {
    "asyncio",
    "concurrent",
    "http",
    "multiprocessing",
    "random",
    "sched",
    "select",
    "selectors",
    "socket",
    "socketserver",
    "subprocess",
    "threading",
    "time",
} | {"cryptography", "msgspec", PACKAGE}
CLOCK_METHODS = {"now", "utcnow", "today", "sleep"}
HTTP_CLIENTS = {"requests", "httpcore", "httpx", "socket", "urllib3", "aiohttp"}

MAX_LINES = 300


def python_files(folder: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path, relative to the package, and the text of each Python file in a folder."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), path.read_text()


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of everything imported, also inside functions; `from a import b` as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import hides the module's full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def loaded_by(program: str) -> set[str]:
    """Return the names of modules that a program prints when it runs in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_import_contracts_hold() -> None:
    """Every import contract of pyproject.toml holds."""
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [command, "--config", PYPROJECT, "--no-cache"],
        cwd=ROOT.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_sandbox_contract_names_every_other_module() -> None:
    """The list of modules that the sandbox must not import is complete, apart from the exceptions."""
    contracts = api.read_configuration(str(PYPROJECT))["contracts_options"]
    (forbidden,) = (
        contract["forbidden_modules"]
        for contract in contracts
        if contract.get("source_modules") == [f"{PACKAGE}.sandbox"]
    )
    modules = {path.split("/")[0].removesuffix(".py") for path, _ in python_files()}
    assert set(forbidden) == {f"{PACKAGE}.{name}" for name in modules - {"__init__", "exceptions", "sandbox"}}


def test_the_protocol_imports_little() -> None:
    """The protocol imports only from a short list, so it needs no Airflow, HTTP client, clock or thread."""
    for path, text in python_files("binance"):
        for imported in imports(ast.parse(text)):
            assert imported.split(".")[0] in PROTOCOL_MAY_IMPORT, f"{path} imports {imported}"
            assert not imported.startswith("urllib.request"), f"{path} imports {imported}"


def test_the_protocol_reads_no_clock() -> None:
    """The protocol never asks for the time and never sleeps, not even by a method of `datetime`."""
    for path, text in python_files("binance"):
        used = {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
        assert not used & CLOCK_METHODS, path


def test_importing_the_protocol_loads_nothing_heavy() -> None:
    """Reading a window can be imported without Airflow, an HTTP client or pendulum."""
    loaded = loaded_by(f"import sys, {PACKAGE}.binance.reader; print(*sys.modules)")
    assert f"{PACKAGE}.binance.reader" in loaded
    assert not loaded & {"airflow", "requests", "httpcore", "pendulum"}


def test_discovery_imports_the_description_alone() -> None:
    """Airflow reads the description of the provider without importing any other module."""
    loaded = loaded_by(f"""
import sys
from importlib.metadata import entry_points
(entry,) = entry_points(group="apache_airflow_provider", module="{PACKAGE}.get_provider_info")
before = set(sys.modules)
entry.load()()
print(*sys.modules.keys() - before - sys.stdlib_module_names)
""")
    assert loaded == {PACKAGE, f"{PACKAGE}.get_provider_info"}


@pytest.mark.parametrize("module", ["hooks", "operators", "sensors"])
def test_parsing_a_dag_costs_little_more_than_airflow(module: str) -> None:
    """What a DAG file imports loads no HTTP client, private key, S3, Parquet or sandbox by itself."""
    loaded = loaded_by(
        "import sys; from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator; "
        f"before = set(sys.modules); import {PACKAGE}.{module}; print(*sys.modules.keys() - before)"
    )
    assert f"{PACKAGE}.{module}" in loaded
    assert f"{PACKAGE}.sandbox" not in loaded
    heavy = {*HTTP_CLIENTS, "boto3", "botocore", "cryptography", "pyarrow", "pandas", "fastapi"}
    assert not {name.partition(".")[0] for name in loaded} & heavy


def test_no_file_is_too_long() -> None:
    """A file has at most 300 lines, apart from the sandbox and the triggers, whose class paths are stored."""
    long = {path for path, text in python_files() if len(text.splitlines()) > MAX_LINES}
    assert {path for path in long if not path.startswith("sandbox/")} <= {"triggers.py"}
