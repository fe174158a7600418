"""The operator that checks that the datasets of a window, and what was landed of them, agree."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_binance_loan.binance.account import OTHER_ACCOUNT_CODES
from airflow_provider_binance_loan.binance.datasets.borrow_repay import BORROW_REPAY
from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.datasets.interest_history import INTEREST_HISTORY
from airflow_provider_binance_loan.binance.datasets.liquidation_transfers import LIQUIDATION_TRANSFERS
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import (
    NOT_CREDIT_CODES,
    RISK_UNIT_LTVS,
    read_ltvs,
)
from airflow_provider_binance_loan.binance.risk_units import parse_risk_units
from airflow_provider_binance_loan.binance.snapshots import read_listing
from airflow_provider_binance_loan.binance.time_range import utc_datetime
from airflow_provider_binance_loan.exceptions import ConfigurationError, RequestRefusedError
from airflow_provider_binance_loan.landing.s3_reader import S3Reader
from airflow_provider_binance_loan.landing.xcom import require_max_xcom_records
from airflow_provider_binance_loan.lineage import add_input
from airflow_provider_binance_loan.reconciliation.check import judge_roundings
from airflow_provider_binance_loan.reconciliation.datasets import Missing, Pulled, check_datasets
from airflow_provider_binance_loan.reconciliation.landings import (
    Counted,
    check_object,
    check_records,
    check_windows,
    landed_objects,
    parse_manifests,
)
from airflow_provider_binance_loan.validation import described
from airflow_provider_binance_loan.windowed_operator import BinanceLoanWindowOperator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow.sdk import Context

    from airflow_provider_binance_loan.binance.declaration import Dataset
    from airflow_provider_binance_loan.binance.fields import Record
    from airflow_provider_binance_loan.binance.plans import Plan
    from airflow_provider_binance_loan.binance.risk_units import RiskUnits
    from airflow_provider_binance_loan.binance.snapshots import Sample
    from airflow_provider_binance_loan.binance.time_range import TimeRange
    from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset
    from airflow_provider_binance_loan.hooks import BinanceLoanHook
    from airflow_provider_binance_loan.reconciliation.check import Check

OnDifference = Literal["fail", "warn"]

# The log names each difference, up to this many; the XCom has all of them.
_MAX_LOGGED = 100


class BinanceLoanReconciliationOperator(BinanceLoanWindowOperator):
    """Check that the datasets of the run's window agree, and what earlier tasks landed of them.

    The liquidations, interest, borrowings, repayments and transfers of the window are pulled and compared:
    totals with their parts, the LTV with its formula, repayments by force with what was owed, what is owed at
    one liquidation with what was owed at the one before, transfers with repayments. So are the LTVs and the
    closed risk units of now. With `manifests`, no window may be missing, and each object must be as it was.

    XCom gets a table, a list of rows with `check`, `subject`, `expected`, `found`, `difference`, `outcome`
    and `note`. An outcome is `"equal"`, `"different"`, or `"not_compared"` for what cannot be compared, such
    as amounts of several currencies, or a dataset that is not for the key's account. If the task fails for a
    difference, XCom has the table as well; with more rows than `max_xcom_records` it fails without a table.

    `risk_units` is `"all"`, also those that are closed by now; `"active"`, those that are active now; or ids.
    A window has no repayments of a liquidation that ends after it: with `lookback`, a later run has both.

    :param manifests: a list of the manifests that landing tasks returned, or of the addresses in S3 of
        manifests as JSON; None for none. (templated)
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
        risk_units = parse_risk_units(self.risk_units)
        resolved = self._resolve_window(context)
        window = resolved.window
        self.log.info("Window %s.", resolved)
        # What was landed first of all, so that a wrong manifest costs no pull.
        stored = S3Reader(aws_conn_id=self.aws_conn_id, verify=self.verify)
        given = parse_manifests(self.manifests, stored.read_text)
        table = [*check_windows(given, window)]
        manifests = [manifest for manifest in given if manifest is not None]
        for landed in landed_objects(manifests):
            table += check_object(landed, stored.examine(landed["uri"]))
        datasets = _DatasetReader(self.hook, window, risk_units)
        table += check_datasets(datasets.read(), window, risk_units)
        table += check_records(manifests, datasets.counted, window)
        return self._report(judge_roundings(table), context)

    def _report(self, table: list[Check], context: Context) -> list[Any]:
        differences = [row for row in table if row["outcome"] == "different"]
        self._log_table(table, differences)
        if self.do_xcom_push and len(table) > self.max_xcom_records:
            first = f" The first that is different is {_described(differences[0])}." if differences else ""
            raise ConfigurationError(
                f"Raise max_xcom_records, or check a shorter window: the table has {len(table)} rows, "
                f"{len(differences)} of them different, and max_xcom_records={self.max_xcom_records}.{first}"
            )
        if differences and self.on_difference == "fail":
            if self.do_xcom_push:  # Airflow keeps what a failed task has pushed, and pushes nothing for it
                context["ti"].xcom_push(key=BaseXCom.XCOM_RETURN_KEY, value=table)
            raise AirflowFailException(
                f"Look into the differences in the log and the XCom: {len(differences)} of {len(table)} "
                f"rows, and the first is {_described(differences[0])}."
            )
        return table

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


class _DatasetReader:
    """Reads the datasets of a window, as far as Binance allows it to the key, and counts their records.

    `counted` has the records of each dataset once they are read.
    """

    def __init__(self, hook: BinanceLoanHook, window: TimeRange, risk_units: RiskUnits) -> None:
        self.counted: dict[str, Counted] = {}
        self._hook = hook
        self._window = window
        self._risk_units = risk_units

    def read(self) -> Pulled:
        """Return the datasets, which are read as they are iterated.

        Whoever may not read the liquidations cannot reconcile, so their refusal is an error.
        """
        return Pulled(
            liquidations=list(self._records(FORCE_LIQUIDATIONS, self._risk_units)),
            interest=self._records_if_allowed(INTEREST_HISTORY, self._risk_units),
            transactions=self._records_if_allowed(BORROW_REPAY, self._risk_units),
            transfers=self._records_if_allowed(LIQUIDATION_TRANSFERS, "all"),
            risk_unit_ltvs=self._sample(RISK_UNIT_LTVS, read_ltvs(RISK_UNIT_LTVS.with_bad_amounts("keep"))),
            closed_risk_units=()  # where all are asked for, none could be missing
            if self._risk_units == "all"
            else self._sample(CLOSED_RISK_UNITS, read_listing(CLOSED_RISK_UNITS)),
        )

    def _records(self, dataset: WindowedDataset, risk_units: RiskUnits) -> Iterator[Record]:
        add_input(self._hook, dataset, self._window.bounds)
        times: list[Any] = []
        # An amount that is no number is not compared; all others still are.
        for record in self._hook.iter_window(dataset.with_bad_amounts("keep"), self._window, risk_units):
            times.append(dataset.time_ms(record))
            yield record
        self.counted[dataset.name] = Counted(times if None in times else sorted(times))

    def _records_if_allowed(
        self, dataset: WindowedDataset, risk_units: RiskUnits
    ) -> Iterable[Record] | Missing:
        records = self._records(dataset, risk_units)
        try:
            first = next(records, None)
        except RequestRefusedError as error:
            missing = _missing(error, OTHER_ACCOUNT_CODES)
            self.counted[dataset.name] = Counted((), missing.reason)
            return missing
        return chain(() if first is None else (first,), records)

    def _sample(self, dataset: Dataset, plan: Plan[Sample]) -> Iterable[Record] | Missing:
        try:
            sample = self._hook.sample(plan)
        except RequestRefusedError as error:
            # A credit account's key may be refused so at this endpoint alone.
            return _missing(error, NOT_CREDIT_CODES if dataset is RISK_UNIT_LTVS else OTHER_ACCOUNT_CODES)
        add_input(self._hook, dataset, {"asked_at": utc_datetime(sample.asked_at_ms).isoformat()})
        # Of the closed risk units also those that were not asked for: they are what is looked for.
        return sample.of(self._risk_units) if dataset is RISK_UNIT_LTVS else sample.records


def _missing(error: RequestRefusedError, codes: frozenset[int]) -> Missing:
    """Return why a dataset is missing, where it is not for the account of the key.

    :param codes: how Binance says so.
    :raises RequestRefusedError: it is refused for another reason, such as a key that was revoked.
    """
    if error.code not in codes:
        raise error
    return Missing(f"Binance refused it: {error}")


def _described(row: Check) -> str:
    """Return a row on one line."""
    figures = f", {row['found']} and not {row['expected']}" if row["difference"] is not None else ""
    note = f" ({row['note']})" if row["note"] else ""
    return f"{row['check']} of {row['subject']}{figures}{note}"
