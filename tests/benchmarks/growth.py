"""Time and peak memory of a pull to S3: by format, by number of records, of active and of closed units.

    uv run python -m tests.benchmarks.growth [RECORDS …]

The records are spread at random over three years. Each pull has a process of its own; it fails when one takes
more than 60 MB beyond what the process had when it was idle.
"""

from __future__ import annotations

import sys
from datetime import timedelta

from tests.benchmarks.canned import serve_canned
from tests.benchmarks.clients import LANDINGS
from tests.benchmarks.pull import pull_once
from tests.benchmarks.stage import local_s3, process, row

LENGTH = timedelta(days=3 * 365)
BOUND_MB = 60
WIDTHS = (16, 36, 9, 10, 15, 9)


def measure(records: int, s3_url: str, *, closed: bool) -> float:
    """Land so many records in each format, and return the most MB that one added."""
    most_mb = 0.0
    with process(serve_canned, records, LENGTH, [0.0], closed) as server:
        urls: list[str] = server.recv()
        # So that the server has all answers ready.
        pull_once(next(iter(LANDINGS)), urls, LENGTH, records, s3_url)
        for name in LANDINGS:
            seconds, cpu_s, added_mb = pull_once(name, urls, LENGTH, records, s3_url)
            most_mb = max(most_mb, added_mb)
            row(
                f"{records:,}" + " closed" * closed,
                name,
                f"{seconds:.2f}",
                f"{records / seconds:,.0f}",
                f"{cpu_s * 10_000 / records:.2f}",
                f"{added_mb:.1f}",
                widths=WIDTHS,
            )
    return most_mb


def main(sizes: list[int]) -> None:
    row("records", "", "seconds", "records/s", "CPU s / 10,000", "added MB", widths=WIDTHS)
    with local_s3() as s3_url:
        most_mb = max(measure(size, s3_url, closed=closed) for size in sizes for closed in (False, True))
    print(f"\nmost added: {most_mb:.1f} MB, of {BOUND_MB} MB")
    if most_mb > BOUND_MB:
        raise SystemExit(1)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [1_000, 10_000, 100_000, 250_000])
