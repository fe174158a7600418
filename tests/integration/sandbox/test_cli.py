"""The command line: what it refuses, with which words, and the server that it starts and stops."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import urllib.request
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from airflow_provider_binance_loan.sandbox.cli import main
from airflow_provider_binance_loan.sandbox.server import airflow_connection

COMMAND = str(Path(sys.executable).with_name("binance-loan-sandbox"))
TWO_DAGS = "from airflow.sdk import DAG\ntwo, one = DAG('two', schedule=None), DAG('one', schedule=None)\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "arguments are required: {serve,run}"),
        (["run"], "arguments are required: DAGFILE"),
        (["run", "nowhere.py"], "there is no file nowhere.py"),
        (["run", "."], "there is no file ."),
        (["run", __file__, "--logical-date", "yesterday"], "'yesterday' is not a date"),
        (["run", __file__, "--logical-date", "2026-03-01T05:00"], "'2026-03-01T05:00' has no time zone"),
        (["run", __file__, "--liquidate-every", "0"], "'0' is not a number of seconds above 0"),
        (["run", __file__, "--liquidate-every", "nan"], "'nan' is not a number of seconds above 0"),
        (["run", __file__, "--seed", "x"], "invalid int value: 'x'"),
        (["serve", "--port", "65536"], "'65536' is not a port from 0 to 65535"),
        (["serve", "--port", "-1"], "'-1' is not a port from 0 to 65535"),
    ],
)
def test_refuses_a_wrong_command_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command line that cannot be meant exits with 2 and says what is wrong with it."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("import airflow  # and no DAG\n", [], "holds no DAG."),
        (TWO_DAGS, [], "holds several DAGs; choose one with --dag-id: one, two."),
        (TWO_DAGS, ["--dag-id", "three"], "holds no DAG 'three'; it holds: one, two."),
        ("from airflow.sdk import DAG\nimport no_such_module\n", [], "No module named 'no_such_module'"),
    ],
    ids=["none", "several", "another", "broken"],
)
def test_refuses_a_file_without_the_dag(text: str, more: list[str], said: str, tmp_path: Path) -> None:
    """A file that holds no such DAG exits with 2, says what it holds, and leaves nothing behind."""
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
    assert said in done.stderr
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["dags"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    """The server prints a connection for a shell, a liquidation to paste and its page, and stops with 0.

    It stops while a browser has the page open, which holds a connection.
    """
    with subprocess.Popen([COMMAND, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().split()[-1]
            lines = [server.stdout.readline() for _ in range(11)]
            export, curl = shlex.split(lines[2]), shlex.split(lines[5])
            assert export == ["export", f"AIRFLOW_CONN_BINANCE_LOAN_DEFAULT={airflow_connection(url)}"]
            assert curl[:3] == ["curl", "-X", "POST"]
            with urllib.request.urlopen(urllib.request.Request(curl[3], method="POST"), timeout=10) as answer:
                assert json.load(answer)["liquidationEndTime"] is None
            page = HTTPConnection(urlsplit(lines[8].strip()).netloc, timeout=10)
            page.request("GET", urlsplit(lines[8].strip()).path)
            assert b"<title>Binance sandbox</title>" in page.getresponse().read()
            taken = subprocess.run(
                [COMMAND, "serve", "--port", url.rpartition(":")[2]],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            server.send_signal(number)
        assert server.wait(timeout=30) == 0
        page.close()
    assert taken.returncode == 2
    assert taken.stderr.endswith("is taken; choose another with --port.\n")
    assert taken.stderr.count("\n") == 1
