"""The command `binance-loan-sandbox`: serve a local Binance, push a unit of it, or run a DAG against one.

Parses the command line. Imports only the standard library before a command needs more: the server, the report
and Airflow take seconds, and the packages of the extra may be missing.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import http.client
import json
import math
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_binance_loan.sandbox.extra import install_advice, missing_packages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_binance_loan.sandbox.exchange import Exchange

FAILED, USAGE, INTERRUPTED = 1, 2, 130
PORT = 8099
TIMEOUT_S = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 when the DAG failed, 2 when nothing was started."""
    if missing := missing_packages():
        return _print_error(install_advice(*missing))
    args = _parser().parse_args(argv)
    try:
        return {"serve": _serve, "push": _push, "run": _run}[args.command](args)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _print_error(f"Choose another port with --port: {args.port} is in use.")
        return _print_error(str(error))


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="seed of the exchange's random history (default %(default)s)",
    )
    common.add_argument(
        "--liquidate-every", type=_seconds, metavar="SECONDS", help="liquidate a risk unit at this interval"
    )
    parser = argparse.ArgumentParser(
        prog="binance-loan-sandbox",
        description="A local Binance institutional loan API: documented, signed, and liquidating on request.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{serve,push,run}")
    serve = commands.add_parser(
        "serve",
        parents=[common],
        help="serve the API until Ctrl-C",
        description="Serve the API until Ctrl-C, and print the connection for an Airflow of your own.",
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    serve.add_argument(
        "--port", type=_port, default=PORT, help="port; 0 takes any free one (default %(default)s)"
    )
    push = commands.add_parser(
        "push",
        help="push a risk unit of a running sandbox to its liquidation",
        description="Move the LTV of a risk unit of a running sandbox. When it reaches the level "
        "a liquidation starts, which takes as long as the move.",
    )
    push.add_argument("group", type=int, metavar="GROUP", help="groupId of the risk unit")
    push.add_argument("--ltv", metavar="L", help="LTV to move to, where it stays (default: the level)")
    push.add_argument(
        "--seconds", type=int, metavar="S", default=60, help="how long it takes (default %(default)s)"
    )
    push.add_argument(
        "--url", default=f"http://127.0.0.1:{PORT}", help="address of the sandbox (default %(default)s)"
    )
    run = commands.add_parser(
        "run",
        parents=[common],
        help="run a DAG once against the API",
        description="Run a DAG once, its tasks without retries, in a temporary Airflow, against the local "
        "Binance and a local S3. The run cannot reach a real account of either.",
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
        raise argparse.ArgumentTypeError(f"add a time zone, like 2026-03-01T05:00:00Z: {text!r} has none")
    return instant


def _print_error(text: str, code: int = USAGE) -> int:
    print(f"binance-loan-sandbox: {text}", file=sys.stderr)
    return code


@contextlib.contextmanager
def _periodic_liquidations(exchange: Exchange, interval_s: float | None) -> Iterator[None]:
    """Liquidate a risk unit at a fixed interval until the block ends; never when the interval is None.

    Each of these liquidations ends when the next one starts, so that there is always a unit to liquidate.
    """
    stop = threading.Event()

    def liquidate() -> None:
        last = None
        while not stop.wait(interval_s):
            with contextlib.suppress(LookupError):  # somebody may have finished it
                if last:
                    exchange.finish(last.group_id, last.start_ms)
            # No unit may be active, or the unit may have a liquidation that started in this millisecond.
            with contextlib.suppress(LookupError, ValueError):
                last = exchange.liquidate()

    thread = threading.Thread(target=liquidate, daemon=True)
    if interval_s is not None:
        thread.start()
    try:
        yield
    finally:
        stop.set()


def _serve(args: argparse.Namespace) -> int:
    from airflow_provider_binance_loan.sandbox.exchange import Exchange
    from airflow_provider_binance_loan.sandbox.server import SandboxServer, airflow_connection

    # Wait for the signals instead of handling them: a handler interrupts the main thread anywhere, and may
    # then wait for a lock that this thread holds. Threads inherit the mask, so set it before they start.
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    exchange = Exchange(seed=args.seed)
    with (
        SandboxServer(exchange, host=args.host, port=args.port) as server,
        _periodic_liquidations(exchange, args.liquidate_every),
    ):
        print(
            f"Binance sandbox on {server.url}\n\n"
            "Connect Airflow to it:\n"
            f"  export AIRFLOW_CONN_BINANCE_LOAN_DEFAULT={shlex.quote(airflow_connection(server.url))}\n\n"
            "Liquidate a risk unit:\n"
            f"  curl -X POST {server.url}/sandbox/liquidate\n\n"
            "Push a risk unit to its liquidation within a minute:\n"
            f"  binance-loan-sandbox push 6 --url {server.url}\n\n"
            "Or use the dashboard in a browser:\n"
            f"  {server.url}/\n\n"
            "Ctrl-C stops it.",
            flush=True,
        )
        signal.sigwait(signals)
    return 0


def _push(args: argparse.Namespace) -> int:
    arguments = {"group_id": args.group, "seconds": args.seconds}
    body = json.dumps(arguments if args.ltv is None else arguments | {"ltv": args.ltv}).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach localhost
    try:
        request = urllib.request.Request(f"{args.url.rstrip('/')}/sandbox/push", body, method="POST")  # noqa: S310
        with opener.open(request, timeout=TIMEOUT_S) as response:
            push = json.load(response)
        path = f"Unit {push['groupId']}: the LTV moves from {push['fromLtv']} to {push['toLtv']}"
        start_ms = push["liquidationStartTime"]
        start = None if start_ms is None else datetime.fromtimestamp(start_ms / 1000, UTC)
    except urllib.error.HTTPError as error:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return _print_error(json.load(error)["error"])
        return _print_error(f"Check --url: {args.url} is no sandbox (HTTP {error.code}).")
    except (ValueError, KeyError, TypeError):
        return _print_error(f"Check --url: {args.url} is no sandbox.")
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        advice = "Start a sandbox with `binance-loan-sandbox serve`, or give its --url"
        return _print_error(f"{advice}: nothing answers at {args.url} ({reason}).")
    liquidation = "" if start is None else f", and a liquidation starts at {start:%H:%M:%S} UTC"
    print(f"{path} within {args.seconds} s{liquidation}.")
    return 0


def _run(args: argparse.Namespace) -> int:
    from airflow_provider_binance_loan.sandbox import embedded, report
    from airflow_provider_binance_loan.sandbox.exchange import Exchange
    from airflow_provider_binance_loan.sandbox.run_view import RunView
    from airflow_provider_binance_loan.sandbox.server import SandboxServer, airflow_connection

    started = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="binance-loan-sandbox-"))
    log = home / "run.log"
    exchange = Exchange(seed=args.seed)
    try:
        with (
            embedded.redirect_output(log) as terminal,
            RunView(args.dag_file.name, home / "airflow.db", exchange).shown(report.open_console(terminal)),
            SandboxServer(exchange) as server,
            embedded.local_s3() as s3_url,
            _periodic_liquidations(exchange, args.liquidate_every),
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
        return _print_error(str(error))
    except KeyboardInterrupt:
        return _print_error(f"interrupted. Log: {log}", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - Airflow may raise anything; the log has the traceback
        with log.open("a") as file:
            traceback.print_exc(file=file)
        return _print_error(f"The run was aborted: {type(error).__name__}: {error}\nLog: {log}", FAILED)
    requested = report.requested_window(exchange.requests)
    console = report.open_console()
    report.print_report(console, result, requested, time.monotonic() - started)
    if not result.succeeded:
        console.print(f"\nLog: {log}")
        return FAILED
    shutil.rmtree(home, ignore_errors=True)
    return 0
