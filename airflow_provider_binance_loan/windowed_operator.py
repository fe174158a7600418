"""The bases of the operators that read the window of a run."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pendulum
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_binance_loan.base_operator import (
    BinanceLoanBaseOperator,
    BinanceLoanLandingOperator,
)
from airflow_provider_binance_loan.binance.own_columns import WINDOW_END, with_own_columns
from airflow_provider_binance_loan.binance.risk_units import parse_risk_units
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.lineage import add_input
from airflow_provider_binance_loan.validation import require_bool
from airflow_provider_binance_loan.windows import resolve_window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import jinja2
    from airflow.sdk import Context

    from airflow_provider_binance_loan.binance.risk_units import RiskUnits
    from airflow_provider_binance_loan.binance.time_range import TimeRange
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord
    from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset
    from airflow_provider_binance_loan.windows import ResolvedWindow


class BinanceLoanWindowOperator(BinanceLoanBaseOperator):
    """Read the window of a run: the base of the operators that say what to read.

    Without `start` and `end` the window is the run's data interval; where that has no width, it starts at the
    end of the last successful run's; where there is none, it is the seven days before the run. Templates of
    the other arguments may use it, as `window_start` and `window_end`, datetimes in UTC: a key that ends in
    `dt={{ window_start | ds }}/records.parquet` works in every kind of run. The rendered templates of a run
    show its window as `window`.

    :param start: where the window starts, a datetime or ISO 8601 text, with time zone; empty for the run's
        own. (templated)
    :param end: where it ends; likewise. (templated)
    :param lookback: how much earlier to start, to fetch again records that were not final last time.
        `window_start` is then earlier as well.
    """

    template_fields: Sequence[str] = ("start", "end", "window", *BinanceLoanBaseOperator.template_fields)

    def __init__(
        self,
        *,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        lookback: timedelta = timedelta(),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.start = start
        self.end = end
        self.lookback = lookback
        self.window = ""  # shown among the rendered templates of a run

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


class BinanceLoanDatasetOperator(BinanceLoanWindowOperator, BinanceLoanLandingOperator):
    """Pull the run's window of a dataset: the base of the operators that add the attribute `dataset`.

    Records go to XCom or S3 as :class:`.BinanceLoanLandingOperator` says, whose arguments it takes, and the
    window is chosen as :class:`BinanceLoanWindowOperator` says. The manifest also has `window_start` and
    `window_end`, and for liquidations how many are still `running`.

    `risk_units` is `"all"`, also those that are closed by now; `"active"`, those that are active now; or ids.
    With `replace=False`, and an object that exists, the task fails before any request to Binance.

    :param start: where the window starts, as for :class:`BinanceLoanWindowOperator`.
    :param end: where it ends; likewise.
    :param lookback: how much earlier to start; likewise.
    :param skip_if_empty: whether to write nothing, and skip the task, when there are no records. By default
        an object without records is written, so that an empty window differs from one that was never pulled.
    :param add_window: whether each row, of flat tables as well, says in the column `window_end` which pull it
        is from: the end of its window. Where windows return a record more than once, the latest wins.
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
        add_window: bool = False,
        **kwargs: Any,
    ) -> None:
        # Named again, so that type checkers see a wrong one.
        super().__init__(start=start, end=end, lookback=lookback, **kwargs)
        self.skip_if_empty = skip_if_empty
        self.add_window = add_window

    def _pull(self, context: Context) -> list[Any] | dict[str, Any]:
        for name in ("skip_if_empty", "add_window"):
            require_bool(getattr(self, name), name)
        risk_units = parse_risk_units(self.risk_units)
        self.dataset.require_risk_units(risk_units)
        dataset = self.dataset.with_bad_amounts(self.on_bad_amount)
        if self.add_window:
            dataset = dataset.with_window_end
        resolved = self._resolve_window(context)
        window = resolved.window
        self.log.info("Window %s.", resolved)
        if self.s3_key is None:
            return self._collect(self._read(dataset, window, risk_units))
        sink = self._open_sink(dataset, self.s3_key)
        is_final, running = dataset.is_final, 0

        def counted() -> Iterator[AnyRecord]:
            nonlocal running
            for record in self._read(dataset, window, risk_units):
                running += bool(is_final and not is_final(record))
                yield record

        manifest = sink.land(counted(), window.bounds)
        return self._report(sink, manifest | ({"running": running} if is_final else {}), context)

    def _read(
        self, dataset: WindowedDataset, window: TimeRange, risk_units: RiskUnits
    ) -> Iterator[AnyRecord]:
        add_input(self.hook, dataset, window.bounds)
        records = self.hook.iter_parsed(dataset, window, risk_units)
        if self.add_window:
            own = {WINDOW_END: window.end_ms}
            records = (with_own_columns(record, own) for record in records)
        first = next(records, None)
        if first is None and self.skip_if_empty:
            raise AirflowSkipException("The window holds no records, and skip_if_empty is set.")
        return chain(() if first is None else (first,), records)
