"""Progress of a long pull, as a line in the log now and then. Sends nothing and waits for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_binance_loan.binance.time_range import utc_text

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_provider_binance_loan.binance.messages import Response
    from airflow_provider_binance_loan.binance.plans import Plan
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord
    from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset
    from airflow_provider_binance_loan.client.clock import Clock
    from airflow_provider_binance_loan.client.throttle import Throttle

_INTERVAL_S = 10.0


class Progress:
    """Logs how far a pull is, about every ten seconds. A pull that takes less leaves no line.

    :param dataset: what is pulled.
    :param throttle: the throttle, for the weight that is used.
    :param clock: the clock to go by.
    :param log: where the lines go.
    """

    def __init__(self, dataset: WindowedDataset, throttle: Throttle, clock: Clock, log: Logger) -> None:
        self._dataset = dataset
        self._throttle = throttle
        self._clock = clock
        self._log = log
        self._began_at = self._logged_at = clock.monotonic()
        self._requests = self._parts = self._records = 0
        self._until = ""

    def follow(self, plan: Plan[list[AnyRecord]]) -> Plan[list[AnyRecord]]:
        """Pass on the requests and answers of a plan, and return its records."""
        response: Response | None = None
        while True:
            try:
                request = plan.send(response)
            except StopIteration as stop:
                records: list[AnyRecord] = stop.value
                break
            self._requests += request is not None
            if response is not None:
                self._log_if_due()
            response = yield request
        self._parts += 1
        self._records += len(records)
        if records and (time_ms := self._dataset.time_ms(records[-1])) is not None:
            self._until = f" up to {utc_text(time_ms)}"
        self._log_if_due()
        return records

    def _log_if_due(self) -> None:
        now_s = self._clock.monotonic()
        if now_s - self._logged_at < _INTERVAL_S:
            return
        self._logged_at = now_s
        self._log.info(
            "Read so far: %d records%s in %d parts, %d requests in %.0f s, %d of the minute's weight used.",
            self._records,
            self._until,
            self._parts,
            self._requests,
            now_s - self._began_at,
            self._throttle.used_weight(self._dataset.path),
        )
