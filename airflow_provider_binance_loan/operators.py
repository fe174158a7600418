"""The operator: a run's window of force-liquidation records, to XCom or to S3."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_binance_loan.exceptions import ConfigurationError, RequestRefusedError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.intervals import Window, resolve_window
from airflow_provider_binance_loan.landing import land, open_s3, refuse_existing, to_s3_object

if TYPE_CHECKING:
    from airflow.sdk import Context


class BinanceLoanForceLiquidationOperator(BaseOperator):
    """Pull the force-liquidation records of the run's window.

    The run for the data interval from 2026-03-01 09:00 to 10:00 UTC pulls every liquidation that started at
    or after 09:00 and before 10:00, of active and of closed risk units, each once. Without `s3_key` the list
    of records goes to XCom, `[]` when there are none. With it the records go to S3 as JSON Lines, gzipped
    when the key ends in `.gz`, and XCom gets a manifest: `s3_uri`, `records`, how many of those were still
    `running`, `bytes`, `sha256`, `window_start` and `window_end`. The same records give the same bytes.

    Without `start` and `end` the window is the run's data interval; where that has no width, it reaches back
    to the last successful run's; where there is none, it is the seven days up to the run.

    :param start: where the window starts, a datetime or ISO 8601 text, with time zone; empty for the run's
        own. (templated)
    :param end: where it ends; likewise. (templated)
    :param lookback: how much earlier to start, to fetch again liquidations that were still running last
        time: their figures change until `liquidationEndTime` is set.
    :param risk_units: `"all"`, also those closed by now; `"active"`, those active now; or ids, as a list or
        separated by commas. (templated)
    :param s3_bucket: the bucket, when `s3_key` is not a whole URL. (templated)
    :param s3_key: a key in `s3_bucket`, or a whole `s3://bucket/key`. (templated)
    :param replace: whether to overwrite the object; when False and it is there, the task fails before any
        request to Binance.
    :param aws_conn_id: the connection for S3. (templated)
    :param verify: certificate checks of the S3 endpoint: True, False, or the path of a CA bundle.
    :param max_xcom_records: how many records may go to XCom; with more the task fails and writes nothing.
    :param binance_loan_conn_id: the connection that holds the credit account's API key. (templated)
    """

    template_fields: Sequence[str] = (
        "start",
        "end",
        "risk_units",
        "s3_bucket",
        "s3_key",
        "aws_conn_id",
        "binance_loan_conn_id",
    )
    ui_color = "#f8d12f"
    ui_fgcolor = "#1e2026"

    def __init__(
        self,
        *,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        lookback: timedelta = timedelta(),
        risk_units: str | int | Iterable[int | str] = "all",
        s3_bucket: str | None = None,
        s3_key: str | None = None,
        replace: bool = True,
        aws_conn_id: str | None = "aws_default",
        verify: bool | str | None = None,
        max_xcom_records: int = 1000,
        binance_loan_conn_id: str = BinanceLoanHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.start = start
        self.end = end
        self.lookback = lookback
        self.risk_units = risk_units
        self.s3_bucket = s3_bucket
        self.s3_key = s3_key
        self.replace = replace
        self.aws_conn_id = aws_conn_id
        self.verify = verify
        self.max_xcom_records = max_xcom_records
        self.binance_loan_conn_id = binance_loan_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]] | dict[str, Any]:
        """Pull the window and return the records, or the manifest of the object they are in.

        :raises AirflowFailException: an argument or the connection is wrong, or Binance refuses the request
            or the key; a retry could not help, and might lead to a ban.
        :raises BinanceLoanError: anything else; Airflow retries the task as the DAG says.
        """
        try:
            window = resolve_window(context, start=self.start, end=self.end, lookback=self.lookback)
            self.log.info("Window [%s, %s): %s.", window.start, window.end, window.rule)
            return self._to_xcom(window) if self.s3_key is None else self._to_s3(window, self.s3_key)
        except (ConfigurationError, RequestRefusedError) as error:
            raise AirflowFailException(str(error)) from error

    def _to_xcom(self, window: Window) -> list[dict[str, Any]]:
        if self.s3_bucket:
            raise ConfigurationError(f"s3_bucket is {self.s3_bucket!r} without s3_key: add the key.")
        if type(self.max_xcom_records) is not int or self.max_xcom_records < 0:
            raise ConfigurationError(f"max_xcom_records is {self.max_xcom_records!r}: give a whole number.")
        records: list[Any] = list(islice(self._records(window), self.max_xcom_records + 1))
        if len(records) > self.max_xcom_records:
            raise ConfigurationError(
                f"The window holds more than max_xcom_records={self.max_xcom_records} records, too many for "
                "XCom: set s3_key to land them in S3."
            )
        self.log.info("Pulled %d records.", len(records))
        return records

    def _to_s3(self, window: Window, key: str) -> dict[str, Any]:
        target = to_s3_object(self.s3_bucket, key)
        s3 = open_s3(self.aws_conn_id, self.verify)
        if not self.replace:
            refuse_existing(s3, target)
        written = land(self._records(window), s3, target, replace=self.replace)
        self.log.info("Landed %(records)d records, %(bytes)d bytes, in %(s3_uri)s.", written)
        return {
            **written,
            "window_start": window.start.isoformat(),
            "window_end": window.end.isoformat(),
        }

    def _records(self, window: Window) -> Iterable[Any]:
        hook = BinanceLoanHook(self.binance_loan_conn_id)
        return hook.iter_force_liquidations(window.start, window.end, risk_units=self.risk_units)
