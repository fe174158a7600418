"""The declaration of a dataset, from which everything else about an endpoint is derived.

From a declaration come the requests, the parser, the Parquet schema, the flat tables and the documentation.
The datasets themselves are in `datasets/`, one file each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from airflow_provider_binance_loan.binance.fields import Field, Record, fields_of
from airflow_provider_binance_loan.binance.messages import Request
from airflow_provider_binance_loan.binance.own_columns import OWN_COLUMNS
from airflow_provider_binance_loan.binance.parser import Page, Shape, build_shape, parse_list, parse_page
from airflow_provider_binance_loan.binance.typed_parser import TypedParser, typed_parser
from airflow_provider_binance_loan.exceptions import BadResponseError, ConfigurationError
from airflow_provider_binance_loan.validation import described

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_binance_loan.binance.typed_records import AnyRecord, TypedRecord

#: What a caller may choose about a text that is no number where an amount should be.
OnBadAmount = Literal["fail", "keep"]

#: The values of a record's natural key, in the order of `key_fields`. Records are sorted by it.
Key = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What one endpoint returns: rows of one kind.

    :param name: the name of the dataset.
    :param path: the path of the endpoint.
    :param record: the `TypedDict` that declares the fields of a row.
    :param key_fields: the required fields that together identify a record, in the order by which records are
        sorted.
    :param params: parameters of every request, besides time, page and risk unit.
    :param weight: the weight of a request.
    :param marks: fields of which each row has at least one; the rows of other endpoints have none of them.
    """

    name: str
    path: str
    record: type
    key_fields: tuple[str, ...]
    params: tuple[tuple[str, str | int], ...] = ()
    weight: int = 1
    marks: frozenset[str] = frozenset()

    @property
    def fields(self) -> tuple[Field, ...]:
        """The declared fields of a record, in their order."""
        return fields_of(self.record)

    @cached_property
    def key(self) -> Callable[[AnyRecord], Key]:
        """A function that returns the natural key of a record."""
        if len(self.key_fields) == 1:
            (name,) = self.key_fields
            return lambda record: (record[name],)
        return itemgetter(*self.key_fields)

    @property
    def _answered_fields(self) -> tuple[Field, ...]:
        """The fields that Binance's answer has."""
        return tuple(field for field in self.fields if field.name not in OWN_COLUMNS)

    @property
    def _answered_key_fields(self) -> tuple[str, ...]:
        """The fields of the key that Binance's answer has."""
        return tuple(name for name in self.key_fields if name not in OWN_COLUMNS)

    @cached_property
    def _shape(self) -> Shape:
        """What a row is parsed to."""
        return build_shape(self._answered_fields)

    @cached_property
    def _typed_parser(self) -> TypedParser | None:
        """The parser of answers that are exactly as documented; None where records are not whole."""
        return typed_parser(self.name, self._answered_fields)

    def _require_marks(self, rows: Any, name: str) -> None:
        """Require that the rows of a list, which is called `name` in the answer, are of this endpoint.

        :raises BadResponseError: one of them is not.
        """
        if not self.marks or not isinstance(rows, list):
            return
        for index, row in enumerate(rows):
            if isinstance(row, dict) and not row.keys() & self.marks:
                raise BadResponseError(
                    f"Check the proxies on the way to Binance: {name}[{index}] has none of "
                    f"{', '.join(sorted(self.marks))}, so it is not of {self.name}. Nothing was used."
                )


@dataclass(frozen=True, kw_only=True)
class Listing(Source):
    """A list that is read page by page, without a window.

    :param page_size: how many rows to ask for on a page: the most that Binance gives.
    """

    page_size: int = 100

    def parse(self, payload: Any) -> Page:
        """Return a page of records, from the JSON of an answer.

        :raises BadResponseError: it does not have the documented shape.
        """
        self._require_marks(payload.get("rows") if isinstance(payload, dict) else None, "rows")
        return parse_page(payload, self._shape, self._answered_key_fields)

    def parse_documented(self, body: bytes) -> Page | None:
        """Return what :meth:`parse` does, from a body that is exactly as documented; None for any other."""
        return self._typed_parser.parse_page(body) if self._typed_parser else None

    def page_request(self, page: int, *params: tuple[str, str | int]) -> Request:
        """Return the request of a page, counted from 1, with further parameters in front."""
        return Request(
            self.path,
            (*self.params, *params, ("current", page), ("size", self.page_size)),
            parse=self.parse,
            parse_documented=self.parse_documented,
            weight=self.weight,
        )


@dataclass(frozen=True, kw_only=True)
class Dataset(Source):
    """Records that are landed, or waited for: a list, a snapshot, or those of a window.

    :param table: the name of the flat table that has a row for each record.
    :param poll_fields: the fields that a poll reads, besides those of the key.
    :param on_bad_amount: `"fail"`, or `"keep"` for a text that is no number where an amount should be.
    :param is_poll: whether it is read again and again by whoever waits for records. Then a record is its key
        and the poll fields alone, and a bad amount is unknown, so that no row can stop the wait for others.
    """

    table: str
    poll_fields: frozenset[str] = frozenset()
    on_bad_amount: OnBadAmount = "fail"
    is_poll: bool = False

    @cached_property
    def _shape(self) -> Shape:
        if self.is_poll:
            read = {*self.key_fields, *self.poll_fields}
            fields = [field for field in self._answered_fields if field.name in read]
            return build_shape(fields, keeps_others=False, on_bad_amount="drop")
        return build_shape(self._answered_fields, on_bad_amount=self.on_bad_amount)

    @cached_property
    def _typed_parser(self) -> TypedParser | None:
        return None if self.is_poll else super()._typed_parser

    def with_bad_amounts(self, on_bad_amount: Any) -> Self:
        """Return the same dataset with this choice of what to do about bad amounts.

        :raises ConfigurationError: it is neither `"fail"` nor `"keep"`.
        """
        if on_bad_amount not in get_args(OnBadAmount):
            raise ConfigurationError(
                f"Give on_bad_amount as 'fail' or 'keep': it is {described(on_bad_amount)}."
            )
        return self if on_bad_amount == self.on_bad_amount else replace(self, on_bad_amount=on_bad_amount)

    @cached_property
    def for_polls(self) -> Self:
        """The same dataset as a poll reads it: keys and poll fields alone."""
        return replace(self, is_poll=True)


@dataclass(frozen=True, kw_only=True)
class ListedDataset(Listing, Dataset):
    """Records of a list without a window, which is read page by page, as it is now."""


@dataclass(frozen=True, kw_only=True)
class Snapshot(Dataset):
    """Records as they are at the moment of the request. Binance keeps no history of them.

    Each record has the column `asked_at` of this package's own: when Binance was asked, by Binance's clock.
    It is a part of the key, since two snapshots differ by it alone.

    :param for_parent: whether it is for the key of the parent account, and for no credit account's.
    """

    for_parent: bool = False

    def parse(self, payload: Any) -> list[Record]:
        """Return the records, yet without `asked_at`, from the JSON of an answer.

        :raises BadResponseError: it does not have the documented shape.
        """
        self._require_marks(payload, "")
        return parse_list(payload, self._shape, self._answered_key_fields)

    def parse_documented(self, body: bytes) -> list[TypedRecord] | None:
        """Return what :meth:`parse` does, from a body that is exactly as documented; None for any other."""
        return self._typed_parser.parse_list(body) if self._typed_parser else None

    def request(self) -> Request:
        """Return the request, which is dated by Binance's clock."""
        return Request(
            self.path,
            self.params,
            parse=self.parse,
            parse_documented=self.parse_documented,
            weight=self.weight,
            dated=True,
            for_parent=self.for_parent,
        )
