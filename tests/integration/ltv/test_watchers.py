"""Watchers of LTVs: an event for each crossing, through failures and restarts, and within the limits."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from airflow_provider_binance_loan import passed_levels
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from airflow_provider_binance_loan.triggers import BinanceLoanLtvEventTrigger
from tests.support.connections import binance_connection
from tests.support.ltvs import PATH, LtvServer
from tests.support.virtual_time import VirtualClock
from tests.support.watchers import HANDOVER_S, INTERVAL_S, EndingClock, FailingStore, OldStore, Store

LEVELS = [0.70, 0.80, 0.85]
RISING = [{6: "0.65"}, {6: "0.71"}, {6: "0.9"}, {6: None}, {6: "0.845"}, {6: "0.5"}]
# The second poll is above 0.7, and the third above the others: the farthest level comes first.
FIRED = [("above", "0.7"), ("above", "0.85"), ("above", "0.8")]
CLEARED = [("below", "0.7"), ("below", "0.8"), ("below", "0.85")]


@pytest.fixture
def clock() -> EndingClock:
    """A clock that ends a watcher after so many polls."""
    return EndingClock()


def watch(store: Any, clock: EndingClock, polls: int, **arguments: Any) -> list[Any]:
    """Start a watcher, end it after so many polls, and return what its events say: what, and which level."""
    made = BinanceLoanLtvEventTrigger(
        **{"asset_name": "watched", "levels": LEVELS, "poke_interval": INTERVAL_S, **arguments}
    )
    path, kwargs = made.serialize()
    assert path.endswith(".triggers.BinanceLoanLtvEventTrigger")
    watcher = BinanceLoanLtvEventTrigger(**json.loads(json.dumps(kwargs)), clock=clock)
    watcher.asset_state_store = store
    clock.polls = len(clock.intervals) + polls - 1
    found: list[Any] = []

    async def run() -> None:
        with suppress(asyncio.CancelledError):
            async for event in watcher.run():
                payload = json.loads(json.dumps(event.payload))
                found.append((payload["what"], payload["level"]))

    asyncio.run(run())
    return found


@pytest.mark.parametrize("store", [Store, OldStore])
@pytest.mark.parametrize("polls", [6, 1])
def test_fires_for_each_crossing(ltvs: LtvServer, clock: EndingClock, store: type[Store], polls: int) -> None:
    """Upwards and back, each level once; an unknown LTV clears nothing; restarts change nothing."""
    ltvs.script = list(RISING)
    kept, events = store(), []
    for _ in range(6 // polls):
        events += watch(kept, clock, polls)
    assert events == [*FIRED, *CLEARED]
    assert ltvs.asked() == 6


@pytest.mark.parametrize(
    ("script", "waits"),
    [
        ([{6: "0.75"}], []),
        ([{6: "0.75"}, {6: "0.75"}, {6: "0.82"}], []),
        ([{6: "0.9"}], [10]),  # three events: two at once, and the last one later
        ([{6: "0.75", 7: "0.75"}], [10]),
    ],
)
def test_waits_before_the_last_of_several_events(
    ltvs: LtvServer, clock: EndingClock, script: list[dict[int, Any]], waits: list[float]
) -> None:
    """Airflow leaves an event that follows another at once to the next run, which may be made much later."""
    ltvs.script = list(script)
    watch(Store(), clock, len(script))
    assert [wait_s for wait_s in clock.waits if wait_s == 10] == waits


def test_waits_after_the_event_of_the_poll_before(ltvs: LtvServer, clock: EndingClock) -> None:
    """Polls that follow one another faster than Airflow makes runs are no exception."""
    ltvs.script = [{6: "0.75"}, {6: "0.82"}, {6: "0.82"}]
    clock.interval_s = 1
    watch(Store(), clock, 3, poke_interval=1)
    spacing = [wait_s for wait_s in clock.waits if 4 < wait_s < 10]
    assert spacing == [pytest.approx(10 - HANDOVER_S - 1, abs=3.1)]


def test_fires_again_for_what_was_not_recorded(ltvs: LtvServer, clock: EndingClock) -> None:
    """A store that refuses writes repeats nothing while the watcher runs, and loses nothing at a restart."""
    ltvs.script = list(RISING)
    store = FailingStore("write")
    assert watch(store, clock, 3) == FIRED
    assert store.values == {}
    store.refuses.clear()
    ltvs.script = [{6: "0.9"}]
    assert watch(store, clock, 1) == [("above", level) for level in ("0.85", "0.8", "0.7")]
    assert watch(store, clock, 1) == []


def test_without_a_store_each_start_fires(
    ltvs: LtvServer, clock: EndingClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Airflow 3.2 has no store: what is above a level fires at each start, and the log says so."""
    ltvs.show(u6="0.75")
    for _ in range(2):
        assert watch(None, clock, 2) == [("above", "0.7")]
    assert capsys.readouterr().out.count("what is above a level fires now, perhaps again") == 2


def test_reminds(ltvs: LtvServer, clock: EndingClock) -> None:
    """While it stays above, the highest level is repeated, also after restarts."""
    ltvs.show(u6="0.81")
    store, events = Store(), []
    for _ in range(7):
        events += watch(store, clock, 1, remind_every=120)
        clock.ms += INTERVAL_S * 1000
    assert events == [("above", "0.8"), ("above", "0.7"), *[("still_above", "0.8")] * 3]


def test_one_poll_serves_all(ltvs: LtvServer, clock: EndingClock) -> None:
    """Risk units that are not wanted fire nothing; those that are share the request."""
    ltvs.show(u6="0.9", u7="0.75", u8="0.71")
    assert watch(Store(), clock, 1, levels=["0.70"], risk_units="7, 8") == [("above", "0.7")] * 2
    assert ltvs.asked() == 1


def test_one_risk_unit_that_fails_does_not_silence_the_others(
    ltvs: LtvServer, clock: EndingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with one of them, the others are warned of; that one fires once it is right."""
    ltvs.show(u6="0.75", u7="0.75")
    make = passed_levels.build_level_figures

    def make_or_fail(record: Any, *others: Any) -> Any:
        return 1 / 0 if record["groupId"] == 6 else make(record, *others)

    store = Store()
    with monkeypatch.context() as patch:
        patch.setattr(passed_levels, "build_level_figures", make_or_fail)
        assert watch(store, clock, 2) == [("above", "0.7")]
    assert watch(store, clock, 1) == [("above", "0.7")]
    assert watch(store, clock, 1) == []


def test_names_what_has_no_ltv_once(
    ltvs: LtvServer, clock: EndingClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log says when an LTV is unknown, or its risk unit gone, and when it is back: not at each poll."""
    ltvs.script = [{6: "0.9", 7: None}, {7: None}, {7: None}, {6: "0.9", 7: "0.9"}]
    watch(Store(), clock, 4, levels=[0.7])
    lines = re.findall(r"The LTV of risk unit .*?\)\.", capsys.readouterr().out)
    assert lines == [
        "The LTV of risk unit 7 is unknown, and crosses no level (asset 'watched').",
        "The LTV of risk unit 6 is gone, and crosses no level (asset 'watched').",
        "The LTV of risk unit 6 is not gone any more (asset 'watched').",
        "The LTV of risk unit 7 is not unknown any more (asset 'watched').",
    ]


def test_a_failing_poll_backs_off(
    ltvs: LtvServer, clock: EndingClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """A malformed answer, or a key that sees nothing, leaves a line and a longer wait, and ends nothing."""
    ltvs.body = b'[{"groupId":6,"other":1}]'
    assert watch(Store(), clock, 2) == []
    assert max(clock.intervals) >= 2 * INTERVAL_S
    out = capsys.readouterr().out
    assert "(asset 'watched'): Check the proxies" in out
    assert "binance_loan_default" in out


@pytest.mark.parametrize("state", ["text", {"version": 2}, {"version": 1, "units": [[6]]}])
def test_a_state_that_cannot_be_read_is_left(
    ltvs: LtvServer, clock: EndingClock, capsys: pytest.CaptureFixture[str], state: Any
) -> None:
    """No event fires, the state stays, and the log says how to start anew."""
    ltvs.show(u6="0.9")
    store = Store()
    watch(store, clock, 1)
    (key,) = store.values
    store.values[key] = json.dumps(state)
    assert watch(store, clock, 1) == []
    assert json.loads(store.values[key]) == state
    assert f"Delete '{key}' from the state store of asset 'watched'" in capsys.readouterr().out


def test_watchers_of_other_levels_have_other_states() -> None:
    """What is watched is in the key of the state; how often it is asked for is not."""

    def key(**arguments: Any) -> str:
        given = {"asset_name": "a", "levels": [0.7, "0.80"], **arguments}
        return BinanceLoanLtvEventTrigger(**given)._state_key

    assert key() == key(levels=["0.8", 0.7, 0.70], poke_interval=5, hysteresis=0.01, remind_every=60)
    assert key(risk_units="active", hysteresis="-0.0") == key(risk_units="all", hysteresis=0)
    others = {"levels": [0.7]}, {"risk_units": [6]}, {"hysteresis": 0}, {"binance_loan_conn_id": "b"}
    assert len({key(), *(key(**other) for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"levels": []}, "Give levels as a list such as"),
        ({"levels": 0.7}, "Give levels as a list such as"),
        ({"levels": "0.7"}, "Give levels as a list such as"),
        ({"levels": [0.7, 70]}, r"Give levels\[1\] as a ratio"),
        ({"levels": [True]}, r"Give levels\[0\] as a ratio"),
        ({"hysteresis": -0.1}, "Give hysteresis as a ratio from 0"),
        ({"hysteresis": 0.7}, "Give hysteresis below the lowest level, 0.7: it is 0.7"),
        ({"levels": [0.005]}, "Give hysteresis below the lowest level"),
        ({"remind_every": 0}, "Give remind_every as a number of seconds"),
        ({"risk_units": "x"}, "Give risk_units"),
        ({"poke_interval": 0.5}, "Give poke_interval"),
        ({"asset_name": " "}, "Give asset_name"),
    ],
)
def test_refuses_wrong_arguments(arguments: Any, text: str) -> None:
    """The DAG file does not parse, and the error names the argument."""
    with pytest.raises(ConfigurationError, match=text):
        BinanceLoanLtvEventTrigger(**{"asset_name": "a", "levels": [0.7], **arguments})


class TestTwelveWatchers:
    """Twelve accounts of one IP address, asked every five seconds: two and a half times what is allowed."""

    MINUTES = 9

    @pytest.fixture
    def sent(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Exchange:
        """Let them run for nine minutes, and return the exchange with all requests."""
        clock = VirtualClock(12, 60 * self.MINUTES)
        exchange = Exchange(clock=clock.time, history=False)
        exchange.add_unit(1)
        watchers = [
            BinanceLoanLtvEventTrigger(
                asset_name=f"asset {number}",
                levels=[0.7],
                poke_interval=5,
                binance_loan_conn_id=f"account_{number}",
                clock=clock,  # type: ignore[arg-type]
            )
            for number in range(12)
        ]

        async def run(watcher: BinanceLoanLtvEventTrigger) -> None:
            with suppress(asyncio.CancelledError):
                async for _ in watcher.run():
                    pass

        async def run_all() -> None:
            await asyncio.wait_for(asyncio.gather(*map(run, watchers)), 120)

        with SandboxServer(exchange) as server:
            for number in range(12):
                monkeypatch.setenv(f"AIRFLOW_CONN_ACCOUNT_{number}", binance_connection(server.url))
            capsys.readouterr()
            asyncio.run(run_all())
        return exchange

    def test_stay_within_the_weight(self, sent: Exchange, capsys: pytest.CaptureFixture[str]) -> None:
        """They slow down together to what is allowed, meet no refusal, and say so once."""
        asked = [request for request in sent.requests if request.path == PATH]
        assert {request.status for request in asked} == {200}
        minutes = Counter(request.at_ms // 60_000 for request in asked)
        assert max(minutes.values()) <= 60
        # Beyond 80 % of the weight they space themselves out; so a minute has most of what is allowed.
        assert len(asked) >= 50 * (self.MINUTES - 1)
        assert capsys.readouterr().out.count("of the minute's weight of 12000 is used") == 1
