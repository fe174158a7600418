"""Rate limits: what Binance tells one request about them holds for all that follow, through both clients."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_binance_loan.exceptions import RateLimitedError
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.faults import Fault
from tests.integration.client.test_faults import ban, limit
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.hook_client import HookClient

NOW_MS = int(NOW.timestamp() * 1000)
MINUTE = timedelta(minutes=1)


class TestHold:
    """A wait that Binance asks for holds back every request."""

    @pytest.fixture
    def busy_hour(self, exchange: Exchange) -> Exchange:
        """More records in an hour than a page holds, so that requests are concurrent, on the real clock."""
        exchange.clock = time.time
        exchange.behaviour.latency_s = 0.05
        for number in range(1500):
            exchange.add_liquidation(1, NOW_MS - 2000 * (number + 1), NOW_MS)
        return exchange

    def test_holds_back_concurrent_requests(
        self, client_kind: str, busy_hour: Exchange, connect: Any
    ) -> None:
        """After a 429 for one of several concurrent requests, no other is sent before the wait is over."""
        connect(extra={"max_concurrency": 2})
        busy_hour.fail(*[None] * 6, Fault("error", 429, -1003, retry_after=2, bans=False))
        assert len(HookClient(client_kind).pull(NOW - HOUR, NOW)) == 1500
        (limited_ms,) = [request.at_ms for request in busy_hour.requests if request.status == 429]
        after = [request.at_ms - limited_ms for request in busy_hour.requests if request.at_ms > limited_ms]
        assert len([ms for ms in after if ms < 1950]) <= 1  # the other one of two, already under way
        assert len([ms for ms in after if ms >= 1950]) > 5

    def test_holds_back_the_next_call(self, client: HookClient, exchange: Exchange, clock: FakeClock) -> None:
        """After a ban the hook sends nothing until it is over, and raises its error each time."""
        exchange.fail(ban(30))  # shorter than the longest wait, and not waited out all the same
        for _ in range(3):
            with pytest.raises(RateLimitedError, match="Wait until 2026-03-01T12:00:30") as caught:
                client.pull(NOW - HOUR, NOW)
            assert (caught.value.banned, caught.value.ends_at_ms) == (True, NOW_MS + 30_000)
            assert (caught.value.status, caught.value.code) == (418, -1003)
            assert caught.value.conn_id == "binance_loan_default"
        assert len(exchange.requests) == 1
        assert clock.waits == []
        clock.sleep(30)
        assert client.pull(NOW - HOUR, NOW) == []

    def test_waits_out_as_much_as_the_connection_allows(
        self, client: HookClient, exchange: Exchange, connect: Any, clock: FakeClock
    ) -> None:
        """`max_wait` in the connection is the longest wait that a request waits out."""
        connect(extra={"max_wait": 90})
        exchange.fail(limit(90))
        assert client.pull(NOW - HOUR, NOW) == []
        assert clock.waits == [90]
        connect(extra={"max_wait": 5})
        exchange.fail(limit(6))
        with pytest.raises(RateLimitedError) as caught:
            client.pull(NOW - HOUR, NOW)
        assert (caught.value.banned, caught.value.ends_at_ms) == (False, NOW_MS + 96_000)

    def test_states_the_end_by_this_machines_clock(
        self, client: HookClient, exchange: Exchange, clock: FakeClock
    ) -> None:
        """The end of a wait that an error states is by this machine's clock, which may be an hour off."""
        exchange.clock = lambda: clock.time() + 3600
        exchange.fail(None, None, None, ban(300))
        with pytest.raises(RateLimitedError) as caught:
            client.pull(NOW - HOUR, NOW)
        assert abs(caught.value.ends_at_ms - (NOW_MS + 300_000)) <= 1000
        exchange.fail(ban(None, f"IP banned until {NOW_MS + 3_600_000 + 900_000}."))
        clock.sleep(301)
        with pytest.raises(RateLimitedError) as caught:
            client.pull(NOW - HOUR, NOW)
        assert abs(caught.value.ends_at_ms - (NOW_MS + 900_000)) <= 1000

    def test_outlasts_a_clock_that_is_set(
        self, client: HookClient, exchange: Exchange, clock: FakeClock
    ) -> None:
        """Setting the machine's clock ahead does not end a ban."""
        exchange.fail(ban(300))
        with pytest.raises(RateLimitedError):
            client.pull(NOW - HOUR, NOW)
        clock.ms += 3_600_000
        with pytest.raises(RateLimitedError):
            client.pull(NOW - HOUR, NOW)
        assert len(exchange.requests) == 1

    def test_is_shared_by_the_hooks_of_a_process(
        self, client: HookClient, client_kind: str, exchange: Exchange, clock: FakeClock, connect: Any
    ) -> None:
        """A second hook for the same host sends nothing during a ban that the first one met."""
        exchange.fail(ban(30))
        with pytest.raises(RateLimitedError):
            client.pull(NOW - HOUR, NOW)
        with pytest.raises(RateLimitedError, match="Wait until 2026-03-01T12:00:30"):
            HookClient(client_kind, clock=clock).pull(NOW - HOUR, NOW)
        other_kind = "async" if client_kind == "sync" else "sync"
        with pytest.raises(RateLimitedError, match="Wait until 2026-03-01T12:00:30"):
            HookClient(other_kind, clock=clock).pull(NOW - HOUR, NOW)
        assert len(exchange.requests) == 1

    def test_names_the_connection_that_met_it(
        self,
        client: HookClient,
        client_kind: str,
        exchange: Exchange,
        clock: FakeClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A ban that another connection's hook met is raised as an error of one's own connection."""
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", os.environ["AIRFLOW_CONN_BINANCE_LOAN_DEFAULT"])
        exchange.fail(ban(30))
        errors = []
        for hook in (client, HookClient(client_kind, binance_loan_conn_id="other", clock=clock), client):
            with pytest.raises(RateLimitedError) as caught:
                hook.pull(NOW - HOUR, NOW)
            errors.append(caught.value)
        assert [error.conn_id for error in errors] == [
            "binance_loan_default",
            "other",
            "binance_loan_default",
        ]
        assert len({id(error) for error in errors}) == 3
        assert len(exchange.requests) == 1


class TestWeight:
    """The weight that Binance states in each answer."""

    @pytest.mark.parametrize(
        ("used", "waits"),
        [
            (0, []),
            (9_500, []),
            (9_700, [60 / 2299]),  # one of the requests is in the figure already
            (11_000, [60 / 999]),
            (11_998, [60]),
        ],
    )
    def test_slows_down_beyond_four_fifths(
        self, client: HookClient, exchange: Exchange, clock: FakeClock, used: int, waits: list[float]
    ) -> None:
        """Beyond 80 % of a minute's weight, the next request waits for its share of what is left."""
        exchange.behaviour.used_weight = used
        client.pull(NOW - MINUTE, NOW, risk_units="active")
        assert clock.waits == []
        client.pull(NOW - MINUTE, NOW, risk_units="active")
        assert clock.waits == []  # the wait counts from the request before
        client.pull(NOW - MINUTE, NOW, risk_units="active")
        assert clock.waits == pytest.approx(waits, rel=0.01)

    def test_is_quick_again_when_the_minute_is_over(
        self, client: HookClient, exchange: Exchange, clock: FakeClock
    ) -> None:
        """When the weight is low again, no request waits for what was stated before."""
        for used in (11_998, 0, 0):
            exchange.behaviour.used_weight = used
            client.pull(NOW - MINUTE, NOW, risk_units="active")
        assert clock.waits == []
