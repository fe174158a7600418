"""Records to objects in S3: whole or not at all, and the same records always as the same bytes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_loan import __version__
from airflow_provider_binance_loan.binance.fields import is_running
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.landing.formats import Spool, load_parquet, parse_format
from airflow_provider_binance_loan.landing.s3 import S3Object, Store, parse_s3_object
from airflow_provider_binance_loan.landing.tables import PLACEHOLDER, TABLES, build_rows, build_table_key
from airflow_provider_binance_loan.validation import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_binance_loan.landing.formats import Content
    from airflow_provider_binance_loan.landing.parquet import Amounts
    from airflow_provider_binance_loan.windows import Window


def build_targets(target: S3Object, *, flatten: bool) -> dict[str, S3Object]:
    """Return the object of each table, in the order in which they are uploaded; without tables it is `""`.

    :raises ConfigurationError: the key has a place for the table's name, and there are no tables.
    """
    if flatten:
        return {table: parse_s3_object(target.bucket, build_table_key(target.key, table)) for table in TABLES}
    if PLACEHOLDER in target.key:
        raise ConfigurationError(
            f"s3_key is {shown(target.key)}, and there is one object: set flatten=True for one of each "
            f"table, or leave out {PLACEHOLDER}."
        )
    return {"": target}


class Landing:
    """Land records as one object, or as one of each table.

    :param store: where.
    :param target: the object; with tables, what their objects are named after.
    :param file_format: the format; by the key's suffix when None.
    :param flatten: whether to write three tables.
    :param amounts: the types of the columns of amounts in Parquet.
    :param replace: whether to replace an object that is there.
    :raises ConfigurationError: an argument is wrong, there is no such bucket, or an object is there and must
        not be replaced.
    :raises AirflowOptionalProviderFeatureException: the format needs what is not installed.
    """

    def __init__(
        self,
        store: Store,
        target: S3Object,
        *,
        file_format: str | None = None,
        flatten: bool = False,
        amounts: Amounts = "decimal",
        replace: bool = True,
    ) -> None:
        self._store = store
        self._format = parse_format(target.key, file_format)
        self._targets = build_targets(target, flatten=flatten)
        # The object of the records, or of the table that has a row for each.
        self._main, self.main = list(self._targets.items())[-1]
        self._flatten = flatten
        self._amounts = amounts
        self._replace = replace
        if self._format == "parquet":
            load_parquet().parse_amount_types(amounts)
        elif amounts != "decimal":
            raise ConfigurationError(
                f"parquet_amounts is {shown(amounts)}, and the format is {self._format!r}: leave it out."
            )
        store.check_bucket(target.bucket)
        if not replace:
            store.refuse_existing(self._targets.values())

    def land(self, records: Iterable[Mapping[str, Any]], window: Window) -> dict[str, Any]:
        """Upload the records and return what was written; nothing is uploaded before the last one is there.

        :raises ConfigurationError: S3 does not allow it, or an amount does not fit its column.
        """
        running = 0
        with ExitStack() as stack:
            spools = {
                table: stack.enter_context(Spool(self._format, table, self._amounts))
                for table in self._targets
            }
            for record in records:
                running += is_running(record)
                for table, row in build_rows(record) if self._flatten else (("", record),):
                    spools[table].write(row)
            contents = {table: spool.finish() for table, spool in spools.items()}
            if not self._replace:
                self._store.refuse_existing(self._targets.values())  # again, as the pull took its time
            self._upload(spools, contents, window)
        written = {table: self._describe(table, content) for table, content in contents.items()}
        return {
            **written[self._main],
            "running": running,
            "window_start": window.start.isoformat(),
            "window_end": window.end.isoformat(),
            **({"tables": written} if self._flatten else {}),
        }

    def _upload(self, spools: Mapping[str, Spool], contents: Mapping[str, Content], window: Window) -> None:
        """Upload all objects; when one fails, none is left that was not there before."""
        created = []
        try:
            for table, target in self._targets.items():
                if self._flatten and not self._store.holds(target):
                    created.append(target)
                self._store.upload(spools[table].file, target, _build_metadata(contents[table], window))
        except BaseException:
            for target in created:
                self._store.remove(target)
            raise

    def _describe(self, table: str, content: Content) -> dict[str, Any]:
        uri = self._targets[table].uri
        return {"s3_uri": uri, "records": content.rows, "bytes": content.size, "sha256": content.sha256}


def _build_metadata(content: Content, window: Window) -> dict[str, str]:
    """Return what the object itself says of its content, for those who have nothing but the object."""
    return {
        "window-start": window.start.isoformat(),
        "window-end": window.end.isoformat(),
        "records": str(content.rows),
        "sha256": content.sha256,
        "provider-version": __version__,
    }
