"""The declaration of a dataset whose records are read by time window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, Self

from airflow_provider_binance_loan.binance.declaration import Dataset, Listing
from airflow_provider_binance_loan.binance.fields import Field, FieldType
from airflow_provider_binance_loan.binance.messages import SPAN_CODES, Request
from airflow_provider_binance_loan.binance.own_columns import (
    ASKED_GROUP_ID,
    OCCURRENCE,
    WINDOW_END,
    count_occurrences,
    with_own_columns,
)
from airflow_provider_binance_loan.binance.time_range import DAY_MS, EARLIEST_MS, TimeRange
from airflow_provider_binance_loan.exceptions import BadResponseError, ConfigurationError
from airflow_provider_binance_loan.validation import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_binance_loan.binance.parser import Page
    from airflow_provider_binance_loan.binance.risk_units import RiskUnits
    from airflow_provider_binance_loan.binance.typed_records import AnyRecord

_WINDOW_END = Field(WINDOW_END, FieldType.TIME, required=True, description="end of the window of the pull")


def no_time(record: AnyRecord) -> None:
    """Return None, for records whose time is not known."""


class Kind(NamedTuple):
    """The records that an answer may hold, where one request cannot ask for all of a dataset.

    :param params: the parameters that select them.
    :param may_hold: returns whether a record may be one of them.
    """

    params: tuple[tuple[str, str], ...] = ()
    may_hold: Callable[[AnyRecord], bool] = lambda _: True


#: All records of a dataset that one request can ask for.
ANY_KIND = Kind()


@dataclass(frozen=True, kw_only=True)
class WindowedDataset(Listing, Dataset):
    """Records of a time window, which are read page by page.

    :param start_ms: returns when a record starts, in epoch milliseconds; None where that is not known.
        Whichever time Binance selects by, a record that starts after the end of a request cannot answer it.
    :param time_ms: returns the time by which a record belongs to a window, in epoch milliseconds; None for a
        record without a time, which belongs to the window that it was returned for.
    :param group_field: the field that says which risk unit a record is of, where `groupId` selects one, and
        closed units must be asked for one by one; None where a request cannot select one. It is
        `ASKED_GROUP_ID` where Binance's rows do not say it; such rows have the column `OCCURRENCE` as well.
    :param kinds: the kinds of records that must be asked for one by one.
    :param is_final: returns whether a record no longer changes; None where that cannot be known, or where
        none ever changes.
    :param max_span_ms: the longest span of one request, in milliseconds.
    :param has_window_end: whether records have the column `WINDOW_END`.
    """

    time_ms: Callable[[AnyRecord], int | None]
    group_field: str | None = "groupId"
    kinds: tuple[Kind, ...] = (ANY_KIND,)
    start_ms: Callable[[AnyRecord], int | None] = no_time
    is_final: Callable[[AnyRecord], bool] | None = None
    # Binance refuses a span of more than 100 days, and does not say whether exactly 100 passes.
    max_span_ms: int = 99 * DAY_MS
    has_window_end: bool = False

    @property
    def fields(self) -> tuple[Field, ...]:
        """The declared fields of a record, in their order."""
        return (_WINDOW_END, *super().fields) if self.has_window_end else super().fields

    @property
    def by_risk_unit(self) -> bool:
        """Whether a request can select a risk unit."""
        return self.group_field is not None

    @cached_property
    def with_window_end(self) -> Self:
        """The same dataset, whose records have the column `WINDOW_END`."""
        return replace(self, has_window_end=True)

    def require_risk_units(self, risk_units: RiskUnits) -> None:
        """Require a choice of risk units that the endpoint can serve.

        :raises ConfigurationError: some were chosen, and the endpoint cannot select by risk unit.
        """
        if risk_units != "all" and not self.by_risk_unit:
            raise ConfigurationError(
                f"Leave out risk_units: Binance does not select {self.name} by risk unit, and it is "
                f"{shown(risk_units)}."
            )

    def span_request(
        self, span: TimeRange, group_id: int | None = None, page: int = 1, kind: Kind = ANY_KIND
    ) -> Request:
        """Return the request of a page of a span.

        :param group_id: the risk unit; None for all that are active now.
        :param page: the page, counted from 1.
        :param kind: the kind of records, one of `kinds`.
        """
        group = () if group_id is None else (("groupId", group_id),)
        # The exclusive end is sent as it is: whether Binance includes it is not documented, and adjacent
        # slices share it, so that no record is lost between them either way.
        times = (("startTime", span.start_ms), ("endTime", span.end_ms))
        request = self.page_request(page, *group, *kind.params, *times)
        check = partial(self._check_answer, span=span, group_id=group_id, kind=kind)
        return request._replace(check=check, handled_codes=SPAN_CODES)

    def _check_answer(self, page: Page, span: TimeRange, group_id: int | None, kind: Kind) -> Page:
        """Return a page whose rows can answer the question, under every interpretation of Binance's page.

        They get the own columns that say what was asked, where Binance's do not.

        :raises BadResponseError: a row cannot: times in microseconds and mixed-up answers look like this.
        """
        for index, row in enumerate(page.rows):
            start_ms = self.start_ms(row)
            if start_ms is not None and not EARLIEST_MS <= start_ms <= span.end_ms:
                raise BadResponseError(
                    f"Check what Binance changed: rows[{index}] starts at {start_ms}, and should start from "
                    f"2017 to the end of the request, {span.end_ms}. Nothing of the answer was used."
                )
            # An undeclared field is a text.
            if group_id is not None and row.get("groupId", group_id) not in (group_id, str(group_id)):
                raise _other_answer(index, f"risk unit {row['groupId']}", str(group_id))
            if not kind.may_hold(row):
                ((name, wanted),) = kind.params
                raise _other_answer(index, f"{name} {shown(row[name])}", wanted)
        if self.group_field != ASKED_GROUP_ID:
            return page
        occurrences = count_occurrences(page.rows, itemgetter(*self._answered_key_fields))
        rows = [
            with_own_columns(row, {ASKED_GROUP_ID: group_id, OCCURRENCE: occurrence})
            for row, occurrence in zip(page.rows, occurrences, strict=True)
        ]
        return page._replace(rows=rows)


def _other_answer(index: int, received: str, wanted: str) -> BadResponseError:
    return BadResponseError(
        f"Check the proxies on the way to Binance: rows[{index}] is of {received}, and {wanted} was asked "
        "for. Nothing of the answer was used."
    )
