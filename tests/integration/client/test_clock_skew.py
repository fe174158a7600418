"""Clock skew: what a clock that is not Binance's costs, through both clients."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.messages import TIME
from airflow_provider_binance_loan.client.throttle import shared_throttle
from airflow_provider_binance_loan.exceptions import BadResponseError, ClockError, RateLimitedError
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from tests.integration.client.test_faults import CLOCK_REFUSED
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.hook_client import HookClient
from tests.support.raw import EMPTY, answer, error, raw_server

NOW_MS = int(NOW.timestamp() * 1000)
REFUSED = answer("400 Bad Request", error(-1021))


def server_time(ms: int) -> bytes:
    return answer("200 OK", json.dumps({"serverTime": ms}))


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_correction_serves_the_hooks_later_calls(
    client: HookClient, exchange: Exchange, clock: FakeClock, hours: int
) -> None:
    """An hour off costs one refusal and one request for the time, once for the hook."""
    exchange.clock = lambda: clock.time() + hours * 3600
    for _ in range(3):
        client.pull(NOW - HOUR, NOW, risk_units="active")
    assert [request.status for request in exchange.requests] == [400, 200, 200, 200, 200]


def test_the_request_for_the_time_has_no_parameters(
    client: HookClient, exchange: Exchange, clock: FakeClock
) -> None:
    """Binance takes none there: it refuses a signed request for its time."""
    exchange.clock = lambda: clock.time() + 3600
    client.pull(NOW - HOUR, NOW, risk_units="active")
    (request,) = (request for request in exchange.requests if request.path == TIME.path)
    assert (request.query, request.status) == ("", 200)


def test_each_jump_costs_one_correction(client: HookClient, exchange: Exchange, clock: FakeClock) -> None:
    """A clock that jumps between two requests is corrected again."""
    exchange.clock = lambda: NOW_MS / 1000
    for number in range(3):
        clock.ms = NOW_MS + (number + 1) * 3_600_000
        client.pull(NOW - HOUR, NOW, risk_units="active")
    assert [request.status for request in exchange.requests] == [400, 200, 200] * 3


def test_a_jump_amid_concurrent_requests_costs_one_correction(
    client: HookClient, exchange: Exchange, connect: Any, clock: FakeClock
) -> None:
    """However many requests are refused at once, the time is requested once."""
    connect(extra={"max_concurrency": 8})
    for number in range(1500):
        exchange.add_liquidation(1, NOW_MS - 2000 * (number + 1), NOW_MS)
    exchange.schedule(6, lambda _: setattr(clock, "ms", clock.ms + 3_600_000))
    exchange.clock = lambda: NOW_MS / 1000
    assert len(client.pull(NOW - HOUR, NOW)) == 1500
    assert sum(request.path == TIME.path for request in exchange.requests) == 1
    assert 1 <= sum(request.status == 400 for request in exchange.requests) <= 8
    signed = [request.query for request in exchange.requests if request.path.startswith("/sapi/")]
    # The last request of a pull asks what its first one did, and is signed alike if the clock stands still.
    assert len(set(signed[:-1])) == len(signed) - 1


def test_takes_the_time_as_that_of_the_middle_of_the_round_trip(
    client: HookClient, connect: Any, clock: FakeClock
) -> None:
    """Binance's time is taken as the time half way between request and answer, less 250 ms."""

    def slow_time() -> bytes:
        clock.ms += 4000  # the round trip
        return server_time(NOW_MS + 60_000)

    with raw_server([REFUSED, slow_time, *[EMPTY] * 3]) as (url, lines):
        connect(host=url)
        client.pull(NOW - HOUR, NOW)
    stamps = {int(found[1]) for line in lines[2:] if (found := re.search(r"stamp=(\d+)", line))}
    assert stamps == {NOW_MS + 4000 + 58_000 - 250}


def test_a_wait_before_the_time_is_requested_does_not_count(
    client: HookClient, connect: Any, clock: FakeClock
) -> None:
    """When a rate limit holds back the request for the time, the round trip begins after it."""

    def refused_and_limited() -> bytes:
        host = json.loads(os.environ["AIRFLOW_CONN_BINANCE_LOAN_DEFAULT"])["host"]
        throttle = shared_throttle(host, None, clock)
        throttle.hold(RateLimitedError("Wait.", ends_at_ms=NOW_MS + 20_000))
        return REFUSED

    with raw_server([refused_and_limited, server_time(NOW_MS + 23_000), *[EMPTY] * 3]) as (url, lines):
        connect(host=url)
        client.pull(NOW - HOUR, NOW)
    assert clock.waits == [20]
    assert len(lines) == 5
    assert all(f"timestamp={NOW_MS + 23_000 - 250}&" in line for line in lines[2:])


@pytest.mark.parametrize(("hours", "drift"), [(1, "3600.0 s behind"), (-1, "3600.0 s ahead")])
def test_states_how_far_the_clock_is_off(
    client: HookClient, exchange: Exchange, clock: FakeClock, hours: int, drift: str
) -> None:
    """A second refusal after the correction is an error that states how far the clock is off."""
    exchange.clock = lambda: clock.time() + hours * 3600
    exchange.fail(None, None, CLOCK_REFUSED)
    with pytest.raises(ClockError, match=f"Set this machine's clock, {drift}: ") as caught:
        client.pull(NOW - HOUR, NOW)
    assert (caught.value.status, caught.value.code) == (400, -1021)
    assert caught.value.conn_id == "binance_loan_default"
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert len(exchange.requests) == 3


@pytest.mark.parametrize("payload", ["{}", "[]", '{"serverTime":"1772366400000"}', '{"serverTime":-1}'])
def test_refuses_a_time_that_is_none(client: HookClient, connect: Any, payload: str) -> None:
    """An answer to the request for the time that holds none is an error with that request's path."""
    with raw_server([REFUSED, answer("200 OK", payload)]) as (url, lines):
        connect(host=url)
        with pytest.raises(BadResponseError, match="serverTime") as caught:
            client.pull(NOW - HOUR, NOW)
    assert (caught.value.path, caught.value.status) == (TIME.path, 200)
    assert len(lines) == 2
