"""The base of the hook: its connection, its clients, and the reading of any dataset."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_provider_binance_loan.binance.account import read_account
from airflow_provider_binance_loan.binance.datasets.api_key_permissions import read_key_warnings
from airflow_provider_binance_loan.binance.reader import read_window
from airflow_provider_binance_loan.binance.time_range import utc_datetime
from airflow_provider_binance_loan.binance.typed_records import plain
from airflow_provider_binance_loan.client.clock import SYSTEM_CLOCK, Clock, ClockSkew
from airflow_provider_binance_loan.client.progress import Progress
from airflow_provider_binance_loan.client.settings import CONN_TYPE
from airflow_provider_binance_loan.connections import aget_settings, get_settings
from airflow_provider_binance_loan.exceptions import BinanceLoanError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from datetime import datetime

    import requests

    from airflow_provider_binance_loan.binance.fields import Record
    from airflow_provider_binance_loan.binance.plans import Plan
    from airflow_provider_binance_loan.binance.risk_units import RiskUnits
    from airflow_provider_binance_loan.binance.snapshots import Sample
    from airflow_provider_binance_loan.binance.time_range import TimeRange
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord
    from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset
    from airflow_provider_binance_loan.client.asynchronous import AsyncClient
    from airflow_provider_binance_loan.client.base import BaseClient, RetryPolicy
    from airflow_provider_binance_loan.client.settings import Settings
    from airflow_provider_binance_loan.client.sync import SyncClient


_ASYNC_CLIENT = "airflow_provider_binance_loan.client.asynchronous"
# A person waits for the test of a connection, and so does the API server, which runs it.
_TEST_TIMEOUT_S = 5.0


class BinanceLoanBaseHook(BaseHook):
    """Keeps the credentials of a connection, and reads datasets with them.

    :param binance_loan_conn_id: the connection that holds the API key: a credit account's; for active risk
        units the parent account's, and for LTVs either.
    :param clock: the clock to go by; the machine's own by default.
    :param retry_policy: how often a request that met a passing fault is sent again; five attempts by default.
    :param shares_log: whether several hooks write to one log, as those of watchers do.
    """

    conn_name_attr = "binance_loan_conn_id"
    default_conn_name = "binance_loan_default"
    conn_type = CONN_TYPE
    hook_name = "Binance Institutional Loan"

    def __init__(
        self,
        binance_loan_conn_id: str = default_conn_name,
        *,
        clock: Clock | None = None,
        retry_policy: RetryPolicy | None = None,
        shares_log: bool = False,
    ) -> None:
        super().__init__()
        self.binance_loan_conn_id = binance_loan_conn_id
        self.clock = clock or SYSTEM_CLOCK
        self._skew = ClockSkew()
        self._retry_policy = retry_policy
        self._shares_log = shares_log
        self._span_limits_ms: dict[str, int] = {}

    def now(self) -> datetime:
        """Return the present, in UTC, by the hook's clock."""
        return utc_datetime(self.clock.now_ms())

    @property
    def now_ms(self) -> int:
        """The present by Binance's clock as far as that is known, in epoch milliseconds, UTC."""
        return self.clock.now_ms() + self._skew.offset_ms

    @property
    def passed_ms(self) -> int:
        """A time that Binance's clock has passed for certain, in epoch milliseconds, UTC.

        It is some seconds before the last request that Binance accepted, whatever this machine's clock says;
        0 before the first one.
        """
        return self._skew.passed_ms

    def iter_window(
        self, dataset: WindowedDataset, window: TimeRange, risk_units: RiskUnits
    ) -> Iterator[Record]:
        """Yield the records of a window of any dataset, part by part, oldest part first.

        :param dataset: the declaration of the dataset.
        :param window: the window, in epoch milliseconds.
        :param risk_units: the parsed choice of risk units.
        :raises BinanceLoanError: one of its subclasses, by what to do.
        """
        return map(plain, self.iter_parsed(dataset, window, risk_units))

    def iter_parsed(
        self, dataset: WindowedDataset, window: TimeRange, risk_units: RiskUnits
    ) -> Iterator[AnyRecord]:
        """Yield the records of :meth:`iter_window` as they were parsed, typed ones and dicts."""
        settings = self._settings()  # at once, and not when the first record is asked for

        def records() -> Iterator[AnyRecord]:
            with self._client(settings) as client:
                for plan in self._plans(client, dataset, window, risk_units):
                    yield from client.run(plan)

        return records()

    async def aget_window(
        self, dataset: WindowedDataset, window: TimeRange, risk_units: RiskUnits
    ) -> list[Record]:
        """Return the records of :meth:`iter_window`, without blocking the event loop."""
        records: list[Record] = []
        async with self._aclient() as client:
            for plan in self._plans(client, dataset, window, risk_units):
                records += map(plain, await client.run(plan))
        return records

    def sample(self, plan: Plan[Sample]) -> Sample:
        """Return a snapshot, and when Binance was asked.

        :param plan: the plan that reads it.
        :raises BinanceLoanError: one of its subclasses, by what to do.
        """
        with self._client(self._settings()) as client:
            return client.run(plan)

    async def asample(self, plan: Plan[Sample]) -> Sample:
        """Return what :meth:`sample` returns, without blocking the event loop."""
        async with self._aclient() as client:
            return await client.run(plan)

    def get_conn(self) -> requests.Session:
        """Return a session with the connection's API key, proxy and certificate checks; it signs nothing."""
        from airflow_provider_binance_loan.client.session import open_session

        return open_session(self._settings())

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the account can be read with this connection, and a message that says why.

        It takes some seconds at most, and warns of a key that may do too much, in the log as well.
        """
        from airflow_provider_binance_loan.client.base import RetryPolicy

        hasty = RetryPolicy(deadline_s=_TEST_TIMEOUT_S)
        try:
            settings = self._settings()
            settings = replace(settings, timeout=min(settings.timeout, _TEST_TIMEOUT_S), max_wait=0)
            with self._client(settings, retry_policy=hasty) as client:
                account = client.run(read_account())
                warnings = [*settings.warnings, *_key_warnings(client)]
        except BinanceLoanError as error:
            error.conn_id = None  # the form's test button makes up an id, which says nothing to anyone
            return False, str(error)
        for warning in warnings:  # `airflow connections test` prints no message, but with --verbose the log
            self.log.warning("%s", warning)
        return True, " ".join([*warnings, account])

    def _client(self, settings: Settings, **changes: Any) -> SyncClient:
        # Imported here, since `requests` takes long to import, and DAGs are parsed without making requests.
        from airflow_provider_binance_loan.client.sync import SyncClient

        return SyncClient(settings, **(self._client_arguments() | changes))

    @asynccontextmanager
    async def _aclient(self) -> AsyncIterator[AsyncClient]:
        """Yield the client of one call."""
        async with await self._new_aclient(await self._asettings()) as client:
            yield client

    async def _new_aclient(self, settings: Settings, **changes: Any) -> AsyncClient:
        # In a thread, since the import would hold up the event loop of the triggerer.
        module = await asyncio.to_thread(import_module, _ASYNC_CLIENT)
        client: AsyncClient = module.AsyncClient(settings, **self._client_arguments(), **changes)
        return client

    def _client_arguments(self) -> dict[str, Any]:
        policy = {} if self._retry_policy is None else {"retry_policy": self._retry_policy}
        shared = {"skew": self._skew, "log": self.log, "shares_log": self._shares_log}
        return {"clock": self.clock, **shared, **policy}

    def _plans(
        self, client: BaseClient, dataset: WindowedDataset, window: TimeRange, risk_units: RiskUnits
    ) -> Iterator[Plan[list[AnyRecord]]]:
        progress = Progress(dataset, client.throttle, self.clock, self.log)
        for plan in read_window(dataset, window, risk_units, span_limits_ms=self._span_limits_ms):
            yield progress.follow(plan)

    def _settings(self) -> Settings:
        # Read again for each call, so that a rotated key works from the next one on.
        return get_settings(self, self.binance_loan_conn_id)

    async def _asettings(self) -> Settings:
        return await aget_settings(self, self.binance_loan_conn_id)


def _key_warnings(client: SyncClient) -> list[str]:
    """Return what the key's owner should know of it, or that this is unknown."""
    try:
        return client.run(read_key_warnings())
    except BinanceLoanError as error:
        error.conn_id = None
        return [f"What else the key may do is unknown: {error}"]
