"""Shows the progress of a running DAG: a live view in a terminal, plain lines elsewhere.

Reads Airflow's database and the exchange, and changes neither.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console

    from airflow_provider_binance_loan.sandbox.exchange import Exchange

POLL_INTERVAL_S = 0.25
WAITING = "waiting"
STATE_NAMES = dict.fromkeys((None, "scheduled", "queued"), WAITING)  # other states keep their names
STYLES = {"running": "bold", "deferred": "magenta", "success": "green", "skipped": "yellow"}


class RunView:
    """The states of a run's tasks, the time since its start, and the number of its requests.

    :param name: the name of the DAG file.
    :param database: the SQLite file of the temporary Airflow; it may not exist yet.
    :param exchange: the exchange that the tasks send their requests to.
    """

    def __init__(self, name: str, database: Path, exchange: Exchange) -> None:
        self._title = f"Running {name} in a temporary Airflow"
        self._database = database
        self._exchange = exchange
        self._started_at = time.monotonic()
        self._states: dict[str, str] = {}
        self._spinner = Spinner("dots")

    @contextlib.contextmanager
    def shown(self, console: Console) -> Iterator[None]:
        """Show the run until the block ends."""
        # `console.is_terminal` would not do: an environment variable can make it true for a file.
        if console.file.isatty() and not console.is_dumb_terminal:
            with Live(
                console=console,
                get_renderable=self._table,
                transient=True,
                redirect_stdout=False,  # the run's output goes to its log
                redirect_stderr=False,
            ):
                yield
            return
        console.print(f"{self._title} …")
        ended = threading.Event()
        thread = threading.Thread(target=self._print_lines, args=(console, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _table(self) -> Table:
        """Return the live view: a heading, and a line for each task."""
        self._poll_states()
        self._spinner.update(text=f"{self._title} · {self._counters()}")
        table = Table.grid()
        table.add_row(self._spinner)
        for task, state in self._states.items():
            table.add_row(
                f"  {task}: {state}", style=STYLES.get(state, "red" if "failed" in state else "dim")
            )
        return table

    def _print_lines(self, console: Console, ended: threading.Event) -> None:
        """Print a line whenever the state of a task has changed."""
        last = False
        while not last:
            last = ended.wait(POLL_INTERVAL_S)
            for task, state in self._poll_states().items():
                if state != WAITING:
                    console.print(f"{self._counters()} · {task}: {state}")

    def _counters(self) -> str:
        count = len(self._exchange.requests)
        return f"{time.monotonic() - self._started_at:.0f} s · {count} request{'' if count == 1 else 's'}"

    def _poll_states(self) -> dict[str, str]:
        """Read the states of the tasks, and return those that have changed."""
        query = "SELECT task_id, map_index, state FROM task_instance ORDER BY rowid"
        rows: list[tuple[str, int, str | None]] = []
        # The database may not exist yet, have no tables yet, or be locked; the next poll reads it.
        with contextlib.suppress(sqlite3.OperationalError):
            address = f"{self._database.as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(address, timeout=0, uri=True)) as database:
                rows = database.execute(query).fetchall()
        states = {
            task_id if index < 0 else f"{task_id}[{index}]": STATE_NAMES.get(state) or str(state)
            for task_id, index, state in rows
        }
        changed = {task: state for task, state in states.items() if self._states.get(task) != state}
        if rows:
            self._states = states
        return changed
