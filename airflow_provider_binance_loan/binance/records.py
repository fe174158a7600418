"""The shape of a force-liquidation record and of a closed risk unit, and the exact reading of both.

https://developers.binance.com/docs/institutional_loan/trade
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict

from airflow_provider_binance_loan.checks import shown
from airflow_provider_binance_loan.exceptions import BadResponseError


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


class Key(NamedTuple):
    """The natural key of a record, in the order in which records come out: oldest first, then by unit."""

    start_ms: int
    group_id: int


class Page(NamedTuple):
    """One page of an answer: its rows by natural key, and the `total` that it states.

    :param rows: the rows of the page in the order in which they came.
    :param total: documented as a number of risk units, elsewhere a number of rows: at most a hint.
    """

    rows: list[dict[str, Any]]
    total: int | None


def record_key(record: Mapping[str, Any]) -> Key:
    """Return the natural key of a record."""
    return Key(record["liquidationStartTime"], record["groupId"])


def is_running(record: Mapping[str, Any]) -> bool:
    """Tell whether a liquidation still runs, so that its figures may change."""
    return not record["liquidationEndTime"]


def parse_page(payload: Any, parse_row: Callable[[Any], dict[str, Any]]) -> Page:
    """Return the page that a decoded body holds.

    :param parse_row: :func:`parse_liquidation` or :func:`parse_closed_unit`.
    :raises BadResponseError: it is not the documented shape; the message holds the path to what is wrong.
    """
    try:
        body = _object(payload)
        rows = []
        for index, row in enumerate(_list(body.get("rows", _NOTHING), "rows")):
            try:
                rows.append(parse_row(row))
            except _MalformedError as error:
                raise error.below(f"rows[{index}]") from None
        return Page(rows, _integer(body.get("total"), "total"))
    except _MalformedError as error:
        raise BadResponseError(
            f"The answer is not what Binance documents: {error.path or 'the body'} is {error.came}, "
            f"and should be {error.expected}. Nothing of it was used.",
            status=200,
        ) from None


def parse_liquidation(row: Any) -> dict[str, Any]:
    """Return a row of the force-liquidation endpoint as a :class:`ForceLiquidation`."""
    row = _object(row)
    return {
        "groupId": _required_integer(row, "groupId"),
        "startLtv": _decimal(row.get("startLtv"), "startLtv"),
        "endLtv": _decimal(row.get("endLtv"), "endLtv"),
        "liquidationStartTime": _required_integer(row, "liquidationStartTime"),
        "liquidationEndTime": _integer(row.get("liquidationEndTime"), "liquidationEndTime"),
        "totalNetEquity": _decimal(row.get("totalNetEquity"), "totalNetEquity"),
        "totalMaintenanceMargin": _decimal(row.get("totalMaintenanceMargin"), "totalMaintenanceMargin"),
        "totalLiability": _decimal(row.get("totalLiability"), "totalLiability"),
        "liquidationSnapshot": _liquidation_snapshot(row.get("liquidationSnapshot"), "liquidationSnapshot"),
        **_undocumented(row, ForceLiquidation.__annotations__),
    }


def parse_closed_unit(row: Any) -> dict[str, Any]:
    """Return a row of the closed-units endpoint as a :class:`ClosedRiskUnit`."""
    row = _object(row)
    return {
        "groupId": _required_integer(row, "groupId"),
        "parentEmail": _text(row.get("parentEmail"), "parentEmail"),
        "creditEmail": _text(row.get("creditEmail"), "creditEmail"),
        "enabled": _flag(row.get("enabled"), "enabled"),
        "createTime": _integer(row.get("createTime"), "createTime"),
        "closeTime": _integer(row.get("closeTime"), "closeTime"),
        **_undocumented(row, ClosedRiskUnit.__annotations__),
    }


def _liquidation_snapshot(value: Any, name: str) -> dict[str, Any]:
    # The page's table says list, its example shows an object; the same holds for `liabilities` below.
    if value is None or value == []:
        value = {}
    elif isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise _MalformedError(value, "an object or a list of one", name)
    try:
        return {
            "snapshots": _objects(value.get("snapshots"), "snapshots", _snapshot),
            "liabilities": _objects(value.get("liabilities"), "liabilities", _liability),
            **_undocumented(value, LiquidationSnapshot.__annotations__),
        }
    except _MalformedError as error:
        raise error.below(name) from None


def _snapshot(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "subEmail": _text(row.get("subEmail"), "subEmail"),
        "memberType": _text(row.get("memberType"), "memberType"),
        "walletType": _text(row.get("walletType"), "walletType"),
        "netEquity": _decimal(row.get("netEquity"), "netEquity"),
        "maintainMargin": _decimal(row.get("maintainMargin"), "maintainMargin"),
        **_undocumented(row, Snapshot.__annotations__),
    }


def _liability(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "assetName": _text(row.get("assetName"), "assetName"),
        "principal": _decimal(row.get("principal"), "principal"),
        "interest": _decimal(row.get("interest"), "interest"),
        **_undocumented(row, Liability.__annotations__),
    }


def _undocumented(row: dict[str, Any], documented: Mapping[str, Any]) -> dict[str, Any]:
    """Return the other fields, sorted, so that the same record always comes out as the same bytes."""
    return {name: row[name] for name in sorted(row.keys() - documented.keys())}


_WHOLE = re.compile(r"[0-9]{1,19}")
_PLAIN = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE](?P<exponent>[+-]?[0-9]{1,4}))?")
# Past this, plain notation is a long row of zeros, and no amount of any asset.
_MAX_EXPONENT = 100
# Binance's LONG is an integer of 64 bits.
_TOO_LARGE = 2**63


def _decimal(value: Any, name: str) -> str | None:
    """Return an amount in plain notation with every digit that was sent."""
    if value is None:
        return None
    if type(value) is str:  # also a JSON number with a fraction or an exponent: see Response.payload
        if _PLAIN.fullmatch(value):
            return value
        match = _DECIMAL.fullmatch(value)
        if match and abs(int(match["exponent"] or 0)) <= _MAX_EXPONENT:
            return f"{Decimal(value):f}"
    elif type(value) is int:
        return str(value)
    raise _MalformedError(value, "a decimal number", name)


def _integer(value: Any, name: str) -> int | None:
    number = int(value) if type(value) is str and _WHOLE.fullmatch(value) else value
    # Neither an id nor a time is negative.
    if number is None or (type(number) is int and 0 <= number < _TOO_LARGE):
        return number
    raise _MalformedError(value, "a whole number", name)


def _required_integer(row: dict[str, Any], name: str) -> int:
    value = _integer(row.get(name), name)
    if value is None:
        raise _MalformedError(row.get(name, _NOTHING), "a whole number", name)
    return value


def _text(value: Any, name: str) -> str | None:
    if value is None or type(value) is str:
        return value
    raise _MalformedError(value, "a text", name)


def _flag(value: Any, name: str) -> bool | None:
    if value is None or type(value) is bool:
        return value
    raise _MalformedError(value, "true or false", name)


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise _MalformedError(value, "an object")


def _list(value: Any, name: str) -> list[Any]:
    if isinstance(value, list):
        return value
    raise _MalformedError(value, "a list", name)


def _objects(
    value: Any, name: str, parse: Callable[[dict[str, Any]], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the parsed objects of a list, of a single object, or of nothing."""
    if value is None:
        return []
    if isinstance(value, dict):
        value = [value]
    parsed = []
    for index, item in enumerate(_list(value, name)):
        try:
            parsed.append(parse(_object(item)))
        except _MalformedError as error:
            raise error.below(f"{name}[{index}]") from None
    return parsed


_NOTHING = object()


class _MalformedError(Exception):
    """What came, what should have come, and where; each level on the way out adds its part of the path."""

    def __init__(self, came: Any, expected: str, path: str = "") -> None:
        super().__init__(path)
        self.came = "absent" if came is _NOTHING else shown(came)
        self.expected = expected
        self.path = path

    def below(self, parent: str) -> _MalformedError:
        self.path = f"{parent}.{self.path}" if self.path else parent
        return self
