"""What to read for a window: the records of all risk units, active and closed, or of those that are named.

https://developers.binance.com/docs/institutional_loan/trade
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from airflow_provider_binance_loan.binance.fields import Key, parse_closed_units
from airflow_provider_binance_loan.binance.messages import Request
from airflow_provider_binance_loan.binance.plans import (
    PAGE_SIZE,
    Reading,
    Record,
    read_pages,
    side_by_side,
)
from airflow_provider_binance_loan.binance.slicing import Pace, Query, walk
from airflow_provider_binance_loan.binance.time_range import Span, spans
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import shown

CLOSED_UNITS_PATH = "/sapi/v1/margin/loan-groups/closed"

# How many records are held in memory at a time, as far as their number can be guessed.
_MOST_ROWS = 8000
# How much wider the next stretch of a span may be than one that held few records.
_WIDEN = 8

_ID = re.compile(r"[0-9]{1,19}")
# Binance's ids are integers of 64 bits.
_TOO_LARGE = 2**63

RiskUnits = Literal["all", "active"] | tuple[int, ...]
RiskUnitsArgument = str | int | Iterable[int | str]


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
    elif not isinstance(value, Iterable) or isinstance(value, bytes):
        raise ConfigurationError(f"risk_units is {shown(value)}: use 'all', 'active', or ids of risk units.")
    ids = dict.fromkeys(_to_id(item) for item in (value.split(",") if isinstance(value, str) else value))
    if not ids:
        raise ConfigurationError("risk_units is an empty list: use 'all', 'active', or name at least one id.")
    return tuple(ids)


def _to_id(item: object) -> int:
    number = int(item) if isinstance(item, str) and _ID.fullmatch(item.strip()) else item
    if type(number) is int and 0 <= number < _TOO_LARGE:
        return number
    raise ConfigurationError(
        f"risk_units holds {shown(item)}: use 'all', 'active', or ids of risk units, "
        "as a list or separated by commas."
    )


def read_force_liquidations(window: Span, risk_units: RiskUnits) -> Iterator[Reading[list[Record]]]:
    """Yield the readings of a window, the oldest part first; run each to its end before taking the next.

    Each returns the records of its part, oldest first; none of them comes twice in the whole window. A part
    is a span that Binance accepts, or as much of one as fits into memory.
    """
    seen = _Keys()
    for span in spans(window):
        cursor = _Cursor(span)
        while cursor.start_ms < span.end_ms:
            yield _read_part(cursor, risk_units, seen)


class _Keys:
    """A set of natural keys that takes eight bytes for each."""

    def __init__(self) -> None:
        self._starts: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))

    def add(self, key: Key) -> bool:
        """Add a key, and tell whether it is new."""
        start_ms, group_id = key
        starts = self._starts[group_id]
        if not starts or starts[-1] < start_ms:  # nearly always
            starts.append(start_ms)
            return True
        index = bisect_left(starts, start_ms)
        if starts[index] == start_ms:
            return False
        starts.insert(index, start_ms)
        return True


class _Cursor:
    """Which part of a span is read next, and the pace learnt so far."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.start_ms, self.end_ms = span
        self.pace = Pace(span.end_ms - span.start_ms)

    def move_to(self, end_ms: int, rows: int) -> None:
        """Go on behind a part that held so many rows, to one that may hold as many as fit."""
        width_ms = end_ms - self.start_ms
        width_ms = max(1, min(width_ms * _WIDEN, width_ms * _MOST_ROWS // max(rows, 1)))
        self.start_ms, self.end_ms = end_ms, min(end_ms + width_ms, self._span.end_ms)


def _read_part(cursor: _Cursor, risk_units: RiskUnits, seen: _Keys) -> Reading[list[Record]]:
    found: dict[Key, Record] = {}
    part = Span(cursor.start_ms, cursor.end_ms)
    group_ids: Sequence[int] = ()
    if isinstance(risk_units, tuple):
        group_ids = risk_units
    else:
        part = Span(part.start_ms, (yield from walk(Query(), part, found, cursor.pace, _MOST_ROWS)))
    if risk_units == "all":
        # Only now: a unit that closes during the walk takes its rows out of the list, and is found here.
        units = yield from read_closed_units()
        group_ids = list(dict.fromkeys(unit["groupId"] for unit in units if _lived_in(unit, part)))
    width_ms = part.end_ms - part.start_ms
    yield from side_by_side(walk(Query(group_id), part, found, Pace(width_ms)) for group_id in group_ids)
    # Rows at the end came because Binance takes it as included; they belong to the next part or window. Rows
    # that start early are kept: Binance does not say which time it filters on.
    cursor.move_to(part.end_ms, len(found))
    return [found[key] for key in sorted(found) if key[0] < part.end_ms and seen.add(key)]


def read_closed_units() -> Reading[list[Record]]:
    """Return the reading of all closed risk units of the account."""
    return read_pages(
        lambda page: Request(CLOSED_UNITS_PATH, (("current", page), ("size", PAGE_SIZE)), parse_closed_units),
        lambda unit: (unit["groupId"], unit["createTime"], unit["closeTime"]),
    )


def _lived_in(unit: Record, span: Span) -> bool:
    """Tell whether a closed unit's life touches a span; a time that Binance does not give may be any."""
    created_ms, closed_ms = unit["createTime"], unit["closeTime"]
    return (not created_ms or created_ms < span.end_ms) and (not closed_ms or closed_ms >= span.start_ms)
