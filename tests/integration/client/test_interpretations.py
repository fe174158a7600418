"""Every interpretation of Binance's page, over HTTP and in both clients: the same records at a known cost."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.exceptions import RequestRefusedError
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.faults import Fault
from tests.support.clock import NOW
from tests.support.hook_client import HookClient

DAY_MS = 24 * 60 * 60 * 1000
NOW_MS = int(NOW.timestamp() * 1000)
QUARTER = timedelta(days=99)
START_MS = NOW_MS - 99 * DAY_MS

Key = tuple[int, int]


@pytest.fixture
def busy(exchange: Exchange) -> Exchange:
    """A quarter with a dense millisecond, a burst, a spread and a closed unit."""
    dice = random.Random(3)
    for group in range(3, 151):
        exchange.add_unit(group)
        exchange.add_liquidation(group, START_MS + 50 * DAY_MS, START_MS + 50 * DAY_MS + 5000)
    starts = [START_MS + 60 * DAY_MS + dice.randrange(3_600_000) for _ in range(250)]
    starts += [START_MS + dice.randrange(99 * DAY_MS - 10_000) for _ in range(150)]
    for start_ms in sorted(set(starts)):
        exchange.add_liquidation(dice.choice([1, 2]), start_ms, start_ms + 5000)
    exchange.add_unit(151)
    exchange.add_liquidation(151, START_MS + 70 * DAY_MS, START_MS + 70 * DAY_MS + 1)
    exchange.close(151)
    return exchange


def keys_of_all(exchange: Exchange) -> list[Key]:
    return [(one.start_ms, one.group_id) for one in exchange.liquidations()]


def pull(client: HookClient, **arguments: Any) -> list[Key]:
    keys = [FORCE_LIQUIDATIONS.key(record) for record in client.pull(NOW - QUARTER, NOW, **arguments)]
    assert keys == sorted(keys)
    return [tuple(key) for key in keys]  # type: ignore[misc]


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        *({"total": total} for total in ("units", "string", "zero", "absent")),
        *({"filter_field": field} for field in ("end", "overlap", "update")),
        *({"order": order} for order in ("oldest", "random")),
        {"end_inclusive": False},
        {"page_cap": 40},
        {"max_days": 30},
        {"max_days": 7},
        {"snapshot_shape": "list", "liabilities_shape": "object"},
        {"snapshot_shape": "null"},
        {"liabilities_shape": "list", "running_end": "zero"},
        {"liabilities_shape": "null", "running_end": "absent"},
        {"end_inclusive": False, "filter_field": "end", "order": "oldest", "total": "zero"},
    ],
    ids=lambda knobs: ",".join(f"{name}={value}" for name, value in knobs.items()) or "as is",
)
def test_reads_the_same_under_every_interpretation(
    client: HookClient, busy: Exchange, knobs: dict[str, Any]
) -> None:
    """The records are the same whatever Binance counts, filters on, includes and sorts by."""
    busy.behaviour = replace(busy.behaviour, **knobs)
    assert pull(client) == keys_of_all(busy)


def insert_newest(exchange: Exchange) -> None:
    exchange.add_liquidation(1, NOW_MS - 7)


def insert_between(exchange: Exchange) -> None:
    exchange.add_liquidation(2, START_MS + 60 * DAY_MS + 3_700_000)


def close_one(exchange: Exchange) -> None:
    exchange.close(2)


def change_one(exchange: Exchange) -> None:
    exchange.liquidations()[20].fields["endLtv"] = "0.5"


def all_at_once(exchange: Exchange) -> None:
    for change in (insert_newest, insert_between, close_one, change_one):
        change(exchange)


@pytest.mark.parametrize("at", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("change", [insert_newest, insert_between, close_one, change_one, all_at_once])
def test_reads_a_list_that_changes(
    client: HookClient, busy: Exchange, change: Callable[[Exchange], None], at: int
) -> None:
    """Whatever changes between two requests, every record that existed throughout is returned, each once."""
    before = set(keys_of_all(busy))
    busy.schedule(at, change)
    keys = pull(client)
    assert len(keys) == len(set(keys))
    assert before <= set(keys) <= set(keys_of_all(busy))


def test_a_hook_remembers_the_span_that_is_accepted(client: HookClient, busy: Exchange) -> None:
    """Once refused, a span is not asked for again by the same hook."""
    busy.behaviour.max_days = 30
    assert pull(client) == keys_of_all(busy)
    assert any(request.status == 400 for request in busy.requests)
    first = len(busy.requests)
    assert pull(client) == keys_of_all(busy)
    assert not any(request.status == 400 for request in busy.requests[first:])


def test_a_span_that_is_always_refused_is_an_error(client: HookClient, busy: Exchange) -> None:
    """It is Binance's first refusal, also when the code means something else than a long span."""
    busy.fail(*[Fault("error", 400, code, f"Refusal {code}.") for code in (-6021, *[-4047] * 9)])
    with pytest.raises(RequestRefusedError, match=r"Refusal -6021.*'binance_loan_default'.*code -6021"):
        pull(client)


def hide(exchange: Exchange, *, close: bool) -> None:
    """Let unit 2 leave the list of active units, to the list of closed ones or to neither."""
    unit = exchange._units[2]
    unit.create_ms = 0 if close else NOW_MS + DAY_MS
    unit.close_ms = NOW_MS - 1 if close else None


def show(exchange: Exchange) -> None:
    """Let unit 2 be active."""
    exchange._units[2].create_ms, exchange._units[2].close_ms = 0, None


@pytest.mark.parametrize("close", [True, False], ids=["closed", "in neither list"])
def test_reads_a_unit_that_opens_again_meanwhile(client: HookClient, exchange: Exchange, close: bool) -> None:
    """A unit that is not active at first, and is again before the closed ones are listed, is read."""
    exchange.add_liquidation(2, NOW_MS - DAY_MS, NOW_MS - 5)
    hide(exchange, close=close)
    exchange.schedule(2, show)
    assert pull(client) == [(NOW_MS - DAY_MS, 2)]
    assert len(exchange.requests) == 3


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
