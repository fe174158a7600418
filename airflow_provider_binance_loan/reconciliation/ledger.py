"""What risk units borrowed, were charged and repaid, by asset and in the order of time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from airflow_provider_binance_loan.binance.datasets.borrow_repay import BORROW, REPAYMENTS
from airflow_provider_binance_loan.reconciliation.check import ZERO, amount, total

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_binance_loan.binance.time_range import TimeRange

Part = Literal["principal", "interest"]
PARTS: tuple[Part, ...] = ("principal", "interest")
UNKNOWN_MOVEMENT = "an amount, asset, type, status or risk unit is unknown"

CHARGE, FORCE_REPAY = "CHARGE", "FORCE_REPAY"
# Binance's example has "REPAY", which does not say whether the repayment is forced.
UNSPECIFIC_REPAY = "REPAY"
_CONTENTS = ("timestamp", "tranId", "type", "status", "assetName", "amount", "principal", "interest")
_CONFIRMED, _FAILED = "CONFIRM", "FAILED"


class Transaction(NamedTuple):
    """The record of a transaction, and whether Binance sent the same record before."""

    record: Mapping[str, Any]
    is_repeat: bool


class Movement(NamedTuple):
    """What changed a loan: principal and interest that were added to it, negative where they were repaid.

    :param kind: `BORROW`, `CHARGE` for the interest of an hour, or the type of a repayment; None where the
        type or status is not known, or an amount is missing.
    :param is_repeat: whether Binance sent the same record before.
    """

    at_ms: int
    kind: str | None
    principal: Decimal = ZERO
    interest: Decimal = ZERO
    is_repeat: bool = False

    @property
    def is_repayment(self) -> bool:
        """Whether it repays a part of the loan."""
        return self.kind in REPAYMENTS


_by_time = attrgetter("at_ms")


@dataclass
class Ledger:
    """The movements of all loans, by risk unit and asset.

    Those whose risk unit or asset is unknown may concern any loan, so they are part of each.
    """

    _movements: defaultdict[tuple[int | None, str | None], list[Movement]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _charged: defaultdict[tuple[int, str], list[tuple[int, Decimal | None]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _is_sorted: bool = True

    def add_transactions(self, records: Iterable[Mapping[str, Any]]) -> Iterator[Transaction]:
        """Add what was borrowed and repaid, and yield the records again, for other checks."""
        for transaction in _find_repeats(records):
            record, _ = transaction
            if record["status"] != _FAILED:
                self._add(record["asked_group_id"], record["assetName"], _movement(transaction))
            yield transaction

    def add_interest(self, records: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Add what was charged, and yield the records again, for other checks."""
        for record in records:
            interest = amount(record["interest"])
            kind = None if interest is None else CHARGE
            movement = Movement(record["interestTimestamp"], kind, interest=interest or ZERO)
            loan = record["groupId"], record["assetName"]
            self._add(*loan, movement)
            self._charged[loan].append((record["interestTimestamp"], amount(record["principal"])))
            yield record

    @property
    def risk_units(self) -> set[int]:
        """The risk units that have movements."""
        return {group_id for group_id, _ in self._movements if group_id is not None}

    @property
    def charged(self) -> Iterator[tuple[int, str, list[tuple[int, Decimal | None]]]]:
        """Each loan that was charged, with the times and the principals that were stated, oldest first."""
        for (group_id, asset), stated in sorted(self._charged.items()):
            yield group_id, asset, sorted(stated, key=itemgetter(0))

    def assets(self, group_id: int, start_ms: int, end_ms: int) -> set[str]:
        """Return the assets in which a risk unit has movements between two times, both included."""
        assets = {asset for unit, asset in self._movements if unit == group_id and asset is not None}
        return {asset for asset in assets if self._between((group_id, asset), start_ms, end_ms)}

    def forced_assets(self, group_id: int, start_ms: int, end_ms: int) -> set[str]:
        """Return the assets that a risk unit repaid by force between two times, or may have repaid."""
        return {
            asset
            for asset in self.assets(group_id, start_ms, end_ms)
            if any(
                one.kind in {FORCE_REPAY, UNSPECIFIC_REPAY, None}
                for one in self._between((group_id, asset), start_ms, end_ms)
            )
        }

    def between(self, group_id: int, asset: str, start_ms: int, end_ms: int) -> list[Movement]:
        """Return the movements of a loan between two times, both included."""
        of_loan = self._between((group_id, asset), start_ms, end_ms)
        for key in ((group_id, None), (None, asset), (None, None)):
            of_loan += [one._replace(kind=None) for one in self._between(key, start_ms, end_ms)]
        return of_loan

    def forced_times(self, group_id: int | None, window: TimeRange) -> list[int]:
        """Return when a risk unit repaid by force in a window; None for what may be of any unit."""
        return [
            one.at_ms
            for (unit, _), movements in self._movements.items()
            if unit == group_id
            for one in movements
            if one.kind == FORCE_REPAY and not one.is_repeat and window.start_ms <= one.at_ms < window.end_ms
        ]

    def _add(self, group_id: int | None, asset: str | None, movement: Movement) -> None:
        self._movements[group_id, asset].append(movement)
        self._is_sorted = False

    def _between(self, key: tuple[int | None, str | None], start_ms: int, end_ms: int) -> list[Movement]:
        if not self._is_sorted:
            for movements in self._movements.values():
                movements.sort(key=_by_time)
            self._is_sorted = True
        found = self._movements.get(key, [])
        first = bisect_left(found, start_ms, key=_by_time)
        return found[first : bisect_right(found, end_ms, key=_by_time)]


def sum_of(part: Part, movements: Iterable[Movement]) -> Decimal:
    """Return by how much movements raised the principal or the interest that is owed."""
    if part == "principal":
        return total(one.principal for one in movements)
    return total(one.interest for one in movements)


def is_confirmed(record: Mapping[str, Any]) -> bool:
    """Return whether a transaction was carried out for certain."""
    return bool(record["status"] == _CONFIRMED)


def _find_repeats(records: Iterable[Mapping[str, Any]]) -> Iterator[Transaction]:
    """Yield records, and whether all fields of each are those of one before it."""
    seen = set()
    for record in records:
        contents = tuple(record[name] for name in _CONTENTS)
        yield Transaction(record, is_repeat=contents in seen)
        seen.add(contents)


def _movement(transaction: Transaction) -> Movement:
    record, is_repeat = transaction
    at_ms, kind = record["timestamp"], record["type"]
    principal: Decimal | None = None
    interest: Decimal | None = None
    if kind == BORROW:
        principal, interest = amount(record["amount"]), ZERO
    elif kind in REPAYMENTS:
        principal, interest = amount(record["principal"]), amount(record["interest"])
    if principal is None or interest is None or not is_confirmed(record):
        return Movement(at_ms, None, is_repeat=is_repeat)
    if kind != BORROW:
        principal, interest = principal.copy_negate(), interest.copy_negate()
    return Movement(at_ms, kind, principal, interest, is_repeat)
