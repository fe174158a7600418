"""The command line: errors, and starting and stopping the server."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from airflow_provider_binance_loan.sandbox.cli import _periodic_liquidations, main
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.server import SandboxServer, airflow_connection

COMMAND = str(Path(sys.executable).with_name("binance-loan-sandbox"))
TWO_DAGS = "from airflow.sdk import DAG\ntwo, one = DAG('two', schedule=None), DAG('one', schedule=None)\n"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "arguments are required: {serve,push,run}"),
        (["run"], "arguments are required: DAGFILE"),
        (["run", "nowhere.py"], "there is no file nowhere.py"),
        (["run", "."], "there is no file ."),
        (["run", __file__, "--logical-date", "yesterday"], "'yesterday' is not a date"),
        (["run", __file__, "--logical-date", "2026-03-01T05:00"], "'2026-03-01T05:00' has none"),
        (["run", __file__, "--liquidate-every", "0"], "'0' is not a number of seconds above 0"),
        (["run", __file__, "--liquidate-every", "nan"], "'nan' is not a number of seconds above 0"),
        (["run", __file__, "--seed", "x"], "invalid int value: 'x'"),
        (["push"], "arguments are required: GROUP"),
        (["push", "six"], "invalid int value: 'six'"),
        (["push", "6", "--seconds", "soon"], "invalid int value: 'soon'"),
        (["serve", "--port", "65536"], "'65536' is not a port from 0 to 65535"),
        (["serve", "--port", "-1"], "'-1' is not a port from 0 to 65535"),
    ],
)
def test_invalid_arguments_exit_with_2(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An invalid command line exits with 2 and names the problem."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert error in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "more", "error"),
    [
        ("import airflow  # and no DAG\n", [], "holds no DAG."),
        (TWO_DAGS, [], "Choose a DAG with --dag-id: FILE holds one, two."),
        (
            TWO_DAGS,
            ["--dag-id", "three"],
            "Choose another DAG with --dag-id: FILE holds one, two, but not three.",
        ),
        ("from airflow.sdk import DAG\nimport no_such_module\n", [], "No module named 'no_such_module'"),
    ],
    ids=["none", "several", "another", "broken"],
)
def test_a_file_without_the_dag_exits_with_2(text: str, more: list[str], error: str, tmp_path: Path) -> None:
    """A file without the DAG exits with 2, names the DAGs that it holds, and leaves no temporary files."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "dag.py").write_text(text)
    done = subprocess.run(
        [COMMAND, "run", "dag.py", *more],
        cwd=tmp_path / "dags",
        env={"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert error.replace("FILE", str(tmp_path / "dags" / "dag.py")) in done.stderr
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["dags"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_runs_until_a_signal(number: signal.Signals) -> None:
    """`serve` prints a connection, two commands and its URL, and a signal ends it with exit code 0.

    It stops although a browser that shows the dashboard keeps a connection open.
    """
    with subprocess.Popen([COMMAND, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().split()[-1]
            lines = [server.stdout.readline() for _ in range(14)]
            export, curl, push = (shlex.split(lines[index]) for index in (2, 5, 8))
            assert export == ["export", f"AIRFLOW_CONN_BINANCE_LOAN_DEFAULT={airflow_connection(url)}"]
            assert curl[:3] == ["curl", "-X", "POST"]
            with urllib.request.urlopen(urllib.request.Request(curl[3], method="POST"), timeout=10) as answer:
                assert json.load(answer)["liquidationEndTime"] is None
            assert push == ["binance-loan-sandbox", "push", "6", "--url", url]
            browser = HTTPConnection(urlsplit(lines[11].strip()).netloc, timeout=10)
            browser.request("GET", urlsplit(lines[11].strip()).path)
            assert b"<title>Binance sandbox</title>" in browser.getresponse().read()
            second = subprocess.run(
                [COMMAND, "serve", "--port", url.rpartition(":")[2]],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            server.send_signal(number)
        assert server.wait(timeout=30) == 0
        browser.close()
    assert second.returncode == 2
    port = url.rpartition(":")[2]
    assert second.stderr == f"binance-loan-sandbox: Choose another port with --port: {port} is in use.\n"


@pytest.fixture
def exchange() -> Exchange:
    """An exchange with unit 1."""
    exchange = Exchange(clock=lambda: 1_775_000_000, history=False)
    exchange.add_unit(1)
    return exchange


@pytest.mark.parametrize(
    ("options", "output", "starts"),
    [
        ([], " to 0.9 within 60 s, and a liquidation starts at 23:34:20 UTC.", [1_775_000_060_000]),
        (
            ["--seconds", "5"],
            " to 0.9 within 5 s, and a liquidation starts at 23:33:25 UTC.",
            [1_775_000_005_000],
        ),
        (["--ltv", "0.75", "--seconds", "5"], " to 0.75 within 5 s.", []),
    ],
)
def test_push_moves_a_unit_of_a_running_sandbox(
    exchange: Exchange,
    options: list[str],
    output: str,
    starts: list[int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says what will happen, and needs no proxy for it."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    (row,) = exchange.ltv_details()
    with SandboxServer(exchange) as server:
        assert main(["push", "1", "--url", f"{server.url}/", *options]) == 0
    assert capsys.readouterr().out == f"Unit 1: the LTV moves from {row['ltv']}{output}\n"
    exchange.clock = lambda: 1_775_000_100
    assert [one.start_ms for one in exchange.liquidations()] == starts


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["7"], "Choose another group_id: there is no unit 7 (units: 1)."),
        (["1", "--ltv", "2"], "ltv must be a decimal number above 0 and below 2, not '2'."),
        (["1", "--ltv", ""], "ltv must be a decimal number above 0 and below 2, not ''."),
        (["1", "--seconds", "0"], "seconds must be a whole number from 1 to 3600, not 0."),
        (["1", "--url", "URL/nowhere"], "Check --url: URL/nowhere is no sandbox (HTTP 404)."),
        (["1", "--url", "nonsense"], "Check --url: nonsense is no sandbox."),
        (
            ["1", "--url", "http://127.0.0.1:1"],
            (
                "Start a sandbox with `binance-loan-sandbox serve`, or give its --url: "
                "nothing answers at http://127.0.0.1:1 ([Errno 111] Connection refused)."
            ),
        ),
    ],
)
def test_a_push_that_is_refused_exits_with_2(
    exchange: Exchange, arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what the sandbox said, or that there is none."""
    with SandboxServer(exchange) as server:
        given = [argument.replace("URL", server.url) for argument in arguments]
        assert main(["push", "--url", server.url, *given]) == 2
        expected = error.replace("URL", server.url)
    assert capsys.readouterr() == ("", f"binance-loan-sandbox: {expected}\n")


def test_periodic_liquidations_leave_a_unit_to_liquidate() -> None:
    """Each ends when the next one starts, so that they do not stop after as many as there are units."""
    exchange = Exchange(history=False)
    exchange.add_unit(1)
    with _periodic_liquidations(exchange, 0.01):
        deadline = time.monotonic() + 30
        while len(exchange.liquidations()) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
    *ended, _ = exchange.liquidations()
    assert len(ended) >= 4
    assert all(one.end_ms is not None for one in ended)


# Python imports this module at its start, and then none of the packages of the extra.
WITHOUT_THE_EXTRA = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"fastapi", "uvicorn", "rich", "moto"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""
ADVICE = "Install the extra 'sandbox' with pip install 'airflow-provider-binance-loan[sandbox]': "


@pytest.mark.parametrize(
    ("command", "exit_code", "error"),
    [
        ([COMMAND], 2, "fastapi, moto, rich, uvicorn cannot be imported."),
        ([COMMAND, "serve", "--port", "0"], 2, "fastapi, moto, rich, uvicorn cannot be imported."),
        ([COMMAND, "run", __file__], 2, "fastapi, moto, rich, uvicorn cannot be imported."),
        (
            [sys.executable, "-c", f"from {airflow_connection.__module__} import SandboxServer"],
            1,
            "uvicorn cannot be imported.",
        ),
    ],
    ids=["no arguments", "serve", "run", "import"],
)
def test_names_the_extra_when_it_is_missing(
    command: list[str], exit_code: int, error: str, tmp_path: Path
) -> None:
    """Without the extra, the command exits with 2 and starts nothing; an import has the same advice."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_THE_EXTRA)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert done.stderr.endswith(f"{ADVICE}{error}\n")
    assert done.stderr.count("\n") == 1 or exit_code == 1
    assert list(temporary.iterdir()) == []
