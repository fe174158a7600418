"""Time slicing: read a span of a dataset in slices of time, each of which one answer covers completely.

A page is a position in a list that moves: when a record is inserted or a unit closes between two requests, a
row is seen twice or never. So pages are not counted; time is sliced. An answer with fewer rows than a page
holds is complete in itself, whatever moves before or after it, and only such answers are used. A full answer
only tells how much narrower to slice. This is right whichever time Binance filters on, whatever `total`
counts, and in whatever order rows are sent: those make the guesses worse, never the result.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_binance_loan.binance.pace import Pace
from airflow_provider_binance_loan.binance.plans import Plan, by_key, gather, interleave_while, paginate
from airflow_provider_binance_loan.binance.slices import Slice, before, isolate, put_back, take
from airflow_provider_binance_loan.binance.time_range import TimeRange
from airflow_provider_binance_loan.binance.windowed_dataset import ANY_KIND, Kind
from airflow_provider_binance_loan.exceptions import TransientError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_binance_loan.binance.messages import Request
    from airflow_provider_binance_loan.binance.parser import Page
    from airflow_provider_binance_loan.binance.part import Part, SpanLimit
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord
    from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset

# The share of a page that a slice aims to fill, with room for uneven spread.
_TARGET_SHARE = 0.8
# How often the newest records are read again before the plan gives up.
_MAX_PASSES = 5
# The share of a page that is, or may be, capped; less than half, which of a likely cap is another one.
_CAPPED_SHARE = 0.45
# After so many dense slices in a row without a new row, cutting further is no use, so read by page number.
_MAX_FRUITLESS = 2
# Binance refuses a timestamp that is further ahead of its own clock than this, so an answer is no older than
# its request's timestamp less this. https://developers.binance.com/legacy-docs/institutional_loan/general-info
CLOCK_SLACK_MS = 1000


class Query(NamedTuple):
    """What stays the same in all requests for a span: the kind of records, and one risk unit or all active.

    :param caps: the sizes at which pages may be capped; a size that proves to be one is added.
    :param span_limit: the longest span of a request; it shrinks when Binance refuses one.
    :param floor_ms: no request starts before this time.
    :param group_id: the risk unit; None for all that are active now.
    :param kind: the kind of records.
    """

    dataset: WindowedDataset
    caps: set[int]
    span_limit: SpanLimit
    floor_ms: int
    group_id: int | None = None
    kind: Kind = ANY_KIND
    clock_slack_ms: int = CLOCK_SLACK_MS

    @property
    def page_size(self) -> int:
        """How many rows a full page has."""
        return self.dataset.page_size

    @property
    def target_rows(self) -> int:
        """How many rows a slice should have."""
        return int(self.page_size * _TARGET_SHARE)

    def request(self, time_slice: Slice, page: int = 1) -> Request:
        """Return the request of a page of a slice.

        It starts a millisecond earlier: whether Binance includes the start of a span is not documented, and
        what a neighbouring slice returns as well is kept once.
        """
        start_ms = max(time_slice.start_ms - 1, self.floor_ms)
        span = TimeRange(start_ms, time_slice.end_ms)
        return self.dataset.span_request(span, self.group_id, page, self.kind)


class _Pass(NamedTuple):
    """What a pass has read.

    :param began_ms: a time that is no later than that of its first answer.
    :param answers: how many answers it took.
    """

    began_ms: int
    answers: int


def read_part(query: Query, part: Part, pace: Pace, cuts: Sequence[int] = ()) -> Plan[None]:
    """Read the records of a query into a part, where a later answer replaces an earlier one.

    :param query: the query.
    :param part: the part.
    :param pace: how to slice it.
    :param cuts: the times, in epoch milliseconds and in order, at which to cut it to begin with.
    :raises TransientError: the newest records of the part kept changing.
    :raises RequestRefusedError: Binance refuses even the span of a day.
    """
    done = yield from _read_once(query, part.time_range, part, pace, cuts)
    # If Binance filters on a time that changes, a record may move, between two answers, from a slice that
    # was not read yet to the present, which was. So what lies after the beginning is read again until one
    # answer shows all of it; a span that ended before holds no present.
    for _ in range(_MAX_PASSES):
        late = TimeRange(max(part.start_ms, done.began_ms - query.clock_slack_ms), part.end_ms)
        if done.answers == 1 or late.start_ms >= late.end_ms:
            return
        done = yield from _read_once(query, late, part, Pace(late.length_ms))
    raise TransientError(
        f"Try again later, or end the window before now: its newest records changed in {_MAX_PASSES} passes.",
        path=query.dataset.path,
    )


def _read_once(
    query: Query, span: TimeRange, part: Part, pace: Pace, cuts: Sequence[int] = ()
) -> Plan[_Pass]:
    """Read a span of a part once, from its newest end."""
    edges = [span.start_ms, *(cut for cut in dict.fromkeys(cuts) if span.start_ms < cut < span.end_ms)]
    # The newest is last.
    todo = [Slice(*edge, whole=bool(cuts)) for edge in pairwise([*edges, span.end_ms])]
    reading = _Reading(query, part, pace, todo)
    yield from interleave_while(reading.next_plan)
    return _Pass(reading.began_ms, reading.answers)


class _Reading:
    """Slices that are read at the same time: an answer is judged once it is in, and makes room for another.

    :param query: the query.
    :param part: the part that gets the records.
    :param pace: how to slice.
    :param todo: the slices that are still to be read, the newest last.
    """

    def __init__(self, query: Query, part: Part, pace: Pace, todo: list[Slice]) -> None:
        self._query = query
        self._part = part
        self._pace = pace
        self._todo = todo
        self._under_way = 0
        self._fruitless = 0
        self.began_ms = 0
        self.answers = 0

    def next_plan(self) -> Plan[None] | None:
        """Return the plan that reads the next slice; None if none is left, or enough are under way."""
        self._todo = before(self._part.end_ms, self._todo)
        if not self._todo or self._under_way >= self._pace.slices:
            return None
        self._under_way += 1
        return self._read(take(self._todo, self._pace))

    def _read(self, time_slice: Slice) -> Plan[None]:
        query, part = self._query, self._part
        (response,) = yield from gather([query.request(time_slice)])
        if response.refusal:  # as too long
            query.span_limit.halve(time_slice.width_ms, response.refusal)
            part.end_at(part.start_ms + query.span_limit.ms)
            self._todo.append(time_slice)
        else:
            self.began_ms = min(self.began_ms or response.sent_ms, response.sent_ms)
            self.answers += 1
            yield from self._judge(time_slice, response.content)
        self._under_way -= 1

    def _judge(self, time_slice: Slice, page: Page) -> Plan[None]:
        """Keep the rows of an answer that is complete, and put back the slice of any other."""
        query, part = self._query, self._part
        rows, start_ms = query.target_rows, time_slice.start_ms
        is_complete = not (yield from _is_overfull(query, time_slice, page))
        if is_complete:
            rows = len(page.rows)
            part.add(by_key(query.dataset, page.rows))
        elif time_slice.width_ms == 1 or time_slice.dense or self._fruitless >= _MAX_FRUITLESS:
            dense = by_key(query.dataset, (yield from _read_dense(query, time_slice)))
            self._fruitless = self._fruitless + 1 if dense.keys() <= part.found.keys() else 0
            part.add(dense)
            self._pace.forget()  # read by page number, it says nothing about how wide to slice
            return
        elif (dense_ms := _dense_ms(query, time_slice, page)) is not None:
            isolate(self._todo, time_slice, dense_ms)
        else:
            start_ms = _cut(query, time_slice, page)
            if time_slice[:2] == part.time_range:
                part.expect(rows * time_slice.width_ms / (time_slice.end_ms - start_ms))
            put_back(self._todo, time_slice, start_ms)
        times = _times_within(query, time_slice, page)
        if is_complete and rows and not times:
            self._pace.widen()  # they are in other slices, too, and say nothing about how wide to slice
            return
        # Without the time after the newest record, since what comes next is at the other end.
        newest_ms = max(times) if 0 < len(times) == len(page.rows) else time_slice.end_ms
        self._pace.learn(rows, max(1, newest_ms - start_ms), query.target_rows, is_complete=is_complete)


def _times_within(query: Query, time_slice: Slice, page: Page) -> list[int]:
    """Return the times of the rows that are of a slice's own time; Binance may select by another one."""
    times = map(query.dataset.time_ms, page.rows)
    return [
        time for time in times if time is not None and time_slice.start_ms - 1 <= time <= time_slice.end_ms
    ]


def _is_overfull(query: Query, time_slice: Slice, page: Page) -> Plan[bool]:
    """Return whether a slice holds, or may hold, more rows than its page shows.

    A page that has as many rows as a server might cap it at is no proof, and neither is an empty second page:
    the list may have become shorter in between. A narrower slice has another number of rows.
    """
    rows = len(page.rows)
    if rows >= query.page_size or rows in query.caps:
        return True
    if not rows or (page.total or 0) <= rows:
        return False
    # A short page whose `total` speaks of more rows: as a rule it counts something else, but if the server
    # gives fewer rows than asked for, the second page shows it.
    (response,) = yield from gather([query.request(time_slice, 2)])
    second: Page = response.content
    if second.rows:
        query.caps.add(rows)
    # When the second page is empty, and `total` by now speaks of no more rows than the first one has, the
    # list moved in between, and nothing is proved.
    return bool(second.rows) or (second.total or 0) <= rows


def _dense_ms(query: Query, time_slice: Slice, page: Page) -> int | None:
    """Return the time that all rows of a full page share, if the slice's request covers it."""
    times = {query.dataset.time_ms(row) for row in page.rows}
    if len(page.rows) < query.page_size or len(times) > 1:
        return None
    (time_ms,) = times
    covers = time_ms is not None and time_slice.start_ms - 1 <= time_ms <= time_slice.end_ms
    return time_ms if covers else None


def _cut(query: Query, time_slice: Slice, page: Page) -> int:
    """Return where the newest rows of a page begin within its slice, or the middle where they mislead."""
    times = [time_ms for row in page.rows if (time_ms := query.dataset.time_ms(row)) is not None]
    rows = query.target_rows if len(page.rows) >= query.page_size else len(page.rows) * _CAPPED_SHARE
    newest = sorted(times, reverse=True)[: max(1, int(rows))]
    if newest and time_slice.start_ms < newest[-1] < time_slice.end_ms and not time_slice.halve:
        return newest[-1]
    return (time_slice.start_ms + time_slice.end_ms) // 2


def _read_dense(query: Query, time_slice: Slice) -> Plan[list[AnyRecord]]:
    """Read by page number a slice that cannot be cut: more than a page of rows within one millisecond."""
    return paginate(query.dataset, lambda page: query.request(time_slice, page), query.caps)
