"""The bases of the operators: reading with a connection, and landing records in XCom or S3."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_binance_loan.binance.typed_records import plain
from airflow_provider_binance_loan.exceptions import ConfigurationError, PermanentError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.landing.s3 import S3Destination
from airflow_provider_binance_loan.landing.s3_arguments import parse_s3_location
from airflow_provider_binance_loan.landing.sink import Sink
from airflow_provider_binance_loan.landing.xcom import collect_for_xcom, require_max_xcom_records
from airflow_provider_binance_loan.lineage import add_to_asset_events
from airflow_provider_binance_loan.links import S3ObjectLink
from airflow_provider_binance_loan.validation import require_bool, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import jinja2
    from airflow.sdk import Context

    from airflow_provider_binance_loan.binance.declaration import Dataset, OnBadAmount
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord
    from airflow_provider_binance_loan.landing.formats import FileFormat
    from airflow_provider_binance_loan.landing.parquet import Amounts

# They are of no use without `s3_key`.
_S3_ARGUMENTS = ("s3_bucket", "file_format", "flatten", "encrypt", "acl_policy", "s3_extra_args")


class BinanceLoanBaseOperator(BaseOperator):
    """Read with a connection's API key: the base of all operators.

    :param risk_units: `"all"`, `"active"`, or ids, as a list or separated by commas; the operators say what
        these mean. (templated)
    :param aws_conn_id: the connection for S3. (templated)
    :param verify: certificate checks of the S3 endpoint: True, False, or the path of a CA bundle.
    :param max_xcom_records: how many records may go to XCom; with more the task fails and writes nothing.
    :param binance_loan_conn_id: the connection that holds the API key. (templated)
    """

    template_fields: Sequence[str] = ("risk_units", "aws_conn_id", "binance_loan_conn_id")
    ui_color = "#f8d12f"
    ui_fgcolor = "#1e2026"

    def __init__(
        self,
        *,
        risk_units: str | int | Iterable[int | str] = "all",
        aws_conn_id: str | None = "aws_default",
        verify: bool | str | None = None,
        max_xcom_records: int = 1000,
        binance_loan_conn_id: str = BinanceLoanHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.risk_units = risk_units
        self.aws_conn_id = aws_conn_id
        self.verify = verify
        self.max_xcom_records = max_xcom_records
        self.binance_loan_conn_id = binance_loan_conn_id

    @cached_property
    def hook(self) -> BinanceLoanHook:
        """The hook that reads the records."""
        return BinanceLoanHook(self.binance_loan_conn_id)

    def execute(self, context: Context) -> list[dict[str, Any]] | dict[str, Any]:
        """Read the records, and return what goes to XCom.

        :raises AirflowFailException: an argument or the connection is wrong, or Binance or S3 refuses the
            request or the key; a retry could not help, and might lead to a ban.
        :raises AirflowSkipException: there are no records, and the operator is told to skip then.
        :raises BinanceLoanError: anything else; Airflow retries the task as the DAG says.
        """
        try:
            self._require_arguments()
            return self._pull(context)
        except PermanentError as error:
            # The error's own traceback would say the same again.
            raise AirflowFailException(str(error)) from None

    def _require_arguments(self) -> None:
        """Return if the arguments that need no context can be right.

        :raises ConfigurationError: one of them is wrong.
        """
        raise NotImplementedError

    def _pull(self, context: Context) -> list[Any] | dict[str, Any]:
        """Read the records, and return what goes to XCom."""
        raise NotImplementedError


class BinanceLoanLandingOperator(BinanceLoanBaseOperator):
    """Read records and land them: the base of the operators, which say what to read.

    Without `s3_key` the list of records goes to XCom, `[]` when there are none. With it the records go to S3,
    as JSON Lines or Parquet, and XCom gets a manifest: `dataset`, `uri` (the same as `s3_uri`), `records`,
    `bytes`, `sha256`, and what the operator adds; with `flatten` also `tables`. The same records give the
    same bytes.

    :param on_bad_amount: what to do about a text that is no number where an amount should be, such as
        `"INF"`: `"fail"` the task, or `"keep"` the text, which Parquet can hold in a column of strings only.
    :param s3_bucket: the bucket, when `s3_key` is not a whole URL. (templated)
    :param s3_key: a key in `s3_bucket`, or a whole `s3://bucket/key`. (templated)
    :param file_format: `"jsonl"`, `"jsonl.gz"` or `"parquet"`, where the key does not end in `.jsonl`,
        `.ndjson` or `.json`, each with or without `.gz`, or in `.parquet`.
    :param flatten: whether to write flat tables, each as an object, and not one object of nested records. The
        table's name takes the place of `{table}` in the key; without that it is a folder before the first
        `name=value` folder, or else before the file.
    :param parquet_amounts: `"decimal"`, which is `decimal128(38, 18)`, and for LTVs `decimal128(38, 28)`, and
        fails the task on an amount that it cannot hold exactly; `"string"`, digit for digit; or one of these
        for each of some columns, such as `{"interest": "string"}`.
    :param replace: whether to overwrite the object; when False and it exists, the task fails.
    :param encrypt: whether S3 encrypts the object with keys of its own (AES256).
    :param acl_policy: a canned ACL for the object.
    :param s3_extra_args: further arguments of boto3's upload, such as `{"StorageClass": "STANDARD_IA",
        "Tagging": "team=risk"}`. (templated)
    """

    template_fields: Sequence[str] = (
        "risk_units",
        "s3_bucket",
        "s3_key",
        "s3_extra_args",
        "aws_conn_id",
        "binance_loan_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"s3_extra_args": "json"}
    operator_extra_links: Collection[Any] = (S3ObjectLink(),)

    def __init__(
        self,
        *,
        on_bad_amount: OnBadAmount = "fail",
        s3_bucket: str | None = None,
        s3_key: str | None = None,
        file_format: FileFormat | None = None,
        flatten: bool = False,
        parquet_amounts: Amounts = "decimal",
        replace: bool = True,
        encrypt: bool = False,
        acl_policy: str | None = None,
        s3_extra_args: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.on_bad_amount = on_bad_amount
        self.s3_bucket = s3_bucket
        self.s3_key = s3_key
        self.file_format = file_format
        self.flatten = flatten
        self.parquet_amounts = parquet_amounts
        self.replace = replace
        self.encrypt = encrypt
        self.acl_policy = acl_policy
        self.s3_extra_args = s3_extra_args
        self.s3_object_url = ""

    def _require_arguments(self) -> None:
        for name in ("flatten", "replace", "encrypt"):
            require_bool(getattr(self, name), name)
        if self.s3_key is not None:
            return
        for name in _S3_ARGUMENTS:
            if value := getattr(self, name):
                raise ConfigurationError(
                    f"Add s3_key, or leave out {name}: it is {shown(value)}, and of use in S3 only."
                )
        require_max_xcom_records(self.max_xcom_records)

    def _collect(self, records: Iterable[AnyRecord]) -> list[Any]:
        """Return the records for XCom."""
        collected = collect_for_xcom(map(plain, records), self.max_xcom_records)
        self.log.info("Pulled %s.", _count(len(collected)))
        return collected

    def _report(self, sink: Sink, manifest: dict[str, Any], context: Context) -> dict[str, Any]:
        """Log what was landed, link to it, add it to the events of the task's assets, and return it."""
        self.s3_object_url = sink.console_url
        self.log.info("Landed %s in %s.", _count(manifest["records"]), manifest["uri"])
        add_to_asset_events(context, self.outlets, manifest)
        return manifest

    def _open_sink(self, dataset: Dataset, s3_key: str) -> Sink:
        bucket, key = parse_s3_location(self.s3_bucket, s3_key)
        destination = S3Destination(
            bucket,
            aws_conn_id=self.aws_conn_id,
            verify=self.verify,
            encrypt=self.encrypt,
            acl_policy=self.acl_policy,
            extra_args=self.s3_extra_args,
        )
        return Sink(
            dataset,
            destination,
            key,
            file_format=self.file_format,
            flatten=self.flatten,
            amounts=self.parquet_amounts,
            replace=self.replace,
        )

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        # Airflow calls this for plain and for mapped tasks alike.
        wants_s3 = self.s3_key is not None
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        if wants_s3 and self.s3_key is None:  # rendered as a native object; the records must not go to XCom
            self.s3_key = "None"


def _count(records: int) -> str:
    return f"{records} record{'' if records == 1 else 's'}"
