"""What a watcher of liquidations remembers: those that it has fired events for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS, is_finished
from airflow_provider_binance_loan.binance.time_range import utc_datetime
from airflow_provider_binance_loan.validation import LATEST_S, is_number, shown
from airflow_provider_binance_loan.watcher_state import STATE_VERSION, parse_versioned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_binance_loan.binance.declaration import Key
    from airflow_provider_binance_loan.binance.fields import Record

_LATEST_MS = LATEST_S * 1000


class FiredEvents:
    """The liquidations that a watcher has fired events for, among those since an instant.

    :param since_ms: the instant, in epoch milliseconds, UTC; earlier liquidations fire no event.
    :param keys: the natural keys of those that were fired for, each with whether its finish was too.
    """

    def __init__(self, since_ms: int, keys: dict[Key, bool] | None = None) -> None:
        self.since_ms = since_ms
        self.keys = keys or {}

    @classmethod
    def from_json(cls, value: Any) -> FiredEvents:
        """Return what :meth:`to_json` returned, also before it had a version.

        :raises ValueError: it is something else; the text says what, and goes with "the state".
        """
        value = parse_versioned(value)
        since_ms, fired = value.get("since_ms"), value.get("fired")
        if not _is_instant(since_ms):
            raise ValueError(f"has {shown(since_ms)} as since_ms, which is not a time")
        if not isinstance(fired, list):
            raise ValueError(f"has {shown(fired)} as fired, which is not a list")  # noqa: TRY004
        keys: dict[Key, bool] = {}
        for item in fired:
            match item:
                case [start_ms, group_id, bool(finished)] if _is_instant(start_ms) and type(group_id) is int:
                    keys[(start_ms, group_id)] = finished
                case _:
                    raise ValueError(f"has {shown(item)} in fired, which is not start, id and finish")
        return cls(since_ms, keys)

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON, which outlives this version of the package in users' databases."""
        return {
            "version": STATE_VERSION,
            "since_ms": self.since_ms,
            "fired": [[*key, finished] for key, finished in self.keys.items()],
        }

    def settle(self) -> None:
        """Note that Airflow has all events that were fired: an event that it may lack fires again anyway."""

    @property
    def oldest_ms(self) -> int:
        """From when on to read, in epoch milliseconds."""
        starts_ms: list[int] = [start_ms for start_ms, _ in self.keys]
        return min([self.since_ms, *starts_ms])

    def add(self, record: Record, *, finished: bool) -> Iterator[dict[str, Any]]:
        """Add a record, and yield the payloads of the events that it gives rise to.

        :param record: a liquidation as it is now.
        :param finished: whether the finish of a liquidation is an event too.
        """
        key = FORCE_LIQUIDATIONS.key(record)
        if key not in self.keys:
            if key[0] < self.since_ms:
                return
            payload = _payload("started", key)
            self.keys[key] = False
            yield payload
        if finished and not self.keys[key] and is_finished(record):
            payload = _payload("finished", key)
            self.keys[key] = True
            yield payload

    def forget_before(self, instant_ms: int, *, keep_running: bool) -> bool:
        """Forget liquidations that started before an instant, and return whether there were any.

        :param instant_ms: the instant, in epoch milliseconds.
        :param keep_running: whether to keep those whose finish is still an event to come, for as long as one
            request may span.
        """
        self.since_ms = max(self.since_ms, instant_ms)
        oldest_running_ms = instant_ms - FORCE_LIQUIDATIONS.max_span_ms
        old = [
            key
            for key, finished in self.keys.items()
            if key[0] < self.since_ms and (finished or not keep_running or key[0] < oldest_running_ms)
        ]
        for key in old:
            del self.keys[key]
        return bool(old)


def _is_instant(value: Any) -> TypeGuard[int]:
    return is_number(value, 0, _LATEST_MS, whole=True)


def _payload(what: str, key: Key) -> dict[str, Any]:
    start_ms, group_id = key
    return {
        "what": what,
        "group_id": group_id,
        "start": utc_datetime(start_ms).isoformat(),
        "end": utc_datetime(start_ms + 1).isoformat(),
    }
