"""How far a long pull is, a line in the log now and then. Asks nothing and waits for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_binance_loan.binance.time_range import utc_datetime

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_provider_binance_loan.binance.plans import Plan, Record
    from airflow_provider_binance_loan.client.throttle import Standing

_EVERY_S = 10.0


class Progress:
    """Tell how far a pull is, once it takes long.

    The pull of an hour's window leaves no line; that of years leaves one about every ten seconds.

    :param standing: how the hook stands with Binance.
    :param log: where the lines go.
    """

    def __init__(self, standing: Standing, log: Logger) -> None:
        self._standing = standing
        self._log = log
        self._began_at = self._told_at = standing.clock.monotonic()
        self._requests = self._parts = self._records = 0
        self._until = ""

    def follow(self, reading: Plan[list[Record]]) -> Plan[list[Record]]:
        """Pass on what a reading asks and is answered, and return what it read."""
        batch = next(reading)
        while True:
            responses = yield batch
            self._requests += len(batch)
            try:
                batch = reading.send(responses)
            except StopIteration as stop:
                records: list[Record] = stop.value
                break
            self._tell()
        self._parts += 1
        self._records += len(records)
        if records:
            self._until = f" up to {utc_datetime(records[-1]['liquidationStartTime']).isoformat()}"
        self._tell()
        return records

    def _tell(self) -> None:
        now_s = self._standing.clock.monotonic()
        if now_s - self._told_at < _EVERY_S:
            return
        self._told_at = now_s
        self._log.info(
            "Read so far: %d records%s in %d parts, %d requests in %.0f s, %d of the minute's weight used.",
            self._records,
            self._until,
            self._parts,
            self._requests,
            now_s - self._began_at,
            self._standing.used_weight,
        )
