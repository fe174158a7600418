"""The operators: what they read, to XCom or to objects in S3."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import pendulum
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_binance_loan.base_operator import BinanceLoanLandingOperator
from airflow_provider_binance_loan.binance.datasets.active_risk_units import ACTIVE_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.datasets.interest_history import INTEREST_HISTORY
from airflow_provider_binance_loan.binance.datasets.liquidation_transfers import LIQUIDATION_TRANSFERS
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS, read_ltvs
from airflow_provider_binance_loan.binance.risk_units import parse_risk_units
from airflow_provider_binance_loan.binance.snapshots import read_listing, read_snapshot
from airflow_provider_binance_loan.binance.time_range import utc_datetime, utc_text
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.lineage import add_input
from airflow_provider_binance_loan.validation import described, require_bool, shown
from airflow_provider_binance_loan.windows import resolve_window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import jinja2
    from airflow.sdk import Context

    from airflow_provider_binance_loan.binance.declaration import Dataset, WindowedDataset
    from airflow_provider_binance_loan.binance.fields import Record
    from airflow_provider_binance_loan.binance.plans import Plan
    from airflow_provider_binance_loan.binance.risk_units import RiskUnits
    from airflow_provider_binance_loan.binance.snapshots import Sample
    from airflow_provider_binance_loan.binance.time_range import TimeRange
    from airflow_provider_binance_loan.windows import ResolvedWindow

# When Binance was asked, in the key of an object: `{asked_at}`, or with a format as `strftime` takes it.
_ASKED_AT = re.compile(r"\{asked_at(?::([^{}]+))?\}")
_DIRECTIVE = re.compile("%[YmdHMSfjy]")


class BinanceLoanDatasetOperator(BinanceLoanLandingOperator):
    """Pull the run's window of a dataset: the base of the operators that add the attribute `dataset`.

    Records go to XCom or S3 as :class:`.BinanceLoanLandingOperator` says, whose arguments it takes. The
    manifest also has `window_start` and `window_end`, and for liquidations how many are still `running`.

    Without `start` and `end` the window is the run's data interval; where that has no width, it starts at the
    end of the last successful run's; where there is none, it is the seven days before the run. Templates of
    the other arguments may use it, as `window_start` and `window_end`, datetimes in UTC: a key that ends in
    `dt={{ window_start | ds }}/records.parquet` works in every kind of run. The rendered templates of a run
    show its window as `window`.

    `risk_units` is `"all"`, also those that are closed by now; `"active"`, those that are active now; or ids.
    With `replace=False`, and an object that exists, the task fails before any request to Binance.

    :param start: where the window starts, a datetime or ISO 8601 text, with time zone; empty for the run's
        own. (templated)
    :param end: where it ends; likewise. (templated)
    :param lookback: how much earlier to start, to fetch again records that were not final last time.
        `window_start` is then earlier as well.
    :param skip_if_empty: whether to write nothing, and skip the task, when there are no records. By default
        an object without records is written, so that an empty window differs from one that was never pulled.
    """

    dataset: ClassVar[WindowedDataset]

    template_fields: Sequence[str] = ("start", "end", "window", *BinanceLoanLandingOperator.template_fields)

    def __init__(
        self,
        *,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        lookback: timedelta = timedelta(),
        skip_if_empty: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.start = start
        self.end = end
        self.lookback = lookback
        self.skip_if_empty = skip_if_empty
        self.window = ""  # shown among the rendered templates of a run

    def _pull(self, context: Context) -> list[Any] | dict[str, Any]:
        require_bool(self.skip_if_empty, "skip_if_empty")
        risk_units = parse_risk_units(self.risk_units)
        self.dataset.require_risk_units(risk_units)
        dataset = self.dataset.with_bad_amounts(self.on_bad_amount)
        resolved = self._resolve_window(context)
        window = resolved.window
        self.log.info("Window %s.", resolved)
        if self.s3_key is None:
            return self._collect(self._read(dataset, window, risk_units))
        sink = self._open_sink(self.dataset, self.s3_key)
        is_final, running = dataset.is_final, 0

        def counted() -> Iterator[Record]:
            nonlocal running
            for record in self._read(dataset, window, risk_units):
                running += bool(is_final and not is_final(record))
                yield record

        manifest = sink.land(counted(), window.bounds)
        return self._report(sink, manifest | ({"running": running} if is_final else {}), context)

    def _read(self, dataset: WindowedDataset, window: TimeRange, risk_units: RiskUnits) -> Iterator[Record]:
        add_input(self.hook, dataset, window.bounds)
        records = self.hook.iter_window(dataset, window, risk_units)
        first = next(records, None)
        if first is None and self.skip_if_empty:
            raise AirflowSkipException("The window holds no records, and skip_if_empty is set.")
        return chain(() if first is None else (first,), records)

    def _resolve_window(self, context: Context) -> ResolvedWindow:
        return resolve_window(context, start=self.start, end=self.end, lookback=self.lookback)

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        # The window's own arguments are rendered first, so that all others may use the window.
        if parent is self:
            super()._do_render_template_fields(self, ("start", "end"), context, jinja_env, seen_oids)
            try:
                resolved = self._resolve_window(context)
            except ConfigurationError:
                return  # `execute` raises it again, where it fails the task
            self.window = str(resolved)
            cast("dict[str, Any]", context).update(
                window_start=pendulum.instance(resolved.window.start),
                window_end=pendulum.instance(resolved.window.end),
            )
            template_fields = [name for name in template_fields if name not in {"start", "end", "window"}]
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)


class BinanceLoanForceLiquidationOperator(BinanceLoanDatasetOperator):
    """Pull the force-liquidation records of the run's window.

    The run for the data interval from 2026-03-01 09:00 to 10:00 UTC pulls every liquidation that started at
    or after 09:00 and before 10:00, of active and of closed risk units, each once. Of those that are still
    running the figures change until `liquidationEndTime` is set; `lookback` fetches them again. The flat
    tables are `liquidations`, `snapshots` and `liabilities`. The arguments, and what is returned, are those
    of :class:`BinanceLoanDatasetOperator`.
    """

    dataset = FORCE_LIQUIDATIONS


class BinanceLoanLiquidationTransferOperator(BinanceLoanDatasetOperator):
    """Pull the transfers of collateral to the credit account, a record for each liquidation.

    During a liquidation collateral is moved to the credit account, to repay the loans. A record lists these
    transfers, and grows while the liquidation runs. By which time Binance selects a record is not documented,
    so one that two windows touch is in both: merge by `liquidationId`, the latest wins. Leave `risk_units`
    out: the records do not say which risk unit they are of. The flat tables are `liquidation_transfers`,
    `liquidationTransferRecord` and `assets`. The arguments, and what is returned, are those of
    :class:`BinanceLoanDatasetOperator`.
    """

    dataset = LIQUIDATION_TRANSFERS


class BinanceLoanInterestOperator(BinanceLoanDatasetOperator):
    """Pull the interest that accrued in the run's window, a record for each loan and hour.

    The run for the data interval from 2026-03-01 09:00 to 10:00 UTC pulls what Binance stamps from 09:00 on
    and before 10:00, of active and of closed risk units, each record once. The flat table is `interest`. The
    arguments, and what is returned, are those of :class:`BinanceLoanDatasetOperator`.
    """

    dataset = INTEREST_HISTORY


class BinanceLoanSnapshotOperator(BinanceLoanLandingOperator):
    """Take a snapshot at the moment when the task runs: the base of the operators that say of what.

    A retry, or a task that is cleared, takes another snapshot: Airflow's dates of the run say nothing of when
    that was. The manifest says it, as `asked_at`, and the key can: `{asked_at}` in `s3_key` becomes
    `20260301T091700123Z`, and `{asked_at:%Y-%m-%d}` the date in UTC; a format of the directives
    `%Y %m %d %H %M %S %f %j %y` may stand there. With a key that names the run alone, the later snapshot
    replaces the earlier one.

    `risk_units` is `"all"` that the key sees, or ids; those without a record are named in the log. The other
    arguments, and what is returned, are those of :class:`.BinanceLoanLandingOperator`.
    """

    def _choose(self) -> tuple[Dataset, Plan[Sample]]:
        """Return the dataset, and the plan that reads it.

        :raises ConfigurationError: an argument is wrong.
        """
        raise NotImplementedError

    def _pull(self, context: Context) -> list[Any] | dict[str, Any]:
        risk_units = parse_risk_units(self.risk_units)
        dataset, plan = self._choose()
        if self.s3_key is not None:
            _dated(self.s3_key, self.hook.now())  # a wrong key is refused before anything is requested
        sample = self.hook.sample(plan)
        asked_at = utc_datetime(sample.asked_at_ms)
        about = {"asked_at": asked_at.isoformat()}
        add_input(self.hook, dataset, about)
        records = sample.of(risk_units)
        self.log.info("Binance was asked at %s.", utc_text(sample.asked_at_ms))
        if missing := sample.missing(risk_units):
            named = ", ".join(map(str, missing))
            self.log.warning("No record of risk units %s: closed, or not seen by this key.", named)
        if self.s3_key is None:
            return self._collect(records)
        sink = self._open_sink(dataset, _dated(self.s3_key, asked_at))
        return self._report(sink, sink.land(records, about), context)


class BinanceLoanLtvOperator(BinanceLoanSnapshotOperator):
    """Take a snapshot of the LTVs of risk units.

    Binance keeps no history of LTVs: what no snapshot shows is gone. A run at 2026-03-01 09:17 UTC has one
    record for each active risk unit that the key sees, with `asked_at`, the time by Binance's clock. The key
    of the parent account sees all its risk units, that of a credit account its own. The flat tables are
    `risk_units`, `wallets` and `liabilities`. The arguments, and what is returned, are those of
    :class:`BinanceLoanSnapshotOperator`.
    """

    def _choose(self) -> tuple[Dataset, Plan[Sample]]:
        dataset = RISK_UNIT_LTVS.with_bad_amounts(self.on_bad_amount)
        return dataset, read_ltvs(dataset)


class BinanceLoanRiskUnitOperator(BinanceLoanSnapshotOperator):
    """Take a snapshot of the risk units that are active, or of those that are closed.

    The active ones are for the key of the parent account, and the closed ones for that of a credit account.
    The flat tables are `risk_units` and `members`, or `closed_risk_units`. Further arguments, and what is
    returned, are those of :class:`BinanceLoanSnapshotOperator`.

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


def _dated(key: str, asked_at: datetime) -> str:
    """Return the key of a snapshot's object, with when Binance was asked in place of `{asked_at}`.

    :raises ConfigurationError: the placeholder is written otherwise, or its format says nothing of the time.
    """

    def text(match: re.Match[str]) -> str:
        if not match[1]:
            return f"{asked_at:%Y%m%dT%H%M%S}{asked_at.microsecond // 1000:03}Z"
        written = _DIRECTIVE.sub(lambda directive: asked_at.strftime(directive[0]), match[1])
        return match[0] if "%" in written or written == match[1] else written

    if not isinstance(key, str):
        return key
    dated = _ASKED_AT.sub(text, key)
    if re.search(r"\{[^{}]*asked_at", dated, re.IGNORECASE):  # each snapshot would replace the one before
        raise ConfigurationError(
            "Write {asked_at} in s3_key, or {asked_at:%Y-%m-%d} with some of %Y %m %d %H %M %S %f %j %y: it "
            f"is {shown(key)}."
        )
    return dated
