"""Records to objects in a destination: whole or not at all, and the same records always as the same bytes."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

from airflow_provider_binance_loan import __version__
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.landing.formats import Spool, load_parquet, parse_format
from airflow_provider_binance_loan.landing.tables import (
    PLACEHOLDER,
    build_table_key,
    flat_rows,
    flat_tables,
    whole_rows,
    whole_table,
)
from airflow_provider_binance_loan.validation import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_binance_loan.binance.declaration import Dataset
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord
    from airflow_provider_binance_loan.landing.formats import Content
    from airflow_provider_binance_loan.landing.parquet import Amounts, AmountTypes
    from airflow_provider_binance_loan.landing.target import Destination


class Sink:
    """Writes records as one object, or as one for each flat table; all of them or none.

    :param dataset: the dataset that the records are of.
    :param destination: the object store.
    :param key: the key of the object; with flat tables, what the keys of their objects are made from.
    :param file_format: the format; by the key's suffix when None.
    :param flatten: whether to write flat tables.
    :param amounts: the types of the columns of amounts in Parquet.
    :param replace: whether to replace an object that exists.
    :raises ConfigurationError: an argument is wrong, there is no such bucket, or an object exists that must
        not be replaced.
    :raises AirflowOptionalProviderFeatureException: the format needs a package that is not installed.
    """

    def __init__(
        self,
        dataset: Dataset,
        destination: Destination,
        key: str,
        *,
        file_format: str | None = None,
        flatten: bool = False,
        amounts: Amounts = "decimal",
        replace: bool = True,
    ) -> None:
        self._dataset = dataset
        self._destination = destination
        self._format = parse_format(key, file_format)
        self._flatten = flatten
        self._replace = replace
        if not flatten and PLACEHOLDER in key:
            raise ConfigurationError(
                f"Set flatten=True, or leave {PLACEHOLDER} out of s3_key: {shown(key)} is for one object."
            )
        # In the order of the uploads: the table of the records is last, and complete only if all others are.
        self._tables = flat_tables(dataset) if flatten else (whole_table(dataset),)
        self._build_rows = flat_rows(dataset) if flatten else whole_rows
        self._keys = {
            table.name: build_table_key(key, table.name) if flatten else key for table in self._tables
        }
        self._amount_types = self._parse_amounts(amounts)
        destination.check(self._keys.values())
        if not replace:
            self._refuse_existing()

    @property
    def console_url(self) -> str:
        """The page of the object of the records in the object store's console; empty without one."""
        return self._destination.console_url(self._keys[self._tables[-1].name])

    def land(self, records: Iterable[AnyRecord], about: Mapping[str, str]) -> dict[str, Any]:
        """Write the records, and return the manifest of the objects.

        All records are read before the first byte is uploaded.

        :param records: the records.
        :param about: what the manifest, and the objects' metadata, say about when the records are from.
        :raises ConfigurationError: the object store refuses it, or a column cannot hold an amount exactly.
        """
        with ExitStack() as stack:
            spools = {
                table.name: stack.enter_context(Spool(self._format, table, self._amount_types))
                for table in self._tables
            }
            for record in records:
                for table, row in self._build_rows(record):
                    spools[table].write(row)
            contents = {table: spool.finish() for table, spool in spools.items()}
            if not self._replace:
                self._refuse_existing()  # again: one may have been written during the pull
            self._upload(spools, contents, about)
        described = {table: self._describe(table, content) for table, content in contents.items()}
        return {
            "dataset": self._dataset.name,
            **described[self._tables[-1].name],
            **about,
            **({"tables": described} if self._flatten else {}),
        }

    def _parse_amounts(self, amounts: Amounts) -> AmountTypes:
        if self._format == "parquet":
            types: AmountTypes = load_parquet().parse_amount_types(self._dataset.fields, amounts)
            return types
        if amounts != "decimal":
            raise ConfigurationError(
                f"Leave out parquet_amounts, or write Parquet: it is {shown(amounts)}, and the format is "
                f"{self._format!r}."
            )
        return {}

    def _refuse_existing(self) -> None:
        for key in self._keys.values():
            if self._destination.exists(key):
                raise self._exists_already(key)

    def _exists_already(self, key: str) -> ConfigurationError:
        return ConfigurationError(
            f"Remove the object, or set replace=True: {self._destination.uri(key)} is there already."
        )

    def _upload(
        self, spools: Mapping[str, Spool], contents: Mapping[str, Content], about: Mapping[str, str]
    ) -> None:
        """Upload all objects. If one fails, those that did not exist before are removed again.

        Each upload gets metadata of its own, so that what another run wrote in the meantime is not removed.
        """
        created = {}
        try:
            for table, key in self._keys.items():
                metadata = _build_metadata(contents[table], about)
                if self._flatten and not self._may_exist(key):
                    created[key] = metadata
                self._upload_one(spools[table].file, key, metadata)
        except BaseException:
            for key, metadata in created.items():
                with suppress(Exception):  # the first error is the one to show
                    self._destination.remove(key, metadata)
            raise

    def _upload_one(self, file: IO[bytes], key: str, metadata: Mapping[str, str]) -> None:
        try:
            self._destination.upload(file, key, metadata, replace=self._replace)
        except FileExistsError:
            raise self._exists_already(key) from None

    def _may_exist(self, key: str) -> bool:
        """Return whether an object exists; True if that cannot be found out."""
        try:
            return self._destination.exists(key)
        except Exception:  # noqa: BLE001 - whatever the reason, an object that may be older is not removed
            return True

    def _describe(self, table: str, content: Content) -> dict[str, Any]:
        uri = self._destination.uri(self._keys[table])
        return {
            "uri": uri,
            # Version 0.1.0 called the address this, when S3 was the only destination.
            **({"s3_uri": uri} if uri.startswith("s3://") else {}),
            "records": content.rows,
            "bytes": content.size,
            "sha256": content.sha256,
        }


def _build_metadata(content: Content, about: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata of an object, for readers who have no manifest."""
    return {
        **{name.replace("_", "-"): value for name, value in about.items()},
        "records": str(content.rows),
        "sha256": content.sha256,
        "provider-version": __version__,
        "upload-id": uuid4().hex,
    }
