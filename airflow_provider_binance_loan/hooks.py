"""The hook: the records of a connection's account, in one call."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseHook

from airflow_provider_binance_loan.binance.account import read_account
from airflow_provider_binance_loan.binance.datasets.api_key_permissions import read_key_warnings
from airflow_provider_binance_loan.binance.datasets.force_liquidations import (
    FORCE_LIQUIDATIONS,
    ForceLiquidation,
)
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS, read_ltvs
from airflow_provider_binance_loan.binance.reader import read_closed_units, read_window
from airflow_provider_binance_loan.binance.risk_units import parse_risk_units
from airflow_provider_binance_loan.binance.time_range import parse_window, utc_datetime
from airflow_provider_binance_loan.client.clock import SYSTEM_CLOCK, Clock, ClockSkew
from airflow_provider_binance_loan.client.progress import Progress
from airflow_provider_binance_loan.client.settings import CONN_TYPE
from airflow_provider_binance_loan.connections import aget_settings, get_settings
from airflow_provider_binance_loan.exceptions import BinanceLoanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    import requests

    from airflow_provider_binance_loan.binance.datasets.closed_risk_units import ClosedRiskUnit
    from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RiskUnitLtv, Sample
    from airflow_provider_binance_loan.binance.declaration import OnBadAmount, Snapshot, WindowedDataset
    from airflow_provider_binance_loan.binance.fields import Record
    from airflow_provider_binance_loan.binance.plans import Plan
    from airflow_provider_binance_loan.binance.risk_units import RiskUnits, RiskUnitsArgument
    from airflow_provider_binance_loan.binance.time_range import TimeRange
    from airflow_provider_binance_loan.client.asynchronous import AsyncClient
    from airflow_provider_binance_loan.client.base import BaseClient, RetryPolicy
    from airflow_provider_binance_loan.client.settings import Settings
    from airflow_provider_binance_loan.client.sync import SyncClient


_ASYNC_CLIENT = "airflow_provider_binance_loan.client.asynchronous"
# A person waits for the test of a connection, and so does the API server, which runs it.
_TEST_TIMEOUT_S = 5.0


class BinanceLoanHook(BaseHook):
    """Reads the force-liquidation records, and the LTVs, of Binance institutional loans.

    A risk unit is force-liquidated on 2026-03-01 at 09:17 UTC. A pull of `[09:00, 10:00)` returns its record
    as Binance reports it, every amount digit for digit as a decimal string; a pull of `[10:00, 11:00)` does
    not, so that adjacent windows neither repeat nor lose a record.

    :param binance_loan_conn_id: the connection that holds the API key: a credit account's, or for LTVs also
        the parent account's.
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

    def get_force_liquidations(
        self,
        start: datetime,
        end: datetime,
        *,
        risk_units: RiskUnitsArgument = "all",
        on_bad_amount: OnBadAmount = "fail",
    ) -> list[ForceLiquidation]:
        """Return the records of the window `[start, end)`, oldest first, each once.

        :param start: a datetime with time zone; records that start at it belong to the window.
        :param end: a datetime with time zone; records that start at it belong to the next window.
        :param risk_units: `"all"`, also those that are closed by now; `"active"`, those that are active now;
            or ids of risk units, as a list or separated by commas.
        :param on_bad_amount: what to do about a text that is no number where an amount should be, such as
            `"INF"`: `"fail"`, or `"keep"` the text as it was sent.
        :raises ConfigurationError: the connection or an argument is wrong; no request was made.
        :raises TransientError: the connection was not found, or a fault outlasted the retries.
        :raises BinanceLoanError: one of its subclasses, by what to do; nothing partial is ever returned.
        """
        records = self.iter_force_liquidations(start, end, risk_units=risk_units, on_bad_amount=on_bad_amount)
        return _oldest_first(records)

    def iter_force_liquidations(
        self,
        start: datetime,
        end: datetime,
        *,
        risk_units: RiskUnitsArgument = "all",
        on_bad_amount: OnBadAmount = "fail",
    ) -> Iterator[ForceLiquidation]:
        """Yield the records of :meth:`get_force_liquidations`, holding at most 99 days of them in memory."""
        window, units = parse_window(start, end), parse_risk_units(risk_units)
        dataset = FORCE_LIQUIDATIONS.with_bad_amounts(on_bad_amount)
        return cast("Iterator[ForceLiquidation]", self.iter_window(dataset, window, units))

    async def aget_force_liquidations(
        self,
        start: datetime,
        end: datetime,
        *,
        risk_units: RiskUnitsArgument = "all",
        on_bad_amount: OnBadAmount = "fail",
    ) -> list[ForceLiquidation]:
        """Return what :meth:`get_force_liquidations` returns, without blocking the event loop."""
        window, units = parse_window(start, end), parse_risk_units(risk_units)
        dataset = FORCE_LIQUIDATIONS.with_bad_amounts(on_bad_amount)
        return _oldest_first(await self.aget_window(dataset, window, units))

    def get_ltv(
        self, *, risk_units: RiskUnitsArgument = "all", on_bad_amount: OnBadAmount = "fail"
    ) -> list[RiskUnitLtv]:
        """Return the LTV of each active risk unit at this moment, sorted by risk unit.

        The key of the parent account sees all its risk units, that of a credit account its own. It is one
        request, whose weight is 200 of the 12,000 that an IP address has in a minute.

        :param risk_units: `"all"` that the key sees, or ids, of which those that are closed are left out.
        :param on_bad_amount: as for :meth:`get_force_liquidations`.
        :raises ConfigurationError: the connection or an argument is wrong; no request was made.
        :raises TransientError: the key sees no risk unit, and its account has no closed one; the connection
            was not found, or a fault outlasted the retries.
        :raises BinanceLoanError: one of its subclasses, by what to do.
        """
        units = parse_risk_units(risk_units)
        sample = self.sample_ltv(RISK_UNIT_LTVS.with_bad_amounts(on_bad_amount))
        return cast("list[RiskUnitLtv]", sample.of(units))

    async def aget_ltv(
        self, *, risk_units: RiskUnitsArgument = "all", on_bad_amount: OnBadAmount = "fail"
    ) -> list[RiskUnitLtv]:
        """Return what :meth:`get_ltv` returns, without blocking the event loop."""
        units = parse_risk_units(risk_units)
        sample = await self.asample_ltv(RISK_UNIT_LTVS.with_bad_amounts(on_bad_amount))
        return cast("list[RiskUnitLtv]", sample.of(units))

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

    def get_closed_risk_units(self) -> list[ClosedRiskUnit]:
        """Return the risk units of the account that are closed.

        :raises BinanceLoanError: one of its subclasses, by what to do.
        """
        with self._client(self._settings()) as client:
            return cast("list[ClosedRiskUnit]", client.run(read_closed_units()))

    def iter_window(
        self, dataset: WindowedDataset, window: TimeRange, risk_units: RiskUnits
    ) -> Iterator[Record]:
        """Yield the records of a window of any dataset, part by part, oldest part first.

        :param dataset: the declaration of the dataset.
        :param window: the window, in epoch milliseconds.
        :param risk_units: the parsed choice of risk units.
        :raises BinanceLoanError: one of its subclasses, by what to do.
        """
        settings = self._settings()  # at once, and not when the first record is asked for

        def records() -> Iterator[Record]:
            with self._client(settings) as client:
                for plan in self._plans(client, dataset, window, risk_units):
                    yield from client.run(plan)

        return records()

    async def aget_window(
        self, dataset: WindowedDataset, window: TimeRange, risk_units: RiskUnits
    ) -> list[Record]:
        """Return the records of :meth:`iter_window`, without blocking the event loop."""
        records: list[Record] = []
        async with await self._aclient() as client:
            for plan in self._plans(client, dataset, window, risk_units):
                records += await client.run(plan)
        return records

    def sample_ltv(self, dataset: Snapshot) -> Sample:
        """Return the LTVs of all risk units that the key sees, and when Binance was asked.

        :param dataset: the declaration of the LTVs, perhaps as a poll reads it.
        :raises BinanceLoanError: one of its subclasses, by what to do.
        """
        with self._client(self._settings()) as client:
            return client.run(read_ltvs(dataset))

    async def asample_ltv(self, dataset: Snapshot) -> Sample:
        """Return what :meth:`sample_ltv` returns, without blocking the event loop."""
        async with await self._aclient() as client:
            return await client.run(read_ltvs(dataset))

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

    async def _aclient(self) -> AsyncClient:
        # In a thread, since the import would hold up the event loop of the triggerer.
        module = await asyncio.to_thread(import_module, _ASYNC_CLIENT)
        settings = await aget_settings(self, self.binance_loan_conn_id)
        client: AsyncClient = module.AsyncClient(settings, **self._client_arguments())
        return client

    def _client_arguments(self) -> dict[str, Any]:
        policy = {} if self._retry_policy is None else {"retry_policy": self._retry_policy}
        shared = {"skew": self._skew, "log": self.log, "shares_log": self._shares_log}
        return {"clock": self.clock, **shared, **policy}

    def _plans(
        self, client: BaseClient, dataset: WindowedDataset, window: TimeRange, risk_units: RiskUnits
    ) -> Iterator[Plan[list[Record]]]:
        progress = Progress(dataset, client.throttle, self.clock, self.log)
        for plan in read_window(dataset, window, risk_units, span_limits_ms=self._span_limits_ms):
            yield progress.follow(plan)

    def _settings(self) -> Settings:
        # Read again for each call, so that a rotated key works from the next one on.
        return get_settings(self, self.binance_loan_conn_id)


def _key_warnings(client: SyncClient) -> list[str]:
    """Return what the key's owner should know of it, or that this is unknown."""
    try:
        return client.run(read_key_warnings())
    except BinanceLoanError as error:
        error.conn_id = None
        return [f"What else the key may do is unknown: {error}"]


def _oldest_first(records: Iterable[Any]) -> list[ForceLiquidation]:
    return cast("list[ForceLiquidation]", sorted(records, key=FORCE_LIQUIDATIONS.key))
