"""Request plans: generators that decide what to request next. They send nothing and wait for nothing.

A plan yields a request to send, or None when it needs an answer before it can go on. It is sent a response,
in whatever order responses arrive, or None when there is room for another request. It returns its result. So
only the driver decides how many requests are under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.exceptions import BadResponseError, TransientError

if TYPE_CHECKING:
    from airflow_provider_binance_loan.binance.declaration import Key, Listing, Source
    from airflow_provider_binance_loan.binance.parser import Page
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord

# How often a list of pages is read before the plan gives up. Where rows are in another order at each request,
# two sweeps of two pages take about ten passes.
_MAX_PASSES = 20
#: The sizes at which servers cap pages. A page of one of these sizes may be capped, whatever `total` counts.
LIKELY_CAPS = frozenset({10, 20, 25, 50})

T = TypeVar("T")
Plan = Generator[Request | None, Response | None, T]


def gather(requests: Iterable[Request]) -> Plan[list[Response]]:
    """Send requests, as many at once as the driver likes, and return their responses in the same order."""
    requests = tuple(requests)
    responses: dict[int, Response] = {}
    for request in requests:
        if response := (yield request):
            responses[id(response.request)] = response
    while len(responses) < len(requests):
        if response := (yield None):
            responses[id(response.request)] = response
    return [responses[id(request)] for request in requests]


def interleave(plans: Iterable[Plan[Any]]) -> Plan[None]:
    """Run several plans at once: while one waits for an answer, another one sends requests.

    A plan is started only when there is room for its first request, so that thousands may be given.
    """
    return interleave_while(partial(next, iter(plans), None))


def interleave_while(next_plan: Callable[[], Plan[Any] | None]) -> Plan[None]:
    """Run several plans at once, as :func:`interleave` does, of which each is made only when it is started.

    :param next_plan: returns another plan, or None as long as there is none. It is asked again after each
        answer, and the end is when there is none, and no request is under way.
    """
    askable: deque[Plan[Any]] = deque()  # those that may have another request
    senders: dict[int, Plan[Any]] = {}  # the plan of each request that is under way
    response: Response | None = None
    while True:
        if response is not None:
            plan = senders.pop(id(response.request))
            if plan in askable:
                askable.remove(plan)
        elif askable:
            plan = askable.popleft()
        elif started := next_plan():
            plan = started
        elif senders:
            response = yield None
            continue
        else:
            return
        try:
            request = plan.send(response)
        except StopIteration:
            request = None
        response = None
        if request is not None:  # else the plan has ended, or is blocked until it is sent an answer
            senders[id(request)] = plan
            askable.append(plan)
            response = yield request


def paginate(
    listing: Listing, request: Callable[[int], Request], caps: Collection[int] = LIKELY_CAPS
) -> Plan[list[AnyRecord]]:
    """Return all rows of a list that is read by page number.

    A list of one short page is complete. A longer list is swept: it is read, once or more often, until as
    many different rows were seen as the list is long. One pass is enough where each row has its place; where
    rows are in another order at each request, a pass shows some of them twice and others never. Two sweeps in
    a row must agree: a sweep misses a row only if an earlier row vanished meanwhile, and the next sweep lacks
    that earlier row.

    :param listing: the list, for its page size and natural key.
    :param request: returns the request of a page, counted from 1.
    :param caps: the sizes at which pages may be capped.
    :raises TransientError: the list changed again and again.
    """
    swept: set[object] | None = None
    seen: dict[object, AnyRecord] = {}
    length = 0
    for _ in range(_MAX_PASSES):
        pages = yield from _read_pages(listing, request, caps)
        if pages.is_one_page:
            return list(pages.rows.values())
        if not pages.length:
            continue
        if pages.length != length:  # the list has changed
            seen, length = {}, pages.length
        seen.update(pages.rows)
        if len(seen) == length:
            if seen.keys() == swept:
                return list(seen.values())
            swept, seen = set(seen), {}
    raise TransientError(
        f"Try again later: the list changed during each of {_MAX_PASSES} passes.", path=listing.path
    )


class _Pages(NamedTuple):
    """All pages of a list, read one after the other.

    :param rows: the rows by their keys.
    :param length: how many rows the list has, whether or not all were shown; 0 where that is not certain.
    :param is_one_page: whether the list is one page, and complete.
    """

    rows: dict[Key, AnyRecord]
    length: int
    is_one_page: bool


def _read_pages(listing: Listing, request: Callable[[int], Request], caps: Collection[int]) -> Plan[_Pages]:
    """Read page after page, until the last one, or until two in a row show nothing new."""
    page_size = listing.page_size
    rows: dict[Key, AnyRecord] = {}
    sizes: list[int] = []
    totals: set[int] = set()
    fruitless = 0
    has_ended = False
    while not has_ended and fruitless < 2:
        (response,) = yield from gather([request(len(sizes) + 1)])
        page: Page = response.content
        known = len(rows)
        rows.update(by_key(listing, page.rows))
        fruitless = fruitless + 1 if len(rows) == known else 0
        sizes.append(len(page.rows))
        totals.add(page.total or 0)
        is_short = sizes[-1] < page_size and sizes[-1] not in caps
        has_ended = not page.rows or (is_short and max(totals) <= sum(sizes))
    if not sizes[-1]:
        sizes.pop()
    length = sum(sizes)
    # A short page before the last shows that the list moved, or that the server gives fewer rows than asked
    # for; the latter is sound only where `total` counts exactly these rows.
    is_regular = min(sizes[:-1], default=page_size) >= page_size or totals == {length}
    is_one_page = len(totals) == 1 and len(sizes) <= 1 and length < page_size and length not in caps
    return _Pages(rows, length if is_regular and has_ended else 0, is_one_page)


def by_key(source: Source, rows: Sequence[AnyRecord]) -> dict[Key, AnyRecord]:
    """Return the rows of one answer by their natural key.

    :raises BadResponseError: two different rows share the key, so that one would hide the other.
    """
    keyed = {source.key(row): row for row in rows}
    if len(keyed) < len(rows):
        for row in rows:
            key = source.key(row)
            if keyed[key] != row:
                names = ", ".join(
                    f"{name} {value}" for name, value in zip(source.key_fields, key, strict=True)
                )
                raise BadResponseError(
                    f"Report this to Binance: one answer has two different records with {names}, which "
                    "cannot be told apart. Nothing of it was used.",
                    path=source.path,
                )
    return keyed
