"""The report that `binance-loan-sandbox run` prints: the run, its tasks, and the records that they wrote.

Knows rows of fields, and nothing about any endpoint: records of every dataset are shown alike.
"""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_binance_loan.sandbox.embedded import Output, Record, RunResult
    from airflow_provider_binance_loan.sandbox.exchange import LoggedRequest

TimeWindow = tuple[datetime, datetime]

SHOWN_RECORDS = 10
WHOLE_HEADING = 10  # a heading up to this length stays on one line
GAP = 2  # blanks between two columns
NOTHING = "-"
EPOCH_MS = range(10**11, 253_402_300_800_000)  # from 1973 to 9999; a smaller number is no time


def open_console(file: TextIO | None = None) -> Console:
    """Return a console that prints text as it is, to a file or to standard output."""
    # Soft wrap: a line to copy, a path or an error stays whole, however narrow the terminal.
    return Console(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True)


def requested_window(requests: Iterable[LoggedRequest]) -> TimeWindow | None:
    """Return the time range that covers all requests, or None when no request had one."""
    values = [
        int(value)
        for request in requests
        for name, value in request.params
        if name in {"startTime", "endTime"} and value.isdecimal() and int(value) in EPOCH_MS
    ]
    return (_to_utc(min(values)), _to_utc(max(values))) if values else None


def print_report(
    console: Console, result: RunResult, requested: TimeWindow | None, duration_s: float
) -> None:
    """Print how the run ended, task by task, and the records of each task.

    :param requested: the time range of all requests, for runs whose tasks do not say their window.
    """
    outcome = "succeeded" if result.succeeded else "failed" if result.tasks else "ran no task"
    console.print(f"DAG {result.dag_id} {outcome} ({duration_s:.0f} s)")
    console.print(f"  run       {result.run_id}")
    if result.data_interval and result.data_interval[0] != result.data_interval[1]:
        console.print(f"  interval  {_format_window(result.data_interval)}")
    if result.partition_key:
        console.print(f"  partition {result.partition_key}")
    if requested and not any(task.output and task.output.window for task in result.tasks):
        console.print(f"  window    {_format_window(requested)}")
    for task in result.tasks:
        console.print(f"  task      {task.name}: {task.state}")
    if not result.tasks:
        console.print("\nEither the DAG has no task, or its start_date is later than the logical date.")
    for task in result.tasks:
        if task.error:
            console.print(f"\nTask {task.name} failed:")
            console.print(textwrap.indent(task.error, "  "))
        elif task.output:
            console.print()
            _print_output(console, task.name, task.output)


def _print_output(console: Console, task: str, output: Output) -> None:
    count = f"{len(output.records)} record{'' if len(output.records) == 1 else 's'}"
    place = f"{output.uri} ({output.size:,} bytes)" if output.uri else f"the XCom of task {task}"
    console.print(f"{count} in {place}")
    if output.window:
        console.print(f"window: {_format_window(output.window)}")
    if output.records:
        _print_records(console, output.records)


def _print_records(console: Console, records: Sequence[Record]) -> None:
    """Print the scalar fields of the first records: one record as a list, several as a table."""
    shown = records[:SHOWN_RECORDS]
    names = list(dict.fromkeys(name for record in shown for name in record))
    nested = [name for name in names if any(isinstance(one.get(name), (list, dict)) for one in shown)]
    cells = {
        name: [_format_value(name, record.get(name)) for record in shown]
        for name in names
        if name not in nested
    }
    if len(shown) == 1:
        width = max(map(len, cells), default=0)
        for name, (value,) in cells.items():
            console.print(f"  {name:{width}}  {value}")
    else:
        for number, columns in enumerate(_fit_columns(cells, console.width)):
            if number:
                console.print()
            console.print(_build_table(columns), soft_wrap=False)
    if nested:
        console.print(f"Not shown: {', '.join(nested)}.")
    if len(records) > SHOWN_RECORDS:
        console.print(f"… and {len(records) - SHOWN_RECORDS} more records")


def _fit_columns(cells: dict[str, list[str]], width: int) -> list[dict[str, list[str]]]:
    """Return the columns, by heading, of one table after another, each of which fits in the width."""
    tables: list[dict[str, list[str]]] = []
    room = 0
    for name, column in cells.items():
        heading = _wrap_heading(name, max(map(len, column)))
        needed = max(map(len, [*heading.splitlines(), *column])) + GAP
        if needed > room:
            tables.append({})
            room = width + GAP
        room -= needed
        tables[-1][heading] = column
    return tables


def _build_table(columns: dict[str, list[str]]) -> Table:
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    for heading, column in columns.items():
        is_number = all(re.fullmatch(r"-?\d+(\.\d+)?|-", cell) for cell in column)
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def _wrap_heading(name: str, width: int) -> str:
    """Break a camelCase name before capitals, into lines of about the width of its column."""
    width = max(width, WHOLE_HEADING)
    lines = [""]
    for word in re.findall(r"[A-Z]?[^A-Z]+|[A-Z]+", name):
        if lines[-1] and len(lines[-1] + word) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def _format_value(name: str, value: Any) -> str:
    """Return a scalar as text; a time in epoch milliseconds as a UTC date and time."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    is_time = name == "asked_at" or name.endswith(("Time", "Timestamp"))
    if is_time and isinstance(value, int) and value in EPOCH_MS:
        return f"{_to_utc(value):%Y-%m-%d %H:%M:%S}Z"
    return str(value)


def _to_utc(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _format_window(window: TimeWindow) -> str:
    start, end = (instant.astimezone(UTC).isoformat(sep=" ").replace("+00:00", "") for instant in window)
    return f"{start} → {end} UTC"
