"""Pull window after window from a sandbox with faults; at the end S3 has every record once, digit for digit.

    uv run python -m tests.benchmarks.soak [--minutes 30] [--fault-rate 0.1] [--seed 1]

Ten seconds stand for an hour. Each window is pulled when it has ended, in turn by the operator and by the
hook's asynchronous client, and a task that fails is run again, as Airflow would. What happens on the exchange
is drawn from the seed beforehand: a few liquidations every second, bursts of several hundred, more than a
page within one millisecond, and units that open and close. It exits with 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from tests.benchmarks.stage import PAGE_SIZE, local_s3, rss_mb, s3_client, set_up_airflow

set_up_airflow("http://127.0.0.1:9")  # before Airflow is imported

from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.time_range import TimeRange
from airflow_provider_binance_loan.exceptions import (
    BadResponseError,
    BinanceLoanError,
    RateLimitedError,
    TransientError,
)
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.landing.s3 import S3Destination
from airflow_provider_binance_loan.landing.sink import Sink
from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sandbox.exchange import Behaviour, Exchange, Liquidation, Unit, write_json
from airflow_provider_binance_loan.sandbox.faults import Fault
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.support.runs import run_context

WINDOW_MS = 10_000
UNITS = 150  # that live all the time: more than a page of them can start in one millisecond
MAX_TRIES = 20
RETRY_DELAY_S = 5
# The longest time until a client has read an answer that asks it to wait.
IN_TRANSIT_MS = 300
SETTLED = 12  # windows after which only what the exchange keeps should need more memory
MAX_GROWTH_MB = 96

Key = tuple[int, int]


class CountingExchange(Exchange):
    """An exchange that counts faults and requests, in little memory."""

    def __init__(self, seed: int, fault_rate: float) -> None:
        super().__init__(seed, behaviour=Behaviour(fault_rate=fault_rate), history=False)
        self.faults: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.sent_twice = self.sent_early = 0
        self._queries: set[int] = set()
        self._limited_ms = self._until_ms = 0

    def next_fault(self, path: str) -> Fault | None:
        fault = super().next_fault(path)
        if fault:
            named = fault.kind in {"error", "html", "empty"}
            self.faults[f"{fault.kind} {fault.status}" if named else fault.kind] += 1
            if fault.retry_after:
                now_ms = self.now_ms()
                self._limited_ms, self._until_ms = now_ms, now_ms + 1000 * fault.retry_after
        return fault

    def log(self, request: Any) -> None:
        self.statuses[request.status] += 1
        if not request.query:
            return
        known = len(self._queries)
        self._queries.add(hash(request.query))
        self.sent_twice += len(self._queries) == known
        signed_ms = int(dict(request.params)["timestamp"])
        self.sent_early += signed_ms > self._limited_ms + IN_TRANSIT_MS and request.at_ms < self._until_ms


def add(exchange: Exchange, dice: random.Random, unit: Unit, at_ms: int) -> None:
    """Add a liquidation of a unit; it is visible from its start on, and ends with the unit."""
    end_ms = at_ms + dice.choice((1, 500, 5_000, 60_000))
    with suppress(ValueError):  # one of that unit starts just then
        exchange.add_liquidation(unit.group_id, at_ms, min(end_ms, unit.close_ms or end_ms))


def draw(exchange: Exchange, dice: random.Random, start_ms: int, windows: int) -> set[int]:
    """Add all that will happen, and return the windows with more than a page in one millisecond."""
    dense = set()
    units = [exchange.add_unit(group_id) for group_id in range(1, UNITS + 1)]
    for number in range(windows):
        begin_ms = start_ms + number * WINDOW_MS
        for _ in range(dice.randrange(20, 60)):
            add(exchange, dice, dice.choice(units), begin_ms + dice.randrange(WINDOW_MS))
        if dice.random() < 0.2:  # a burst
            at_ms, width_ms = begin_ms + dice.randrange(WINDOW_MS - 1_000), dice.choice((50, 1_000))
            for _ in range(dice.randrange(300, 800)):
                add(exchange, dice, dice.choice(units), at_ms + dice.randrange(width_ms))
        if dice.random() < 0.1:
            dense.add(number)
            at_ms = begin_ms + dice.randrange(WINDOW_MS)
            for unit in dice.sample(units, 130):
                add(exchange, dice, unit, at_ms)
        # A unit that is liquidated and closed, often while its window is being pulled.
        close_ms = begin_ms + dice.choice((5_000, WINDOW_MS)) + dice.randrange(500)
        passing = exchange.add_unit(UNITS + 1 + number, begin_ms - WINDOW_MS, close_ms)
        for _ in range(3):
            add(exchange, dice, passing, close_ms - 1 - dice.randrange(6_000))
    return dense


def change_interpretation(exchange: Exchange, dice: random.Random, *, dense: bool) -> None:
    """Choose another interpretation of what Binance's page leaves open."""
    # A dense millisecond is read by page, and so are many closed units, which is impossible where every
    # answer has an order of its own.
    by_page = dense or sum(not unit["active"] for unit in exchange.state()["units"]) >= PAGE_SIZE
    order = dice.choice(("newest", "oldest") if by_page else ("newest", "oldest", "random"))
    exchange.behaviour = replace(
        exchange.behaviour,
        total=dice.choice(("units", "rows", "string", "zero", "absent")),
        order=order,
        end_inclusive=dice.choice((True, False)),
        running_end=dice.choice(("null", "zero", "absent")),
        liabilities_shape=dice.choice(("mixed", "list", "object")),
    )


class Window(NamedTuple):
    """A window, and the outcome of its pull."""

    start_ms: int
    end_ms: int
    key: str
    manifest: dict[str, Any]
    pulled_ms: int

    @property
    def late_s(self) -> float:
        return (self.pulled_ms - self.end_ms) / 1000


def pull(number: int, start_ms: int, end_ms: int, key: str) -> dict[str, Any]:
    """Pull and land a window once, as a task does."""
    start, end = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (start_ms, end_ms))
    if number % 2:
        records = asyncio.run(BinanceLoanHook().aget_force_liquidations(start, end))
        sink = Sink(FORCE_LIQUIDATIONS, S3Destination("lake"), key)
        return sink.land(records, TimeRange(start_ms, end_ms).bounds)
    task = BinanceLoanForceLiquidationOperator(task_id="land", s3_bucket="lake", s3_key=key)
    manifest = task.execute(run_context(start, end))
    assert isinstance(manifest, dict)
    return manifest


def run_task(attempt: Callable[[], dict[str, Any]], failures: Counter[str]) -> dict[str, Any]:
    """Run a task until it succeeds, and wait between two tries at least as long as Binance asks."""
    tries = 0
    while True:
        try:
            return attempt()
        except (TransientError, BadResponseError) as error:
            fact = re.sub(r"http://\S+", "the host", error.message.partition(": ")[2])
            failures[f"{type(error).__name__}: {fact}"] += 1
            tries += 1
            if tries == MAX_TRIES:
                raise
            ends_ms = error.ends_at_ms if isinstance(error, RateLimitedError) else 0
            time.sleep(max(RETRY_DELAY_S, ends_ms / 1000 - time.time()))


AMOUNTS = {
    *("startLtv", "endLtv", "totalNetEquity", "totalMaintenanceMargin", "totalLiability"),
    *("netEquity", "maintainMargin", "principal", "interest"),
}


def plain(value: Any, name: str = "") -> Any:
    """Return a row as a record has it, written without the package's own code."""
    if name in AMOUNTS and value is not None:
        return f"{Decimal(str(value)):f}"
    if name == "liabilities" and isinstance(value, dict):
        value = [value]
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {inner: plain(item, inner) for inner, item in value.items()}
    return value


def as_sent(exchange: Exchange, one: Liquidation, *, running: bool) -> dict[str, Any]:
    """Return a liquidation's row as it is after its end, or as it was before."""
    shown = replace(one, end_ms=None) if running else one
    row: dict[str, Any] = plain(json.loads(write_json(exchange.row(shown)), parse_float=str))
    return row | {"liquidationEndTime": row.get("liquidationEndTime") or None}


def flaw(exchange: Exchange, window: Window, record: dict[str, Any], one: Liquidation | None) -> str | None:
    """Return what is wrong with a record of a window, compared with its liquidation on the exchange."""
    ended_ms = record["liquidationEndTime"] or None
    if one is None or not window.start_ms <= one.start_ms < window.end_ms:
        return "does not belong there"
    end_ms = one.end_ms or 0
    if not (end_ms == ended_ms <= window.pulled_ms if ended_ms else end_ms > window.end_ms):
        return f"ended at {ended_ms}, and at {end_ms} on the exchange"
    if record | {"liquidationEndTime": ended_ms} != as_sent(exchange, one, running=not ended_ms):
        return "differs from the one on the exchange"
    return None


def check(exchange: CountingExchange, s3: Any, windows: list[Window]) -> Iterator[str]:
    """Compare all objects with all that happened, and yield what is wrong."""
    from_ms, until_ms = windows[0].start_ms, windows[-1].end_ms
    happened = {
        (one.start_ms, one.group_id): one
        for one in exchange.liquidations()
        if from_ms <= one.start_ms < until_ms
    }
    landed: set[Key] = set()
    for window in windows:
        body = s3.get_object(Bucket="lake", Key=window.key)["Body"].read()
        records = [json.loads(line) for line in gzip.decompress(body).splitlines()]
        if len(records) != window.manifest["records"]:
            yield f"{window.key} holds {len(records)} records, and its manifest says otherwise"
        for record in records:
            key = (record["liquidationStartTime"], record["groupId"])
            if key in landed:
                yield f"{key} is repeated in {window.key}"
            landed.add(key)
            if found := flaw(exchange, window, record, happened.get(key)):
                yield f"{key} in {window.key} {found}"
    yield from (f"{key} is missing" for key in sorted(happened.keys() - landed))
    for times, what in (
        (exchange.sent_twice, "signed queries were sent twice"),
        (exchange.sent_early, "requests were sent during a wait that Binance asked for"),
        (exchange.statuses[418], "requests were answered with a ban"),
    ):
        if times:
            yield f"{times} {what}"


def soak(
    exchange: CountingExchange, dice: random.Random, number_of_windows: int, failures: Counter[str]
) -> Iterator[Window]:
    """Pull window after window, each as soon as it has ended."""
    start_ms = exchange.now_ms() + 1_000
    dense = draw(exchange, dice, start_ms, number_of_windows)
    for number in range(number_of_windows):
        begin_ms, end_ms = start_ms + number * WINDOW_MS, start_ms + (number + 1) * WINDOW_MS
        time.sleep(max(0, end_ms / 1000 - time.time()))
        change_interpretation(exchange, dice, dense=number in dense)
        if exchange.behaviour.fault_rate and dice.random() < 0.2:  # a longer wait, amid concurrent requests
            limit = Fault("error", 429, -1003, "Too many requests.", retry_after=3, bans=False)
            exchange.fail(*[None] * dice.randrange(6), limit)
        key = f"{number:05}.jsonl.gz"
        manifest = run_task(lambda: pull(number, begin_ms, end_ms, key), failures)  # noqa: B023
        yield Window(begin_ms, end_ms, key, manifest, exchange.now_ms())


def counted(counts: Counter[str]) -> Iterator[tuple[str, str]]:
    """Yield lines of the table."""
    yield from ((f"  {name}", f"{counts[name]:,}") for name in sorted(counts))


def main(minutes: float, fault_rate: float, seed: int) -> int:
    exchange, dice = CountingExchange(seed, fault_rate), random.Random(seed)
    failures: Counter[str] = Counter()
    windows: list[Window] = []
    memory: list[float] = []
    wrong: list[str] = []
    with SandboxServer(exchange) as server, local_s3() as s3_url:
        set_up_airflow(server.url, s3_url)
        s3 = s3_client(s3_url)
        try:
            for window in soak(exchange, dice, max(1, round(minutes * 60_000 / WINDOW_MS)), failures):
                windows.append(window)
                memory.append(rss_mb())
                print(
                    f"{window.key}  {window.manifest['records']:>4} records  {exchange.statuses.total():>7,} "
                    f"requests  {exchange.faults.total():>6,} faults  {failures.total():>4,} retries  "
                    f"{window.late_s:>6.1f} s late  {memory[-1]:>4.0f} MB",
                    flush=True,
                )
        except (BinanceLoanError, AirflowFailException) as error:
            wrong.append(f"the task of window {len(windows)} failed for good: {error}")
        wrong += check(exchange, s3, windows) if windows else []

    grown = memory[-1] - memory[min(SETTLED, len(memory)) - 1] if memory else 0
    if grown > MAX_GROWTH_MB:
        wrong.append(f"the process grew by {grown:.0f} MB after {SETTLED} windows")
    sizes = [window.manifest["records"] for window in windows]
    late_s = sorted(window.late_s for window in windows) or [0]
    print()
    for name, value in (
        ("windows", f"{len(windows):,}"),
        ("records", f"{sum(sizes):,}, up to {max(sizes, default=0):,} in a window"),
        ("done after their end", f"{late_s[len(late_s) // 2]:.1f} s, median; {late_s[-1]:.1f} s, longest"),
        ("requests", f"{exchange.statuses.total():,}"),
        *counted(Counter({str(status or "none"): times for status, times in exchange.statuses.items()})),
        ("faults", f"{exchange.faults.total():,}"),
        *counted(exchange.faults),
        ("retries of tasks", f"{failures.total():,}"),
        *counted(failures),
        ("memory added", f"{grown:.1f} MB after {SETTLED} windows"),
        ("result", f"{len(wrong):,} wrong" if wrong else "every record once, digit for digit"),
    ):
        print(f"{name:<30} {value}")
    for line in wrong[:20]:
        print(f"wrong: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--fault-rate", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    sys.exit(main(**vars(parser.parse_args())))
