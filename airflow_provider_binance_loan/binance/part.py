"""A part of a window: as much of it as is read, and held in memory, at once."""

from __future__ import annotations

from math import ceil, inf
from typing import TYPE_CHECKING

from airflow_provider_binance_loan.binance.time_range import DAY_MS, TimeRange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_binance_loan.binance.declaration import Key
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord
    from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset
    from airflow_provider_binance_loan.exceptions import RequestRefusedError

# A request covers a millisecond more than its slice, so this is the width whose request spans a day.
_MIN_SPAN_MS = DAY_MS - 1


class SpanLimit:
    """The longest span that Binance accepts in one request; shorter after it has refused one.

    :param dataset: the dataset, which declares the longest span that is documented.
    :param known_ms: the limits that earlier reads have found, in milliseconds, by the name of the dataset.
    """

    def __init__(self, dataset: WindowedDataset, known_ms: dict[str, int]) -> None:
        self._name = dataset.name
        self._known_ms = known_ms
        self._refusal: RequestRefusedError | None = None
        known_ms.setdefault(dataset.name, dataset.max_span_ms)

    @property
    def ms(self) -> int:
        """The limit, in milliseconds."""
        return self._known_ms[self._name]

    def halve(self, width_ms: int, refusal: RequestRefusedError) -> None:
        """Allow half of a span that was refused, or a day.

        :raises RequestRefusedError: a day was refused too. The first refusal is raised: the later ones are
            only about this package's attempts.
        """
        self._refusal = self._refusal or refusal
        if width_ms <= _MIN_SPAN_MS:
            raise self._refusal
        self._known_ms[self._name] = max(min(self.ms, width_ms // 2), _MIN_SPAN_MS)


class Part:
    """The records of a part of a window. When they are too many, its end moves back.

    A part from March to June that may hold 8,000 records ends, when 16,000 were found in it, where the oldest
    8,000 of them end. The others are read again with the next part.

    :param dataset: the dataset.
    :param time_range: its range of time at first.
    :param max_rows: how many records it should hold; while it is read, it may hold twice as many.
    """

    def __init__(self, dataset: WindowedDataset, time_range: TimeRange, max_rows: float = inf) -> None:
        self.found: dict[Key, AnyRecord] = {}
        self.start_ms, self.end_ms = time_range
        self._time_ms = dataset.time_ms
        self._max_rows = max_rows
        self._too_many = 2 * max_rows
        self._expected = 0.0
        self._was_shortened = False

    @property
    def time_range(self) -> TimeRange:
        """Its range of time by now."""
        return TimeRange(self.start_ms, self.end_ms)

    @property
    def length_ms(self) -> int:
        """How long it is by now."""
        return self.end_ms - self.start_ms

    def add(self, records: Mapping[Key, AnyRecord]) -> None:
        """Add records; they replace those with the same key, which are older."""
        if self._was_shortened:  # since the request was sent
            records = {key: record for key, record in records.items() if self.may_hold(record)}
        self.found.update(records)
        if len(self.found) <= self._too_many:
            return
        times = [time_ms for record in self.found.values() if (time_ms := self._time_ms(record)) is not None]
        nth = int(self._max_rows)
        if len(times) > nth:
            end_ms = sorted(times)[nth]
            # Where Binance selects by another time, the start of a record is no guide to its place.
            if end_ms > self.start_ms:
                self.end_at(end_ms)
        self._too_many = max(2 * self._max_rows, 2 * len(self.found))

    def expect(self, records: float) -> None:
        """Take into account about how many records one more query has in the whole part."""
        self._expected += records
        if self._expected > 2 * self._max_rows:
            width_ms = ceil(self.length_ms * self._max_rows / self._expected)
            self.end_at(self.start_ms + width_ms)

    def end_at(self, end_ms: int) -> None:
        """Move the end back to a time, if it is later; the part keeps a millisecond at least."""
        end_ms = max(end_ms, self.start_ms + 1)
        if end_ms >= self.end_ms:
            return
        self._expected *= (end_ms - self.start_ms) / self.length_ms
        self.end_ms = end_ms
        self._was_shortened = True
        for key in [key for key, record in self.found.items() if not self.may_hold(record)]:
            del self.found[key]

    def may_hold(self, record: AnyRecord) -> bool:
        """Return whether a record that was returned belongs to this part, and not to what follows it."""
        time_ms = self._time_ms(record)
        return time_ms is None or time_ms < self.end_ms
