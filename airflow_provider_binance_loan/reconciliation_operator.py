"""The operator that checks that the datasets of a window, and what was landed of them, agree."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_binance_loan.binance.datasets.borrow_repay import BORROW_REPAY
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.datasets.interest_history import INTEREST_HISTORY
from airflow_provider_binance_loan.binance.datasets.liquidation_transfers import LIQUIDATION_TRANSFERS
from airflow_provider_binance_loan.binance.risk_units import parse_risk_units
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.landing.s3_reader import S3Reader
from airflow_provider_binance_loan.landing.xcom import require_max_xcom_records
from airflow_provider_binance_loan.lineage import add_input
from airflow_provider_binance_loan.reconciliation.check import judge_roundings
from airflow_provider_binance_loan.reconciliation.closed_units import check_closed_units
from airflow_provider_binance_loan.reconciliation.datasets import Pulled, check_datasets
from airflow_provider_binance_loan.reconciliation.landings import (
    check_counts,
    check_object,
    check_windows,
    landed_objects,
    parse_manifests,
)
from airflow_provider_binance_loan.validation import described
from airflow_provider_binance_loan.windowed_operator import BinanceLoanWindowOperator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.sdk import Context

    from airflow_provider_binance_loan.binance.fields import Record
    from airflow_provider_binance_loan.binance.risk_units import RiskUnits
    from airflow_provider_binance_loan.binance.time_range import TimeRange
    from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset
    from airflow_provider_binance_loan.reconciliation.check import Check
    from airflow_provider_binance_loan.reconciliation.landings import Manifest

OnDifference = Literal["fail", "warn"]

# The log names each difference, up to this many; the XCom has all of them.
_MAX_LOGGED = 100


class BinanceLoanReconciliationOperator(BinanceLoanWindowOperator):
    """Check that the datasets of the run's window agree, and what earlier tasks landed of them.

    The liquidations, interest, borrowings, repayments and transfers of the window are pulled again and
    compared: totals with their parts, the LTV with its formula, repayments by force with what was owed, what
    is owed at one liquidation with what was owed at the one before, transfers with repayments. With
    `manifests`, no window may be missing among them, and each object must still have its hash.

    XCom gets a table, a list of rows with `check`, `subject`, `expected`, `found`, `difference`, `outcome`
    and `note`. An outcome is `"equal"`, `"different"`, or `"not_compared"` for what cannot be compared, such
    as amounts of several currencies. If the task fails because of a difference, XCom has the table as well.

    `risk_units` is `"all"`, also those that are closed by now; `"active"`, those that are active now; or ids.
    A window has no repayments of a liquidation that ends after it: with `lookback`, a later run has both.

    :param manifests: what landing tasks returned: a manifest, or a list of them, or lists of lists; None for
        none. (templated)
    :param on_difference: whether to `"fail"` the task, without a retry, when a check finds a difference, or
        to `"warn"` in the log.
    """

    template_fields: Sequence[str] = ("manifests", *BinanceLoanWindowOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {"manifests": "json"}

    def __init__(self, *, manifests: Any = None, on_difference: OnDifference = "fail", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.manifests = manifests
        self.on_difference = on_difference

    def _require_arguments(self) -> None:
        require_max_xcom_records(self.max_xcom_records)
        if self.on_difference not in get_args(OnDifference):
            raise ConfigurationError(
                f"Give on_difference as 'fail' or 'warn': it is {described(self.on_difference)}."
            )

    def _pull(self, context: Context) -> list[Any]:
        risk_units, manifests = parse_risk_units(self.risk_units), parse_manifests(self.manifests)
        resolved = self._resolve_window(context)
        self.log.info("Window %s.", resolved)
        counts: Counter[str] = Counter()
        table = judge_roundings(
            [
                *self._check_landings(manifests, resolved.window),
                *self._check_datasets(resolved.window, risk_units, counts),
                *check_counts(manifests, counts, resolved.window),
            ]
        )
        differences = [row for row in table if row["outcome"] == "different"]
        self._log_table(table, differences)
        if len(table) > self.max_xcom_records:
            raise ConfigurationError(
                f"Raise max_xcom_records, or check a shorter window: the table has {len(table)} rows, "
                f"{len(differences)} of them different, and max_xcom_records={self.max_xcom_records}."
            )
        if differences and self.on_difference == "fail":
            if self.do_xcom_push:  # Airflow keeps what a failed task has pushed, and pushes nothing for it
                context["ti"].xcom_push(key=BaseXCom.XCOM_RETURN_KEY, value=table)
            raise AirflowFailException(
                f"Look into the differences that the log and the XCom name: {len(differences)} of {len(table)} "
                f"rows, and the first is {_described(differences[0])}."
            )
        return table

    def _check_datasets(self, window: TimeRange, risk_units: RiskUnits, counts: Counter[str]) -> list[Check]:
        """Return the rows about the datasets, and count their records."""

        def read(dataset: WindowedDataset, of_units: RiskUnits) -> Iterator[Record]:
            add_input(self.hook, dataset, window.bounds)
            counts[dataset.name] = 0
            # An amount that is no number is not compared; all others still are.
            for record in self.hook.iter_window(dataset.with_bad_amounts("keep"), window, of_units):
                counts[dataset.name] += 1
                yield record

        pulled = Pulled(
            liquidations=read(FORCE_LIQUIDATIONS, risk_units),
            interest=read(INTEREST_HISTORY, risk_units),
            transactions=read(BORROW_REPAY, risk_units),
            transfers=read(LIQUIDATION_TRANSFERS, "all"),
        )
        checks = check_datasets(pulled, window, all_units=risk_units == "all")
        return [*checks, *check_closed_units(self.hook.get_closed_risk_units(), risk_units, window)]

    def _check_landings(self, manifests: list[Manifest], window: TimeRange) -> Iterator[Check]:
        """Yield the rows about what was landed; first of all, so that a wrong manifest costs no pull."""
        yield from check_windows(manifests, window)
        if manifests:
            reader = S3Reader(aws_conn_id=self.aws_conn_id, verify=self.verify)
            for landed in landed_objects(manifests):
                yield check_object(landed, reader.digest(landed.uri))

    def _log_table(self, table: list[Check], differences: list[Check]) -> None:
        outcomes = Counter(row["outcome"] for row in table)
        self.log.info(
            "Checked %d: %d equal, %d different, %d not compared.",
            len(table),
            *(outcomes[outcome] for outcome in ("equal", "different", "not_compared")),
        )
        not_compared = Counter(row["check"] for row in table if row["outcome"] == "not_compared")
        for check, count in sorted(not_compared.items()):
            self.log.info("Not compared: %s, %d.", check, count)
        for row in differences[:_MAX_LOGGED]:
            self.log.warning("Different: %s.", _described(row))
        if len(differences) > _MAX_LOGGED:
            self.log.warning("Different: %d more.", len(differences) - _MAX_LOGGED)


def _described(row: Check) -> str:
    """Return a row on one line."""
    figures = f", {row['found']} and not {row['expected']}" if row["difference"] is not None else ""
    note = f" ({row['note']})" if row["note"] else ""
    return f"{row['check']} of {row['subject']}{figures}{note}"
