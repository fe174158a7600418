"""What the page of a liquidation says of its records."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_loan.binance.datasets.borrow_repay import BORROW, REPAYMENTS
from airflow_provider_binance_loan.binance.datasets.force_liquidations import started_ms
from airflow_provider_binance_loan.binance.loan_to_value import known_ltv
from airflow_provider_binance_loan.report import chart, tables
from airflow_provider_binance_loan.report.cells import (
    ABSENT,
    Cell,
    add_up,
    amount_cell,
    counted,
    duration_text,
    is_time,
    text_cell,
    time_cell,
    time_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_binance_loan.binance.time_range import TimeRange
    from airflow_provider_binance_loan.report.tables import Record, Records, Table

_TABLE_BUCKETS = 15  # of each at most four samples are in the table
_MAX_LABEL = 12
_DONE = "CONFIRM"
_UNSTATED = dict.fromkeys(("ltv", "totalLiability", "totalNetEquity", "totalMaintenanceMargin"))


class Repaid(NamedTuple):
    """What was repaid of one asset, added up exactly; a sum is absent where an amount is no number."""

    asset: Cell
    amount: Cell
    principal: Cell
    interest: Cell


class Story:
    """What the page says of one liquidation.

    :param liquidation: a record of liquidations.
    :param window: the time that the page tells of.
    :param records: the other records, by the names of the page's arguments; None for those not read.
    """

    def __init__(self, liquidation: Record, window: TimeRange, records: Mapping[str, Records | None]) -> None:
        group_id = liquidation["groupId"]
        self._liquidation = liquidation
        self._scale = chart.Scale(window.start_ms, window.end_ms)
        self._between = f"{time_text(window.start_ms)} and {time_text(window.end_ms)} UTC"
        self._start_ms = started_ms(liquidation)
        end_ms = liquidation.get("liquidationEndTime")
        self._end_ms: int | None = end_ms if is_time(end_ms) else None
        self._last_ms = window.end_ms if self._end_ms is None else self._end_ms
        self._records = dict(records)
        for name, field in (("ltvs", "groupId"), ("transactions", "asked_group_id"), ("interest", "groupId")):
            self._records[name] = _of_unit(self._records[name], field, group_id)
        transfers = self._records["transfers"] or []
        self._records["transfers"] = _during(self._records["transfers"], self._start_ms, self._last_ms)
        self._transfers_left_out = len(transfers) - len(self._records["transfers"] or [])
        self._ltvs = sorted(
            (one for one in self._records["ltvs"] or () if is_time(one.get("asked_at"))),
            key=lambda one: one["asked_at"],
        )
        self._points = [(one["asked_at"], _drawn_ltv(one)) for one in self._ltvs]

    def heading(self) -> dict[str, Any]:
        """Return what the head of the page says: when, how high, and what was repaid."""
        record, ended = self._liquidation, self._end_ms
        before, after = self._beside()
        return {
            "group_id": text_cell(record["groupId"]),
            "started": time_cell(self._start_ms),
            "ended": None if ended is None else time_cell(ended),
            "lasted": duration_text(ended - self._start_ms) if ended and ended >= self._start_ms else None,
            "read_until": time_cell(self._scale.end_ms),
            "start_ltv": amount_cell(record.get("startLtv")),
            "end_ltv": amount_cell(record.get("endLtv")),
            "totals": {
                "Liability": amount_cell(record.get("totalLiability")),
                "Net equity": amount_cell(record.get("totalNetEquity")),
                "Maintenance margin": amount_cell(record.get("totalMaintenanceMargin")),
            },
            "before": self._sample(before),
            "after": self._sample(after),
            "has_ltvs": self._records["ltvs"] is not None,
            **self._repayments(),
            "verdict": self._verdict(),
        }

    def ltv_chart(self, levels: list[str]) -> chart.LtvChart:
        """Return the drawing of the LTV, with those that the record states for its start and end."""
        named = (
            ("start", self._start_ms, "startLtv"),
            ("end" if self._end_ms else "latest", self._last_ms, "endLtv"),
        )
        stated = []
        for name, at_ms, field in named:
            text = self._liquidation.get(field)
            ltv = known_ltv({**_UNSTATED, "ltv": text, "totalLiability": "0"})
            if ltv is not None:
                label = f"{name} {text}" if len(str(text)) <= _MAX_LABEL else name
                stated.append((at_ms, float(ltv), label))
        return chart.build_ltv_chart(self._scale, self._points, stated, levels)

    def lanes(self) -> list[chart.Lane]:
        """Return the time line: the transfers, what was repaid and what was borrowed."""
        moved = self._records["transfers"]
        made = [one for record in moved or () for one in tables.transfers_of(record)]
        changed = self._records["transactions"]
        repaid, borrowed, others = (
            None if changed is None else [one for one in changed if is_of_kind(one)]
            for is_of_kind in (_is_repayment, _is_borrowing, _is_of_another_type)
        )
        events: list[tuple[str, str, list[Record] | None]] = [
            ("Transfers", "transferTime", None if moved is None else made),
            ("Repaid", "timestamp", repaid),
            ("Borrowed", "timestamp", borrowed),
        ]
        if others:
            events.append(("Of another type", "timestamp", others))
        lanes = []
        for number, (name, field, found) in enumerate(events):
            timed = [
                (one[field], one.get("status") == _DONE) for one in found or () if is_time(one.get(field))
            ]
            said = "not read" if found is None else str(len(found)) if found else "none"
            lanes.append(chart.build_lane(self._scale, number, f"{name}: {said}", timed))
        return lanes

    def band(self) -> tuple[float, float]:
        """Return where the time of the liquidation begins, and how wide it is, in percent."""
        first, last = (min(max(self._scale.x(at), 0), 100) for at in (self._start_ms, self._last_ms))
        return first, round(max(last - first, 0.2), 3)

    def tables(self) -> dict[str, Table]:
        """Return the tables by their names."""
        shown = set(chart.thinned(self._points, _TABLE_BUCKETS, self._scale))
        shown.update(index for index in self._beside() if index is not None)
        read = self._records["ltvs"] is not None
        absent = f"No LTV was sampled between {self._between}."
        built = (
            tables.build_ltvs(
                self._ltvs, sorted(shown), absent if read else "LTVs were not read for this page."
            ),
            tables.build_record(self._liquidation),
            tables.build_wallets(self._liquidation),
            tables.build_loans(self._liquidation),
            tables.build_transfers(self._records["transfers"], self._transfers_left_out),
            tables.build_transactions(self._records["transactions"], self._between),
            tables.build_interest(self._records["interest"], self._between),
            tables.build_checks(self._records["checks"]),
            tables.build_manifests(self._records["manifests"]),
        )
        return {table.name: table for table in built}

    def _beside(self) -> tuple[int | None, int | None]:
        """Return the indexes of the last known sample before the liquidation, and of the first after it."""
        known = [(at_ms, index) for index, (at_ms, ltv) in enumerate(self._points) if ltv is not None]
        before = [index for at_ms, index in known if at_ms < self._start_ms]
        after = [index for at_ms, index in known if self._end_ms is not None and at_ms >= self._end_ms]
        return (before[-1] if before else None), (after[0] if after else None)

    def _sample(self, index: int | None) -> tuple[Cell, Cell] | None:
        """Return the LTV and the time of a sample, if there is one."""
        if index is None:
            return None
        return amount_cell(self._ltvs[index]["ltv"]), time_cell(self._ltvs[index]["asked_at"])

    def _repayments(self) -> dict[str, Any]:
        """Return what was repaid while the liquidation ran, for each asset, and what is not known of it.

        That nothing was repaid is known only where the page covers the whole liquidation.
        """
        transactions = self._records["transactions"]
        if transactions is None:
            return {"repaid": None, "unconfirmed": 0, "nothing_repaid": False, "repaid_notes": []}
        found = [one for one in transactions if not _is_borrowing(one) and self._may_be_during(one)]
        repayments = [one for one in found if _is_repayment(one) and is_time(one.get("timestamp"))]
        done = [one for one in repayments if one.get("status") == _DONE]
        unclear = sum(not is_time(one.get("timestamp")) or _is_of_another_type(one) for one in found)
        ended = self._end_ms is not None
        covered = self._scale.start_ms <= self._start_ms <= self._last_ms < self._scale.end_ms
        notes = {
            f"{counted(len(repayments) - len(done), 'repayment')} not confirmed.": len(repayments)
            > len(done),
            f"{counted(unclear, 'record')} of another type or without a time, not counted.": unclear,
            "The liquidation had not ended.": not ended,
            "The page does not cover the whole liquidation: what was repaid at other times is not counted.": (
                ended and not covered
            ),
        }
        return {
            "repaid": _added_up(done),
            "unconfirmed": len(repayments) - len(done),
            "nothing_repaid": ended and covered and not found,
            "repaid_notes": [note for note, holds in notes.items() if holds],
        }

    def _may_be_during(self, transaction: Record) -> bool:
        """Return whether a transaction was made while the liquidation ran, or at a time not stated."""
        at_ms = transaction.get("timestamp")
        return not is_time(at_ms) or self._start_ms <= transaction["timestamp"] <= self._last_ms

    def _verdict(self) -> dict[str, Any] | None:
        """Return how many checks had which outcome, and the outcome that colours the sentence."""
        checks = self._records["checks"]
        if not checks:
            return None
        counts = Counter(str(one.get("outcome")) for one in checks)
        others = counts.total() - sum(counts[outcome] for outcome in tables.OUTCOMES)
        worst = "equal" if counts["equal"] == counts.total() else "not_compared"
        return {
            **{outcome: counts[outcome] for outcome in tables.OUTCOMES},
            "others": others,
            "total": counts.total(),
            "worst": "different" if counts["different"] else worst,
        }


def _of_unit(records: Records | None, field: str, group_id: int) -> Records | None:
    """Return the records of a risk unit, and those that name none."""
    return None if records is None else [one for one in records if one.get(field) in (None, group_id)]


def _during(transfers: Records | None, start_ms: int, end_ms: int) -> Records | None:
    """Return the records of which a transfer was made between two times, or at one that is not stated."""

    def may_be_during(transfer: Record) -> bool:
        at_ms = transfer.get("transferTime")
        return not is_time(at_ms) or start_ms <= transfer["transferTime"] <= end_ms

    if transfers is None:
        return None
    return [record for record in transfers if any(map(may_be_during, tables.transfers_of(record)))]


def _is_borrowing(transaction: Record) -> bool:
    return transaction.get("type") == BORROW


def _is_repayment(transaction: Record) -> bool:
    """Return whether it is a repayment, and not a repeat of one in the same answer."""
    return transaction.get("type") in REPAYMENTS and not transaction.get("occurrence")


def _is_of_another_type(transaction: Record) -> bool:
    return transaction.get("type") not in {BORROW, *REPAYMENTS}


def _added_up(repayments: Records) -> list[Repaid]:
    """Return the sums of repayments, for each asset."""
    by_asset: dict[Any, list[Record]] = {}
    for one in repayments:
        by_asset.setdefault(one.get("assetName"), []).append(one)
    return [
        Repaid(
            text_cell(asset),
            *(_sum_cell(one.get(field) for one in found) for field in ("amount", "principal", "interest")),
        )
        for asset, found in sorted(by_asset.items(), key=lambda item: str(item[0]))
    ]


def _drawn_ltv(sample: Record) -> float | None:
    ltv = known_ltv({**_UNSTATED, **sample})
    return None if ltv is None else float(ltv)


def _sum_cell(amounts: Iterable[Any]) -> Cell:
    total = add_up(amounts)
    return ABSENT if total is None else amount_cell(total)
