"""The requests that pulls send: scenarios, and a summary of each one's requests that can be compared.

`tests/data/golden/requests.json` holds the summaries of pulls with one request at a time. With several under
way the order of their answers decides what is asked next, so that only the number can be compared. A
deliberate change of the requests is recorded with `uv run python -m tests.support.wire`.

Only the hook's public methods and the sandbox are used, so that the same file runs with any version.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.connections import binance_connection

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "requests.json"

Client = tuple[str, int]
"""`"sync"` or `"async"`, and the connection's `max_concurrency`."""

_CLIENTS = tuple((kind, width) for kind in ("sync", "async") for width in (1, 16))

# How many requests a summary shows, so that a difference can be read.
_SHOWN = 5

_NOW_MS = int(NOW.timestamp() * 1000)
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_QUARTER = timedelta(days=99)
_QUARTER_START_MS = _NOW_MS - 99 * _DAY_MS


@dataclass(frozen=True)
class Scenario:
    """A pull: what the exchange holds, what is asked for, and the clients that are compared."""

    fill: Callable[[Any], None]
    start: datetime = NOW - HOUR
    risk_units: Any = "all"
    behaviour: dict[str, Any] = field(default_factory=dict)
    clients: tuple[Client, ...] = _CLIENTS


def _nothing(exchange: Any) -> None:
    pass


def _records(exchange: Any) -> None:
    for number in range(250):
        exchange.add_liquidation(1, _NOW_MS - _HOUR_MS + number * 14_000, _NOW_MS - 1000)


def _burst(exchange: Any) -> None:
    dice = random.Random(1)
    for start_ms in sorted(dice.sample(range(_NOW_MS - 40 * _DAY_MS, _NOW_MS - 40 * _DAY_MS + 60_000), 900)):
        exchange.add_liquidation(1, start_ms, start_ms + 5000)


def _burst_until_now(exchange: Any) -> None:
    for number in range(350):
        exchange.add_liquidation(1, _NOW_MS - 40_000 + 100 * number, _NOW_MS - 1000)


def _closed_units(exchange: Any) -> None:
    """A hundred and twenty closed units: two pages of them, of which twenty have records in the window."""
    for group_id in range(1000, 1120):
        created_ms = _NOW_MS - (200 if group_id < 1100 else 90) * _DAY_MS
        closed_ms = _NOW_MS - (120 if group_id < 1100 else 20) * _DAY_MS
        exchange.add_unit(group_id, created_ms, closed_ms)
        exchange.add_liquidation(group_id, closed_ms - _DAY_MS, closed_ms - _HOUR_MS)


def _spread(exchange: Any) -> None:
    dice = random.Random(2)
    for start_ms in sorted(dice.sample(range(_NOW_MS - 1095 * _DAY_MS, _NOW_MS - _DAY_MS), 1200)):
        exchange.add_liquidation(dice.choice([1, 2]), start_ms, start_ms + 5000)
    exchange.add_unit(3, _NOW_MS - 900 * _DAY_MS, _NOW_MS - 500 * _DAY_MS)
    exchange.add_liquidation(3, _NOW_MS - 600 * _DAY_MS, _NOW_MS - 599 * _DAY_MS)


def _dense_millisecond(exchange: Any, units: int = 250) -> None:
    for group_id in range(3, 3 + units):
        exchange.add_unit(group_id)
        exchange.add_liquidation(group_id, _QUARTER_START_MS + 50 * _DAY_MS, _NOW_MS - 49 * _DAY_MS + 5000)


def _busy(exchange: Any, units: int = 148) -> None:
    """A quarter with a dense millisecond, a burst, a spread and a closed unit."""
    dice = random.Random(3)
    _dense_millisecond(exchange, units)
    starts = {_QUARTER_START_MS + 60 * _DAY_MS + dice.randrange(_HOUR_MS) for _ in range(250)}
    starts |= {_QUARTER_START_MS + dice.randrange(99 * _DAY_MS - 10_000) for _ in range(150)}
    for start_ms in sorted(starts):
        exchange.add_liquidation(dice.choice([1, 2]), start_ms, start_ms + 5000)
    exchange.add_unit(900)
    exchange.add_liquidation(900, _QUARTER_START_MS + 70 * _DAY_MS, _QUARTER_START_MS + 70 * _DAY_MS + 1)
    exchange.close(900)


def _less_busy(exchange: Any) -> None:
    """The same without more than a page of rows within one millisecond."""
    _busy(exchange, units=50)


def _name(knobs: dict[str, Any]) -> str:
    return ", ".join(f"{knob}={value}" for knob, value in knobs.items())


def _interpretations() -> Iterator[tuple[str, Scenario]]:
    table: list[dict[str, Any]] = [
        *({"total": total} for total in ("units", "rows", "string", "zero", "absent")),
        *({"filter_field": name} for name in ("end", "update")),
        {"order": "oldest"},
        {"end_inclusive": False},
        {"page_cap": 40},
        {"snapshot_shape": "list", "liabilities_shape": "object"},
        {"snapshot_shape": "null"},
        {"liabilities_shape": "list", "running_end": "zero"},
        {"liabilities_shape": "null", "running_end": "absent"},
        {"end_inclusive": False, "filter_field": "end", "order": "oldest", "total": "zero"},
    ]
    for knobs in table:
        two_clients = (("sync", 1), ("async", 16))
        yield _name(knobs), Scenario(_busy, NOW - _QUARTER, behaviour=knobs, clients=two_clients)
    # Rows in a new order each time cannot be paged, and an overlap is found in every slice before its end.
    table = [{"order": "random"}, {"filter_field": "overlap"}]
    for knobs in table:
        # One request at a time, since the order of rows is drawn as requests arrive.
        two_clients = (("sync", 1), ("async", 1))
        yield _name(knobs), Scenario(_less_busy, NOW - _QUARTER, behaviour=knobs, clients=two_clients)


SCENARIOS: dict[str, Scenario] = {
    "window without width": Scenario(_nothing, NOW),
    "nothing in an hour": Scenario(_nothing),
    "250 records": Scenario(_records),
    "burst": Scenario(_burst, NOW - _QUARTER),
    "burst until now": Scenario(_burst_until_now),
    "closed units": Scenario(_closed_units, NOW - _QUARTER),
    "active units only": Scenario(_closed_units, NOW - _QUARTER, "active"),
    "named units": Scenario(_busy, NOW - _QUARTER, [1, 2, 900]),
    "dense millisecond": Scenario(_dense_millisecond, NOW - _QUARTER),
    "three years": Scenario(_spread, NOW - timedelta(days=1095)),
    "three years of named units": Scenario(_spread, NOW - timedelta(days=1095), "1,3"),
    "busy quarter": Scenario(_busy, NOW - _QUARTER),
    **dict(_interpretations()),
}


def requests_of(scenario: Scenario, client: Client) -> list[str]:
    """Return the requests of a pull, sorted, without what differs between two pulls."""
    # Imported here, as Airflow reads its environment when it is imported.
    from airflow_provider_binance_loan.sandbox.exchange import Exchange
    from airflow_provider_binance_loan.sandbox.server import SandboxServer

    clock = FakeClock()
    exchange = Exchange(clock=clock.time, history=False)
    exchange.behaviour = replace(exchange.behaviour, **{"total": "rows", **scenario.behaviour})
    exchange.add_unit(1)
    exchange.add_unit(2)
    scenario.fill(exchange)
    with SandboxServer(exchange) as server:
        found = _pull(scenario, client, clock, server.url)
        requests = sorted(_text(request.path, request.params) for request in exchange.requests)
    _check_records(scenario, exchange, found)
    return requests


def summary(requests: list[str]) -> dict[str, Any]:
    """Return a short form of sorted requests: how many, their hash, and the first few."""
    digest = hashlib.sha256("\n".join(requests).encode()).hexdigest()
    return {"count": len(requests), "sha256": digest, "first": requests[:_SHOWN]}


def _pull(scenario: Scenario, client: Client, clock: FakeClock, url: str) -> list[tuple[int, int]]:
    from airflow_provider_binance_loan.hooks import BinanceLoanHook

    kind, max_concurrency = client
    os.environ["AIRFLOW_CONN_WIRE"] = binance_connection(url, extra={"max_concurrency": max_concurrency})
    try:
        hook = BinanceLoanHook("wire", clock=clock)  # type: ignore[arg-type]
        arguments = (scenario.start, NOW)
        if kind == "sync":
            records = hook.get_force_liquidations(*arguments, risk_units=scenario.risk_units)
        else:
            records = asyncio.run(hook.aget_force_liquidations(*arguments, risk_units=scenario.risk_units))
    finally:
        del os.environ["AIRFLOW_CONN_WIRE"]
    return [(record["liquidationStartTime"], record["groupId"]) for record in records]


def _text(path: str, params: list[tuple[str, str]]) -> str:
    kept = sorted(pair for pair in params if pair[0] not in {"timestamp", "signature"})
    return f"{path}?{'&'.join(f'{name}={value}' for name, value in kept)}"


def _check_records(scenario: Scenario, exchange: Any, found: list[tuple[int, int]]) -> None:
    """Fail when the pull was not complete: its requests are then nothing to compare with."""
    units = {one.group_id for one in exchange.liquidations()}
    if scenario.risk_units == "active":
        units = {1, 2}
    elif scenario.risk_units != "all":
        units = {int(unit) for unit in str(scenario.risk_units).strip("[]").split(",")}
    start_ms = int(scenario.start.timestamp() * 1000)
    expected = sorted(
        (one.start_ms, one.group_id)
        for one in exchange.liquidations()
        if one.group_id in units and start_ms <= one.start_ms < _NOW_MS
    )
    if found != expected:
        raise AssertionError(f"{len(found)} records of {len(expected)} expected ones")


def main() -> None:
    """Write the golden file: by scenario, what all clients send that send one request at a time."""
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
    golden: dict[str, Any] = {}
    for name, scenario in SCENARIOS.items():
        one_at_a_time = [client for client in scenario.clients if client[1] == 1]
        first, *others = (summary(requests_of(scenario, client)) for client in one_at_a_time)
        if any(other != first for other in others):
            raise SystemExit(f"{name}: the clients send different requests: {[first, *others]}")
        golden[name] = first
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    GOLDEN.write_text(json.dumps(golden, indent=2) + "\n")


if __name__ == "__main__":
    main()
