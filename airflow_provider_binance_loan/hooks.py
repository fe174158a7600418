"""The hook: the records of a connection's account, in one call."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_binance_loan.binance.datasets.api_key_permissions import read_key_warnings
from airflow_provider_binance_loan.binance.fields import ClosedRiskUnit, ForceLiquidation, record_key
from airflow_provider_binance_loan.binance.reader import (
    read_closed_units,
    read_force_liquidations,
    parse_risk_units,
)
from airflow_provider_binance_loan.binance.time_range import utc_datetime, parse_window
from airflow_provider_binance_loan.client.progress import Progress
from airflow_provider_binance_loan.client.settings import CONN_TYPE, Settings, parse_connection
from airflow_provider_binance_loan.client.throttle import Clock, Standing
from airflow_provider_binance_loan.exceptions import BinanceLoanError, ConfigurationError
from airflow_provider_binance_loan.validation import shown_unless_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    import requests

    from airflow_provider_binance_loan.binance.plans import Plan, Record
    from airflow_provider_binance_loan.binance.reader import RiskUnitsArgument
    from airflow_provider_binance_loan.client.base import SyncClient


_ACCEPTED = "Binance accepts the key for the institutional loan records of its account."
# A person waits for the test of a connection, and so does the API server, which runs it.
_TEST_TIMEOUT_S = 5.0


class BinanceLoanHook(BaseHook):
    """Read the force-liquidation records of Binance institutional loans.

    A risk unit is force-liquidated on 2026-03-01 at 09:17 UTC. A pull of `[09:00, 10:00)` returns its record
    as Binance reports it, every amount digit for digit as a decimal string; a pull of `[10:00, 11:00)` does
    not, so that neighbouring windows neither repeat nor lose one.

    :param binance_loan_conn_id: the connection that holds the credit account's API key.
    :param clock: the clock to use; the machine's own by default.
    """

    conn_name_attr = "binance_loan_conn_id"
    default_conn_name = "binance_loan_default"
    conn_type = CONN_TYPE
    hook_name = "Binance Institutional Loan"

    def __init__(self, binance_loan_conn_id: str = default_conn_name, *, clock: Clock | None = None) -> None:
        super().__init__()
        self.binance_loan_conn_id = binance_loan_conn_id
        self._standing = Standing(clock or Clock())

    def get_force_liquidations(
        self, start: datetime, end: datetime, *, risk_units: RiskUnitsArgument = "all"
    ) -> list[ForceLiquidation]:
        """Return the records of the window `[start, end)`, oldest first, each once.

        :param start: with time zone; records that start at it belong to the window.
        :param end: with time zone; records that start at it belong to the next window.
        :param risk_units: `"all"`, also those that are closed by now; `"active"`, those that are active
            now; or ids of risk units, as a list or separated by commas.
        :raises ConfigurationError: the connection or an argument is wrong; no request was made.
        :raises BinanceLoanError: one of its subclasses, by what to do; nothing partial is ever returned.
        """
        return _oldest_first(self.iter_force_liquidations(start, end, risk_units=risk_units))

    def iter_force_liquidations(
        self, start: datetime, end: datetime, *, risk_units: RiskUnitsArgument = "all"
    ) -> Iterator[ForceLiquidation]:
        """Yield the records of :meth:`get_force_liquidations`, holding at most 99 days of them in memory."""
        readings = read_force_liquidations(parse_window(start, end), parse_risk_units(risk_units))
        return self._iter(readings, self._settings())

    async def aget_force_liquidations(
        self, start: datetime, end: datetime, *, risk_units: RiskUnitsArgument = "all"
    ) -> list[ForceLiquidation]:
        """Return what :meth:`get_force_liquidations` returns, without blocking the event loop."""
        readings = read_force_liquidations(parse_window(start, end), parse_risk_units(risk_units))
        from airflow_provider_binance_loan.client.base import AsyncClient

        settings = await self._asettings()
        records: list[Record] = []
        progress = Progress(self._standing, self.log)
        async with AsyncClient(settings, self._standing) as door:
            for reading in readings:
                records += await door.run(progress.follow(reading))
        return _oldest_first(records)

    def now(self) -> datetime:
        """Return the present, in UTC, by the hook's clock."""
        return utc_datetime(self._standing.clock.now_ms())

    def get_closed_risk_units(self) -> list[ClosedRiskUnit]:
        """Return the risk units of the account that are closed.

        :raises BinanceLoanError: one of its subclasses, by what to do.
        """
        with self._door(self._settings()) as door:
            return cast("list[ClosedRiskUnit]", door.run(read_closed_units()))

    def get_conn(self) -> requests.Session:
        """Return a session with the connection's API key, proxy and certificate checks; it signs nothing."""
        from airflow_provider_binance_loan.client.base import open_session

        return open_session(self._settings())

    def test_connection(self) -> tuple[bool, str]:
        """Tell whether the account's records can be read with this connection, and if not, why.

        Takes some seconds at the most, and warns of a key that may do more than it needs to.
        """
        try:
            settings = self._settings()
            hasty = replace(settings, timeout=min(settings.timeout, _TEST_TIMEOUT_S), max_wait=0)
            with self._door(hasty, deadline_s=_TEST_TIMEOUT_S) as door:
                door.run(read_closed_units())
        except BinanceLoanError as error:
            # The form's test button makes up an id, which says nothing to anyone.
            return False, str(error).removeprefix(f"Connection {self.binance_loan_conn_id!r}: ")
        try:
            with self._door(hasty, deadline_s=_TEST_TIMEOUT_S) as door:
                warnings = door.run(read_key_warnings())
        except BinanceLoanError as error:
            warnings = [f"What else the key may do is not known: {error}"]
        return True, " ".join([_ACCEPTED, *warnings])

    def _iter(self, readings: Iterable[Plan[list[Record]]], settings: Settings) -> Iterator[ForceLiquidation]:
        progress = Progress(self._standing, self.log)
        with self._door(settings) as door:
            for reading in readings:
                yield from cast("list[ForceLiquidation]", door.run(progress.follow(reading)))

    def _door(self, settings: Settings, **limits: float) -> SyncClient:
        # Imported here, as `requests` takes long to import, and DAGs are parsed without making any.
        from airflow_provider_binance_loan.client.base import SyncClient

        return SyncClient(settings, self._standing, **limits)

    def _settings(self) -> Settings:
        # Read anew for each call, so that a rotated key works from the next one on.
        try:
            return parse_connection(self.get_connection(self.binance_loan_conn_id))
        except AirflowNotFoundException:
            raise ConfigurationError(
                f"Connection {shown_unless_secret(self.binance_loan_conn_id)} is not defined, or in no form "
                f"that Airflow can parse: add it, of type {self.conn_type}."
            ) from None

    async def _asettings(self) -> Settings:
        try:
            return await self._asettings_of_connection()
        except AirflowNotFoundException:
            # `dag.test()` finds a connection in the database in the synchronous way only.
            return await asyncio.to_thread(self._settings)
        except ConfigurationError as error:
            problem = error.with_traceback(None)  # its frames hold the connection
        raise problem

    async def _asettings_of_connection(self) -> Settings:
        connection = await self.aget_connection(self.binance_loan_conn_id)
        # In a thread: masking a secret and reading a key file block.
        return await asyncio.to_thread(parse_connection, connection)


def _oldest_first(records: Iterable[Any]) -> list[ForceLiquidation]:
    return sorted(records, key=record_key)
