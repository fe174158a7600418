"""Shared polls: the triggers of a connection ask Binance together, and each finds what it waits for."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from airflow_provider_binance_loan import shared_polls as module
from airflow_provider_binance_loan.binance.time_range import TimeRange
from airflow_provider_binance_loan.exceptions import TransientError
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.shared_polls import SharedPolls, shared_polls
from airflow_provider_binance_loan.triggers import (
    BinanceLoanForceLiquidationEventTrigger,
    BinanceLoanForceLiquidationTrigger,
    BinanceLoanLtvEventTrigger,
    BinanceLoanLtvTrigger,
)
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.raw import EMPTY, raw_server
from tests.support.virtual_time import VirtualClock

CONN_ID = "binance_loan_default"
PATH = "/sapi/v1/margin/loan-group/force-liquidation"
LTV_PATH = "/sapi/v1/margin/loan-group/ltv-details"
NOW_MS = int(NOW.timestamp() * 1000)
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WINDOW = TimeRange(NOW_MS - HOUR_MS, NOW_MS + MINUTE_MS)


def new_key() -> bytes:
    """Return a private key, as PEM."""
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return Ed25519PrivateKey.generate().private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)


def since(ago: timedelta) -> str:
    return (NOW - ago).isoformat()


async def fired(triggers: list[Any], clock: VirtualClock) -> list[list[Any]]:
    """Run triggers in one event loop until the clock ends them, and return what each has fired."""

    async def run(trigger: Any) -> list[Any]:
        payloads: list[Any] = []
        with suppress(asyncio.CancelledError):
            async for event in trigger.run():
                payloads.append(event.payload)  # noqa: PERF401 - it may be cancelled
        clock.leave()
        return payloads

    return await asyncio.wait_for(asyncio.gather(*map(run, triggers)), 60)


@pytest.fixture
def virtual(connect: Any, exchange: Exchange) -> Any:
    """Return a function that returns the clock for so many triggers and minutes."""

    def clock(tasks: int, minutes: float) -> VirtualClock:
        made = VirtualClock(tasks, 60 * minutes)
        exchange.clock = made.time
        return made

    return clock


@pytest.fixture
def silent(connect: Any) -> Iterator[socket.socket]:
    """Listen as a Binance that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connect(host=f"http://127.0.0.1:{listener.getsockname()[1]}", extra={"timeout": 600})
        yield listener


class TestTriggers:
    """Triggers that run in one triggerer."""

    def test_sensors_share_their_polls(self, exchange: Exchange, virtual: Any) -> None:
        """Fifty sensors that wait since different times ask as often as one."""
        clock = virtual(50, 5.5)
        sensors = [
            BinanceLoanForceLiquidationTrigger(since=since(timedelta(minutes=number)), clock=clock)
            for number in range(50)
        ]
        asyncio.run(fired(sensors, clock))
        # Two requests a poll: active risk units, and the list of closed ones.
        assert 2 * 5 <= len(exchange.requests) <= 2 * 6
        assert all(request.status == 200 for request in exchange.requests)

    def test_watchers_share_them_too(self, exchange: Exchange, virtual: Any) -> None:
        """A watcher of liquidations and the sensors for as long a window are served by the same polls."""
        clock = virtual(11, 5.5)
        watcher = BinanceLoanForceLiquidationEventTrigger(asset_name="watched", clock=clock)
        sensors = [
            BinanceLoanForceLiquidationTrigger(since=since(timedelta(days=7)), clock=clock) for _ in range(10)
        ]
        asyncio.run(fired([watcher, *sensors], clock))
        assert len(exchange.requests) <= 2 * 7

    def test_ltv_is_asked_for_once(self, exchange: Exchange, virtual: Any) -> None:
        """Twenty triggers that wait for LTVs use the weight of one: 200 a poll."""
        clock = virtual(20, 5.5)
        triggers: list[Any] = [
            BinanceLoanLtvEventTrigger(asset_name="watched", levels=["0.9999"], clock=clock)
        ]
        triggers += [BinanceLoanLtvTrigger(at_or_above=str(10 + number), clock=clock) for number in range(19)]
        asyncio.run(fired(triggers, clock))
        paths = Counter(request.path for request in exchange.requests)
        assert 5 <= paths[LTV_PATH] <= 7

    def test_each_finds_its_own(self, exchange: Exchange, virtual: Any) -> None:
        """A record fires the triggers that it matches, and no other; the others wait on."""
        looking_back = [timedelta(minutes=minutes) for minutes in (5, 20, 40, 60, 80)]
        exchange.add_liquidation(1, NOW_MS - 30 * MINUTE_MS)
        clock = virtual(len(looking_back), 5.5)
        sensors = [BinanceLoanForceLiquidationTrigger(since=since(ago), clock=clock) for ago in looking_back]
        exchange.schedule(7, lambda moved: moved.liquidate(2))
        events = asyncio.run(fired(sensors, clock))
        assert [event["group_ids"] for (event,) in events] == [[2], [2], [1], [1], [1]]

    def test_a_long_look_back_widens_no_other_poll(self, exchange: Exchange, virtual: Any) -> None:
        """Polls that begin an hour ago do so beside a sensor that looks back 90 days."""
        clock = virtual(11, 3.5)
        sensors = [
            BinanceLoanForceLiquidationTrigger(since=since(timedelta(minutes=40)), clock=clock)
            for _ in range(10)
        ]
        sensors.append(
            BinanceLoanForceLiquidationTrigger(
                since=since(timedelta(0)), wait_for="finished", lookback=90 * 86_400, clock=clock
            )
        )
        asyncio.run(fired(sensors, clock))
        starts = Counter(
            (NOW_MS - int(dict(request.params)["startTime"])) // DAY_MS
            for request in exchange.requests
            if request.path == PATH
        )
        assert starts.keys() == {0, 90}
        assert 3 <= starts[0] <= 4
        assert 3 <= starts[90] <= 4

    def test_intervals_that_are_multiples_meet(self, exchange: Exchange, virtual: Any) -> None:
        """A sensor that polls every two minutes joins the polls of one that does so every minute."""
        clock = virtual(2, 9.5)
        sensors = [
            BinanceLoanForceLiquidationTrigger(since=since(HOUR), poke_interval=interval_s, clock=clock)
            for interval_s in (60, 120)
        ]
        asyncio.run(fired(sensors, clock))
        assert len(exchange.requests) <= 2 * 10

    def test_sensors_share_polls_for_what_is_to_come(self, exchange: Exchange, virtual: Any) -> None:
        """Sensors whose `since` lies ahead, a little or far, ask as often as a few."""
        clock = virtual(60, 5.5)
        ahead = [timedelta(minutes=2 + number / 10) for number in range(30)]
        ahead += [timedelta(hours=30, minutes=number) for number in range(30)]
        sensors = [BinanceLoanForceLiquidationTrigger(since=since(-one), clock=clock) for one in ahead]
        asyncio.run(fired(sensors, clock))
        assert len(exchange.requests) <= 2 * 6 * 4

    def test_a_failed_poll_fails_for_all(
        self, exchange: Exchange, virtual: Any, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        """While the connection is missing, each says so in its log, and all find the record afterwards."""
        clock = virtual(3, 5.5)
        name = "AIRFLOW_CONN_BINANCE_LOAN_DEFAULT"
        connection = os.environ[name]
        monkeypatch.delenv(name)
        exchange.add_liquidation(1, NOW_MS)
        sensors = [BinanceLoanForceLiquidationTrigger(since=since(HOUR), clock=clock) for _ in range(3)]

        async def run() -> list[Any]:
            running = asyncio.create_task(fired(sensors, clock))
            while "Polling again" not in capsys.readouterr().out:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            monkeypatch.setenv(name, connection)
            return await running

        assert [event["group_ids"] for (event,) in asyncio.run(run())] == [[1]] * 3


@pytest.mark.usefixtures("connect", "exchange")
class TestOnePoll:
    """What waits for one poll."""

    def test_covers_the_windows_of_all(self, exchange: Exchange, clock: FakeClock) -> None:
        """One that joins with an earlier window, or a later one, finds what is in it."""
        exchange.add_liquidation(1, NOW_MS - 100 * MINUTE_MS)
        exchange.add_liquidation(2, NOW_MS)
        windows = [
            TimeRange(NOW_MS - 30 * MINUTE_MS, NOW_MS - MINUTE_MS),
            TimeRange(NOW_MS - 119 * MINUTE_MS, NOW_MS - MINUTE_MS),
            TimeRange(NOW_MS - 30 * MINUTE_MS, NOW_MS + MINUTE_MS),
        ]

        async def run() -> list[Any]:
            async with shared_polls(CONN_ID, clock) as polls:
                return await asyncio.gather(*(polls.liquidations(window, "all") for window in windows))

        answers = asyncio.run(run())
        assert len(exchange.requests) == 2
        for answer in answers:
            assert sorted(record["groupId"] for record in answer.records) == [1, 2]

    def test_is_apart_for_other_risk_units(self, exchange: Exchange, clock: FakeClock) -> None:
        """Risk units that are named are not taken for all of them."""
        exchange.add_liquidation(1, NOW_MS)
        exchange.add_liquidation(2, NOW_MS)

        async def run() -> list[Any]:
            async with shared_polls(CONN_ID, clock) as polls:
                return await asyncio.gather(
                    *(polls.liquidations(WINDOW, units) for units in ("all", "active", (1,), (2,)))
                )

        answers = asyncio.run(run())
        found = [sorted(record["groupId"] for record in answer.records) for answer in answers]
        assert found == [[1, 2], [1, 2], [1], [2]]

    def test_takes_risk_units_in_any_order(self, exchange: Exchange, clock: FakeClock) -> None:
        """The same risk units in another order are the same question."""

        async def run() -> list[Any]:
            async with shared_polls(CONN_ID, clock) as polls:
                return await asyncio.gather(
                    *(polls.liquidations(WINDOW, units) for units in ((1, 2), (2, 1)))
                )

        first, second = asyncio.run(run())
        assert first is second
        assert len(exchange.requests) == 2

    def test_begins_before_its_answers(self, exchange: Exchange, clock: FakeClock) -> None:
        """The time from which on records may be missing is that of its beginning, not of its last answer."""
        exchange.schedule(1, lambda _: clock.sleep(100))

        async def run() -> Any:
            async with shared_polls(CONN_ID, clock) as polls:
                return await polls.liquidations(WINDOW, (1, 2))

        found = asyncio.run(run())
        assert found.began_ms <= NOW_MS

    def test_serves_nobody_who_comes_when_it_has_begun(self, exchange: Exchange, clock: FakeClock) -> None:
        """Its answer may be older than the wish of one who comes later."""

        async def run() -> Any:
            async with shared_polls(CONN_ID, clock) as polls:
                first = asyncio.create_task(polls.liquidations(WINDOW, "active"))
                while not exchange.requests:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
                exchange.add_liquidation(1, NOW_MS)
                later = await polls.liquidations(WINDOW, "active")
                await first
                return later

        assert len(asyncio.run(run()).records) == 1
        assert len(exchange.requests) == 2

    @pytest.mark.parametrize("ended", [0, 1])
    def test_outlasts_the_end_of_one(self, exchange: Exchange, clock: FakeClock, ended: int) -> None:
        """The end of the trigger that began it, or of one that joined, is no end for the other."""
        exchange.add_liquidation(1, NOW_MS)

        async def run() -> Any:
            async with shared_polls(CONN_ID, clock) as polls:
                tasks = [asyncio.create_task(polls.liquidations(WINDOW, "all")) for _ in range(2)]
                await asyncio.sleep(0.01)
                tasks[ended].cancel()
                return await tasks[1 - ended]

        assert len(asyncio.run(run()).records) == 1
        assert len(exchange.requests) == 2

    @pytest.mark.parametrize("after_s", [0, 0.01])
    def test_ends_with_the_last_one(self, exchange: Exchange, clock: FakeClock, after_s: float) -> None:
        """When all that waited are ended, nothing is asked, and the next one gets a poll of its own."""

        async def run() -> Any:
            async with shared_polls(CONN_ID, clock) as polls:
                tasks = [asyncio.create_task(polls.liquidations(WINDOW, "active")) for _ in range(2)]
                await asyncio.sleep(after_s)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await asyncio.sleep(0.1)
                assert not exchange.requests
                return await polls.liquidations(WINDOW, "active")

        assert not asyncio.run(run()).records
        assert len(exchange.requests) == 1

    def test_is_given_up_with_the_last_one(self, silent: socket.socket, clock: FakeClock) -> None:
        """When all that waited are ended, its request is given up, and nobody waits for the answer."""

        async def run() -> None:
            async with shared_polls(CONN_ID, clock) as polls:
                task = asyncio.create_task(polls.liquidations(WINDOW, "active"))
                accepted, _ = await asyncio.to_thread(silent.accept)
                with accepted:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

        asyncio.run(asyncio.wait_for(run(), 30))

    def test_fails_for_all(self, clock: FakeClock) -> None:
        """All that wait for it get its error."""

        async def run() -> list[Any]:
            async with shared_polls("missing", clock) as polls:
                return await asyncio.gather(
                    *(polls.liquidations(WINDOW, "all") for _ in range(3)), return_exceptions=True
                )

        errors = asyncio.run(run())
        assert [type(error) for error in errors] == [TransientError] * 3


class TestClient:
    """The client that is kept between two polls."""

    @pytest.fixture
    def certificates(self, certificate: Path, tmp_path: Path) -> Path:
        """A CA bundle that may be renewed."""
        bundle = tmp_path / "ca.pem"
        bundle.write_bytes(certificate.read_bytes())
        return bundle

    def poll_between(self, clock: FakeClock, change: Any) -> None:
        """Poll twice, with a change in between."""

        async def run() -> None:
            async with shared_polls(CONN_ID, clock) as polls:
                await polls.liquidations(WINDOW, "active")
                change()
                await polls.liquidations(WINDOW, "active")

        asyncio.run(run())

    def test_keeps_its_connection(self, connect: Any, clock: FakeClock) -> None:
        """A poll uses the connection to Binance of the poll before."""
        with raw_server([EMPTY, EMPTY]) as (url, lines):
            connect(host=url)
            self.poll_between(clock, lambda: None)
        assert len(lines) == 2
        assert len(set(lines.ports)) == 1

    @pytest.mark.parametrize(
        "fields",
        [
            {"login": "another-key"},
            {"password": "another-secret"},
            {"extra": {"recv_window": 9999}},
            {"extra": {"timeout": 3}},
        ],
        ids=str,
    )
    def test_is_replaced_when_the_connection_changes(
        self, connect: Any, clock: FakeClock, fields: dict[str, Any]
    ) -> None:
        """A rotated key, or another setting, works from the next poll on."""
        with raw_server([EMPTY, EMPTY]) as (url, lines):
            connect(host=url)
            self.poll_between(clock, lambda: connect(host=url, **fields))
        assert len(set(lines.ports)) == 2
        if "login" in fields:
            assert any("another-key" in header for header in lines.headers)

    def test_is_replaced_when_a_key_file_changes(
        self, connect: Any, clock: FakeClock, tmp_path: Path
    ) -> None:
        """A private key that is rotated in its file signs the next poll."""
        file = tmp_path / "key.pem"
        with raw_server([EMPTY, EMPTY]) as (url, lines):
            file.write_bytes(new_key())
            connect(host=url, password=None, extra={"private_key_file": str(file)})
            self.poll_between(clock, lambda: file.write_bytes(new_key()))
        assert len(set(lines.ports)) == 2

    def test_is_replaced_when_a_ca_bundle_changes(
        self, connect: Any, clock: FakeClock, certificate: Path, certificates: Path
    ) -> None:
        """Certificates that are renewed in place are read for the next poll."""

        def renew() -> None:
            later_ns = certificates.stat().st_mtime_ns + 10**9
            os.utime(certificates, ns=(later_ns, later_ns))

        for change, connections in ((lambda: None, 1), (renew, 2)):
            with raw_server([EMPTY, EMPTY], certificate) as (url, lines):
                connect(host=url, extra={"verify": str(certificates)})
                self.poll_between(clock, change)
            assert len(set(lines.ports)) == connections

    def test_is_closed_by_the_last_user(self, connect: Any, exchange: Exchange, clock: FakeClock) -> None:
        """It stays while a trigger of the connection is left, and no longer."""

        async def run() -> None:
            async with shared_polls(CONN_ID, clock) as polls:
                async with shared_polls(CONN_ID, clock) as same:
                    assert same is polls
                    await polls.liquidations(WINDOW, "active")
                (client,) = polls._hook._users
                assert client._pool.connections
            assert not client._pool.connections
            assert not module._POLLS[asyncio.get_running_loop()]
            async with shared_polls(CONN_ID, clock) as other:
                assert other is not polls

        asyncio.run(run())

    def test_is_not_kept_for_very_many_connections(
        self, connect: Any, exchange: Exchange, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Beyond a number of connections, a poll opens a client of its own, and closes it."""
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", os.environ["AIRFLOW_CONN_BINANCE_LOAN_DEFAULT"])
        monkeypatch.setattr(module, "_MAX_KEPT", 1)

        async def run() -> None:
            async with shared_polls(CONN_ID, clock) as polls:
                await polls.liquidations(WINDOW, "active")
                assert len(polls._hook._users) == 1
                async with shared_polls("other", clock) as others:
                    for one in (polls, others):
                        await one.liquidations(WINDOW, "active")
                        assert not one._hook._users

        asyncio.run(run())

    def test_keeps_one_socket(self, connect: Any, exchange: Exchange, clock: FakeClock) -> None:
        """However many requests a poll has under way at once, one socket is kept."""
        for group_id in range(3, 12):
            exchange.add_unit(group_id)

        async def run() -> list[int]:
            async with shared_polls(CONN_ID, clock) as polls:
                sockets = []
                for units in ("active", tuple(range(1, 12))):
                    await polls.liquidations(WINDOW, units)
                    (client,) = polls._hook._users
                    sockets.append(len(client._pool.connections))
                return sockets

        assert asyncio.run(run()) == [1, 1]

    def test_is_closed_though_cancelled_twice(self, silent: socket.socket, clock: FakeClock) -> None:
        """A trigger that is cancelled again while it waits for its poll to end leaves no socket."""

        async def run() -> None:
            async def poll() -> None:
                async with shared_polls(CONN_ID, clock) as polls:
                    hooks.append(polls._hook)
                    await polls.liquidations(WINDOW, "active")

            hooks: list[Any] = []
            task = asyncio.create_task(poll())
            accepted, _ = await asyncio.to_thread(silent.accept)
            with accepted:
                task.cancel()
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            assert not hooks[0]._users

        asyncio.run(asyncio.wait_for(run(), 30))

    def test_a_closed_loop_is_forgotten(self, clock: FakeClock) -> None:
        """An event loop that was closed while triggers waited in it is let go when another one has some."""
        entered = [shared_polls(CONN_ID, clock) for _ in range(2)]

        async def enter(number: int) -> None:
            await entered[number].__aenter__()

        loop = asyncio.new_event_loop()
        loop.run_until_complete(enter(0))
        loop.close()
        assert loop in module._POLLS
        asyncio.run(enter(1))
        assert loop not in module._POLLS

    def test_a_connection_id_that_is_no_text_is_refused_by_the_poll(self, clock: FakeClock) -> None:
        """The start of a trigger does not refuse it, since Airflow would start the trigger again at once."""

        async def run() -> None:
            async with shared_polls(["x"], clock) as polls:  # type: ignore[arg-type]
                with pytest.raises((TypeError, AttributeError, TransientError)):
                    await polls.liquidations(WINDOW, "active")

        asyncio.run(run())

    def test_a_replaced_one_serves_its_polls_to_their_end(
        self, connect: Any, exchange: Exchange, clock: FakeClock
    ) -> None:
        """A connection that changes while a poll is under way does not end that poll."""
        exchange.add_liquidation(1, NOW_MS)
        url = json.loads(os.environ["AIRFLOW_CONN_BINANCE_LOAN_DEFAULT"])["host"]

        async def run() -> list[Any]:
            async with shared_polls(CONN_ID, clock) as polls:
                answers = []
                for timeout in range(3, 13):
                    first = asyncio.create_task(polls.liquidations(WINDOW, "all"))
                    await asyncio.sleep(0.06)
                    connect(host=url, extra={"timeout": timeout})
                    answers += await asyncio.gather(first, polls.liquidations(WINDOW, "active"))
                assert len(polls._hook._users) == 1
                return answers

        assert [len(answer.records) for answer in asyncio.run(run())] == [1] * 20


class TestMoments:
    """The moments at which the triggers of a connection poll."""

    @pytest.fixture
    def polls(self, clock: FakeClock) -> SharedPolls:
        return SharedPolls(CONN_ID, clock)

    def test_the_first_is_random(self, clock: FakeClock) -> None:
        """Connections that start at once are asked at different times, after a while and in time."""
        firsts = [SharedPolls(CONN_ID, clock).first_at(60) for _ in range(1000)]
        assert min(firsts) >= 6
        assert max(firsts) <= 60
        assert max(Counter(map(int, firsts)).values()) < 100

    def test_others_join_within_their_interval(self, polls: SharedPolls, clock: FakeClock) -> None:
        """A trigger that starts later polls at a moment of the others, and not at once."""
        anchor = polls.first_at(60)
        for _ in range(100):
            clock.sleep(7.3)
            first = polls.first_at(60)
            assert 6 <= first - clock.monotonic() <= 66
            assert (first - anchor) / 60 == pytest.approx(round((first - anchor) / 60))

    @pytest.mark.parametrize("interval_s", [1, 5, 60, 0.1 + 0.2 + 1, 604_800])
    @pytest.mark.parametrize("times", [1, 2, 7])
    def test_the_next_is_a_wait_later(
        self, polls: SharedPolls, clock: FakeClock, interval_s: float, times: int
    ) -> None:
        """From one moment to the next it is exactly the wait."""
        clock.sleep(polls.first_at(interval_s) - clock.monotonic())
        for _ in range(20):
            next_s = polls.next_at(times * interval_s, interval_s)
            assert next_s - clock.monotonic() == pytest.approx(times * interval_s)
            clock.sleep(next_s - clock.monotonic())

    def test_a_slow_poll_delays_the_next_by_half_an_interval_at_least(
        self, polls: SharedPolls, clock: FakeClock
    ) -> None:
        """However long a poll took, the next one begins at a moment, half an interval after it or later."""
        clock.sleep(polls.first_at(60) - clock.monotonic())
        began = clock.monotonic()
        for took_s, expected_s in ((1, 60), (29, 60), (31, 120), (60, 120), (95, 180)):
            clock.sleep(began + took_s - clock.monotonic())
            assert polls.next_at(60, 60) - began == pytest.approx(expected_s)

    def test_is_not_before_a_limit_ends(self, polls: SharedPolls, clock: FakeClock) -> None:
        """A rate limit is waited out, and then all poll at one moment."""
        clock.sleep(polls.first_at(60) - clock.monotonic())
        ends_at = clock.monotonic() + 333
        moments = set()
        for _ in range(10):
            clock.sleep(0.1)
            moments.add(round(polls.next_at(60, 60, ends_at - clock.monotonic()), 3))
        assert len(moments) == 1
        assert 0 <= moments.pop() - ends_at <= 5.001
        assert polls.next_at(60, 60, 3) - clock.monotonic() > 30
