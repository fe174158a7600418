"""The operators: what they read, to XCom or to objects in S3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_binance_loan.binance.datasets.active_risk_units import ACTIVE_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.borrow_repay import BORROW_REPAY
from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.datasets.interest_history import INTEREST_HISTORY
from airflow_provider_binance_loan.binance.datasets.liquidation_transfers import LIQUIDATION_TRANSFERS
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS, read_ltvs
from airflow_provider_binance_loan.binance.snapshots import read_listing, read_snapshot
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.reconciliation_operator import (
    BinanceLoanReconciliationOperator as BinanceLoanReconciliationOperator,  # noqa: PLC0414 - public here
)
from airflow_provider_binance_loan.snapshot_operator import BinanceLoanSnapshotOperator
from airflow_provider_binance_loan.validation import described
from airflow_provider_binance_loan.windowed_operator import BinanceLoanDatasetOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_binance_loan.binance.declaration import Dataset
    from airflow_provider_binance_loan.binance.plans import Plan
    from airflow_provider_binance_loan.binance.snapshots import Sample


class BinanceLoanForceLiquidationOperator(BinanceLoanDatasetOperator):
    """Pull the force-liquidation records of the run's window.

    The run for the data interval from 2026-03-01 09:00 to 10:00 UTC pulls every liquidation that started at
    or after 09:00 and before 10:00, of active and of closed risk units, each once. Of those that are still
    running the figures change until `liquidationEndTime` is set; `lookback` fetches them again. The flat
    tables are `liquidations`, `snapshots` and `liabilities`. The arguments, and what is returned, are those
    of :class:`.BinanceLoanDatasetOperator`.
    """

    dataset = FORCE_LIQUIDATIONS


class BinanceLoanLiquidationTransferOperator(BinanceLoanDatasetOperator):
    """Pull the transfers of collateral to the credit account, a record for each liquidation.

    During a liquidation collateral is moved to the credit account, to repay the loans. A record lists these
    transfers, and grows while the liquidation runs. By which time Binance selects a record is not documented,
    so one that two windows touch is in both: merge by `liquidationId`, the latest wins. Leave `risk_units`
    out: the records do not say which risk unit they are of. The flat tables are `liquidation_transfers`,
    `liquidationTransferRecord` and `assets`. The arguments, and what is returned, are those of
    :class:`.BinanceLoanDatasetOperator`.
    """

    dataset = LIQUIDATION_TRANSFERS


class BinanceLoanInterestOperator(BinanceLoanDatasetOperator):
    """Pull the interest that accrued in the run's window, a record for each loan and hour.

    The run for the data interval from 2026-03-01 09:00 to 10:00 UTC pulls what Binance stamps from 09:00 on
    and before 10:00, of active and of closed risk units, each record once. The flat table is `interest`. The
    arguments, and what is returned, are those of :class:`.BinanceLoanDatasetOperator`.
    """

    dataset = INTEREST_HISTORY


class BinanceLoanBorrowRepayOperator(BinanceLoanDatasetOperator):
    """Pull what was borrowed and repaid in the run's window, a record for each transaction.

    The run for the data interval from 2026-03-01 09:00 to 10:00 UTC pulls the transactions from 09:00 on and
    before 10:00, failed ones as well, of active and of closed risk units. Binance does not say which risk
    unit a record is of: `asked_group_id` is the one that was asked for, and null where that is not known. The
    flat table is `borrow_repay`. The arguments, and what is returned, are those of
    :class:`.BinanceLoanDatasetOperator`.
    """

    dataset = BORROW_REPAY


class BinanceLoanLtvOperator(BinanceLoanSnapshotOperator):
    """Take a snapshot of the LTVs of risk units.

    Binance keeps no history of LTVs: what no snapshot shows is gone. A run at 2026-03-01 09:17 UTC has one
    record for each active risk unit that the key sees, with `asked_at`, the time by Binance's clock. The key
    of the parent account sees all its risk units, that of a credit account its own. The flat tables are
    `risk_units`, `wallets` and `liabilities`. The arguments, and what is returned, are those of
    :class:`.BinanceLoanSnapshotOperator`.
    """

    def _choose(self) -> tuple[Dataset, Plan[Sample]]:
        dataset = RISK_UNIT_LTVS.with_bad_amounts(self.on_bad_amount)
        return dataset, read_ltvs(dataset)


class BinanceLoanRiskUnitOperator(BinanceLoanSnapshotOperator):
    """Take a snapshot of the risk units that are active, or of those that are closed.

    The active ones are for the key of the parent account, and the closed ones for that of a credit account.
    The flat tables are `risk_units` and `members`, or `closed_risk_units`. Further arguments, and what is
    returned, are those of :class:`.BinanceLoanSnapshotOperator`.

    :param status: `"active"` or `"closed"`. (templated)
    """

    template_fields: Sequence[str] = ("status", *BinanceLoanSnapshotOperator.template_fields)

    def __init__(self, *, status: Literal["active", "closed"] = "active", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.status = status

    def _choose(self) -> tuple[Dataset, Plan[Sample]]:
        if self.status == "active":
            return ACTIVE_RISK_UNITS, read_snapshot(ACTIVE_RISK_UNITS)
        if self.status == "closed":
            return CLOSED_RISK_UNITS, read_listing(CLOSED_RISK_UNITS)
        raise ConfigurationError(f"Give status as 'active' or 'closed': it is {described(self.status)}.")
