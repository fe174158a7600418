"""The walk: read the force liquidations of a span by cutting time, until every answer used is complete.

A page is a position in a list that moves: when a liquidation is inserted or a unit closes between two
requests, a row is seen twice or never. So pages are not counted; time is cut. An answer with fewer rows than
a page holds is complete in itself, whatever moves before or after it, and only such answers are used. A full
one only tells how much narrower to ask. This is right whichever time Binance filters on, whatever `total`
counts, and in whatever order rows come: those make the guesses worse, never the result.

https://developers.binance.com/docs/institutional_loan/trade
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf
from typing import NamedTuple

from airflow_provider_binance_loan.binance.fields import (
    Key,
    Page,
    parse_liquidations,
    record_key,
)
from airflow_provider_binance_loan.binance.messages import Request
from airflow_provider_binance_loan.binance.plans import (
    MAX_BATCH,
    MAX_PASSES,
    PAGE_SIZE,
    Reading,
    Record,
    read_pages,
)
from airflow_provider_binance_loan.binance.time_range import Span
from airflow_provider_binance_loan.exceptions import BadResponseError, TransientError

FORCE_LIQUIDATION_PATH = "/sapi/v1/margin/loan-group/force-liquidation"

# How many rows a narrower request aims at: near a full page, with room for uneven spread.
_TARGET_ROWS = 80
# After each good round the walk trusts its guess for twice as many steps, so that it overshoots little
# past the end of a burst.
_GROWTH = 2
# Binance answers no request whose timestamp is so far ahead of its own clock, so its answer is no older than
# the timestamp less this. https://developers.binance.com/docs/institutional_loan/general-info
_CLOCK_SLACK_MS = 1000
# After so many crowds in a row without a new row, narrower requests are known not to hold fewer rows.
_STUCK = 2


class Query(NamedTuple):
    """What stays the same in all requests of a walk: one risk unit, or all that are active now."""

    group_id: int | None = None

    def request(self, start_ms: int, end_ms: int, page: int = 1) -> Request:
        """Return the request of a page of a span."""
        group = () if self.group_id is None else (("groupId", self.group_id),)
        return Request(
            FORCE_LIQUIDATION_PATH,
            (
                *group,
                ("startTime", start_ms),
                # The exclusive end: whether Binance includes it is not documented, and neighbouring pieces
                # share it, so that nothing falls between them either way.
                ("endTime", end_ms),
                ("current", page),
                ("size", PAGE_SIZE),
            ),
            parse_liquidations,
        )


class Pace:
    """How wide to ask and how many at once, learnt from one round to the next.

    :param widest_ms: what to ask for when nothing is known.
    """

    def __init__(self, widest_ms: int) -> None:
        self.widest_ms = widest_ms
        self.step_ms = widest_ms
        self.batch_size = 1

    def learn(self, rows: int, width_ms: int, fewest: int) -> None:
        """Take in a round: about how many rows in how much time, and the fewest that one answer had."""
        self.step_ms = max(1, _TARGET_ROWS * width_ms // rows) if rows else self.widest_ms
        if fewest == 0:  # past the end of a burst: feel the way to the next
            self.batch_size = 1
        elif fewest < _TARGET_ROWS // 2:
            self.batch_size = max(1, self.batch_size // 2)
        else:
            self.batch_size = min(ceil(self.batch_size * _GROWTH), MAX_BATCH)


class _Piece(NamedTuple):
    """A stretch of time still to be read.

    :param halve: it was cut by where its newest rows are; should it be full again, they mislead.
    """

    start_ms: int
    end_ms: int
    halve: bool = False

    @property
    def width_ms(self) -> int:
        return self.end_ms - self.start_ms


class _Swept(NamedTuple):
    """How far a sweep got, a time no later than its first answer's, and how many rounds it took."""

    end_ms: int
    began_ms: int
    rounds: int


def walk(
    query: Query, span: Span, found: dict[Key, Record], pace: Pace, most_rows: float = inf
) -> Reading[int]:
    """Read a span into `found`, where a later answer replaces an earlier one; return how far it is read.

    That is the span's end, unless it seems to hold many more than `most_rows`: then only its older part is
    read, as far as so many rows may reach.

    :raises TransientError: the newest part of the span never stood still.
    """
    swept = yield from _sweep(query, span, found, pace, most_rows)
    end_ms = swept.end_ms
    # Should Binance filter on a time that changes, a record may have moved, between two rounds, from a part
    # not yet read to the present, which was read before. So what lies after the beginning is read again
    # until one answer shows all of it; a span that ended before holds no present.
    for _ in range(MAX_PASSES):
        late = Span(max(span.start_ms, swept.began_ms - _CLOCK_SLACK_MS), end_ms)
        if swept.rounds == 1 or late.start_ms >= late.end_ms:
            return end_ms
        swept = yield from _sweep(query, late, found, Pace(late.end_ms - late.start_ms))
    raise TransientError(
        f"The records since {MAX_PASSES} readings ago keep changing: try again later, or end the window "
        "before the present."
    )


def _sweep(
    query: Query, span: Span, found: dict[Key, Record], pace: Pace, most_rows: float = inf
) -> Reading[_Swept]:
    """Read a span once, from its newest end."""
    todo = [_Piece(*span)]  # the newest on top
    end_ms, began_ms, rounds, stuck = span.end_ms, 0, 0, 0
    while todo:
        pieces = _take(todo, pace)
        responses = yield tuple(query.request(piece.start_ms, piece.end_ms) for piece in pieces)
        pages: list[Page] = [response.content for response in responses]
        overfull = yield from _overfull(query, pieces, pages)
        began_ms = began_ms or min(response.sent_ms for response in responses)
        rounds += 1
        rows = width_ms = 0
        for piece, page in reversed(list(zip(pieces, pages, strict=True))):
            if piece not in overfull:
                _keep(found, page.rows)
                rows, width_ms = rows + len(page.rows), width_ms + piece.width_ms
            elif piece.width_ms == 1 or stuck >= _STUCK:
                known = len(found)
                _keep(found, (yield from _read_crowd(query, piece)))
                stuck = 0 if len(found) > known else stuck + 1
            else:
                cut_ms = _cut(piece, page)
                rows, width_ms = rows + _TARGET_ROWS, width_ms + piece.end_ms - cut_ms
                guess = _TARGET_ROWS * piece.width_ms / (piece.end_ms - cut_ms)
                if guess > 2 * most_rows and piece[:2] == (span.start_ms, end_ms):
                    end_ms = piece.start_ms + ceil(piece.width_ms * most_rows / guess)
                    todo = [_Piece(piece.start_ms, end_ms)]
                else:
                    _put_back(todo, piece, cut_ms)
        pace.learn(rows, width_ms, min(len(page.rows) for page in pages))
    return _Swept(end_ms, began_ms, rounds)


def _take(todo: list[_Piece], pace: Pace) -> list[_Piece]:
    """Take the pieces of a round, each about a step wide, from the newest end of what is to do."""
    pieces: list[_Piece] = []
    while todo and len(pieces) < pace.batch_size:
        piece = todo.pop()
        width_ms = ceil(piece.width_ms / ceil(piece.width_ms / pace.step_ms))  # even, so that no rest is left
        if width_ms < piece.width_ms:
            todo.append(_Piece(piece.start_ms, piece.end_ms - width_ms))
            piece = piece._replace(start_ms=piece.end_ms - width_ms)
        pieces.append(piece)
    return pieces


def _overfull(query: Query, pieces: list[_Piece], pages: list[Page]) -> Reading[set[_Piece]]:
    """Return the pieces that hold more rows than their page shows."""
    answers = list(zip(pieces, pages, strict=True))
    overfull = {piece for piece, page in answers if len(page.rows) >= PAGE_SIZE}
    # A short page whose `total` speaks of more rows: as a rule it counts something else, but should the
    # server give fewer rows than asked for, the second page shows it. When that is empty, and `total` by now
    # speaks of no more rows either, the list moved in between, and nothing is shown.
    doubtful = [
        (piece, page) for piece, page in answers if 0 < len(page.rows) < min(PAGE_SIZE, page.total or 0)
    ]
    if doubtful:
        responses = yield tuple(query.request(piece.start_ms, piece.end_ms, 2) for piece, _ in doubtful)
        for (piece, page), response in zip(doubtful, responses, strict=True):
            second: Page = response.content
            if second.rows or (second.total or 0) <= len(page.rows):
                overfull.add(piece)
    return overfull


def _cut(piece: _Piece, page: Page) -> int:
    """Return where the newest rows of a page begin within its piece, or the middle where they mislead."""
    newest = sorted((row["liquidationStartTime"] for row in page.rows), reverse=True)[:_TARGET_ROWS]
    if newest and piece.start_ms < newest[-1] < piece.end_ms and not piece.halve:
        return int(newest[-1])
    return (piece.start_ms + piece.end_ms) // 2


def _put_back(todo: list[_Piece], piece: _Piece, cut_ms: int) -> None:
    """Put a piece back in two parts, the older of which joins what is to do just below it."""
    start_ms = piece.start_ms
    if todo and todo[-1].end_ms == start_ms and not todo[-1].halve:
        start_ms = todo.pop().start_ms
    todo += [_Piece(start_ms, cut_ms), _Piece(cut_ms, piece.end_ms, halve=True)]


def _read_crowd(query: Query, piece: _Piece) -> Reading[list[Record]]:
    """Read by page what cannot be cut: more than a page of rows within one millisecond."""
    return read_pages(lambda page: query.request(piece.start_ms, piece.end_ms, page), record_key)


def _keep(found: dict[Key, Record], rows: Sequence[Record]) -> None:
    """Add the rows of one answer.

    :raises BadResponseError: two different rows share the natural key, so that one would hide the other.
    """
    answer = {record_key(row): row for row in rows}
    if len(answer) < len(rows):
        for row in rows:
            start_ms, group_id = key = record_key(row)
            if answer[key] != row:
                raise BadResponseError(
                    f"One answer holds two different records of risk unit {group_id} that start at "
                    f"{start_ms}: they cannot be told apart. Nothing of it was used."
                )
    found.update(answer)
