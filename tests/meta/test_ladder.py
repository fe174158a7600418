"""The ladder: imports point one way, and the core has no Airflow, no HTTP client, no clock and no sleep."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import airflow_provider_binance_loan

PACKAGE = airflow_provider_binance_loan.__name__
ROOT = Path(airflow_provider_binance_loan.__file__).parent

# A module imports from those above it alone.
LADDER = (
    "",
    "exceptions",
    "validation",
    "binance",
    "binance.time_range",
    "binance.signing",
    "binance.messages",
    "binance.fields",
    "binance.plans",
    "binance.slicing",
    "binance.reader",
    "binance.datasets",
    "binance.datasets.api_key_permissions",
    "client",
    "client.redaction",
    "client.settings",
    "client.throttle",
    "client.base",
    "client.progress",
    "hooks",
    "windows",
    "landing",
    "landing.tables",
    "landing.parquet",
    "landing.formats",
    "landing.s3",
    "landing.sink",
    "lineage",
    "links",
    "conditions",
    "operators",
    "triggers",
    "sensors",
)
# These stand beside the ladder, and import nothing of it above the exceptions.
BESIDE = ("get_provider_info", "sandbox")
CORE_MAY_IMPORT = sys.stdlib_module_names - {
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
TELL_THE_TIME = {"now", "utcnow", "today", "sleep"}
SOCKETS = {"requests", "httpx", "socket", "urllib3", "aiohttp"}


def modules(under: str = "") -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / under).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        yield name, ast.parse(path.read_text(), filename=str(path))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the full name of everything imported, also inside functions; `from a import b` as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports would slip through"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rung(imported: str, rungs: tuple[str, ...]) -> int | None:
    """Return the rung of the module that a full name lies in; None for names from outside the package."""
    if imported.split(".", maxsplit=1)[0] != PACKAGE:
        return None
    name = imported.removeprefix(PACKAGE).lstrip(".")
    while name not in rungs:
        name = name.rpartition(".")[0]
    return rungs.index(name)


def test_every_module_has_its_place() -> None:
    """A new module is put on the ladder, or beside it, on purpose."""
    names = {name for name, _ in modules() if name.split(".")[0] not in BESIDE}
    assert names == set(LADDER)


def test_imports_point_one_way() -> None:
    """No module imports one of a higher rung, or itself by another name."""
    for name, tree in modules():
        if name.split(".")[0] in BESIDE:
            continue
        for imported in imports(tree):
            step = rung(imported, (*LADDER, *BESIDE))
            assert step is None or step < LADDER.index(name), f"{name or PACKAGE} imports {imported}"


@pytest.mark.parametrize("beside", BESIDE)
def test_what_stands_beside_imports_nothing_above_the_exceptions(beside: str) -> None:
    """Discovery stays light, and the sandbox judges the client independently."""
    for name, tree in modules():
        if name.split(".")[0] == beside:
            for imported in imports(tree):
                own = imported.startswith(f"{PACKAGE}.{beside}")
                step = rung(imported, LADDER)
                assert own or step is None or step <= LADDER.index("exceptions"), f"{name} imports {imported}"


def test_the_core_is_pure() -> None:
    """What Binance says is written without HTTP client and Airflow, and asks no clock."""
    for name, tree in modules("binance"):
        for imported in imports(tree):
            assert imported.split(".")[0] in CORE_MAY_IMPORT, f"{name} imports {imported}"
            assert not imported.startswith("urllib.request"), f"{name} imports {imported}"
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Attribute) and node.attr in TELL_THE_TIME), (
                f"{name}: {node.attr}"
            )


def test_only_the_doors_open_sockets() -> None:
    """No other module of the ladder imports an HTTP client when it runs."""
    for name, tree in modules():
        if name != "client.base" and name.split(".")[0] not in BESIDE:
            typing_only = {
                imported
                for node in ast.walk(tree)
                if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
                for imported in imports(node)
            }
            for imported in set(imports(tree)) - typing_only:
                assert imported.split(".")[0] not in SOCKETS, f"{name} imports {imported}"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        (f"{PACKAGE}.binance.reader", {"airflow", "requests", "httpx", "pendulum"}),
    ],
)
def test_imports_nothing_heavy(module: str, absent: set[str]) -> None:
    """What is imported where Airflow parses DAGs stays light."""
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not absent & set(loaded.stdout.split())


def test_discovery_imports_the_description_alone() -> None:
    """Airflow reads what it wants to know of the provider without importing anything else, light or heavy."""
    code = f"""
import sys
from importlib.metadata import entry_points
(entry,) = entry_points(group="apache_airflow_provider", module="{PACKAGE}.get_provider_info")
before = set(sys.modules)
entry.load()()
print(*sys.modules.keys() - before - sys.stdlib_module_names)
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(loaded.stdout.split()) == {PACKAGE, f"{PACKAGE}.get_provider_info"}


@pytest.mark.parametrize("module", ["hooks", "operators", "sensors"])
def test_parsing_a_dag_costs_little_more_than_airflow(module: str) -> None:
    """What a DAG file imports brings in no HTTP client, no S3, no Parquet and no sandbox by itself."""
    code = (
        "import sys; from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator; "
        f"known = set(sys.modules); import {PACKAGE}.{module}; print(*sys.modules.keys() - known)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    brought = set(loaded.stdout.split())
    assert f"{PACKAGE}.{module}" in brought
    assert not brought & {*SOCKETS, "boto3", "botocore", "pyarrow", "pandas", "fastapi", f"{PACKAGE}.sandbox"}
