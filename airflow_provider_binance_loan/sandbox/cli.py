"""The command `binance-loan-sandbox`: serve a local Binance, or run a DAG against one.

Reads the command line and prints. Imports neither Airflow nor the server before a command needs them.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import math
import shlex
import shutil
import signal
import sys
import tempfile
import textwrap
import threading
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_binance_loan.sandbox.embedded import Landing, RunResult
    from airflow_provider_binance_loan.sandbox.exchange import Exchange

Window = tuple[datetime, datetime]

SHOWN_RECORDS = 10
FAILED, USAGE, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 when the DAG failed, 2 when it could not be run."""
    args = _parser().parse_args(argv)
    try:
        return _serve(args) if args.command == "serve" else _run(args)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        return _complain(f"port {args.port} is taken; choose another with --port." if taken else str(error))


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="which history the exchange has (default %(default)s)",
    )
    common.add_argument(
        "--liquidate-every", type=_seconds, metavar="SECONDS", help="liquidate a risk unit again and again"
    )
    parser = argparse.ArgumentParser(
        prog="binance-loan-sandbox",
        description="A local Binance institutional loan API: documented, signed, and liquidating on request.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{serve,run}")
    serve = commands.add_parser(
        "serve",
        parents=[common],
        help="serve the API until Ctrl-C",
        description="Serve the API until Ctrl-C, and print the connection for an Airflow of your own.",
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    serve.add_argument(
        "--port", type=_port, default=8099, help="port; 0 takes any free one (default %(default)s)"
    )
    run = commands.add_parser(
        "run",
        parents=[common],
        help="run a DAG once against the API",
        description="Run a DAG once, its tasks without retries, in an Airflow made for it and removed "
        "afterwards, against the local Binance and, with moto installed, a local S3. "
        "No real account of either is in reach.",
        epilog="Exit codes: 0 the run succeeded, 1 it failed, 2 it could not be started.",
    )
    run.add_argument("dag_file", metavar="DAGFILE", type=_file, help="Python file that holds the DAG")
    run.add_argument("--dag-id", metavar="ID", help="which DAG, when the file holds several")
    run.add_argument(
        "--logical-date",
        metavar="ISO",
        type=_instant,
        help="date of the run, with time zone, like 2026-03-01T05:00:00Z (default: now)",
    )
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def _file(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date like 2026-03-01T05:00:00Z") from None
    if instant.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no time zone; write it like 2026-03-01T05:00:00Z")
    return instant


def _console(file: TextIO | None = None) -> Console:
    # Soft wrap: a line to paste, a path or an error stays whole, however narrow the terminal.
    return Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _complain(text: str, code: int = USAGE) -> int:
    _console(sys.stderr).print(f"binance-loan-sandbox: {text}")
    return code


@contextlib.contextmanager
def _liquidating(exchange: Exchange, every: float | None) -> Iterator[None]:
    """Liquidate a risk unit every so many seconds."""
    stop = threading.Event()

    def liquidate() -> None:
        while not stop.wait(every):
            with contextlib.suppress(LookupError, ValueError):  # no unit is left, or not in this millisecond
                exchange.liquidate()

    thread = threading.Thread(target=liquidate, daemon=True)
    if every is not None:
        thread.start()
    try:
        yield
    finally:
        stop.set()


def _serve(args: argparse.Namespace) -> int:
    from airflow_provider_binance_loan.sandbox.exchange import Exchange
    from airflow_provider_binance_loan.sandbox.server import SandboxServer, airflow_connection

    # Waited for, and not handled: a handler runs amid whatever the main thread does, and may then wait for a
    # lock that this holds. Threads inherit what is blocked, so it is before the first of them starts.
    stops = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    exchange = Exchange(seed=args.seed)
    with (
        SandboxServer(exchange, host=args.host, port=args.port) as server,
        _liquidating(exchange, args.liquidate_every),
    ):
        _console().print(
            f"Binance sandbox on {server.url}\n\n"
            "Connect Airflow to it:\n"
            f"  export AIRFLOW_CONN_BINANCE_LOAN_DEFAULT={shlex.quote(airflow_connection(server.url))}\n\n"
            "Liquidate a risk unit:\n"
            f"  curl -X POST {server.url}/sandbox/liquidate\n\n"
            "Or watch and press buttons, in a browser:\n"
            f"  {server.url}/\n\n"
            "Ctrl-C stops it."
        )
        signal.sigwait(stops)
    return 0


def _run(args: argparse.Namespace) -> int:
    from airflow_provider_binance_loan.sandbox import embedded
    from airflow_provider_binance_loan.sandbox.exchange import Exchange
    from airflow_provider_binance_loan.sandbox.run_view import View
    from airflow_provider_binance_loan.sandbox.server import SandboxServer, airflow_connection

    started = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="binance-loan-sandbox-"))
    log = home / "run.log"
    exchange = Exchange(seed=args.seed)
    try:
        with (
            embedded.quiet(log) as errors,
            View(args.dag_file.name, home / "airflow.db", exchange).shown(_console(errors)),
            SandboxServer(exchange) as server,
            embedded.local_s3() as s3_url,
            _liquidating(exchange, args.liquidate_every),
        ):
            result = embedded.run_dag(
                args.dag_file,
                home=home,
                loan_connection=airflow_connection(server.url),
                s3_url=s3_url,
                dag_id=args.dag_id,
                logical_date=args.logical_date or datetime.now(UTC),
            )
    except embedded.UsageError as error:
        shutil.rmtree(home, ignore_errors=True)
        return _complain(str(error))
    except KeyboardInterrupt:
        return _complain(f"interrupted. Log: {log}", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - whatever Airflow broke on, in one line; the log has it all
        with log.open("a") as file:
            traceback.print_exc(file=file)
        return _complain(f"the run broke off: {type(error).__name__}: {error}\nLog: {log}", FAILED)
    _report(_console(), result, _asked(exchange), time.monotonic() - started)
    if not result.succeeded:
        _console().print(f"\nLog: {log}")
        return FAILED
    shutil.rmtree(home, ignore_errors=True)
    return 0


def _asked(exchange: Exchange) -> Window | None:
    """Return the window that the tasks asked the exchange for, all requests together."""
    queries = [r.params for r in exchange.requests if r.path.endswith("/force-liquidation")]
    times = [int(value) for query in queries for name, value in query if name in ("startTime", "endTime")]
    return (_utc(min(times)), _utc(max(times))) if times else None


def _report(console: Console, result: RunResult, asked: Window | None, seconds: float) -> None:
    outcome = "succeeded" if result.succeeded else "failed" if result.tasks else "ran no task"
    console.print(f"DAG {result.dag_id} {outcome} ({seconds:.0f} s)")
    console.print(f"  run       {result.run_id}")
    if result.data_interval and result.data_interval[0] != result.data_interval[1]:
        console.print(f"  interval  {_span(result.data_interval)}")
    if asked and not any(task.landing and task.landing.window for task in result.tasks):
        console.print(f"  window    {_span(asked)}")
    for task in result.tasks:
        console.print(f"  task      {task.name}: {task.state}")
    if not result.tasks:
        console.print("\nEither the DAG has no task, or its start_date is later than the logical date.")
    for task in result.tasks:
        if task.error:
            console.print(f"\nTask {task.name} failed:")
            console.print(textwrap.indent(task.error, "  "))
        elif task.landing:
            console.print()
            _report_landing(console, task.name, task.landing)


def _report_landing(console: Console, task: str, landing: Landing) -> None:
    count = f"{len(landing.records)} record{'' if len(landing.records) == 1 else 's'}"
    where = f"{landing.s3_uri} ({landing.size:,} bytes)" if landing.s3_uri else f"the XCom of task {task}"
    console.print(f"{count} in {where}")
    if landing.window:
        console.print(f"window: {_span(landing.window)}")
    if not landing.records:
        return
    table = Table("start (UTC)", "end", "group", "LTV", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("total liability", justify="right")
    for record in landing.records[:SHOWN_RECORDS]:
        end_ms = record.get("liquidationEndTime")
        table.add_row(
            f"{_utc(record['liquidationStartTime']):%Y-%m-%d %H:%M:%S}",
            f"{_utc(end_ms):%m-%d %H:%M:%S}" if end_ms else "running",
            str(record.get("groupId")),
            f"{record.get('startLtv')} → {record.get('endLtv')}",
            str(record.get("totalLiability")),
        )
    console.print(table, soft_wrap=False)
    if len(landing.records) > SHOWN_RECORDS:
        console.print(f"… and {len(landing.records) - SHOWN_RECORDS} more")


def _utc(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _span(window: Window) -> str:
    start, end = (instant.astimezone(UTC).isoformat(sep=" ").replace("+00:00", "") for instant in window)
    return f"{start} → {end} UTC"
