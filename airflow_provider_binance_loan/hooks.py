"""The hook: the records of a connection's account, in one call for each dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from airflow_provider_binance_loan.base_hook import BinanceLoanBaseHook
from airflow_provider_binance_loan.binance.datasets.active_risk_units import ACTIVE_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.borrow_repay import BORROW_REPAY
from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.datasets.interest_history import INTEREST_HISTORY
from airflow_provider_binance_loan.binance.datasets.liquidation_transfers import LIQUIDATION_TRANSFERS
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS, read_ltvs
from airflow_provider_binance_loan.binance.risk_units import parse_risk_units
from airflow_provider_binance_loan.binance.snapshots import read_listing, read_snapshot
from airflow_provider_binance_loan.binance.time_range import parse_window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from airflow_provider_binance_loan.binance.datasets.active_risk_units import ActiveRiskUnit
    from airflow_provider_binance_loan.binance.datasets.borrow_repay import BorrowRepayRecord
    from airflow_provider_binance_loan.binance.datasets.closed_risk_units import ClosedRiskUnit
    from airflow_provider_binance_loan.binance.datasets.force_liquidations import ForceLiquidation
    from airflow_provider_binance_loan.binance.datasets.interest_history import InterestRecord
    from airflow_provider_binance_loan.binance.datasets.liquidation_transfers import LiquidationTransfers
    from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RiskUnitLtv
    from airflow_provider_binance_loan.binance.declaration import OnBadAmount
    from airflow_provider_binance_loan.binance.risk_units import RiskUnitsArgument
    from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset


class BinanceLoanHook(BinanceLoanBaseHook):
    """Reads the records, and the LTVs, of Binance institutional loans.

    A risk unit is force-liquidated on 2026-03-01 at 09:17 UTC. A pull of `[09:00, 10:00)` returns its record
    as Binance reports it, every amount digit for digit as a decimal string; a pull of `[10:00, 11:00)` does
    not, so that adjacent windows neither repeat nor lose a record.

    A method `get_…` returns the records of a dataset, `iter_…` yields those of a window a part at a time, and
    `aget_…` returns them without blocking an event loop.

    :param binance_loan_conn_id: the connection that holds the API key: a credit account's; for active risk
        units the parent account's, and for LTVs either.
    :param clock: the clock to go by; the machine's own by default.
    :param retry_policy: how often a request that met a passing fault is sent again; five attempts by default.
    :param shares_log: whether several hooks write to one log, as those of watchers do.
    """

    def get_force_liquidations(
        self,
        start: datetime,
        end: datetime,
        *,
        risk_units: RiskUnitsArgument = "all",
        on_bad_amount: OnBadAmount = "fail",
    ) -> list[ForceLiquidation]:
        """Return the force liquidations of the window `[start, end)`, oldest first, each once.

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
        return sorted(records, key=FORCE_LIQUIDATIONS.key)

    def iter_force_liquidations(
        self,
        start: datetime,
        end: datetime,
        *,
        risk_units: RiskUnitsArgument = "all",
        on_bad_amount: OnBadAmount = "fail",
    ) -> Iterator[ForceLiquidation]:
        """Yield the records of :meth:`get_force_liquidations`, holding at most 99 days of them in memory."""
        return self._iter(FORCE_LIQUIDATIONS, start, end, risk_units, on_bad_amount)

    async def aget_force_liquidations(
        self,
        start: datetime,
        end: datetime,
        *,
        risk_units: RiskUnitsArgument = "all",
        on_bad_amount: OnBadAmount = "fail",
    ) -> list[ForceLiquidation]:
        """Return what :meth:`get_force_liquidations` returns, without blocking the event loop."""
        return await self._aget(FORCE_LIQUIDATIONS, start, end, risk_units, on_bad_amount)

    def get_liquidation_transfers(
        self, start: datetime, end: datetime, *, on_bad_amount: OnBadAmount = "fail"
    ) -> list[LiquidationTransfers]:
        """Return the transfers of collateral in the window, a record for each liquidation.

        By which time Binance selects a record is not documented. So one that two windows touch is returned
        for both, and may have more transfers in the later answer: merge by `liquidationId`, the latest wins.

        :param start: a datetime with time zone.
        :param end: a datetime with time zone.
        :param on_bad_amount: as for :meth:`get_force_liquidations`.
        :raises BinanceLoanError: as for :meth:`get_force_liquidations`.
        """
        records = self.iter_liquidation_transfers(start, end, on_bad_amount=on_bad_amount)
        return sorted(records, key=LIQUIDATION_TRANSFERS.key)

    def iter_liquidation_transfers(
        self, start: datetime, end: datetime, *, on_bad_amount: OnBadAmount = "fail"
    ) -> Iterator[LiquidationTransfers]:
        """Yield the records of :meth:`get_liquidation_transfers`, a part at a time."""
        return self._iter(LIQUIDATION_TRANSFERS, start, end, "all", on_bad_amount)

    async def aget_liquidation_transfers(
        self, start: datetime, end: datetime, *, on_bad_amount: OnBadAmount = "fail"
    ) -> list[LiquidationTransfers]:
        """Return what :meth:`get_liquidation_transfers` returns, without blocking the event loop."""
        return await self._aget(LIQUIDATION_TRANSFERS, start, end, "all", on_bad_amount)

    def get_interest_history(
        self,
        start: datetime,
        end: datetime,
        *,
        risk_units: RiskUnitsArgument = "all",
        on_bad_amount: OnBadAmount = "fail",
    ) -> list[InterestRecord]:
        """Return the interest that accrued in the window `[start, end)`, oldest first, each record once.

        :param start: a datetime with time zone; interest that is stamped with it belongs to the window.
        :param end: a datetime with time zone; interest that is stamped with it belongs to the next window.
        :param risk_units: as for :meth:`get_force_liquidations`.
        :param on_bad_amount: as for :meth:`get_force_liquidations`.
        :raises BinanceLoanError: as for :meth:`get_force_liquidations`.
        """
        records = self.iter_interest_history(start, end, risk_units=risk_units, on_bad_amount=on_bad_amount)
        return sorted(records, key=INTEREST_HISTORY.key)

    def iter_interest_history(
        self,
        start: datetime,
        end: datetime,
        *,
        risk_units: RiskUnitsArgument = "all",
        on_bad_amount: OnBadAmount = "fail",
    ) -> Iterator[InterestRecord]:
        """Yield the records of :meth:`get_interest_history`, a part at a time."""
        return self._iter(INTEREST_HISTORY, start, end, risk_units, on_bad_amount)

    async def aget_interest_history(
        self,
        start: datetime,
        end: datetime,
        *,
        risk_units: RiskUnitsArgument = "all",
        on_bad_amount: OnBadAmount = "fail",
    ) -> list[InterestRecord]:
        """Return what :meth:`get_interest_history` returns, without blocking the event loop."""
        return await self._aget(INTEREST_HISTORY, start, end, risk_units, on_bad_amount)

    def get_borrow_repay(
        self,
        start: datetime,
        end: datetime,
        *,
        risk_units: RiskUnitsArgument = "all",
        on_bad_amount: OnBadAmount = "fail",
    ) -> list[BorrowRepayRecord]:
        """Return what was borrowed and repaid in the window `[start, end)`, oldest first.

        Binance does not say which risk unit a record is of: see `asked_group_id` of the record.

        :param start: a datetime with time zone; a transaction of that time belongs to the window.
        :param end: a datetime with time zone; a transaction of that time belongs to the next window.
        :param risk_units: as for :meth:`get_force_liquidations`.
        :param on_bad_amount: as for :meth:`get_force_liquidations`.
        :raises BinanceLoanError: as for :meth:`get_force_liquidations`.
        """
        records = self.iter_borrow_repay(start, end, risk_units=risk_units, on_bad_amount=on_bad_amount)
        return sorted(records, key=BORROW_REPAY.key)

    def iter_borrow_repay(
        self,
        start: datetime,
        end: datetime,
        *,
        risk_units: RiskUnitsArgument = "all",
        on_bad_amount: OnBadAmount = "fail",
    ) -> Iterator[BorrowRepayRecord]:
        """Yield the records of :meth:`get_borrow_repay`, a part at a time."""
        return self._iter(BORROW_REPAY, start, end, risk_units, on_bad_amount)

    async def aget_borrow_repay(
        self,
        start: datetime,
        end: datetime,
        *,
        risk_units: RiskUnitsArgument = "all",
        on_bad_amount: OnBadAmount = "fail",
    ) -> list[BorrowRepayRecord]:
        """Return what :meth:`get_borrow_repay` returns, without blocking the event loop."""
        return await self._aget(BORROW_REPAY, start, end, risk_units, on_bad_amount)

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
        sample = self.sample(read_ltvs(RISK_UNIT_LTVS.with_bad_amounts(on_bad_amount)))
        return cast("list[RiskUnitLtv]", sample.of(units))

    async def aget_ltv(
        self, *, risk_units: RiskUnitsArgument = "all", on_bad_amount: OnBadAmount = "fail"
    ) -> list[RiskUnitLtv]:
        """Return what :meth:`get_ltv` returns, without blocking the event loop."""
        units = parse_risk_units(risk_units)
        sample = await self.asample(read_ltvs(RISK_UNIT_LTVS.with_bad_amounts(on_bad_amount)))
        return cast("list[RiskUnitLtv]", sample.of(units))

    def get_active_risk_units(self) -> list[ActiveRiskUnit]:
        """Return the risk units of the parent account that are active, with their accounts.

        :raises BinanceLoanError: one of its subclasses, by what to do.
        """
        return cast("list[ActiveRiskUnit]", self.sample(read_snapshot(ACTIVE_RISK_UNITS)).records)

    async def aget_active_risk_units(self) -> list[ActiveRiskUnit]:
        """Return what :meth:`get_active_risk_units` returns, without blocking the event loop."""
        return cast("list[ActiveRiskUnit]", (await self.asample(read_snapshot(ACTIVE_RISK_UNITS))).records)

    def get_closed_risk_units(self) -> list[ClosedRiskUnit]:
        """Return the risk units of the credit account that are closed.

        :raises BinanceLoanError: one of its subclasses, by what to do.
        """
        return cast("list[ClosedRiskUnit]", self.sample(read_listing(CLOSED_RISK_UNITS)).records)

    async def aget_closed_risk_units(self) -> list[ClosedRiskUnit]:
        """Return what :meth:`get_closed_risk_units` returns, without blocking the event loop."""
        return cast("list[ClosedRiskUnit]", (await self.asample(read_listing(CLOSED_RISK_UNITS))).records)

    def _iter(
        self,
        dataset: WindowedDataset,
        start: datetime,
        end: datetime,
        risk_units: RiskUnitsArgument,
        on_bad_amount: OnBadAmount,
    ) -> Iterator[Any]:
        window, units = parse_window(start, end), parse_risk_units(risk_units)
        return self.iter_window(dataset.with_bad_amounts(on_bad_amount), window, units)

    async def _aget(
        self,
        dataset: WindowedDataset,
        start: datetime,
        end: datetime,
        risk_units: RiskUnitsArgument,
        on_bad_amount: OnBadAmount,
    ) -> list[Any]:
        window, units = parse_window(start, end), parse_risk_units(risk_units)
        records = await self.aget_window(dataset.with_bad_amounts(on_bad_amount), window, units)
        return sorted(records, key=dataset.key)
