"""Progress: the log lines of a pull that takes long, through both clients."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest

from airflow_provider_binance_loan.binance.time_range import epoch_ms, utc_text
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.faults import Fault
from tests.support.clock import NOW
from tests.support.hook_client import HookClient

DAY = timedelta(days=1)
WAIT_8_S = Fault("error", 429, -1003, "Too many requests.", retry_after=8)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return re.findall(r"Read so far: (.+ used\.)", capsys.readouterr().out)


def test_a_long_pull_logs_how_far_it_is(
    client: HookClient, exchange: Exchange, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first line is logged after ten seconds, the next ones about ten seconds after one another."""
    start = NOW - 6 * 99 * DAY
    for day in range(0, 300, 100):
        exchange.add_liquidation(1, int((start + day * DAY).timestamp() * 1000), 1)
    exchange.behaviour.used_weight = 100
    exchange.fail(*[WAIT_8_S, None] * 6)
    assert len(client.pull(start, NOW, risk_units="active")) == 3
    first, last = [utc_text(epoch_ms(start + days * DAY, "start")) for days in (100, 200)]
    assert lines(capsys) == [
        f"2 records up to {first} in 2 parts, 2 requests in 16 s, 104 of the minute's weight used.",
        f"3 records up to {last} in 4 parts, 4 requests in 32 s, 108 of the minute's weight used.",
        f"3 records up to {last} in 6 parts, 6 requests in 48 s, 112 of the minute's weight used.",
    ]


def test_a_long_part_of_a_pull_is_logged_before_its_end(
    connect: Callable[..., None], client: HookClient, exchange: Exchange, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part that takes many requests leaves a line before all of it is read."""
    connect(extra={"max_concurrency": 1})
    exchange.fail(WAIT_8_S, None, WAIT_8_S)
    for number in range(150):
        exchange.add_liquidation(1, int(NOW.timestamp() * 1000) - 1000 * number - 1, 1)
    client.pull(NOW - DAY, NOW, risk_units="active")
    (line,) = lines(capsys)
    assert line.startswith("0 records in 0 parts, 3 requests in 16 s")


@pytest.mark.parametrize("faults", [[], [WAIT_8_S]], ids=["at once", "after a wait"])
def test_a_short_pull_logs_nothing(
    client: HookClient, exchange: Exchange, capsys: pytest.CaptureFixture[str], faults: list[Fault]
) -> None:
    """A pull that is done within ten seconds leaves no line."""
    exchange.fail(*faults)
    client.pull(NOW - DAY, NOW)
    assert lines(capsys) == []
