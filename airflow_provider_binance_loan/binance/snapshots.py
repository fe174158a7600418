"""Reading snapshots: records as they are at the moment of the request, and when that was."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_binance_loan.binance.own_columns import ASKED_AT, with_own_columns
from airflow_provider_binance_loan.binance.plans import Plan, by_key, gather, paginate
from airflow_provider_binance_loan.binance.typed_records import plain

if TYPE_CHECKING:
    from airflow_provider_binance_loan.binance.declaration import Listing, Snapshot
    from airflow_provider_binance_loan.binance.fields import Record
    from airflow_provider_binance_loan.binance.risk_units import RiskUnits


class Sample(NamedTuple):
    """A snapshot: what Binance answered.

    :param asked_at_ms: when Binance was asked, by its own clock, in epoch milliseconds, UTC.
    :param records: the records, in the order of their keys.
    """

    asked_at_ms: int
    records: list[Record]

    def of(self, risk_units: RiskUnits) -> list[Record]:
        """Return the records of some risk units; of all of them for `"all"` and `"active"`."""
        if isinstance(risk_units, str):
            return self.records
        return [record for record in self.records if record["groupId"] in risk_units]

    def missing(self, risk_units: RiskUnits) -> list[int]:
        """Return the ids among some risk units that have no record."""
        if isinstance(risk_units, str):
            return []
        seen = {record["groupId"] for record in self.records}
        return [group_id for group_id in risk_units if group_id not in seen]


def read_snapshot(dataset: Snapshot) -> Plan[Sample]:
    """Return the plan that reads a snapshot in one request."""
    (answer,) = yield from gather([dataset.request()])
    own = {ASKED_AT: answer.sent_ms}
    keyed = by_key(dataset, [with_own_columns(record, own) for record in answer.content])
    return Sample(answer.sent_ms, [plain(keyed[key]) for key in sorted(keyed)])


def read_listing(listing: Listing) -> Plan[Sample]:
    """Return the plan that reads all pages of a list; Binance is asked when that begins."""
    first = listing.page_request(1)._replace(dated=True)
    (answer,) = yield from gather([first])
    records = yield from paginate(listing, listing.page_request)
    return Sample(answer.sent_ms, list(map(plain, sorted(records, key=listing.key))))
