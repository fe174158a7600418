"""The datasets, as tests see them: what Binance holds, how it is selected, and the rows of it.

A test that is parametrised with descriptions runs for each dataset, and knows none of them. What can hold for
some datasets alone is parametrised with the list of those, at the end; what differs is in the description.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from airflow_provider_binance_loan.binance.datasets.active_risk_units import ACTIVE_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.borrow_repay import BORROW_REPAY
from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.datasets.interest_history import INTEREST_HISTORY
from airflow_provider_binance_loan.binance.datasets.liquidation_transfers import LIQUIDATION_TRANSFERS
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS
from airflow_provider_binance_loan.binance.declaration import Dataset, Snapshot
from airflow_provider_binance_loan.binance.fields import Field, FieldType, Record
from airflow_provider_binance_loan.binance.messages import TIME
from airflow_provider_binance_loan.binance.own_columns import ASKED_GROUP_ID, OCCURRENCE, OWN_COLUMNS
from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset
from airflow_provider_binance_loan.sandbox.endpoints import ENDPOINTS
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.rows import number, write_json
from tests.support.clock import NOW
from tests.support.hook_client import HookClient

Identity = tuple[int, int, int, int]
"""The start, the unit, the part and the copy of an event."""


@dataclass
class Event:
    """What Binance holds a row for: a liquidation, with or without its transfers, interest, or a transaction.

    :param start_ms: when it began.
    :param unit: its risk unit.
    :param part: which of those of its unit and millisecond it is: that of one asset, or of one type.
    :param copy: which of several events it is whose rows have the same key.
    :param end_ms: when it ended; None while it runs.
    :param moved_ms: when it last changed; at its start unless told otherwise.
    :param figure: an amount, in plain notation.
    :param transfers_ms: the times of its transfers, oldest first.
    """

    start_ms: int
    unit: int
    part: int = 0
    copy: int = 0
    end_ms: int | None = None
    moved_ms: int = 0
    figure: str = "1.50"
    transfers_ms: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.moved_ms = max(self.moved_ms, self.start_ms)

    @property
    def identity(self) -> Identity:
        return self.start_ms, self.unit, self.part, self.copy

    @property
    def sent(self) -> str:
        """The figure as an answer has it: a text, or a JSON number, in one notation or another."""
        forms = (self.figure, number(self.figure), number(f"{Decimal(self.figure):E}"), f"+{self.figure}")
        return forms[self.start_ms % len(forms)]


Selection = Callable[[Event, int, int], bool]
"""Whether an event is selected from a first to a last millisecond."""


def _started(event: Event, first_ms: int, last_ms: int) -> bool:
    return first_ms <= event.start_ms <= last_ms


def _ended(event: Event, first_ms: int, last_ms: int) -> bool:
    return event.end_ms is not None and first_ms <= event.end_ms <= last_ms


def _overlaps(event: Event, first_ms: int, last_ms: int) -> bool:
    return event.start_ms <= last_ms and (event.end_ms is None or event.end_ms >= first_ms)


def _moved(event: Event, first_ms: int, last_ms: int) -> bool:
    return first_ms <= event.moved_ms <= last_ms


def _by_transfers(choose: Callable[[list[int]], list[int]]) -> Selection:
    """Return the selection by some of an event's transfers; by its start before the first of them."""

    def selects(event: Event, first_ms: int, last_ms: int) -> bool:
        times = choose(event.transfers_ms) if event.transfers_ms else [event.start_ms]
        return any(first_ms <= time_ms <= last_ms for time_ms in times)

    return selects


# Pages of the sandbox that hold all rows.
_ALL_ROWS = 10**9
_AMOUNTS = {FieldType.AMOUNT, FieldType.RATIO, FieldType.RATIO_OR_EMPTY}


@dataclass(frozen=True, kw_only=True)
class Described:
    """A dataset.

    :param dataset: its declaration.
    :param row: returns the row of an event as an answer has it; that of a snapshot has no time.
    :param requests: the paths of the requests of an undisturbed read of less than a page, in their order,
        where the account has the active risk units 1 and 2, and where the client sends one at a time.
    :param account: the account whose key may read it.
    :param hook_name: what follows `get_` in the name of the hook's method; the dataset's name by default.
    """

    dataset: Dataset
    row: Callable[[Event], Record]
    requests: tuple[str, ...]
    account: Literal["credit", "parent"] = "credit"
    hook_name: str = ""

    def __str__(self) -> str:
        return self.dataset.name

    @property
    def path(self) -> str:
        return self.dataset.path

    @property
    def data_requests(self) -> tuple[str, ...]:
        """The requests of a read, without one for Binance's time that may come first."""
        return self.requests[self.requests[0] == TIME.path :]

    def documented_row(self, event: Event) -> Record:
        """Return the row of an event with every documented field, null where its row has none."""
        return _with_all_fields(self.dataset.fields, self.row(event))

    def payload(self, *rows: Record) -> Any:
        """Return an answer with rows."""
        return list(rows) if isinstance(self.dataset, Snapshot) else {"total": len(rows), "rows": list(rows)}

    def read(self, client: HookClient, *window: Any, **arguments: Any) -> list[Any]:
        """Return what a hook returns, which takes no window for a snapshot."""
        if not isinstance(self.dataset, WindowedDataset):
            window = ()
        return client.read(self.hook_name or self.dataset.name, *window, **arguments)

    def contents(self, rows: Sequence[Record]) -> list[Any]:
        """Return the keys of rows or records, without own columns, and all amounts of each, sorted."""
        names = [name for name in self.dataset.key_fields if name not in OWN_COLUMNS]
        return sorted(
            (tuple(row[name] for name in names), str(list(_amounts(self.dataset.fields, row))))
            for row in rows
        )

    def shown(self, exchange: Exchange, *window: datetime) -> list[Record]:
        """Return the rows of all units that the sandbox shows by now, of a window if there is one."""
        return self._shown(exchange)

    def _shown(self, exchange: Exchange, **asked: Any) -> list[Record]:
        endpoint = ENDPOINTS[self.path]
        assert endpoint.respond
        paged = {"size": _ALL_ROWS} if "size" in endpoint.params else {}
        body = endpoint.respond(exchange, **asked, **paged)
        rows: Any = json.loads(write_json(body), parse_float=Decimal)
        return rows["rows"] if isinstance(rows, dict) else rows  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True)
class Windowed(Described):
    """A dataset whose records are read by window.

    :param identity: returns the identity of the event that a record is of.
    :param figures: returns the amounts of a row or record.
    :param selections: the ways in which Binance may select events, by name.
    :param parts: how many parts a unit has in one millisecond.
    :param has_copies: whether different events may have rows of one key.
    :param longest: the longest span that a request may have, but for the millisecond before it.
    :param busy: how long a window is that holds several pages of rows of the busy world.
    :param calm: how long a window is that holds some rows, and less than a page, of the calm world.
    :param before_now: how long before now these windows end.
    :param interpretations: settings of the sandbox that concern this dataset alone.
    """

    dataset: WindowedDataset
    identity: Callable[[Record], Identity]
    figures: Callable[[Record], list[Any]]
    selections: Mapping[str, Selection]
    parts: int = 1
    has_copies: bool = False
    longest: timedelta = timedelta(days=99)
    busy: timedelta = timedelta(days=99)
    calm: timedelta = timedelta(hours=1)
    before_now: timedelta = timedelta(0)
    interpretations: tuple[dict[str, Any], ...] = ()

    def window(self, length: timedelta) -> tuple[datetime, datetime]:
        """Return a window of a length that ends now, or a little before."""
        return NOW - self.before_now - length, NOW - self.before_now

    @property
    def has_time(self) -> bool:
        """Whether a row says when its event was."""
        return self.dataset.time_ms(self.row(Event(5, 1))) is not None

    @property
    def names_unit(self) -> bool:
        """Whether a row says which risk unit it is of."""
        return "groupId" in self.row(Event(5, 1))

    def is_asked_for(self, event: Event, asked: Mapping[str, Any], *, is_active: bool) -> bool:
        """Return whether a request asks for the risk unit and the kind of an event, at whatever time."""
        if self.dataset.by_risk_unit:
            wanted = event.unit == asked["groupId"] if "groupId" in asked else is_active
        else:
            assert "groupId" not in asked
            wanted = True
        if "type" in asked:
            wanted &= (self.row(event)["type"] == "BORROW") == (asked["type"] == "BORROW")
        return wanted

    def shown(
        self, exchange: Exchange, *window: datetime, units: Collection[int] | None = None
    ) -> list[Record]:
        """Return the rows of a window, of some units or of all, that the sandbox shows by now."""
        names = ENDPOINTS[self.path].params
        start_ms, end_ms = (int(instant.timestamp() * 1000) for instant in window)
        last_ms = end_ms - exchange.behaviour.end_inclusive
        asked: dict[str, Any] = {"start_ms": start_ms, "end_ms": last_ms}
        groups: list[dict[str, Any]] = [{}]
        if self.dataset.by_risk_unit:
            groups = [{"group_id": unit} for unit in (exchange._units if units is None else units)]
        kinds = [{names[name]: value for name, value in kind.params} for kind in self.dataset.kinds]
        return [
            row
            for group in groups
            for kind in kinds
            for row in self._shown(exchange, **asked, **group, **kind)
        ]


def _with_all_fields(fields: Sequence[Field], row: Mapping[str, Any]) -> Record:
    """Return a row with all fields that an answer has, in their order; lists and objects are there."""
    whole: Record = {}
    for one in fields:
        value = row.get(one.name)
        if one.fields and isinstance(value, dict):
            value = _with_all_fields(one.fields, value)
        elif one.fields:
            value = [_with_all_fields(one.fields, item) for item in value or ()]
        if one.name not in OWN_COLUMNS:
            whole[one.name] = value
    return whole


def _amounts(fields: Sequence[Field], row: Mapping[str, Any]) -> Iterator[Decimal | None]:
    """Yield all amounts of a row or record, in the order in which they are declared."""
    for one in fields:
        value = row.get(one.name)
        if one.fields:
            items = [value] if isinstance(value, dict) else value or []
            for item in items:
                yield from _amounts(one.fields, item)
        elif one.type in _AMOUNTS:
            yield Decimal(value) if value not in (None, "") else None


_CLOSED, _LTVS = CLOSED_RISK_UNITS.path, RISK_UNIT_LTVS.path


def _by_unit(path: str) -> tuple[str, ...]:
    """Return the requests for active risk units, closed ones, and active ones again."""
    return path, _CLOSED, path


def _liquidation_row(event: Event) -> Record:
    return {
        "groupId": event.unit,
        "liquidationStartTime": event.start_ms,
        "liquidationEndTime": event.end_ms,
        "endLtv": event.sent,
        "liquidationSnapshot": {
            "snapshots": [{"walletType": "SPOT", "netEquity": "0E-8"}],
            "liabilities": [{"assetName": "USDT", "principal": event.sent}],
        },
    }


LIQUIDATIONS = Windowed(
    dataset=FORCE_LIQUIDATIONS,
    row=_liquidation_row,
    requests=_by_unit(FORCE_LIQUIDATIONS.path),
    identity=lambda record: (record["liquidationStartTime"], record["groupId"], 0, 0),
    figures=lambda record: [record["endLtv"], record["liquidationSnapshot"]["liabilities"][0]["principal"]],
    selections={"start": _started, "end": _ended, "overlap": _overlaps, "update": _moved},
    interpretations=(
        *({"filter_field": name} for name in ("end", "overlap", "update")),
        {"snapshot_shape": "list", "liabilities_shape": "object"},
        {"snapshot_shape": "null"},
        {"liabilities_shape": "list", "running_end": "zero"},
        {"liabilities_shape": "null", "running_end": "absent"},
        {"end_inclusive": False, "filter_field": "end", "order": "oldest", "total": "zero"},
    ),
)

_ASSETS = ("USDC", "USDT")


def _interest_row(event: Event) -> Record:
    return {
        "groupId": event.unit,
        "assetName": _ASSETS[event.part],
        "principal": event.sent,
        "interestRate": number("0.00000833"),
        "interest": event.sent,
        "interestTimestamp": event.start_ms,
    }


INTEREST = Windowed(
    dataset=INTEREST_HISTORY,
    row=_interest_row,
    requests=_by_unit(INTEREST_HISTORY.path),
    identity=lambda record: (
        record["interestTimestamp"],
        record["groupId"],
        _ASSETS.index(record["assetName"]),
        0,
    ),
    figures=lambda record: [record["principal"], record["interest"]],
    selections={"start": _started},
    parts=len(_ASSETS),
    busy=timedelta(hours=4),
    calm=timedelta(hours=19),
    # Now is a full hour, at which all rows have one time: what is newest would stay more than a page.
    before_now=timedelta(minutes=1),
)

# More than there are units: a liquidation's id says when it was and of which unit.
_UNITS = 10_000


def _transfers_row(event: Event) -> Record:
    moved = [
        {"transferTime": time_ms, "assets": [{"assetName": "USDT", "amount": event.sent}]}
        for time_ms in event.transfers_ms
    ]
    return {"liquidationId": event.start_ms * _UNITS + event.unit, "liquidationTransferRecord": moved}


TRANSFERS = Windowed(
    dataset=LIQUIDATION_TRANSFERS,
    row=_transfers_row,
    requests=(LIQUIDATION_TRANSFERS.path,),
    identity=lambda record: (*divmod(record["liquidationId"], _UNITS), 0, 0),
    figures=lambda record: [
        asset["amount"] for moved in record["liquidationTransferRecord"] for asset in moved["assets"]
    ],
    selections={
        "liquidation": _started,
        "first": _by_transfers(lambda times: times[:1]),
        "latest": _by_transfers(lambda times: times[-1:]),
        "any": _by_transfers(list),
    },
    busy=timedelta(days=41),
    interpretations=(
        *({"transfer_filter": name} for name in ("first", "any", "liquidation")),
        {"end_inclusive": False, "transfer_filter": "first", "order": "oldest", "total": "zero"},
    ),
)

_TYPES = (
    ("BORROW", "CONFIRM"),
    ("BORROW", "FAILED"),
    ("FORCE_REPAY", "CONFIRM"),
    ("NORMAL_REPAY", "CONFIRM"),
)


def _transaction_row(event: Event) -> Record:
    kind, status = _TYPES[event.part]
    return {
        "tranId": event.unit,
        "assetName": "USDT",
        "amount": event.sent,
        "status": status,
        "type": kind,
        "timestamp": event.start_ms,
    }


def _transaction(record: Record) -> Identity:
    assert record[ASKED_GROUP_ID] in (None, record["tranId"]), "a record is of another unit"
    part = _TYPES.index((record["type"], record["status"]))
    return record["timestamp"], record["tranId"], part, record[OCCURRENCE]


_TRADES = (BORROW_REPAY.path,) * 2
TRANSACTIONS = Windowed(
    dataset=BORROW_REPAY,
    row=_transaction_row,
    # Both types; the active risk units; the closed ones; both types again; and both of each active one.
    requests=(*_TRADES, TIME.path, _LTVS, _CLOSED, *_TRADES, *_TRADES, *_TRADES),
    identity=_transaction,
    figures=lambda record: [record["amount"]],
    selections={"start": _started, "update": _moved},
    parts=len(_TYPES),
    has_copies=True,
    longest=timedelta(days=6),
    busy=timedelta(days=41),
)


def _active_unit_row(event: Event) -> Record:
    member = {"email": "a@test.com", "type": "CREDIT", "enableMargin": True, "enableSpot": False}
    return {"groupId": event.unit, "members": [member], "createTime": event.start_ms}


ACTIVE_UNITS = Described(
    dataset=ACTIVE_RISK_UNITS,
    row=_active_unit_row,
    requests=(TIME.path, ACTIVE_RISK_UNITS.path),
    account="parent",
)


def _closed_unit_row(event: Event) -> Record:
    closed = {"parentEmail": "p@test.com", "creditEmail": "c@test.com", "enabled": False}
    return {"groupId": event.unit, **closed, "createTime": event.start_ms, "closeTime": event.end_ms}


CLOSED_UNITS = Described(
    dataset=CLOSED_RISK_UNITS, row=_closed_unit_row, requests=(TIME.path, _CLOSED, _CLOSED)
)


def _ltv_row(event: Event) -> Record:
    wallet = {"accountType": "SPOT", "netEquity": event.sent, "maintainMargin": "0E-8"}
    return {
        "groupId": event.unit,
        "creditEmail": "c@test.com",
        "updateTime": event.start_ms,
        "ltv": event.sent,
        "totalLiability": event.sent,
        "liabilities": [{"assetName": "USDT", "principal": event.sent}],
        "collateralAccounts": [{"email": "c@test.com", "type": "CREDIT", "wallets": [wallet]}],
    }


LTVS = Described(
    dataset=RISK_UNIT_LTVS, row=_ltv_row, requests=(TIME.path, _LTVS), account="parent", hook_name="ltv"
)

DESCRIBED: tuple[Described, ...] = (
    *(WINDOWED := (LIQUIDATIONS, INTEREST, TRANSFERS, TRANSACTIONS)),
    *(SNAPSHOTS := (ACTIVE_UNITS, CLOSED_UNITS, LTVS)),
)
# Those whose rows say when they were, those selected by risk unit, and those whose rows say which one.
TIMED = tuple(one for one in WINDOWED if one.has_time)
BY_UNIT = tuple(one for one in WINDOWED if one.dataset.by_risk_unit)
NAMING_UNIT = tuple(one for one in WINDOWED if one.names_unit)
