"""What goes on while a DAG runs: a live view in a terminal, plain lines elsewhere.

Looks at Airflow's database and at the exchange, and changes neither.
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

LOOK_EVERY_S = 0.25
WAITING = "waiting"
NOT_YET = dict.fromkeys((None, "scheduled", "queued"), WAITING)
STYLES = {"running": "bold", "deferred": "magenta", "success": "green", "skipped": "yellow"}


class View:
    """Tell what a run is doing: its tasks and their states, how long it takes, how much it asked.

    :param name: what is run.
    :param database: Airflow's, of this run alone; it may not be there yet.
    :param exchange: the exchange that the tasks ask.
    """

    def __init__(self, name: str, database: Path, exchange: Exchange) -> None:
        self._title = f"Running {name} in an Airflow of its own"
        self._database = database
        self._exchange = exchange
        self._began_at = time.monotonic()
        self._states: dict[str, str] = {}
        self._spinner = Spinner("dots")

    @contextlib.contextmanager
    def shown(self, console: Console) -> Iterator[None]:
        """Show it until the block ends."""
        # Not `console.is_terminal`, which an environment variable can make true of a file.
        if console.file.isatty() and not console.is_dumb_terminal:
            with Live(
                console=console,
                get_renderable=self._table,
                transient=True,
                redirect_stdout=False,  # it goes to the log
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
        """Return the live view: what is run, and below it a line for each task."""
        self._look()
        self._spinner.update(text=f"{self._title} · {self._spent()}")
        table = Table.grid()
        table.add_row(self._spinner)
        for task, state in self._states.items():
            table.add_row(
                f"  {task}: {state}", style=STYLES.get(state, "red" if "failed" in state else "dim")
            )
        return table

    def _print_lines(self, console: Console, ended: threading.Event) -> None:
        """Print a line for each change of a task's state."""
        last = False
        while not last:
            last = ended.wait(LOOK_EVERY_S)
            for task, state in self._look().items():
                if state != WAITING:
                    console.print(f"{self._spent()} · {task}: {state}")

    def _spent(self) -> str:
        asked = len(self._exchange.requests)
        return f"{time.monotonic() - self._began_at:.0f} s · {asked} request{'' if asked == 1 else 's'}"

    def _look(self) -> dict[str, str]:
        """Take in the states of the tasks, and return those that are new."""
        query = "SELECT task_id, map_index, state FROM task_instance ORDER BY rowid"
        rows: list[tuple[str, int, str | None]] = []
        # Not there yet, without tables yet, or locked for a moment: then the next look will tell.
        with contextlib.suppress(sqlite3.OperationalError):
            address = f"{self._database.as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(address, timeout=0, uri=True)) as database:
                rows = database.execute(query).fetchall()
        states = {
            task_id if index < 0 else f"{task_id}[{index}]": NOT_YET.get(state) or str(state)
            for task_id, index, state in rows
        }
        changed = {task: state for task, state in states.items() if self._states.get(task) != state}
        if rows:
            self._states = states
        return changed
