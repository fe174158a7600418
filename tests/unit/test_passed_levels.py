"""What a watcher of LTVs fires: each crossing once, against a model, through restarts at every point."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_binance_loan import passed_levels
from airflow_provider_binance_loan.binance.loan_to_value import level_text
from airflow_provider_binance_loan.passed_levels import LevelRules, PassedLevels

HOUR_MS = 3_600_000
NOW_MS = 1_772_366_400_000
LEVELS = ("0.7", "0.8", "0.85")
LTVS = st.one_of(st.none(), st.integers(600, 950).map(lambda thousandths: f"0.{thousandths}"))


def record(ltv: str | None, group_id: int = 6) -> dict[str, Any]:
    return {
        "groupId": group_id,
        "ltv": ltv,
        "totalLiability": "1",
        "totalNetEquity": "2",
        "totalMaintenanceMargin": "0",
        "maxAllowedBorrowLimit": "0",
    }


def rules(*levels: str, hysteresis: str = "0.01", remind_every_ms: int | None = None) -> LevelRules:
    return LevelRules(
        levels=[Decimal(level) for level in levels or LEVELS],
        hysteresis=Decimal(hysteresis),
        remind_every_ms=remind_every_ms,
    )


def fired(memory: PassedLevels, ltv: str | None, at_ms: int, how: LevelRules) -> list[tuple[str, str]]:
    """Return the events that an LTV gives rise to, and settle them."""
    events = [(event["what"], event["level"]) for event in memory.update(record(ltv), at_ms, how)]
    memory.settle()
    return events


def restarted(memory: PassedLevels) -> PassedLevels:
    return PassedLevels.from_json(json.loads(json.dumps(memory.to_json())))


@pytest.mark.parametrize(
    ("ltvs", "expected"),
    [
        (["0.69"], []),
        (["0.7"], [("above", "0.7")]),
        (["0.9"], [("above", level) for level in LEVELS[::-1]]),
        (["0.71", "0.69", "0.71"], [("above", "0.7")]),
        (["0.71", "0.6899", "0.71"], [("above", "0.7"), ("below", "0.7"), ("above", "0.7")]),
        (
            ["0.9", "0.5"],
            [("above", level) for level in LEVELS[::-1]] + [("below", level) for level in LEVELS],
        ),
        (["0.9", None, "0.9"], [("above", level) for level in LEVELS[::-1]]),
        (["0.71", None], [("above", "0.7")]),
    ],
)
def test_fires_once_for_each_crossing(ltvs: list[str | None], expected: list[tuple[str, str]]) -> None:
    """The farthest level comes first, upwards and back; what trembles, or is unknown, fires nothing."""
    memory = PassedLevels()
    events = [event for at, ltv in enumerate(ltvs) for event in fired(memory, ltv, NOW_MS + at, rules())]
    assert events == expected


def test_without_hysteresis_a_level_is_a_line() -> None:
    """At the level is above it, and anything less is below."""
    memory, how = PassedLevels(), rules("0.7", hysteresis="0")
    ltvs = ["0.7", "0.6999999999999999999999999999999", "0.7"]
    events = [event for ltv in ltvs for event in fired(memory, ltv, NOW_MS, how)]
    assert [what for what, _ in events] == ["above", "below", "above"]


def test_says_what_it_takes() -> None:
    """The payload is small JSON: what, when, how far, and the way back; no e-mail address."""
    (payload,) = PassedLevels().update(record("0.81"), NOW_MS + 123, rules("0.8"))
    assert json.loads(json.dumps(payload)) == {
        "what": "above",
        "asked_at": "2026-03-01T12:00:00.123000+00:00",
        "group_id": 6,
        "ltv": "0.81",
        "level": "0.8",
        "distance": "0.01",
        "back_to_level": {
            "add_collateral": "-0.75000000",
            "repay_from_outside": "-0.6",
            "repay_from_inside": "-3.00000000",
        },
        "maxAllowedBorrowLimit": "0",
    }


def test_an_event_that_cannot_be_made_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails on its way to an event is not taken for fired."""
    memory = PassedLevels()
    with monkeypatch.context() as patch:
        patch.setattr(passed_levels, "build_level_figures", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            memory.update(record("0.9"), NOW_MS, rules())
    assert memory.to_json()["units"] == []
    assert len(fired(memory, "0.9", NOW_MS, rules())) == 3


def test_reminds_also_after_a_time_that_was_wrong() -> None:
    """Binance's time, hours ahead for a moment, does not put off a reminder by hours."""
    memory, how = PassedLevels(), rules("0.7", remind_every_ms=HOUR_MS)
    assert fired(memory, "0.8", NOW_MS + 5 * HOUR_MS, how) == [("above", "0.7")]
    assert fired(memory, "0.8", NOW_MS, how) == []
    assert fired(memory, "0.8", NOW_MS + HOUR_MS, how) == [("still_above", "0.7")]


def test_reminds_of_the_highest_level() -> None:
    """A reminder comes an hour after the last event of the risk unit, whichever that was."""
    memory, how = PassedLevels(), rules(remind_every_ms=HOUR_MS)
    minutes = {
        0: "0.72",
        30: "0.81",
        89: "0.81",
        90: "0.81",
        120: "0.81",
        149: "0.77",
        208: "0.77",
        209: "0.77",
    }
    events = {
        minute: events
        for minute, ltv in minutes.items()
        if (events := fired(memory, ltv, NOW_MS + minute * 60_000, how))
    }
    assert events == {
        0: [("above", "0.7")],
        30: [("above", "0.8")],
        90: [("still_above", "0.8")],
        149: [("below", "0.8")],
        209: [("still_above", "0.7")],
    }
    assert fired(memory, "0.5", NOW_MS + 10 * HOUR_MS, how) == [("below", "0.7")]
    assert fired(memory, "0.5", NOW_MS + 20 * HOUR_MS, how) == []


class Model:
    """The same rules, for one level of one risk unit, as the documentation states them."""

    def __init__(self, level: str, hysteresis: str) -> None:
        self.level, self.clear = Decimal(level), Decimal(level) - Decimal(hysteresis)
        self.is_above = False

    def what(self, ltv: str | None) -> str | None:
        if ltv is not None and not self.is_above and Decimal(ltv) >= self.level:
            self.is_above = True
            return "above"
        if ltv is not None and self.is_above and Decimal(ltv) < self.clear:
            self.is_above = False
            return "below"
        return None


@given(
    st.lists(st.tuples(LTVS, LTVS, st.booleans()), max_size=40),
    st.sampled_from(["0", "0.01", "0.05"]),
    st.sampled_from([None, 120_000]),
)
def test_fires_as_the_model_does(
    polls: list[tuple[str | None, str | None, bool]], hysteresis: str, remind_every_ms: int | None
) -> None:
    """For two risk units and three levels, restarted at any point: no crossing lost, none twice."""
    how = rules(hysteresis=hysteresis, remind_every_ms=remind_every_ms)
    models = {(unit, level): Model(level, hysteresis) for unit in (6, 7) for level in LEVELS}
    last_ms: dict[int, int] = {}
    memory = PassedLevels()
    for number, (first, second, restarts) in enumerate(polls):
        now_ms = NOW_MS + number * 60_000
        for unit, ltv in ((6, first), (7, second)):
            events = [
                (event["what"], event["level"]) for event in memory.update(record(ltv, unit), now_ms, how)
            ]
            memory.settle()
            crossings = {(level, what) for level in LEVELS if (what := models[unit, level].what(ltv))}
            assert {(level, what) for what, level in events if what != "still_above"} == crossings
            reminders = [level for what, level in events if what == "still_above"]
            above = [level for level in LEVELS if models[unit, level].is_above]
            due = (
                remind_every_ms is not None
                and ltv is not None
                and bool(above)
                and not crossings
                and now_ms - last_ms[unit] >= remind_every_ms
            )
            assert reminders == (above[-1:] if due else [])
            if events:
                last_ms[unit] = now_ms
        assert memory.group_ids == [
            unit for unit in (6, 7) if any(models[unit, level].is_above for level in LEVELS)
        ]
        if restarts:
            memory = restarted(memory)


KILLS = st.sampled_from(["not at all", "before it is announced", "while it is told", "before it is recorded"])


@given(st.lists(st.tuples(LTVS, KILLS, st.integers(0, 6)), max_size=25), st.sampled_from(["0", "0.01"]))
def test_what_was_told_last_is_true_after_a_kill(
    polls: list[tuple[str | None, str, int]], hysteresis: str
) -> None:
    """Killed at any point, and whatever the LTV did meanwhile, the watcher leaves nobody with a wrong word.

    After each poll that ends, the last event of a level says on which side of it the LTV is.
    """
    how = rules(hysteresis=hysteresis)
    memory, told = PassedLevels(), {}
    stored = memory.to_json()
    for number, (ltv, kill, delivered) in enumerate(polls):
        events = [(one["level"], one["what"]) for one in memory.update(record(ltv), NOW_MS + number, how)]
        if kill != "before it is announced" and events:
            stored = json.loads(json.dumps(memory.to_json()))
        if kill == "before it is announced":
            events = []
        elif kill == "while it is told":
            events = events[:delivered]
        told.update(events)
        if kill != "not at all":
            memory = PassedLevels.from_json(stored)
            continue
        memory.settle()
        stored = json.loads(json.dumps(memory.to_json()))
        for model in (Model(level, hysteresis) for level in LEVELS if ltv is not None):
            level = level_text(model.level)
            if Decimal(str(ltv)) >= model.level:
                assert told[level] == "above"
            elif Decimal(str(ltv)) < model.clear:
                assert told.get(level, "below") == "below"


@given(st.lists(LTVS, max_size=20))
def test_a_store_that_refuses_writes_repeats_nothing(ltvs: list[str | None]) -> None:
    """As long as the watcher runs, what it fired is fired, whether or not that could be recorded."""
    memory, recorded = PassedLevels(), PassedLevels()
    for number, ltv in enumerate(ltvs):
        unsettled = [
            (event["what"], event["level"]) for event in memory.update(record(ltv), NOW_MS + number, rules())
        ]
        assert unsettled == fired(recorded, ltv, NOW_MS + number, rules())
    memory.settle()
    assert memory.to_json() == recorded.to_json()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "is 7, and should be an object"),
        ({"version": 2, "units": []}, "is of version 2"),
        ({"units": {}}, r"has \{\} as units"),
        ({"units": [[6, ["0.7"], []]]}, r"has \[6, \['0.7'\], \[\]\] in units"),
        ({"units": [[6, ["0.7"], [], 10**18]]}, "in units"),
        ({"units": [[6, [0.7], [], 1]]}, "in units"),
        ({"units": [["6", ["0.7"], [], 1]]}, "in units"),
        ({"units": [[True, ["0.7"], [], 1]]}, "in units"),
        ({"version": True, "units": []}, "is of version True"),
    ],
)
def test_refuses_a_state_that_it_cannot_read(value: Any, text: str) -> None:
    """The text goes with "the state"."""
    with pytest.raises(ValueError, match=text):
        PassedLevels.from_json(value)
