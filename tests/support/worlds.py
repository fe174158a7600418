"""What the sandbox holds for tests of each dataset: the same world has rows of all of them."""

from __future__ import annotations

import random
from dataclasses import replace

from airflow_provider_binance_loan.sandbox.exchange import Exchange
from tests.support.clock import NOW
from tests.support.descriptions import Described

DAY_MS = 24 * 60 * 60 * 1000
NOW_MS = int(NOW.timestamp() * 1000)
QUARTER_MS = NOW_MS - 99 * DAY_MS
# When a quarter is dense.
MILLISECOND_MS, BURST_MS = NOW_MS - 49 * DAY_MS, NOW_MS - 39 * DAY_MS
LONG_AGO_MS = NOW_MS - 3000 * DAY_MS
HALF_AN_HOUR_AGO_MS = NOW_MS - 30 * 60 * 1000


def use_account(exchange: Exchange, described: Described) -> None:
    """Let the keys be those of the account that may read a dataset."""
    exchange.keys.update(
        {name: replace(key, account=described.account) for name, key in exchange.keys.items()}
    )


def fill_calmly(exchange: Exchange) -> None:
    """Let the units 1 and 2 be liquidated half an hour ago; another one was closed before any window."""
    exchange.add_unit(9, 0, LONG_AGO_MS)
    for number in range(12):
        exchange.add_liquidation(1 + number % 2, HALF_AN_HOUR_AGO_MS - number, HALF_AN_HOUR_AGO_MS + 1000)


def fill_busily(exchange: Exchange, units: int = 105) -> None:
    """Fill a quarter with a dense millisecond, a burst, a spread, a closed unit, and what is new."""
    # `ltv-details` shows one of them, as to the key of a credit account.
    exchange.keys.update({name: replace(key, group_id=1) for name, key in exchange.keys.items()})
    dice = random.Random(3)
    for unit in range(3, units + 1):
        exchange.add_unit(unit)
        exchange.add_liquidation(unit, MILLISECOND_MS, MILLISECOND_MS + 5000)
    starts = [BURST_MS + dice.randrange(3_600_000) for _ in range(130)]
    starts += [QUARTER_MS + dice.randrange(99 * DAY_MS - 10_000) for _ in range(70)]
    for start_ms in sorted(set(starts)):
        exchange.add_liquidation(dice.choice([1, 2]), start_ms, start_ms + 5000)
    closed = exchange.add_unit(units + 1).group_id
    exchange.add_liquidation(closed, NOW_MS - 29 * DAY_MS, NOW_MS - 29 * DAY_MS + 1)
    exchange.close(closed)
