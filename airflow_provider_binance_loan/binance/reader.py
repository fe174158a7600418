"""Read a window of a dataset: records of all risk units, active and closed, or of those that are named."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS, was_open_in
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import read_visible_units
from airflow_provider_binance_loan.binance.own_columns import ASKED_GROUP_ID
from airflow_provider_binance_loan.binance.pace import MAX_SLICES, Pace
from airflow_provider_binance_loan.binance.part import Part, SpanLimit
from airflow_provider_binance_loan.binance.plans import LIKELY_CAPS, Plan, interleave, paginate
from airflow_provider_binance_loan.binance.slicing import CLOCK_SLACK_MS, Query, read_part
from airflow_provider_binance_loan.binance.time_range import TimeRange, split

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from airflow_provider_binance_loan.binance.declaration import Key, Listing
    from airflow_provider_binance_loan.binance.risk_units import RiskUnits
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord
    from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset

# How much wider the next part of a span may be than one that held few records.
_MAX_WIDENING = 8
# The share of a page that a slice aims to fill where its records are known.
_KNOWN_SHARE = 0.9


@dataclass(frozen=True)
class ReadLimits:
    """Bounds of a read.

    :param rows_in_memory: about how many records a part holds.
    :param clock_slack_ms: how far a request's timestamp may be ahead of Binance's clock, in milliseconds.
    """

    rows_in_memory: int = 8000
    clock_slack_ms: int = CLOCK_SLACK_MS


DEFAULT_LIMITS = ReadLimits()


def read_window(
    dataset: WindowedDataset,
    window: TimeRange,
    risk_units: RiskUnits = "all",
    *,
    span_limits_ms: dict[str, int] | None = None,
    limits: ReadLimits = DEFAULT_LIMITS,
    closed_units: Listing = CLOSED_RISK_UNITS,
) -> Iterator[Plan[list[AnyRecord]]]:
    """Yield the plans of a window's parts, oldest first. Run each to its end before taking the next.

    Each plan returns the records of its part, oldest first; no record is returned twice in the whole window.
    A part is a span that Binance accepts, or as much of one as fits into memory.

    :param dataset: what to read.
    :param window: the window; records before its start are kept, since Binance does not say by which time it
        selects, and records at or after its end are left to the next window.
    :param risk_units: which risk units; `"all"` for a dataset that is not selected by risk unit.
    :param span_limits_ms: the longest spans that Binance accepts, by dataset, where an earlier read has found
        them to be shorter than documented; what this read finds is added.
    :param limits: bounds of the read.
    :param closed_units: the list of closed risk units.
    """
    floor_ms = max(window.start_ms - 1, 0)
    span_limit = SpanLimit(dataset, {} if span_limits_ms is None else span_limits_ms)
    active = Query(dataset, set(LIKELY_CAPS), span_limit, floor_ms, clock_slack_ms=limits.clock_slack_ms)
    read = _Read(active, risk_units, closed_units)
    for span in split(window, span_limit.ms):
        cursor = _Cursor(span, limits.rows_in_memory, len(dataset.kinds))
        while cursor.start_ms < span.end_ms:
            yield _read_part(read, cursor)


def read_closed_units(listing: Listing = CLOSED_RISK_UNITS) -> Plan[list[AnyRecord]]:
    """Return the plan that reads all closed risk units of the account."""
    return paginate(listing, listing.page_request)


class _Keys:
    """A compact set of natural keys: about eight bytes for each."""

    def __init__(self) -> None:
        self._firsts: defaultdict[Key, array[int]] = defaultdict(lambda: array("q"))
        self._others: set[Key] = set()

    def add(self, key: Key) -> bool:
        """Add a key, and return whether it is new."""
        first, *rest = key
        if type(first) is not int:
            known = len(self._others)
            self._others.add(key)
            return len(self._others) > known
        firsts = self._firsts[tuple(rest)]
        if not firsts or firsts[-1] < first:  # nearly always, as records are sorted
            firsts.append(first)
            return True
        index = bisect_left(firsts, first)
        if firsts[index] == first:
            return False
        firsts.insert(index, first)
        return True


class _Cursor:
    """Which part of a span is read next, and the pace learnt so far, for each kind of records."""

    def __init__(self, span: TimeRange, max_rows: int, kinds: int) -> None:
        self._span = span
        self._max_rows = max_rows
        self.start_ms, self.end_ms = span
        self.paces = [Pace(span.length_ms) for _ in range(kinds)]

    def next_part(self, query: Query) -> Part:
        """Return the next part, empty."""
        end_ms = min(self.end_ms, self.start_ms + query.span_limit.ms)
        return Part(query.dataset, TimeRange(self.start_ms, end_ms), self._max_rows)

    def move_to(self, end_ms: int, rows: int) -> None:
        """Go on after a part that held so many rows, to one that may hold as many as fit into memory."""
        width_ms = end_ms - self.start_ms
        width_ms = max(1, min(width_ms * _MAX_WIDENING, width_ms * self._max_rows // max(rows, 1)))
        self.start_ms, self.end_ms = end_ms, min(end_ms + width_ms, self._span.end_ms)


@dataclass
class _Read:
    """What the parts of a window share.

    :param active: the query of all risk units that are active now.
    :param risk_units: which risk units to read.
    :param closed_units: the list of closed risk units.
    :param active_ids: the active risk units of the key, once they are known.
    """

    active: Query
    risk_units: RiskUnits
    closed_units: Listing
    seen: _Keys = field(default_factory=_Keys)
    active_ids: list[int] | None = None

    @property
    def with_closed(self) -> bool:
        """Whether closed risk units must be asked for."""
        return self.risk_units == "all" and self.active.dataset.by_risk_unit

    def queries(self, group_id: int | None = None) -> list[Query]:
        """Return the queries of each kind of records, for one risk unit or for all that are active now."""
        return [self.active._replace(kind=kind, group_id=group_id) for kind in self.active.dataset.kinds]

    def units_to_name(self, part: Part) -> Plan[list[int]]:
        """Return the risk units that must be asked for by their ids, after all that are active."""
        group_ids: list[int] = []
        if self.active.dataset.group_field == ASKED_GROUP_ID:
            if self.active_ids is None:
                self.active_ids = yield from read_visible_units()
            group_ids += self.active_ids
        if self.with_closed:
            units = yield from read_closed_units(self.closed_units)
            group_ids += [unit["groupId"] for unit in units if was_open_in(unit, part.time_range)]
        return list(dict.fromkeys(group_ids))


def _read_part(read: _Read, cursor: _Cursor) -> Plan[list[AnyRecord]]:
    active = read.active
    part = cursor.next_part(active)
    if isinstance(read.risk_units, tuple):
        group_ids: Collection[int] = read.risk_units
    else:
        plain = read.queries()
        yield from interleave(
            read_part(query, part, pace) for query, pace in zip(plain, cursor.paces, strict=True)
        )
        # Only now: a unit that closes in the meantime takes its rows out of the list, and is found here.
        group_ids = yield from read.units_to_name(part)
        if read.with_closed and not active.dataset.is_poll:
            # A unit may have been closed, or in neither list, at first, and open again before the closed ones
            # were listed. The next poll would find it.
            yield from interleave(_read_again(query, part) for query in plain)
    # Last, so that what is known of the risk unit of a record stays.
    named = (query for group_id in group_ids for query in read.queries(group_id))
    yield from interleave(
        _read_again(query, part) if [query.group_id] == read.active_ids else _read_first(query, part)
        for query in named
    )
    yield from _drop_neighbours(read, part)
    found = part.found
    cursor.move_to(part.end_ms, len(found))
    # A record at the end was returned because Binance includes the end; it belongs to what follows.
    return [found[key] for key in sorted(found) if part.may_hold(found[key]) and read.seen.add(key)]


def _read_first(query: Query, part: Part) -> Plan[None]:
    """Read the records of a query, of which none is known yet."""
    return read_part(query, part, Pace(part.length_ms))


def _read_again(query: Query, part: Part) -> Plan[None]:
    """Read the records of a query, of which nearly all were found."""
    return read_part(query, part, Pace(part.length_ms, MAX_SLICES), _even_cuts(query, part))


def _even_cuts(query: Query, part: Part) -> list[int]:
    """Return times that cut a part so that each slice has about a page of the records that were found."""
    times = map(query.dataset.time_ms, filter(query.kind.may_hold, part.found.values()))
    known = sorted(time for time in times if time is not None)
    cuts: list[int] = []
    if len(known) < query.page_size:
        return cuts
    rows = int(query.page_size * _KNOWN_SHARE)
    first = between = 0  # where the slice begins, and the last place so far between two times
    for index in range(1, len(known)):
        if known[index] > known[index - 1]:
            between = index
        if index - first >= rows and between > first:
            # Between two records, since both slices would return one at the cut, and all that share its time.
            cuts.append((known[between - 1] + known[between] + 1) // 2)
            first = between
    return cuts


def _drop_neighbours(read: _Read, part: Part) -> Plan[None]:
    """Remove the records of the millisecond before the window, unless Binance selects them for the window.

    That millisecond was asked for in case Binance leaves out the start of a span. A record in it is the
    previous window's, if Binance selects by its start; if by another time, it is returned again when the
    window is asked for exactly. The risk unit is named, since it may have closed in the meantime.
    """
    floor_ms, dataset, found = read.active.floor_ms, read.active.dataset, part.found
    if floor_ms != part.start_ms - 1:
        return
    doubtful = [key for key, record in found.items() if dataset.time_ms(record) == floor_ms]
    group_field = dataset.group_field
    units = {found[key][group_field] if group_field else None for key in doubtful}
    queries = (query for unit in units for query in read.queries(unit))
    exact = (query._replace(floor_ms=part.start_ms) for query in queries)
    again = Part(dataset, part.time_range)
    yield from interleave(_read_first(query, again) for query in exact)
    for key in doubtful:
        if key not in again.found:
            del found[key]
