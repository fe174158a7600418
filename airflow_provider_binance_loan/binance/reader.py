"""Read a window of a dataset: records of all risk units, active and closed, or of those that are named."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS, was_open_in
from airflow_provider_binance_loan.binance.plans import LIKELY_CAPS, Plan, interleave, paginate
from airflow_provider_binance_loan.binance.slicing import CLOCK_SLACK_MS, Pace, Query, read_span
from airflow_provider_binance_loan.binance.time_range import TimeRange, split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_binance_loan.binance.declaration import Dataset, Key, Listing
    from airflow_provider_binance_loan.binance.fields import Record
    from airflow_provider_binance_loan.binance.risk_units import RiskUnits

# How much wider the next part of a span may be than one that held few records.
_MAX_WIDENING = 8


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
    dataset: Dataset,
    window: TimeRange,
    risk_units: RiskUnits = "all",
    limits: ReadLimits = DEFAULT_LIMITS,
    closed_units: Listing = CLOSED_RISK_UNITS,
) -> Iterator[Plan[list[Record]]]:
    """Yield the plans of a window's parts, oldest first. Run each to its end before taking the next.

    Each plan returns the records of its part, oldest first; no record is returned twice in the whole window.
    A part is a span that Binance accepts, or as much of one as fits into memory.

    :param dataset: what to read.
    :param window: the window; records before its start are kept, since Binance does not say by which time it
        selects, and records at or after its end are left to the next window.
    :param risk_units: which risk units; `"all"` for a dataset that is not selected by risk unit.
    :param limits: bounds of the read.
    :param closed_units: the list of closed risk units.
    """
    seen = _Keys()
    floor_ms = max(window.start_ms - 1, 0)
    active = Query(dataset, set(LIKELY_CAPS), floor_ms, clock_slack_ms=limits.clock_slack_ms)
    for span in split(window, dataset.max_span_ms):
        cursor = _Cursor(span, limits.rows_in_memory)
        while cursor.start_ms < span.end_ms:
            yield _read_part(active, cursor, risk_units, closed_units, seen)


def read_closed_units(listing: Listing = CLOSED_RISK_UNITS) -> Plan[list[Record]]:
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
    """Which part of a span is read next, and the pace learnt so far."""

    def __init__(self, span: TimeRange, max_rows: int) -> None:
        self._span = span
        self.max_rows = max_rows
        self.start_ms, self.end_ms = span
        self.pace = Pace(span.length_ms)

    def move_to(self, end_ms: int, rows: int) -> None:
        """Go on after a part that held so many rows, to one that may hold as many as fit into memory."""
        width_ms = end_ms - self.start_ms
        width_ms = max(1, min(width_ms * _MAX_WIDENING, width_ms * self.max_rows // max(rows, 1)))
        self.start_ms, self.end_ms = end_ms, min(end_ms + width_ms, self._span.end_ms)


def _read_part(
    active: Query,
    cursor: _Cursor,
    risk_units: RiskUnits,
    closed_units: Listing,
    seen: _Keys,
) -> Plan[list[Record]]:
    dataset = active.dataset
    found: dict[Key, Record] = {}
    part = TimeRange(cursor.start_ms, cursor.end_ms)
    group_ids: Sequence[int] = ()
    if isinstance(risk_units, tuple):
        group_ids = risk_units
    else:
        end_ms = yield from read_span(active, part, found, cursor.pace, cursor.max_rows)
        part = TimeRange(part.start_ms, end_ms)
    if risk_units == "all" and dataset.by_risk_unit:
        # Only now: a unit that closes in the meantime takes its rows out of the list, and is found here.
        units = yield from read_closed_units(closed_units)
        group_ids = list(dict.fromkeys(unit["groupId"] for unit in units if was_open_in(unit, part)))
    queries = (active._replace(group_id=group_id) for group_id in group_ids)
    yield from interleave(read_span(query, part, found, Pace(part.length_ms)) for query in queries)
    yield from _drop_neighbours(active, part, found)
    cursor.move_to(part.end_ms, len(found))
    time_ms = dataset.time_ms
    records = []
    for key in sorted(found):
        started_ms = time_ms(found[key])
        # A record at the end was returned because Binance includes the end; it belongs to what follows.
        if (started_ms is None or started_ms < part.end_ms) and seen.add(key):
            records.append(found[key])
    return records


def _drop_neighbours(active: Query, part: TimeRange, found: dict[Key, Record]) -> Plan[None]:
    """Remove the records of the millisecond before the window, unless Binance selects them for the window.

    That millisecond was asked for in case Binance leaves out the start of a span. A record in it is the
    previous window's, if Binance selects by its start; if by another time, it is returned again when the
    window is asked for exactly. The risk unit is named, since it may have closed in the meantime.
    """
    dataset = active.dataset
    if active.floor_ms != part.start_ms - 1:
        return
    doubtful = [key for key, record in found.items() if dataset.time_ms(record) == active.floor_ms]
    units = {found[key]["groupId"] for key in doubtful} if dataset.by_risk_unit else {None}
    exact = (active._replace(floor_ms=part.start_ms, group_id=unit) for unit in units)
    again: dict[Key, Record] = {}
    if doubtful:
        yield from interleave(read_span(query, part, again, Pace(part.length_ms)) for query in exact)
    for key in doubtful:
        if key not in again:
            del found[key]
