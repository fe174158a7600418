"""The operator: a run's window of force-liquidation records, to XCom or to S3."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_provider_binance_loan.exceptions import ConfigurationError, RequestRefusedError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.landing.s3 import Store, parse_s3_object
from airflow_provider_binance_loan.landing.sink import Landing
from airflow_provider_binance_loan.lineage import announce, note_input
from airflow_provider_binance_loan.links import S3ObjectLink
from airflow_provider_binance_loan.validation import is_number, require_bool, shown
from airflow_provider_binance_loan.windows import Window, resolve_window

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    import jinja2
    from airflow.sdk import Context

    from airflow_provider_binance_loan.landing.formats import FileFormat
    from airflow_provider_binance_loan.landing.parquet import Amounts

# Airflow's database holds each XCom as one value.
_MOST_IN_XCOM = 1_000_000


class BinanceLoanForceLiquidationOperator(BaseOperator):
    """Pull the force-liquidation records of the run's window.

    The run for the data interval from 2026-03-01 09:00 to 10:00 UTC pulls every liquidation that started at
    or after 09:00 and before 10:00, of active and of closed risk units, each once. Without `s3_key` the list
    of records goes to XCom, `[]` when there are none. With it the records go to S3, as JSON Lines or Parquet,
    and XCom gets a manifest: `s3_uri`, `records`, how many of those were still `running`, `bytes`, `sha256`,
    `window_start` and `window_end`; with `flatten` also `tables`. The same records give the same bytes.

    Without `start` and `end` the window is the run's data interval; where that has no width, it reaches back
    to the last successful run's; where there is none, it is the seven days up to the run. Templates of the
    other arguments may name it, as `window_start` and `window_end`, datetimes in UTC: a key that ends in
    `dt={{ window_start | ds }}/records.parquet` works in every kind of run.

    :param start: where the window starts, a datetime or ISO 8601 text, with time zone; empty for the run's
        own. (templated)
    :param end: where it ends; likewise. (templated)
    :param lookback: how much earlier to start, to fetch again liquidations that were still running last
        time: their figures change until `liquidationEndTime` is set. `window_start` is then earlier as well.
    :param risk_units: `"all"`, also those closed by now; `"active"`, those active now; or ids, as a list or
        separated by commas. (templated)
    :param s3_bucket: the bucket, when `s3_key` is not a whole URL. (templated)
    :param s3_key: a key in `s3_bucket`, or a whole `s3://bucket/key`. (templated)
    :param file_format: `"jsonl"`, `"jsonl.gz"` or `"parquet"`, where the key does not end in `.jsonl`,
        `.ndjson` or `.json`, each with or without `.gz`, or in `.parquet`.
    :param flatten: whether to write three tables, `liquidations`, `snapshots` and `liabilities`, and not one
        object of nested records. The table's name takes the place of `{table}` in the key; without that it is
        a folder before the first `name=value` folder, or else before the file.
    :param parquet_amounts: `"decimal"`, which is `decimal128(38, 18)` and fails the task on an amount that it
        cannot hold exactly; `"string"`, digit for digit; or one of these for each of some columns, such as
        `{"interest": "string"}`.
    :param replace: whether to overwrite the object; when False and it is there, the task fails before any
        request to Binance.
    :param skip_if_empty: whether to write nothing, and skip the task, when there are no records. By default
        an object without records is written, which tells an empty window from one that was never pulled.
    :param encrypt: whether S3 encrypts the object with keys of its own (AES256).
    :param acl_policy: a canned ACL for the object.
    :param s3_extra_args: what else boto3 takes for an upload, such as `{"StorageClass": "STANDARD_IA",
        "Tagging": "team=risk"}`. (templated)
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
        "s3_extra_args",
        "aws_conn_id",
        "binance_loan_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"s3_extra_args": "json"}
    operator_extra_links: Collection[Any] = (S3ObjectLink(),)
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
        file_format: FileFormat | None = None,
        flatten: bool = False,
        parquet_amounts: Amounts = "decimal",
        replace: bool = True,
        skip_if_empty: bool = False,
        encrypt: bool = False,
        acl_policy: str | None = None,
        s3_extra_args: Mapping[str, Any] | None = None,
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
        self.file_format = file_format
        self.flatten = flatten
        self.parquet_amounts = parquet_amounts
        self.replace = replace
        self.skip_if_empty = skip_if_empty
        self.encrypt = encrypt
        self.acl_policy = acl_policy
        self.s3_extra_args = s3_extra_args
        self.aws_conn_id = aws_conn_id
        self.verify = verify
        self.max_xcom_records = max_xcom_records
        self.binance_loan_conn_id = binance_loan_conn_id
        self.s3_object_url = ""

    def execute(self, context: Context) -> list[dict[str, Any]] | dict[str, Any]:
        """Pull the window and return the records, or the manifest of the object they are in.

        :raises AirflowFailException: an argument or the connection is wrong, or Binance or S3 refuses the
            request or the key; a retry could not help, and might lead to a ban.
        :raises AirflowSkipException: there are no records, and `skip_if_empty` is set.
        :raises BinanceLoanError: anything else; Airflow retries the task as the DAG says.
        """
        try:
            for name in ("flatten", "replace", "skip_if_empty", "encrypt"):
                require_bool(getattr(self, name), name)
            window = self._window(context)
            self.log.info("Window [%s, %s): %s.", window.start, window.end, window.rule)
            if self.s3_key is None:
                return self._to_xcom(window)
            manifest = self._to_s3(window, self.s3_key)
        except PermanentError as error:
            raise AirflowFailException(str(error)) from error
        announce(context, self.outlets, manifest)
        return manifest

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        # What Airflow calls for plain and for mapped tasks alike. The window's own fields come first, so that
        # all others may name the window.
        if parent is self:
            super()._do_render_template_fields(self, ("start", "end"), context, jinja_env, seen_oids)
            try:
                window = self._window(context)
            except ConfigurationError:
                return  # `execute` comes upon it again, and fails the task with what is wrong
            cast("dict[str, Any]", context).update(window_start=window.start, window_end=window.end)
            template_fields = [name for name in template_fields if name not in {"start", "end"}]
        wants_s3 = self.s3_key is not None
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        if wants_s3 and self.s3_key is None:  # as a native object; XCom is not what was asked for
            self.s3_key = "None"

    def _window(self, context: Context) -> Window:
        return resolve_window(context, start=self.start, end=self.end, lookback=self.lookback)

    def _to_xcom(self, window: Window) -> list[dict[str, Any]]:
        for name in ("s3_bucket", "file_format", "flatten", "encrypt", "acl_policy", "s3_extra_args"):
            if value := getattr(self, name):
                raise ConfigurationError(f"{name} is {shown(value)} without s3_key: add the key.")
        if not is_number(self.max_xcom_records, 0, _MOST_IN_XCOM, whole=True):
            raise ConfigurationError(
                f"max_xcom_records is {shown(self.max_xcom_records)}: "
                f"give a whole number from 0 to {_MOST_IN_XCOM}."
            )
        records: list[Any] = list(islice(self._records(window), self.max_xcom_records + 1))
        if len(records) > self.max_xcom_records:
            raise ConfigurationError(
                f"The window holds more than max_xcom_records={self.max_xcom_records} records, too many for "
                "XCom: set s3_key to land them in S3."
            )
        self.log.info("Pulled %d records.", len(records))
        return records

    def _to_s3(self, window: Window, key: str) -> dict[str, Any]:
        target = parse_s3_object(self.s3_bucket, key)
        store = Store(
            self.aws_conn_id,
            self.verify,
            encrypt=self.encrypt,
            acl_policy=self.acl_policy,
            extra_args=self.s3_extra_args,
        )
        landing = Landing(
            store,
            target,
            file_format=self.file_format,
            flatten=self.flatten,
            amounts=self.parquet_amounts,
            replace=self.replace,
        )
        manifest = landing.land(self._records(window), window)
        self.s3_object_url = store.console_url(landing.main)
        self.log.info("Landed %(records)d records in %(s3_uri)s.", manifest)
        return manifest

    def _records(self, window: Window) -> Iterator[Any]:
        hook = BinanceLoanHook(self.binance_loan_conn_id)
        note_input(hook, window)
        records = hook.iter_force_liquidations(window.start, window.end, risk_units=self.risk_units)
        first = next(records, None)
        if first is not None:
            return chain((first,), records)
        if self.skip_if_empty:
            raise AirflowSkipException("The window holds no records, and skip_if_empty is set.")
        return iter(())
