"""What is published: the archives' contents, and an Airflow into which the wheel alone is installed."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from email.parser import BytesParser
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import airflow_provider_binance_loan
from airflow_provider_binance_loan import __version__
from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_SECRET, ApiKey, Exchange
from airflow_provider_binance_loan.sandbox.server import SandboxServer, airflow_connection
from tests.support import docs

pytestmark = pytest.mark.package

PACKAGE = airflow_provider_binance_loan.__name__
UV = os.environ.get("UV", "uv")  # `uv run` says where it is itself
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "VIRTUAL_ENV"))}


def run(*command: str | Path, **environment: str) -> str:
    """Run a command outside of the repository's environment, and return what it prints."""
    done = subprocess.run(
        command, env=CLEAN | environment, cwd=docs.ROOT, capture_output=True, text=True, check=False
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
    run("twine", "check", "--strict", *dist.glob("airflow*"))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every file of the package is in it, also those that are no Python; no test, and no `airflow/`."""
    files = contents(wheel)
    info = f"{PACKAGE}-{__version__}.dist-info/"
    assert {name for name in files if not name.startswith(info)} == tracked(PACKAGE)
    assert f"{PACKAGE}/py.typed" in files
    assert files[f"{info}licenses/LICENSE"] == (docs.ROOT / "LICENSE").read_bytes()


def test_the_sdist_holds_what_it_takes_to_build_and_to_try(sdist: set[str]) -> None:
    """The package, the documentation, the examples, the tests and the licence are in it."""
    wanted = tracked(
        PACKAGE, "docs", "example_dags", "tests", "LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"
    )
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
    assert metadata.get_all("Provides-Extra") == ["parquet", "s3", "sandbox"]
    assert metadata.get_all("Project-URL") is None


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel, and what it asks for, and nothing else."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    run(UV, "venv", "--quiet", environment)
    run(UV, "pip", "install", "--quiet", "--python", environment, wheel)
    return environment / "bin"


@pytest.fixture(scope="session")
def airflow(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A command, as a shell takes it, in an Airflow that has a database and the installed wheel."""
    home = tmp_path_factory.mktemp("home")

    def shell(command: str, **environment: str) -> str:
        return run(
            "bash",
            "-euc",
            command,
            PATH=f"{installed}:{os.environ['PATH']}",
            AIRFLOW_HOME=str(home),
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__CORE__TEST_CONNECTION="Enabled",
            **environment,
        )

    shell("airflow db migrate")
    return shell


# Imports every module apart from those that need an extra, and prints where the package is, and their names.
IMPORT_ALL = f"""
import pkgutil, importlib, {PACKAGE} as package
prefix, extras = "{PACKAGE}.", ("landing.parquet", "sandbox")
found = [name.removeprefix(prefix) for _, name, _ in pkgutil.walk_packages(package.__path__, prefix)]
names = [name for name in found if not name.startswith(extras)]
for name in names:
    importlib.import_module(prefix + name)
print(package.__file__, *names)
"""


def test_what_is_installed_is_the_wheel(installed: Path, airflow: Callable[..., str], tmp_path: Path) -> None:
    """Python finds the package where it was installed, and can import each module without an extra."""
    program = tmp_path / "program.py"
    program.write_text(IMPORT_ALL)
    file, *names = airflow(f"python {program} | tail -1").split()
    assert Path(file).is_relative_to(installed.parent)
    assert {"hooks", "operators", "sensors", "triggers", "client.settings", "landing.s3"} <= set(names)


@pytest.mark.parametrize("arguments", ["serve --port 0", "run example_dags/force_liquidation_to_s3.py"])
def test_the_command_names_its_extra(airflow: Callable[..., str], arguments: str) -> None:
    """Installed without the extra, the command says how to install it and starts nothing."""
    output = airflow(f"binance-loan-sandbox {arguments} 2>&1 || echo exit code $?")
    assert "pip install 'airflow-provider-binance-loan[sandbox]'" in output
    assert output.endswith("exit code 2\n")


@pytest.mark.parametrize(
    ("listing", "row"),
    [
        ("get airflow-provider-binance-loan", {"Version": __version__}),
        ("hooks", {"connection_type": "binance_loan", "class": f"{PACKAGE}.hooks.BinanceLoanHook"}),
        ("triggers", {"class": f"{PACKAGE}.triggers"}),
        ("behaviours", {"field_behaviours": "binance_loan"}),
    ],
)
def test_airflow_lists_it(airflow: Callable[..., str], listing: str, row: dict[str, str]) -> None:
    """Airflow finds the provider, its hook, its triggers and its form."""
    rows = json.loads(airflow(f"airflow providers {listing} --output json"))
    assert any(row.items() <= one.items() for one in rows), rows


ADDS = [command for command in docs.commands() if command.startswith("airflow connections add")]


@pytest.mark.parametrize("add", ADDS, ids=range(len(ADDS)))
def test_the_connections_that_are_shown_work(airflow: Callable[..., str], tmp_path: Path, add: str) -> None:
    """Each is stored by the command as it is shown, and Binance accepts it."""
    pem = tmp_path / "binance.pem"
    exchange = Exchange()
    key = ApiKey("key-of-the-secret", SANDBOX_API_SECRET)
    if pem.name in add:
        private = Ed25519PrivateKey.generate()
        pem.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key = ApiKey("key-of-the-file", public_key=private.public_key())
    exchange.add_key(key)
    # Elsewhere than shown: the file, the connection, and Binance.
    add = add.replace("/run/secrets/binance.pem", str(pem)).replace("binance_loan_default", key.key)
    with SandboxServer(exchange) as server:
        add = add.replace("--conn-port 443", f"--conn-port {urlsplit(server.url).port}")
        told = airflow(
            f"{add} --conn-host {server.url} && airflow connections test {key.key}",
            BINANCE_API_KEY=key.key,
            BINANCE_API_SECRET=key.secret or "",
        )
    assert "Connection success!" in told
    assert [request.status for request in exchange.requests] == [200, 200]


def test_the_way_from_a_clone_to_a_bucket(tmp_path: Path, s3: Any) -> None:
    """The commands of the page, pasted as they are, put the documented record into a bucket of one's own."""
    (way,) = docs.blocks("bash")
    with SandboxServer(Exchange()) as server:
        told = run(
            "bash",
            "-euc",
            way,
            HOME=str(tmp_path),
            BINANCE_API_KEY="a key",
            BINANCE_API_SECRET="a secret",
            BUCKET="lake",
            UNTIL="2025-05-27T22:00:00Z",
            # In place of the real ones: Airflow looks here before it looks for what was added.
            AIRFLOW_CONN_BINANCE_LOAN_DEFAULT=airflow_connection(server.url),
            AWS_ENDPOINT_URL=s3.meta.endpoint_url,
            AWS_ACCESS_KEY_ID="testing",
            AWS_SECRET_ACCESS_KEY="testing",
            AWS_DEFAULT_REGION="us-east-1",
        )
    assert "Connection success!" in told
    body = s3.get_object(Bucket="lake", Key="liquidations/dt=2025-05-27/hour=21/part.jsonl.gz")["Body"].read()
    (record,) = map(json.loads, gzip.decompress(body).splitlines())
    assert record["totalNetEquity"] == "16671.5507973"
