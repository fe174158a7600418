"""The sensor: the same outcome whether it pokes, is rescheduled, or waits in the triggerer."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralError,
    TaskDeferred,
)
from airflow.sdk.module_loading import import_string

from airflow_provider_binance_loan.binance.time_range import epoch_ms, utc_text
from airflow_provider_binance_loan.client.clock import Clock
from airflow_provider_binance_loan.exceptions import (
    BadResponseError,
    BinanceLoanError,
    RateLimitedError,
    TransientError,
)
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor
from tests.support.arguments import keyword_arguments
from tests.support.clock import HOUR
from tests.support.raw import answer, error, raw_server
from tests.support.runs import run_context

MODES = ["poke", "reschedule", "deferrable"]
BAN = answer("418 I'm a teapot", error(-1003), "Retry-After: 300")


pytestmark = pytest.mark.usefixtures("real_time")


@pytest.fixture
def since() -> datetime:
    """The start of the run's interval, an hour ago, as a whole second."""
    return datetime.now(UTC).replace(microsecond=0) - HOUR


class ImpatientClock(Clock):
    """The machine's clock for a trigger, without its waits."""

    async def asleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Task:
    """A sensor as Airflow runs it: again after each reschedule, in the triggerer after a deferral."""

    def __init__(
        self, mode: str, start: datetime, meanwhile: Callable[[], object] = lambda: None, **arguments: Any
    ) -> None:
        self.meanwhile = meanwhile
        self.context = run_context(start, start + HOUR)
        self.sensor = BinanceLoanForceLiquidationSensor(
            task_id="wait",
            mode="reschedule" if mode == "reschedule" else "poke",
            deferrable=mode == "deferrable",
            **{"poke_interval": 1, "timeout": 20, **arguments},
        )

    def run(self) -> Any:
        while True:
            try:
                return self.sensor.execute(self.context)
            except AirflowRescheduleException:
                self.meanwhile()
            except TaskDeferred as deferred:
                self.meanwhile()
                kwargs: Any = {"event": asyncio.run(fire(deferred.trigger))}
                return self.sensor.resume_execution(
                    deferred.method_name, json.loads(json.dumps(kwargs)), self.context
                )


async def fire(trigger: Any) -> Any:
    """Rebuild the trigger from its row, as the triggerer does, and return its event without waits."""
    path, kwargs = trigger.serialize()
    assert path == f"{type(trigger).__module__}.{type(trigger).__qualname__}"
    async for event in type(trigger)(**json.loads(json.dumps(kwargs)), clock=ImpatientClock()).run():
        return event.payload
    raise AssertionError("no event")


@pytest.mark.parametrize("mode", MODES)
def test_succeeds_at_the_first_poke(mode: str, exchange: Exchange, since: datetime) -> None:
    """What started at or after the start of the interval is found at the first poke, whatever the mode."""
    start_ms = epoch_ms(since, "since")
    for group, at_ms in ((1, start_ms - 1), (1, start_ms), (2, start_ms + 60_000)):
        exchange.add_liquidation(group, at_ms, at_ms + 5)
    found = Task(mode, since).run()
    assert found | {"start": "", "end": ""} == {"count": 2, "group_ids": [1, 2], "start": "", "end": ""}
    records = BinanceLoanForceLiquidationOperator(
        task_id="pull", start=found["start"], end=found["end"]
    ).execute(Task(mode, since).context)
    assert [record["liquidationStartTime"] for record in records] == [start_ms, start_ms + 60_000]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wait_for", ["started", "finished"])
def test_waits_for_what_is_not_there_yet(
    mode: str, wait_for: Any, exchange: Exchange, since: datetime
) -> None:
    """A liquidation that starts, or finishes, while the sensor waits, ends the wait."""
    exchange.add_liquidation(1, epoch_ms(since, "since") - 60_000)

    def meanwhile(*_: object) -> None:
        exchange.finish(1) if wait_for == "finished" else exchange.add_liquidation(1, exchange.now_ms())

    if mode == "poke":
        exchange.schedule(3, meanwhile)  # a poke takes two requests
    found = Task(mode, since, meanwhile, wait_for=wait_for).run()
    assert (found["count"], found["group_ids"]) == (1, [1])


@pytest.mark.parametrize("mode", MODES)
def test_waits_since_the_given_instant(mode: str, exchange: Exchange, since: datetime) -> None:
    """An instant given on the task takes precedence over the run's interval."""
    exchange.add_liquidation(1, epoch_ms(since, "since") - 60_000)
    found = Task(mode, since, since=(since - HOUR).isoformat()).run()
    assert found["count"] == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("soft_fail", [False, True])
def test_fails_for_good_on_a_refused_key(mode: str, soft_fail: bool, connect: Any, since: datetime) -> None:
    """A refused key fails the task without a retry, also with soft_fail."""
    connect(password="wrong")
    with pytest.raises(AirflowFailException, match="code -1022"):
        Task(mode, since, soft_fail=soft_fail).run()


@pytest.mark.parametrize("soft_fail", [False, True])
def test_fails_for_good_on_a_key_refused_in_the_triggerer(
    soft_fail: bool, exchange: Exchange, since: datetime
) -> None:
    """A key that is refused while the sensor waits fails the task without a retry, also with soft_fail."""
    with pytest.raises(AirflowFailException, match="code -2015"):
        Task("deferrable", since, exchange.keys.clear, soft_fail=soft_fail).run()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("soft_fail", [False, True])
def test_fails_on_a_malformed_answer(mode: str, soft_fail: bool, connect: Any, since: datetime) -> None:
    """An answer that is not what Binance documents fails the task, also with soft_fail."""
    with raw_server([answer("200 OK", "{}")]) as (url, _):
        connect(host=url)
        with pytest.raises(BadResponseError, match="rows is absent"):
            Task(mode, since, soft_fail=soft_fail).run()


@pytest.mark.parametrize(
    ("soft_fail", "outcome"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)]
)
@pytest.mark.parametrize("mode", MODES)
def test_times_out(mode: str, soft_fail: bool, outcome: type[Exception], since: datetime) -> None:
    """A wait that is too long fails the task, and skips it with soft_fail."""
    with pytest.raises(outcome):
        Task(mode, since, soft_fail=soft_fail, timeout=0).run()


@pytest.mark.parametrize(
    ("soft_fail", "failure", "outcome"),
    [
        (False, "Trigger timeout", AirflowSensorTimeout),
        (True, "Trigger timeout", AirflowSkipException),
        (False, "Trigger failure", TaskDeferralError),
        (True, "Trigger failure", BinanceLoanError),
    ],
)
def test_skips_on_a_timeout_of_the_trigger_alone(
    soft_fail: bool, failure: str, outcome: type[Exception], since: datetime
) -> None:
    """With soft_fail, a timeout of the trigger skips the task, and its failure fails it."""
    task = Task("deferrable", since, soft_fail=soft_fail)
    with pytest.raises(outcome):
        task.sensor.resume_execution("__fail__", {"error": failure}, task.context)


def test_defers_with_what_is_left_of_its_time(since: datetime) -> None:
    """The trigger ends the wait at the sensor's timeout, and Airflow a minute later, after the last poll."""
    task = Task("deferrable", since, poke_interval=30, exponential_backoff=True, max_wait=90, timeout=600)
    with pytest.raises(TaskDeferred) as deferred:
        task.sensor.execute(task.context)
    assert timedelta(seconds=650) < deferred.value.timeout <= timedelta(seconds=660)
    _, kwargs = deferred.value.trigger.serialize()
    assert 590 < kwargs["deadline"] - time.time() <= 600
    assert (kwargs["poke_interval"], kwargs["exponential_backoff"], kwargs["max_wait"]) == (30, True, 90)
    assert kwargs["since"] == since.isoformat()


def test_defers_with_every_argument(connect: Any, since: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each argument of the sensor, off its default, arrives in the trigger."""
    with raw_server([BAN]) as (url, _):
        connect(host=url)
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", os.environ["AIRFLOW_CONN_BINANCE_LOAN_DEFAULT"])
        task = Task(
            "deferrable",
            since,
            since=since - HOUR,
            wait_for="finished",
            risk_units="7, 6",
            lookback=timedelta(hours=5),
            poke_interval=30,
            exponential_backoff=True,
            max_wait=90,
            timeout=600,
            binance_loan_conn_id="other",
        )
        with pytest.raises(TaskDeferred) as deferred:
            task.sensor.execute(task.context)
    path, kwargs = deferred.value.trigger.serialize()
    defaults = keyword_arguments(import_string(path))
    assert defaults.keys() - kwargs.keys() == {"clock"}
    assert [name for name in kwargs if kwargs[name] == defaults[name]] == []
    assert 290 < kwargs.pop("not_before") - time.time() <= 300
    assert 590 < kwargs.pop("deadline") - time.time() <= 600
    assert kwargs == {
        "since": (since - HOUR).isoformat(),
        "wait_for": "finished",
        "risk_units": [7, 6],
        "lookback": 5 * 3600,
        "poke_interval": 30,
        "exponential_backoff": True,
        "max_wait": 90,
        "binance_loan_conn_id": "other",
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("soft_fail", [False, True])
@pytest.mark.parametrize("found", [False, True], ids=["not found", "raises"])
def test_is_retried_when_a_secrets_backend_fails(
    mode: str, soft_fail: bool, found: bool, since: datetime, mocker: Any
) -> None:
    """A connection that is not found, or cannot be read, fails the task as one that Airflow retries."""
    error: Exception = OSError("vault is sealed") if found else AirflowNotFoundException("x")
    mocker.patch.object(BinanceLoanHook, "get_connection", side_effect=error)
    expected, text = (OSError, "sealed") if found else (TransientError, "the secrets backend did not answer")
    with pytest.raises(expected, match=text):
        Task(mode, since, soft_fail=soft_fail).run()


def test_polls_on_during_a_liquidation(since: datetime, mocker: Any) -> None:
    """Binance's refusal during a liquidation fails a poking sensor; the others poll again later."""
    pending = TransientError("Try again later.", code=-1024)
    mocker.patch.object(BinanceLoanHook, "iter_window", side_effect=pending)
    outcomes: list[Any] = []
    for mode in MODES:
        task = Task(mode, since)
        with pytest.raises((TransientError, AirflowRescheduleException, TaskDeferred)) as outcome:
            task.sensor.execute(task.context)
        outcomes.append(outcome.value)
    assert [type(outcome) for outcome in outcomes] == [
        TransientError,
        AirflowRescheduleException,
        TaskDeferred,
    ]
    assert outcomes[2].trigger.not_before is None


class TestLog:
    """What a sensor logs."""

    @pytest.mark.parametrize("mode", MODES)
    def test_logs_the_wait_from_start_to_end(
        self, mode: str, exchange: Exchange, since: datetime, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It says since when it waits and for what, when it polls again and why, and what was found."""

        def meanwhile(*_: object) -> None:
            exchange.liquidate(1)

        if mode == "poke":
            exchange.schedule(3, meanwhile)
        found = Task(mode, since, meanwhile, risk_units="1,2").run()
        logged = capsys.readouterr().out
        since_text = utc_text(epoch_ms(since, "since"))
        waiting = f"Waiting for liquidations that started at or after {since_text}, risk units: 1, 2"
        assert logged.count(f"{waiting} (connection 'binance_loan_default', for 20 s at most).") == (
            2 if mode == "reschedule" else 1
        )
        again = "Polling in the triggerer" if mode == "deferrable" else "Poking again"
        assert logged.count(f"{again} every 1 s: there is no such liquidation yet.") == 1
        assert (
            logged.count(f"Found 1 liquidation, of the risk units 1, that started from {found['start']}") == 1
        )

    @pytest.mark.parametrize("mode", ["reschedule", "deferrable"])
    def test_logs_the_reason_of_a_longer_wait(
        self, mode: str, connect: Any, since: datetime, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A ban is logged with its end."""
        with raw_server([BAN]) as (url, _):
            connect(host=url)
            task = Task(mode, since)
            with pytest.raises((AirflowRescheduleException, TaskDeferred)):
                task.sensor.execute(task.context)
        assert re.search(
            r"every 1 s, from \S+ on: Wait until \S+: Binance has banned", capsys.readouterr().out
        )


@pytest.mark.parametrize("event", [None, {}, {"status": "done"}, {"status": "refused"}, "success"])
def test_refuses_an_event_that_it_does_not_know(event: Any, since: datetime) -> None:
    """An event of another version is an error, not a success."""
    task = Task("deferrable", since, soft_fail=True)
    with pytest.raises(BinanceLoanError, match="Run scheduler, triggerer and workers on one version"):
        task.sensor.resume_execution("execute_complete", {"event": event}, task.context)


def test_times_out_during_a_ban(connect: Any, since: datetime) -> None:
    """A ban does not keep a rescheduled sensor waiting past its timeout."""
    with raw_server([BAN]) as (url, _):
        connect(host=url)
        with pytest.raises(AirflowSensorTimeout):
            Task("reschedule", since, timeout=0).run()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("flag", ["silent_fail", "never_fail"])
def test_fails_for_good_whatever_else_is_set(mode: str, flag: str, connect: Any, since: datetime) -> None:
    """No flag of the base class hides a refused key, or makes the sensor use it again."""
    connect(password="wrong")
    with pytest.raises(AirflowFailException, match="code -1022"):
        Task(mode, since, **{flag: True}).run()


@pytest.mark.parametrize("mode", MODES)
def test_takes_risk_units_in_any_form(mode: str, exchange: Exchange, since: datetime) -> None:
    """Ids may come from a generator, and reach the triggerer as JSON."""
    task = Task(mode, since, lambda: exchange.liquidate(2) if len(exchange.liquidations()) == 0 else None)
    task.sensor.risk_units = (unit for unit in (1, 2)) if mode == "deferrable" else {1, 2}
    if mode == "poke":
        exchange.liquidate(2)
    assert task.run()["group_ids"] == [2]


def test_does_not_poke_during_a_ban(connect: Any, since: datetime) -> None:
    """A ban fails a poking sensor, reschedules to its end, and is waited out in the triggerer."""
    outcomes: list[Any] = []
    for mode in MODES:
        with raw_server([BAN]) as (url, lines):
            connect(host=url)
            task = Task(mode, since)
            with pytest.raises((RateLimitedError, AirflowRescheduleException, TaskDeferred)) as outcome:
                task.sensor.execute(task.context)
            assert len(lines) == 1
            outcomes.append(outcome.value)
    assert [type(outcome) for outcome in outcomes] == [
        RateLimitedError,
        AirflowRescheduleException,
        TaskDeferred,
    ]
    _, kwargs = outcomes[2].trigger.serialize()
    assert 290 < kwargs["not_before"] - time.time() <= 300
    assert timedelta(seconds=290) < outcomes[1].reschedule_date - datetime.now(UTC) <= timedelta(seconds=300)


DAG_FILE = '''
"""Each scenario in each mode."""
from datetime import datetime, timezone
from airflow.sdk import DAG, CronDataIntervalTimetable
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor as Sensor

SCENARIOS = {
    "found": {"since": "2025-05-27T21:00:00Z", "risk_units": "6"},
    "none": {"since": "2035-01-01T00:00:00Z", "timeout": 1, "soft_fail": True},
    "late": {"since": "2035-01-01T00:00:00Z", "timeout": 1},
    "wrong": {"risk_units": "six", "soft_fail": True},
}

with DAG(
    "scenarios",
    schedule=CronDataIntervalTimetable("@hourly", timezone="UTC"),
    start_date=datetime(2025, 1, 1, tzinfo=timezone.utc),
):
    for mode in ("poke", "reschedule", "deferrable"):
        for name, arguments in SCENARIOS.items():
            Sensor(
                task_id=f"{name}_{mode}",
                mode="reschedule" if mode == "reschedule" else "poke",
                deferrable=mode == "deferrable",
                poke_interval=1,
                **arguments,
            )
'''


def test_means_the_same_in_every_mode_of_a_real_run(tmp_path: Path) -> None:
    """In a real run, each scenario ends alike in each mode: found, skipped, timed out, or failed."""
    file = tmp_path / "scenarios.py"
    file.write_text(DAG_FILE)
    command = [Path(sys.executable).with_name("binance-loan-sandbox"), "run", file]
    run = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    ended = dict(re.findall(r"task +(\w+): (\w+)", run.stdout))
    outcomes = {"found": "success", "none": "skipped", "late": "failed", "wrong": "failed"}
    assert ended == {f"{name}_{mode}": outcome for name, outcome in outcomes.items() for mode in MODES}, (
        run.stdout
    )
    assert run.stdout.count("comma-separated: it holds 'six'") == len(MODES)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wait_for", ["started", "finished"])
def test_a_bad_amount_stops_no_wait(mode: str, wait_for: Any, exchange: Exchange, since: datetime) -> None:
    """A sensor reads keys and times, so one odd amount of one unit does not silence it for all of them."""
    start_ms = epoch_ms(since, "since")
    exchange.add_liquidation(1, start_ms + 1, start_ms + 2, totalLiability="INF", endLtv="")
    exchange.add_liquidation(2, start_ms + 3, start_ms + 4)
    assert Task(mode, since, wait_for=wait_for).run()["count"] == 2
