"""The shape of a force-liquidation record and of a closed risk unit, and the exact reading of both.

https://developers.binance.com/docs/institutional_loan/trade
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple, TypedDict

from airflow_provider_binance_loan.exceptions import BadResponseError
from airflow_provider_binance_loan.validation import shown


class Snapshot(TypedDict):
    """One wallet of one account of the risk unit. Amounts are decimal strings."""

    subEmail: str | None  #: the account's e-mail address
    memberType: str | None  #: `CREDIT` or `COLLATERAL`
    walletType: str | None  #: `PORTFOLIO_MARGIN`, `SPOT` or `CROSS_MARGIN`
    netEquity: str | None  #: net equity in the wallet
    maintainMargin: str | None  #: maintenance margin required


class Liability(TypedDict):
    """One outstanding loan of the risk unit. Amounts are decimal strings, in units of the asset."""

    assetName: str | None  #: for example `USDT`
    principal: str | None  #: outstanding principal
    interest: str | None  #: outstanding interest


class LiquidationSnapshot(TypedDict):
    """The wallets and the loans of the risk unit; both are always lists, empty where Binance sent none."""

    snapshots: list[Snapshot]
    liabilities: list[Liability]


class ForceLiquidation(TypedDict):
    """One force liquidation of one risk unit.

    Every documented field is there, and None where Binance sent null or nothing. Fields that Binance does
    not document are kept after them. Amounts are decimal strings in plain notation with every digit that
    Binance sent: `"0E-8"` comes out as `"0.00000000"`, the number `16671.5507973` as `"16671.5507973"`.
    """

    groupId: int  #: the risk unit
    startLtv: str | None  #: its loan-to-value when the liquidation began
    endLtv: str | None  #: its latest loan-to-value; changes while the liquidation runs
    liquidationStartTime: int  #: epoch milliseconds, UTC
    liquidationEndTime: int | None  #: epoch milliseconds, UTC; None or 0 while the liquidation runs
    totalNetEquity: str | None
    totalMaintenanceMargin: str | None
    totalLiability: str | None  #: outstanding principal and interest
    liquidationSnapshot: LiquidationSnapshot


class ClosedRiskUnit(TypedDict):
    """A risk unit that is closed; fields that Binance does not document are kept after these."""

    groupId: int
    parentEmail: str | None
    creditEmail: str | None
    enabled: bool | None
    createTime: int | None  #: epoch milliseconds, UTC
    closeTime: int | None  #: epoch milliseconds, UTC


#: The natural key of a record, its start in epoch milliseconds and its risk unit. Records come out in its
#: order: oldest first, then by unit.
Key = tuple[int, int]

record_key: Callable[[Mapping[str, Any]], Key] = itemgetter("liquidationStartTime", "groupId")


class Page(NamedTuple):
    """One page of an answer: its rows by natural key, and the `total` that it states.

    :param rows: the rows of the page in the order in which they came.
    :param total: documented as a number of risk units, elsewhere a number of rows: at most a hint.
    """

    rows: list[dict[str, Any]]
    total: int | None


def is_running(record: Mapping[str, Any]) -> bool:
    """Tell whether a liquidation still runs, so that its figures may change."""
    return not record["liquidationEndTime"]


def parse_liquidations(payload: Any) -> Page:
    """Return a page whose rows are :class:`ForceLiquidation`; what came is used up.

    :raises BadResponseError: it is not the documented shape; the message holds the path to what is wrong.
    """
    return _parse_page(payload, _LIQUIDATION)


def parse_closed_units(payload: Any) -> Page:
    """Return a page whose rows are :class:`ClosedRiskUnit`; likewise."""
    return _parse_page(payload, _CLOSED_UNIT)


def _parse_page(payload: Any, shape: _Shape) -> Page:
    try:
        if not isinstance(payload, dict):
            raise _MalformedError(payload, "an object", "the body")
        rows = payload.get("rows", _ABSENT)
        if not isinstance(rows, list):
            raise _MalformedError(rows, "a list", "rows")
        (total,) = _integers([payload.get("total")], lambda _: "total")
        return Page(_parse_rows(rows, shape, "rows[{}]".format), total)
    except _MalformedError as error:
        raise BadResponseError(
            f"The answer is not what Binance documents: {error.path} is {error.came}, "
            f"and should be {error.expected}. Nothing of it was used.",
            status=200,
        ) from None


# A page has some three thousand values, and to call a function for each takes longer than all else that is
# done to a record. So rows are parsed a column at a time, and what is right already is left as it is.

# The path of a value, for an error, by its place in the column.
_Path = Callable[[int], str]
# Returns what the values of a column are in a record; the same sequence when nothing changes.
_Parser = Callable[[Sequence[Any], _Path], Sequence[Any]]
_Shape = Mapping[str, _Parser]

_ABSENT = object()
_OBJECTS = {dict}
_WHOLE_NUMBERS = {int}
_TEXTS = {str, type(None)}


def _parse_rows(rows: list[Any], shape: _Shape, path: _Path) -> list[dict[str, Any]]:
    """Return rows with the fields of their shape in their order, each as its parser has it.

    Other fields follow, sorted, so that the same record always comes out as the same bytes.
    """
    if not rows:
        return rows  # nothing to have columns of
    if not _in_order(rows, shape):
        rows = [_arranged(row, shape, path(index)) for index, row in enumerate(rows)]
    for name, parse in shape.items():
        came = [row[name] for row in rows]
        parsed = parse(came, lambda index, name=name: f"{path(index)}.{name}")  # type: ignore[misc]
        if parsed is not came:
            for row, value in zip(rows, parsed, strict=True):
                row[name] = value
    return rows


def _in_order(rows: list[Any], shape: _Shape) -> bool:
    """Tell whether all rows are objects with just the fields of their shape, in their order."""
    if not _OBJECTS.issuperset(map(type, rows)):
        return False
    try:
        return [set(names) for names in zip(*rows, strict=True)] == [{name} for name in shape]
    except ValueError:  # some have more fields than others
        return False


def _arranged(row: Any, shape: _Shape, path: str) -> dict[str, Any]:
    """Return an object with the fields of its shape in their order, and then all others."""
    if not isinstance(row, dict):
        raise _MalformedError(row, "an object", path)
    others = sorted(row.keys() - shape.keys())
    return {
        **{
            name: row.get(name, _ABSENT if parse is _required_integers else None)
            for name, parse in shape.items()
        },
        **{name: row[name] for name in others},
    }


_WHOLE = re.compile(r"[0-9]{1,19}")
_PLAIN = r"-?[0-9]++(?:\.[0-9]++)?"
_PLAIN_NUMBER = re.compile(_PLAIN)
_PLAIN_LINES = re.compile(rf"(?:{_PLAIN}\n)*+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE](?P<exponent>[+-]?[0-9]{1,4}))?")
# Past this, plain notation is a long row of zeros, and no amount of any asset.
_MAX_EXPONENT = 100
# Binance's LONG is an integer of 64 bits.
_TOO_LARGE = 2**63


def _decimals(values: Sequence[Any], path: _Path) -> Sequence[str | None]:
    """Return amounts in plain notation with every digit that was sent."""
    kinds = set(map(type, values))
    if kinds <= {str, int}:
        plain = values if kinds == {str} else list(map(str, values))
        lines = "\n".join([*plain, ""])
        if "E" in lines:  # Binance's zeros come as "0E-8"
            plain = [_to_plain(text) or text if "E" in text else text for text in plain]
            lines = "\n".join([*plain, ""])
        if _PLAIN_LINES.fullmatch(lines) and lines.count("\n") == len(plain):
            return plain
    return [_decimal(value, path, index) for index, value in enumerate(values)]


def _decimal(value: Any, path: _Path, index: int) -> str | None:
    if value is None:
        return None
    if type(value) is str:  # also a JSON number with a fraction or an exponent: see Response.payload
        plain = _to_plain(value)
        if plain is not None:
            return plain
    elif type(value) is int:
        return str(value)
    raise _MalformedError(value, "a decimal number", path(index))


@lru_cache
def _to_plain(text: str) -> str | None:
    """Return a decimal number in plain notation, or None for what is none."""
    if _PLAIN_NUMBER.fullmatch(text):  # as it is, whatever stands beside it in its column
        return text
    match = _DECIMAL.fullmatch(text)
    if match is None or abs(int(match["exponent"] or 0)) > _MAX_EXPONENT:
        return None
    return f"{Decimal(text):f}"


def _integers(values: Sequence[Any], path: _Path) -> Sequence[int | None]:
    if _WHOLE_NUMBERS.issuperset(map(type, values)) and 0 <= min(values) <= max(values) < _TOO_LARGE:
        return values
    parsed = [int(value) if type(value) is str and _WHOLE.fullmatch(value) else value for value in values]
    for index, number in enumerate(parsed):
        if number is not None and not (type(number) is int and 0 <= number < _TOO_LARGE):
            raise _MalformedError(values[index], "a whole number", path(index))
    return parsed


def _required_integers(values: Sequence[Any], path: _Path) -> Sequence[int | None]:
    for index, value in enumerate(values):
        if value is None or value is _ABSENT:
            raise _MalformedError(value, "a whole number", path(index))
    return _integers(values, path)


def _texts(values: Sequence[Any], path: _Path) -> Sequence[str | None]:
    if not _TEXTS.issuperset(map(type, values)):
        index = next(index for index, value in enumerate(values) if type(value) not in _TEXTS)
        raise _MalformedError(values[index], "a text", path(index))
    return values


def _flags(values: Sequence[Any], path: _Path) -> Sequence[bool | None]:
    for index, value in enumerate(values):
        if value is not None and type(value) is not bool:
            raise _MalformedError(value, "true or false", path(index))
    return values


def _lists_of(shape: _Shape) -> _Parser:
    """Return the parser of lists of objects; a single object is a list of one, and null an empty list."""

    def parse(values: Sequence[Any], path: _Path) -> list[list[dict[str, Any]]]:
        lists = [[] if value is None else [value] if isinstance(value, dict) else value for value in values]
        for index, items in enumerate(lists):
            if not isinstance(items, list):
                raise _MalformedError(items, "a list", path(index))

        def path_of_item(index: int) -> str:
            places = ((number, place) for number, items in enumerate(lists) for place in range(len(items)))
            number, place = next(islice(places, index, None))
            return f"{path(number)}[{place}]"

        items = list(chain.from_iterable(lists))
        rows = _parse_rows(items, shape, path_of_item)
        if rows is items:
            return lists
        parsed = iter(rows)
        return [list(islice(parsed, len(items))) for items in lists]

    return parse


def _liquidation_snapshots(values: Sequence[Any], path: _Path) -> list[dict[str, Any]]:
    # The page's table says list, its example shows an object; the same holds for `liabilities`.
    objects = [
        {}
        if value is None or value == []
        else value[0]
        if isinstance(value, list) and len(value) == 1
        else value
        for value in values
    ]
    for index, value in enumerate(objects):
        if not isinstance(value, dict):
            raise _MalformedError(values[index], "an object or a list of one", path(index))
    return _parse_rows(objects, _LIQUIDATION_SNAPSHOT, path)


# What the fields of the classes above go through.
_SNAPSHOT: _Shape = {
    "subEmail": _texts,
    "memberType": _texts,
    "walletType": _texts,
    "netEquity": _decimals,
    "maintainMargin": _decimals,
}
_LIABILITY: _Shape = {"assetName": _texts, "principal": _decimals, "interest": _decimals}
_LIQUIDATION_SNAPSHOT: _Shape = {"snapshots": _lists_of(_SNAPSHOT), "liabilities": _lists_of(_LIABILITY)}
_LIQUIDATION: _Shape = {
    "groupId": _required_integers,
    "startLtv": _decimals,
    "endLtv": _decimals,
    "liquidationStartTime": _required_integers,
    "liquidationEndTime": _integers,
    "totalNetEquity": _decimals,
    "totalMaintenanceMargin": _decimals,
    "totalLiability": _decimals,
    "liquidationSnapshot": _liquidation_snapshots,
}
_CLOSED_UNIT: _Shape = {
    "groupId": _required_integers,
    "parentEmail": _texts,
    "creditEmail": _texts,
    "enabled": _flags,
    "createTime": _integers,
    "closeTime": _integers,
}


class _MalformedError(Exception):
    """What came, what should have come, and where."""

    def __init__(self, came: Any, expected: str, path: str) -> None:
        super().__init__(path)
        self.came = "absent" if came is _ABSENT else shown(came)
        self.expected = expected
        self.path = path
