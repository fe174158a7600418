"""What is published: the archives' contents, and an Airflow into which the wheel alone is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from email.parser import BytesParser
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from airflow_provider_binance_loan import __version__
from airflow_provider_binance_loan.connection import EXTRAS
from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_KEY, SANDBOX_API_SECRET, Exchange
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests import readme

pytestmark = pytest.mark.package

PACKAGE = "airflow_provider_binance_loan"
UV = os.environ.get("UV", "uv")  # `uv run` says where it is itself
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "VIRTUAL_ENV"))}


def run(*command: str | Path, **environment: str) -> str:
    """Run a command outside of the repository's environment, and return what it prints."""
    done = subprocess.run(
        command, env=CLEAN | environment, cwd=readme.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--quiet", "--out-dir", folder)
    return folder


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def sdist(dist: Path) -> set[str]:
    """The files of the sdist, by their paths in the repository."""
    (found,) = dist.glob("*.tar.gz")
    with tarfile.open(found) as archive:
        files = [PurePosixPath(member.name) for member in archive if member.isfile()]
    assert {file.parts[0] for file in files} == {f"{PACKAGE}-{__version__}"}
    return {str(PurePosixPath(*file.parts[1:])) for file in files}


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def tracked(*folders: str) -> set[str]:
    return set(run("git", "ls-files", *folders).splitlines())


def test_an_index_would_take_them(dist: Path) -> None:
    """The metadata is valid, and the README can be shown."""
    run("twine", "check", "--strict", *dist.iterdir())


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every file of the package is in it, also those that are no Python; no test, and no `airflow/`."""
    files = contents(wheel)
    info = f"{PACKAGE}-{__version__}.dist-info/"
    assert {name for name in files if not name.startswith(info)} == tracked(PACKAGE)
    assert f"{PACKAGE}/py.typed" in files
    assert files[f"{info}licenses/LICENSE"] == (readme.ROOT / "LICENSE").read_bytes()


def test_the_sdist_holds_what_it_takes_to_build_and_to_try(sdist: set[str]) -> None:
    """The package, the examples, the tests and the licence are in it."""
    wanted = tracked(PACKAGE, "example_dags", "tests", "LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml")
    assert wanted <= sdist
    assert sdist - wanted <= {"PKG-INFO", ".gitignore"}


def test_the_sdist_builds_the_same_wheel_as_the_repository(wheel: Path, tmp_path: Path) -> None:
    """Whoever builds from the sdist gets, file for file, what is built from the repository."""
    run(UV, "build", "--quiet", "--wheel", "--out-dir", tmp_path)
    (direct,) = tmp_path.glob("*.whl")
    assert contents(direct) == contents(wheel)


def test_the_metadata_says_what_holds(wheel: Path) -> None:
    """The version is that of the code, the extras are those of the README, and no address is invented."""
    metadata = BytesParser().parsebytes(contents(wheel)[f"{PACKAGE}-{__version__}.dist-info/METADATA"])
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("Provides-Extra") == ["parquet", "s3"]
    assert metadata.get_all("Project-URL") is None


@pytest.fixture(scope="session")
def airflow(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """The `airflow` command of an environment that has the wheel, without its extras, and a database."""
    folder = tmp_path_factory.mktemp("installed")
    python = folder / "venv" / "bin" / "python"
    run(UV, "venv", "--quiet", "--python", "3.11", folder / "venv")
    run(UV, "pip", "install", "--quiet", "--python", python, wheel)
    home = folder / "home"

    def call(*arguments: str, home: Path = home, **environment: str) -> str:
        environment = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"} | environment
        return run(python.with_name("airflow"), *arguments, **environment)

    call("db", "migrate")
    return call


def test_is_imported_from_where_it_is_installed(wheel: Path, airflow: Callable[..., str]) -> None:
    """What the following tests see is the wheel, not the repository."""
    assert "site-packages" in airflow("info").replace(str(readme.ROOT), "") or airflow("version")


@pytest.mark.parametrize(
    ("listing", "shows"),
    [
        ("get", {"Provider": "airflow-provider-binance-loan", "Version": __version__}),
        ("hooks", {"connection_type": "binance_loan", "class": f"{PACKAGE}.hooks.BinanceLoanHook"}),
        ("triggers", {"trigger": f"{PACKAGE}.triggers"}),
        ("behaviours", {"field_behaviours": "binance_loan"}),
    ],
)
def test_airflow_lists_it(airflow: Callable[..., str], listing: str, shows: dict[str, str]) -> None:
    """Airflow shows the provider, its hook, its triggers and its form, and imports what it lists."""
    arguments = ["airflow-provider-binance-loan"] if listing == "get" else []
    print(airflow("providers", listing, *arguments, "--output", "json"))
