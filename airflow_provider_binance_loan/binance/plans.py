"""Readings: generators that say what to ask next; and the reading of a list by page, as the last resort.

A reading yields batches of requests, which may run side by side, is sent as many responses in the same order,
and returns what it read. It neither sends nor waits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.exceptions import TransientError

if TYPE_CHECKING:
    from airflow_provider_binance_loan.binance.fields import Page

PAGE_SIZE = 100  # the most that Binance gives

# How many requests a batch may hold.
MAX_BATCH = 32
# How often a list is read before it is given up as one that never stands still.
MAX_PASSES = 5

Record = dict[str, Any]
T = TypeVar("T")
Reading = Generator[tuple[Request, ...], Sequence[Response], T]


def read_pages(
    request: Callable[[int], Request],
    key: Callable[[Record], object],
) -> Reading[list[Record]]:
    """Read a whole list by page number.

    One page is complete in itself. Several are accepted when two passes in a row see the same rows, each of
    them once: a row that one pass missed moved up because another row, which that pass saw, went away; and
    the next pass cannot see that other row.

    :param request: returns the request of a page, counted from 1.
    :raises TransientError: the list never stood still.
    """
    previous: set[object] | None = None
    for _ in range(MAX_PASSES):
        rows: dict[object, Record] = {}
        sizes: list[int] = []
        totals: set[int] = set()
        while True:
            (response,) = yield (request(len(sizes) + 1),)
            page: Page = response.content
            known = len(rows)
            rows.update((key(row), row) for row in page.rows)
            sizes.append(len(page.rows))
            totals.add(page.total or 0)
            if len(rows) == known or (sizes[-1] < PAGE_SIZE and max(totals) <= sum(sizes)):
                break
        if not sizes[-1]:
            sizes.pop()
        # A short page before the last shows that the list moved, or that the server gives fewer rows than
        # asked for; the latter is sound only where `total` counts just these rows.
        regular = min(sizes[:-1], default=PAGE_SIZE) >= PAGE_SIZE or totals == {sum(sizes)}
        if len(totals) == 1 and len(sizes) <= 1 and sum(sizes) < PAGE_SIZE:
            return list(rows.values())
        sound = regular and len(rows) == sum(sizes)
        if sound and rows.keys() == previous:
            return list(rows.values())
        previous = set(rows) if sound else None
    raise TransientError(
        f"{request(1).path} gave a list that changed during each of {MAX_PASSES} readings: try again later."
    )


def side_by_side(readings: Iterable[Reading[Any]]) -> Reading[None]:
    """Run several readings at once, each batch made of theirs."""
    waiting = iter(readings)
    running = [(reading, next(reading)) for reading in islice(waiting, MAX_BATCH)]
    while running:
        responses = iter((yield tuple(chain.from_iterable(batch for _, batch in running))))
        still_running = []
        for reading, batch in running:
            answers = tuple(islice(responses, len(batch)))
            try:
                still_running.append((reading, reading.send(answers)))
            except StopIteration:
                still_running += [(following, next(following)) for following in islice(waiting, 1)]
        running = still_running
