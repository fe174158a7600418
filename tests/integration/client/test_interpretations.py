"""Every interpretation of Binance's page, over HTTP and in both clients: the same records at a known cost."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.messages import TIME
from airflow_provider_binance_loan.exceptions import RequestRefusedError
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.faults import Fault
from tests.support.descriptions import BY_UNIT, LIQUIDATIONS, LTVS, WINDOWED, Windowed
from tests.support.hook_client import HookClient
from tests.support.worlds import BURST_MS, NOW_MS, fill_busily, fill_calmly, use_account

DAY_MS = 24 * 60 * 60 * 1000
QUARTER = timedelta(days=99)
START_MS = NOW_MS - 99 * DAY_MS
# Of every dataset; each has others in its description.
INTERPRETATIONS: list[dict[str, Any]] = [
    {},
    *({"total": total} for total in ("units", "string", "zero", "absent")),
    *({"order": order} for order in ("oldest", "random")),
    {"end_inclusive": False},
    {"page_cap": 40},
]


def read(client: HookClient, described: Windowed, length: timedelta, **arguments: Any) -> list[Any]:
    """Return the records of a window of a length, which come in the order of their keys."""
    records = described.read(client, *described.window(length), **arguments)
    keys = [described.dataset.key(record) for record in records]
    assert keys == sorted(keys)
    return records


def pull(client: HookClient, **arguments: Any) -> list[tuple[int, int]]:
    """Return the keys of the liquidations of a quarter."""
    return [key_of(record) for record in read(client, LIQUIDATIONS, QUARTER, **arguments)]


def key_of(record: Any) -> tuple[int, int]:
    return record["liquidationStartTime"], record["groupId"]


def shown(described: Windowed, exchange: Exchange, length: timedelta) -> list[Any]:
    """Return the contents of a window of a length, as the sandbox shows them."""
    return described.contents(described.shown(exchange, *described.window(length)))


@pytest.mark.parametrize(
    ("described", "knobs"),
    [
        pytest.param(
            described,
            knobs,
            id=f"{described}-{','.join(f'{name}={value}' for name, value in knobs.items()) or 'as is'}",
        )
        for described in WINDOWED
        for knobs in (*INTERPRETATIONS, *described.interpretations)
    ],
)
def test_reads_the_same_under_every_interpretation(
    client: HookClient, exchange: Exchange, described: Windowed, knobs: dict[str, Any]
) -> None:
    """The records are the same whatever Binance counts, filters on, includes and sorts by."""
    fill_busily(exchange)
    shapes = {name: value for name, value in knobs.items() if name.endswith(("_shape", "_end"))}
    exchange.behaviour = replace(exchange.behaviour, **shapes)
    expected = shown(described, exchange, described.busy)
    assert len(expected) > 100
    exchange.behaviour = replace(exchange.behaviour, **knobs)
    assert described.contents(read(client, described, described.busy)) == expected


def add_unit(exchange: Exchange, start_ms: int) -> None:
    """Let a risk unit appear that was liquidated."""
    unit = exchange.add_unit(max(exchange._units) + 1).group_id
    exchange.add_liquidation(unit, start_ms, start_ms + 5)


def insert_newest(exchange: Exchange) -> None:
    add_unit(exchange, NOW_MS - 7)


def insert_between(exchange: Exchange) -> None:
    add_unit(exchange, BURST_MS + 3_700_000)


def close_one(exchange: Exchange) -> None:
    exchange.close(2)


def change_one(exchange: Exchange) -> None:
    """Change a figure of a liquidation that has ended; the other datasets do not show it."""
    exchange.liquidations()[20].fields["endLtv"] = "0.5"


def all_at_once(exchange: Exchange) -> None:
    for change in (insert_newest, insert_between, close_one, change_one):
        change(exchange)


MOVEMENTS: list[tuple[Windowed, Callable[[Exchange], None], int]] = [
    *(
        (LIQUIDATIONS, change, at)
        for change in (insert_newest, insert_between, close_one, change_one, all_at_once)
        for at in (1, 2, 3, 5, 8)
    ),
    # The same code reads the others, which do not show a change of a liquidation's figures.
    *(
        (described, change, at)
        for described in WINDOWED
        if described is not LIQUIDATIONS
        for change in (insert_between, close_one, all_at_once)
        for at in (1, 3, 8)
    ),
]


@pytest.mark.parametrize(
    ("described", "change", "at"),
    [
        pytest.param(described, change, at, id=f"{described}-{change.__name__}-{at}")
        for described, change, at in MOVEMENTS
    ],
)
def test_reads_a_list_that_changes(
    client: HookClient, exchange: Exchange, described: Windowed, change: Callable[[Exchange], None], at: int
) -> None:
    """Whatever changes between two requests, every record that existed throughout is returned, each once."""
    fill_busily(exchange)
    before = {key for key, _ in shown(described, exchange, described.busy)}
    exchange._data_requests = 0
    exchange.schedule(at, change)
    keys = [key for key, _ in described.contents(read(client, described, described.busy))]
    assert not exchange._scheduled
    assert len(keys) == len(set(keys))
    assert before <= set(keys) <= {key for key, _ in shown(described, exchange, described.busy)}


@pytest.mark.parametrize("max_days", [30, 7, 2])
@pytest.mark.parametrize("described", WINDOWED, ids=str)
def test_reads_spans_as_short_as_binance_wants_them(
    client: HookClient, exchange: Exchange, described: Windowed, max_days: int
) -> None:
    """A span that is refused is halved; the same hook does not ask for it again."""
    fill_calmly(exchange)
    expected = shown(described, exchange, QUARTER)
    exchange.behaviour.max_days = max_days
    assert described.contents(read(client, described, QUARTER)) == expected
    is_shorter = max_days * DAY_MS < described.dataset.max_span_ms
    assert any(request.status == 400 for request in exchange.requests) == is_shorter
    first = len(exchange.requests)
    assert described.contents(read(client, described, QUARTER)) == expected
    assert not any(request.status == 400 for request in exchange.requests[first:])


@pytest.mark.parametrize("described", WINDOWED, ids=str)
def test_a_span_that_is_always_refused_is_an_error(
    client: HookClient, exchange: Exchange, connect: Any, described: Windowed
) -> None:
    """It is Binance's first refusal, also when the code means something else than a long span."""
    connect(extra={"max_concurrency": 1})
    exchange.fail(*[Fault("error", 400, code, f"Refusal {code}.") for code in (-6021, *[-4047] * 40)])
    with pytest.raises(RequestRefusedError, match=r"Refusal -6021.*'binance_loan_default'.*code -6021"):
        read(client, described, QUARTER)


def hide(exchange: Exchange, *, close: bool) -> None:
    """Let unit 2 leave the list of active units, to the list of closed ones or to neither."""
    unit = exchange._units[2]
    unit.create_ms = 0 if close else NOW_MS + DAY_MS
    unit.close_ms = NOW_MS - 1 if close else None


def show(exchange: Exchange) -> None:
    """Let unit 2 be active."""
    exchange._units[2].create_ms, exchange._units[2].close_ms = 0, None


@pytest.mark.parametrize("close", [True, False], ids=["closed", "in neither list"])
@pytest.mark.parametrize("described", BY_UNIT, ids=str)
def test_reads_a_unit_that_opens_again_meanwhile(
    client: HookClient, exchange: Exchange, connect: Any, described: Windowed, close: bool
) -> None:
    """A unit that is not active at first, and is again before the closed ones are listed, is read."""
    connect(extra={"max_concurrency": 1})
    fill_calmly(exchange)
    expected = shown(described, exchange, described.calm)
    hide(exchange, close=close)
    exchange._data_requests = 0
    data_requests = [path for path in described.requests if path != TIME.path]
    exchange.schedule(1 + data_requests.index(CLOSED_RISK_UNITS.path), show)
    assert described.contents(read(client, described, described.calm)) == expected
    assert expected
    assert len(exchange.requests) <= len(described.requests)


@pytest.mark.parametrize("described", BY_UNIT, ids=str)
def test_reads_the_risk_units_that_are_chosen(
    client: HookClient, exchange: Exchange, described: Windowed
) -> None:
    """A unit that is closed by now is read too, unless only active ones are asked for, or others named."""
    fill_calmly(exchange)
    exchange.close(2)
    window = described.window(described.calm)
    for risk_units, units in (("all", {1, 2}), ("active", {1}), ([2], {2}), ("1,2", {1, 2})):
        expected = described.contents(described.shown(exchange, *window, units=units))
        assert expected
        assert described.contents(read(client, described, described.calm, risk_units=risk_units)) == expected


@pytest.mark.parametrize("described", WINDOWED, ids=str)
def test_the_key_of_a_parent_account_is_refused(
    client: HookClient, exchange: Exchange, described: Windowed
) -> None:
    """The endpoints are for credit accounts, and the error says so."""
    use_account(exchange, LTVS)
    with pytest.raises(RequestRefusedError, match="Use the key of a credit account"):
        read(client, described, described.calm)


def evenly(count: int) -> list[int]:
    dice = random.Random(count)
    return [START_MS + dice.randrange(99 * DAY_MS) for _ in range(count)]


def bursts(number: int, size: int, width_ms: int) -> list[int]:
    dice = random.Random(number)
    starts = [START_MS + dice.randrange(99 * DAY_MS - width_ms) for _ in range(number)]
    return [start + dice.randrange(width_ms) for start in starts for _ in range(size)]


@pytest.mark.parametrize("total", ["rows", "units", "absent"])
@pytest.mark.parametrize(
    ("starts", "budget"),
    [
        (evenly(2), 1),
        (evenly(99), 1),
        (evenly(3000), 1.7),
        (evenly(5000), 1.7),
        (bursts(1, 5000, 3_600_000), 2),
        (bursts(50, 200, 60_000), 4),
        (bursts(50, 200, 3_600_000), 4),
    ],
    ids=[
        "two",
        "one page",
        "3000 even",
        "5000 even",
        "5000 in an hour",
        "50 minutes of 200",
        "50 hours of 200",
    ],
)
def test_sends_no_more_requests_than_needed(
    client: HookClient, exchange: Exchange, starts: list[int], budget: float, total: Any
) -> None:
    """The requests for each full page stay within bounds; a window that fits a page takes one.

    A pull lists the closed units once, and reads the active ones again, by what it knows of them.
    """
    exchange.behaviour.total = total
    for start_ms in sorted(set(starts)):
        exchange.add_liquidation(1, start_ms, start_ms + 1)
    pages = max(1, -(-len(set(starts)) // 100))
    assert len(pull(client, risk_units="active")) == len(set(starts))
    once = len(exchange.requests)
    assert once <= budget * pages
    assert len(pull(client)) == len(set(starts))
    paths = [request.path for request in exchange.requests[once:]]
    assert sum(path.endswith("/closed") for path in paths) == 1
    assert len(paths) - 1 <= once + max(1, 1.5 * pages)
