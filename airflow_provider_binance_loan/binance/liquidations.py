"""Which requests to make for the force-liquidation records of a window, and when an answer is complete.

Nothing here sends or waits: a *reading* is a generator that yields batches of requests, which may run side by
side, is sent as many responses in the same order, and returns what it read.

A page is a position in a list that moves: when a liquidation is inserted or a unit closes between two
requests, a row is seen twice or never. So pages are not counted; time is cut. An answer with fewer rows than
a page holds is complete in itself, whatever moves before or after it, and only such answers are used. A full
one only tells how much narrower to ask. This is right whichever time Binance filters on, whatever `total`
counts, and in whatever order rows come: those make the guesses worse, never the result.

https://developers.binance.com/docs/institutional_loan/trade
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain, islice
from math import ceil
from typing import Any, Literal, NamedTuple, TypeVar

from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.records import (
    Key,
    Page,
    parse_closed_unit,
    parse_liquidation,
    parse_page,
    record_key,
)
from airflow_provider_binance_loan.binance.windows import Span, spans
from airflow_provider_binance_loan.exceptions import ConfigurationError, TransientError

FORCE_LIQUIDATION_PATH = "/sapi/v1/margin/loan-group/force-liquidation"
CLOSED_UNITS_PATH = "/sapi/v1/margin/loan-groups/closed"

PAGE_SIZE = 100  # the most that Binance gives

# How many rows a narrower request aims at: near a full page, with room for uneven spread.
_TARGET_ROWS = 80
# How many requests a batch may hold. Where records are dense the walk asks for several steps at once, and
# trusts its guess half as far again after each good round, so that it overshoots little past a burst.
_MAX_BATCH = 16
_GROWTH = 1.5
# How often a list is read before it is given up as one that never stands still.
_MAX_PASSES = 5

Record = dict[str, Any]
RiskUnits = Literal["all", "active"] | tuple[int, ...]
RiskUnitsArgument = str | int | Iterable[int | str]
T = TypeVar("T")
Reading = Generator[tuple[Request, ...], Sequence[Response], T]


def to_risk_units(value: RiskUnitsArgument) -> RiskUnits:
    """Return which risk units to read: `"all"`, `"active"`, or ids without repetition.

    :param value: `"all"`, `"active"`, an id, ids separated by commas, or several ids.
    :raises ConfigurationError: it is none of these, or no id at all.
    """
    if value == "all":
        return "all"
    if value == "active":
        return "active"
    if isinstance(value, int):
        value = [value]
    elif not isinstance(value, Iterable):
        raise ConfigurationError(f"risk_units is {value!r}: use 'all', 'active', or ids of risk units.")
    ids = []
    for item in value.split(",") if isinstance(value, str) else value:
        text = str(item).strip()
        if isinstance(item, bool) or not (text.isascii() and text.isdigit()):
            raise ConfigurationError(
                f"risk_units holds {item!r}: use 'all', 'active', or ids of risk units, "
                "as a list or separated by commas."
            )
        ids.append(int(text))
    if not ids:
        raise ConfigurationError("risk_units is an empty list: use 'all', 'active', or name at least one id.")
    return tuple(dict.fromkeys(ids))


def read_force_liquidations(window: Span, risk_units: RiskUnits) -> Iterator[Reading[list[Record]]]:
    """Yield a reading for each span of a window, oldest first; run each to its end before taking the next.

    Each returns the records of its span, oldest first; none of them comes twice in the whole window.
    """
    seen: set[Key] = set()
    for span in spans(window):
        yield _read_span(span, risk_units, seen)


def _read_span(span: Span, risk_units: RiskUnits, seen: set[Key]) -> Reading[list[Record]]:
    found: dict[Key, Record] = {}
    group_ids: Sequence[int] = ()
    if isinstance(risk_units, tuple):
        group_ids = risk_units
    else:
        yield from _walk(_Query(), span, found)
    if risk_units == "all":
        # Only now: a unit that closes during the walk takes its rows out of the list, and is found here.
        units = yield from read_closed_units()
        group_ids = [unit["groupId"] for unit in units if _lived_in(unit, span)]
    yield from _side_by_side(_walk(_Query(group_id), span, found) for group_id in group_ids)
    # Rows at the end came because Binance takes it as included; they belong to the next span or window.
    # Rows that start early are kept: Binance does not say which time it filters on.
    new = sorted(key for key in found.keys() - seen if key.start_ms < span.end_ms)
    seen.update(new)
    return [found[key] for key in new]


def read_closed_units() -> Reading[list[Record]]:
    """Return the reading of all closed risk units of the account."""
    return _read_pages(
        lambda page: Request(CLOSED_UNITS_PATH, (("current", page), ("size", PAGE_SIZE))),
        parse_closed_unit,
        lambda unit: unit["groupId"],
    )


def _lived_in(unit: Record, span: Span) -> bool:
    """Tell whether a closed unit's life touches a span; a time that Binance does not give may be any."""
    created_ms, closed_ms = unit["createTime"], unit["closeTime"]
    return (not created_ms or created_ms < span.end_ms) and (not closed_ms or closed_ms >= span.start_ms)


class _Piece(NamedTuple):
    """A stretch of time still to be read.

    :param halve: it was cut by where its newest rows are; should it be full again, they mislead.
    """

    start_ms: int
    end_ms: int
    halve: bool = False

    @property
    def width(self) -> int:
        return self.end_ms - self.start_ms


class _Query(NamedTuple):
    """What stays the same in all requests of a walk: one risk unit, or all that are active now."""

    group_id: int | None = None

    def request(self, piece: _Piece, page: int = 1) -> Request:
        group = () if self.group_id is None else (("groupId", self.group_id),)
        return Request(
            FORCE_LIQUIDATION_PATH,
            (
                *group,
                ("startTime", piece.start_ms),
                # The exclusive end: whether Binance includes it is not documented, and neighbouring pieces
                # share it, so that nothing falls between them either way.
                ("endTime", piece.end_ms),
                ("current", page),
                ("size", PAGE_SIZE),
            ),
        )


def _walk(query: _Query, span: Span, found: dict[Key, Record]) -> Reading[None]:
    """Read a span from its newest end into `found`; a later answer replaces an earlier one."""
    todo = [_Piece(*span)]  # the newest on top
    step, batch_size = todo[0].width, 1
    while todo:
        pieces = _take(todo, step, batch_size)
        responses = yield tuple(query.request(piece) for piece in pieces)
        pages = [parse_page(response.payload, parse_liquidation) for response in responses]
        cut = yield from _incomplete(query, pieces, pages)
        rows = width = 0
        for piece, page in reversed(list(zip(pieces, pages, strict=True))):
            if piece not in cut:
                found.update((record_key(row), row) for row in page.rows)
                rows, width = rows + len(page.rows), width + piece.width
            elif piece.width == 1:
                found.update((record_key(row), row) for row in (yield from _read_crowd(query, piece)))
            else:
                newest = _newest_part(piece, page)
                rows, width = rows + _TARGET_ROWS, width + newest.width
                _put_back(todo, piece, newest)
        step = max(1, _TARGET_ROWS * width // rows) if rows else span.end_ms - span.start_ms
        fewest = min(len(page.rows) for page in pages)
        if fewest == 0:  # past the end of a burst: feel the way to the next
            batch_size = 1
        elif fewest < _TARGET_ROWS // 2:
            batch_size = max(1, batch_size // 2)
        else:
            batch_size = min(ceil(batch_size * _GROWTH), _MAX_BATCH)


def _take(todo: list[_Piece], step: int, count: int) -> list[_Piece]:
    """Take up to `count` pieces, each about a step wide, from the newest end of what is to do."""
    pieces: list[_Piece] = []
    while todo and len(pieces) < count:
        piece = todo.pop()
        width = ceil(piece.width / ceil(piece.width / step))  # even parts, so that none is a mere rest
        if width < piece.width:
            todo.append(_Piece(piece.start_ms, piece.end_ms - width))
            piece = piece._replace(start_ms=piece.end_ms - width)
        pieces.append(piece)
    return pieces


def _incomplete(query: _Query, pieces: list[_Piece], pages: list[Page]) -> Reading[set[_Piece]]:
    """Return the pieces that hold more rows than their page shows."""
    full = {piece for piece, page in zip(pieces, pages, strict=True) if len(page.rows) >= PAGE_SIZE}
    # A short page whose `total` speaks of more rows: as a rule it counts something else, but should the
    # server give fewer rows than asked for, the second page shows it.
    doubtful = [
        piece
        for piece, page in zip(pieces, pages, strict=True)
        if len(page.rows) < min(PAGE_SIZE, page.total or 0)
    ]
    if doubtful:
        responses = yield tuple(query.request(piece, page=2) for piece in doubtful)
        for piece, response in zip(doubtful, responses, strict=True):
            if parse_page(response.payload, parse_liquidation).rows:
                full.add(piece)
    return full


def _newest_part(piece: _Piece, page: Page) -> _Piece:
    """Return the part of a piece that holds about the newest rows of its page, or half of it at a loss."""
    times = sorted((row["liquidationStartTime"] for row in page.rows), reverse=True)[:_TARGET_ROWS]
    if not piece.halve and times and piece.start_ms < times[-1] < piece.end_ms:
        return _Piece(times[-1], piece.end_ms, halve=True)
    return _Piece((piece.start_ms + piece.end_ms) // 2, piece.end_ms, halve=True)


def _put_back(todo: list[_Piece], piece: _Piece, newest: _Piece) -> None:
    """Put a piece back as its newest part and the rest, which joins what is to do just below it."""
    start_ms = piece.start_ms
    if todo and todo[-1].end_ms == start_ms and not todo[-1].halve:
        start_ms = todo.pop().start_ms
    todo += [_Piece(start_ms, newest.start_ms), newest]


def _read_crowd(query: _Query, piece: _Piece) -> Reading[list[Record]]:
    """Read more than a page of rows within one millisecond, which cannot be cut further."""
    return _read_pages(lambda page: query.request(piece, page), parse_liquidation, record_key)


def _read_pages(
    request: Callable[[int], Request],
    parse_row: Callable[[Any], Record],
    key: Callable[[Record], object],
) -> Reading[list[Record]]:
    """Read a list that can only be read by page number.

    One page is complete in itself. Several are accepted when two passes in a row see the same rows: a row
    that one pass missed moved up because another row, which that pass saw, went away; and the next pass
    cannot see that other row.

    :raises TransientError: the list never stood still.
    """
    previous: set[object] | None = None
    for _ in range(_MAX_PASSES):
        rows: dict[object, Record] = {}
        sizes: list[int] = []
        while True:
            (response,) = yield (request(len(sizes) + 1),)
            page = parse_page(response.payload, parse_row)
            known = len(rows)
            rows.update((key(row), row) for row in page.rows)
            sizes.append(len(page.rows))
            said = page.total or 0
            if len(rows) == known or (len(page.rows) < PAGE_SIZE and said <= sum(sizes)):
                break
        if not sizes[-1]:
            sizes.pop()
        if sum(sizes) < PAGE_SIZE and len(sizes) <= 1:
            return list(rows.values())
        # Rows that come twice, or a short page before the last, show that the list moved or that the server
        # gives fewer rows than asked for; the latter is sound only where `total` counts just these rows.
        regular = all(size >= PAGE_SIZE for size in sizes[:-1]) or said == sum(sizes)
        sound = regular and len(rows) == sum(sizes)
        if sound and rows.keys() == previous:
            return list(rows.values())
        previous = set(rows) if sound else None
    raise TransientError(
        f"{request(1).path} gave a list that changed during each of {_MAX_PASSES} passes: try again later."
    )


def _side_by_side(readings: Iterable[Reading[None]]) -> Reading[None]:
    """Run several readings at once, each batch made of theirs."""
    waiting = iter(readings)
    running = [(reading, next(reading)) for reading in islice(waiting, _MAX_BATCH)]
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
