"""Requests and peak memory of a pull of a year to Parquet in S3, for each windowed dataset.

    uv run python -m tests.benchmarks.datasets [DATASET …]

The interest is that of twelve risk units in two assets, hour by hour; all others are spread at random over
the year. It fails when a pull takes more than 60 MB beyond what its process had when it was idle, or when a
hundred records of interest take more requests than a hundred liquidations do, but for whole hours.
"""

from __future__ import annotations

import random
import sys
from datetime import timedelta
from itertools import product
from typing import TYPE_CHECKING

from tests.benchmarks.canned import CannedRow, liquidations, serve_rows
from tests.benchmarks.clients import DATASETS
from tests.benchmarks.growth import BOUND_MB
from tests.benchmarks.pull import counted, pull_once
from tests.benchmarks.stage import END, UNITS, local_s3, process, row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

LENGTH = timedelta(days=365)
HOURS, INTEREST_UNITS = 365 * 24, 12
HOUR_MS = 3_600_000
END_MS = int(END.timestamp() * 1000)
RECORDS = {
    "force_liquidations": HOURS * INTEREST_UNITS * 2,
    "interest_history": HOURS * INTEREST_UNITS * 2,
    "liquidation_transfers": 50_000,
    "borrow_repay": 50_000,
}
WIDTHS = (24, 9, 9, 9, 12, 9)
# The 24 records of an hour have one time, so a slice holds 72 of the 80 that it aims for.
TOLERANCE = 80 / 72


def rows_of(name: str) -> Iterator[CannedRow]:
    """Yield the rows of a dataset, oldest first."""
    from airflow_provider_binance_loan.sandbox.rows import write_json
    from tests.support.descriptions import WINDOWED, Event

    if name == "force_liquidations":
        yield from liquidations(RECORDS[name], LENGTH)
        return
    (described,) = (one for one in WINDOWED if str(one) == name)
    dice = random.Random(1)
    if name == "interest_history":
        hours = range(END_MS - HOURS * HOUR_MS, END_MS, HOUR_MS)
        events = (
            Event(at_ms, unit, part)
            for at_ms, unit, part in product(hours, range(1, INTEREST_UNITS + 1), range(described.parts))
        )
    else:
        backs_ms = sorted(dice.sample(range(1, HOURS * HOUR_MS), RECORDS[name]), reverse=True)
        # To the key of a credit account, one unit is active.
        units = 1 if name == "borrow_repay" else UNITS
        events = (
            Event(
                END_MS - back_ms,
                1 + number % units,
                dice.randrange(described.parts),
                transfers_ms=[END_MS - back_ms],
            )
            for number, back_ms in enumerate(backs_ms)
        )
    for event in events:
        sent = described.row(event)
        kind = next(kind for kind in described.dataset.kinds if kind.may_hold(sent))
        yield CannedRow(event.unit, event.start_ms, write_json(sent), dict(kind.params).get("type", ""))


def serve_dataset(ready: Connection, name: str) -> None:
    """Serve the rows of a dataset, and send the URL."""
    serve_rows(ready, rows_of(name), [0.0])


def measure(name: str, s3_url: str) -> tuple[float, float]:
    """Land a year of a dataset, and return the requests for a hundred records, and the MB that it added."""
    records = RECORDS[name]
    with process(serve_dataset, name) as server:
        urls: list[str] = server.recv()
        pull_once(name, urls, LENGTH, records, s3_url)  # so that the server has all answers ready
        counted(urls[0])
        seconds, _, added_mb = pull_once(name, urls, LENGTH, records, s3_url)
        requests = counted(urls[0])["requests"]
    per_hundred = requests / records * 100
    row(
        name,
        f"{records:,}",
        f"{seconds:.1f}",
        f"{requests:,}",
        f"{per_hundred:.2f}",
        f"{added_mb:.1f}",
        widths=WIDTHS,
    )
    return per_hundred, added_mb


def main(names: list[str]) -> None:
    row("", "records", "seconds", "requests", "for 100", "added MB", widths=WIDTHS)
    with local_s3() as s3_url:
        measured = {name: measure(name, s3_url) for name in names}
    most_mb = max(added_mb for _, added_mb in measured.values())
    print(f"\nmost added: {most_mb:.1f} MB, of {BOUND_MB} MB")
    compared = [measured[name][0] for name in ("interest_history", "force_liquidations") if name in measured]
    if most_mb > BOUND_MB or (len(compared) == 2 and compared[0] > TOLERANCE * compared[1]):
        raise SystemExit(1)


if __name__ == "__main__":
    main(sys.argv[1:] or list(DATASETS))
