"""Waiting, end to end: sensors and the watcher in a real Airflow, whose triggerer dies now and then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_KEY, Exchange, Liquidation
from tests.e2e.harness import Airflow, Run, epoch_ms, until

pytestmark = pytest.mark.e2e

ASSET = "watched_liquidations"


def liquidate(exchange: Exchange, group_id: int) -> Liquidation:
    """Start a liquidation, also of a unit in which one of an earlier test runs."""
    return exchange.add_liquidation(group_id, exchange.now_ms())


def looked_again(exchange: Exchange, times: int = 1) -> None:
    """Wait until so many more looks at the exchange were answered."""

    def looks() -> int:
        # A look asks for the records, then for the closed units.
        return sum(one.path.endswith("/closed") and one.status == 200 for one in exchange.requests)

    before = looks()
    # One more, as the first of them may have been under way.
    until("Airflow looked at the exchange again", lambda: looks() > before + times)


def defer(airflow: Airflow, exchange: Exchange, dag_id: str) -> Run:
    """Start a run, and return it once its sensor is waiting in the triggerer."""
    run = airflow.trigger(dag_id)
    run.wait_for("wait", "deferred")
    run.wait_for_worker("wait")
    looked_again(exchange)
    assert run.task("wait")["state"] == "deferred"
    return run


def assert_found(run: Run, liquidation: Liquidation) -> None:
    """Wait for the end of a run, whose sensor found this liquidation alone and whose operator pulled it."""
    run.wait_for("pull", "success")
    found = run.xcom("wait")
    assert found == {
        "count": 1,
        "group_ids": [liquidation.group_id],
        "start": found["start"],
        "end": found["end"],
    }
    assert (epoch_ms(found["start"]), epoch_ms(found["end"])) == (
        liquidation.start_ms,
        liquidation.start_ms + 1,
    )
    pulled = run.xcom("pull")
    assert [(one["groupId"], one["liquidationStartTime"]) for one in pulled] == [
        (liquidation.group_id, liquidation.start_ms)
    ]


def test_a_deferred_sensor_finds_the_liquidation_that_it_waits_for(
    airflow: Airflow, exchange: Exchange
) -> None:
    """The sensor waits in the triggerer, tells of one liquidation, and the operator pulls just that one."""
    run = defer(airflow, exchange, "wait_then_pull")
    assert_found(run, liquidate(exchange, 1))


def test_a_deferred_sensor_survives_the_death_of_the_triggerer(airflow: Airflow, exchange: Exchange) -> None:
    """What happens while no triggerer runs is found by the next one."""
    run = defer(airflow, exchange, "wait_then_pull")
    airflow.kill("triggerer")
    liquidation = liquidate(exchange, 2)
    airflow.start("triggerer")
    assert_found(run, liquidation)


def test_a_wrong_secret_fails_the_sensor_in_spite_of_soft_fail(airflow: Airflow, exchange: Exchange) -> None:
    """A refusal at the first look is neither skipped nor retried, and nothing is asked again."""
    before = len(exchange.requests)
    task = airflow.trigger("wait_with_wrong_secret").wait_for("wait", "failed", "up_for_retry")
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert [one.status for one in exchange.requests[before:]] == [400]


@pytest.fixture
def mended_key(exchange: Exchange) -> Iterator[None]:
    """The exchange's key is put right afterwards, whatever a test makes of it."""
    right = exchange.keys[SANDBOX_API_KEY]
    yield
    exchange.add_key(right)


def test_a_secret_that_becomes_wrong_fails_the_waiting_sensor_in_spite_of_soft_fail(
    airflow: Airflow, exchange: Exchange, mended_key: None
) -> None:
    """A refusal in the triggerer is neither skipped nor retried."""
    run = defer(airflow, exchange, "wait_softly")
    exchange.add_key(replace(exchange.keys[SANDBOX_API_KEY], secret="another one by now"))
    task = run.wait_for("wait", "failed", "up_for_retry")
    assert (task["state"], task["try_number"]) == ("failed", 1)


def test_a_timeout_skips_the_sensor_with_soft_fail(airflow: Airflow) -> None:
    """A sensor that waited in the triggerer for what did not come is skipped, and not retried."""
    run = airflow.trigger("wait_five_seconds")
    run.wait_for("wait", "deferred")
    task = run.wait_for("wait", "skipped", "up_for_retry")
    assert (task["state"], task["try_number"]) == ("skipped", 1)


class Watcher:
    """What came of the liquidations of the watched exchange."""

    def __init__(self, airflow: Airflow, exchange: Exchange) -> None:
        self._airflow = airflow
        self.exchange = exchange

    def fired(self) -> Counter[int]:
        """Count the asset events for each start of a liquidation."""
        return Counter(epoch_ms(payload["start"]) for payload in self._airflow.asset_payloads(ASSET))

    def wait_until_fired(self, liquidation: Liquidation) -> None:
        until("there is an asset event for the liquidation", lambda: liquidation.start_ms in self.fired())

    def wait_until_noted(self, liquidation: Liquidation) -> None:
        """Wait until the liquidation is in the asset's state, and return within milliseconds."""
        start = str(liquidation.start_ms)
        until("the liquidation is noted", lambda: start in self._airflow.asset_state(ASSET), every_s=0.002)

    def wait_until_pulled(self, *liquidations: Liquidation) -> None:
        """Wait until the runs that the events started have pulled all of the liquidations."""
        wanted = {(one.group_id, one.start_ms) for one in liquidations}
        pulled: set[tuple[int, int]] = set()
        read: set[str] = set()

        def done() -> bool:
            for run in self._airflow.runs("pull_watched"):
                if run.run_id not in read and run.task("pull")["state"] == "success":
                    read.add(run.run_id)
                    pulled.update((one["groupId"], one["liquidationStartTime"]) for one in run.xcom("pull"))
            return pulled >= wanted

        until("the runs have pulled every liquidation", done)

    def assert_fired_once(self, *liquidations: Liquidation) -> None:
        """Check that there is one event for each, also after the watcher looked a few times more."""
        for liquidation in liquidations:
            self.wait_until_fired(liquidation)
        looked_again(self.exchange, times=3)
        fired = self.fired()
        assert {one.start_ms: fired[one.start_ms] for one in liquidations} == dict.fromkeys(
            (one.start_ms for one in liquidations), 1
        )


@pytest.fixture
def watcher(airflow: Airflow, watched_exchange: Exchange) -> Watcher:
    """The watcher at work: what happens from now on is new to it."""
    looked_again(watched_exchange)
    return Watcher(airflow, watched_exchange)


def test_a_liquidation_starts_a_run_that_pulls_it(watcher: Watcher) -> None:
    """The watcher makes one asset event, and the run that this starts pulls the record."""
    liquidation = liquidate(watcher.exchange, 1)
    watcher.wait_until_pulled(liquidation)
    watcher.assert_fired_once(liquidation)


def test_a_watcher_whose_triggerer_dies_at_quiet_moments_loses_and_repeats_nothing(
    airflow: Airflow, watcher: Watcher
) -> None:
    """Each liquidation, those without a triggerer too, makes one event, and the runs pull all of them."""
    liquidations = [liquidate(watcher.exchange, 1)]
    for group_id in (2, 1):
        watcher.wait_until_fired(liquidations[-1])
        watcher.wait_until_noted(liquidations[-1])
        airflow.kill("triggerer")
        liquidations.append(liquidate(watcher.exchange, group_id))
        airflow.start("triggerer")
        watcher.wait_until_fired(liquidations[-1])
        liquidations.append(liquidate(watcher.exchange, group_id))
    watcher.assert_fired_once(*liquidations)
    watcher.wait_until_pulled(*liquidations)


@pytest.mark.parametrize("end", [Airflow.kill, Airflow.stop], ids=["killed", "stopped"])
def test_what_a_watcher_has_noted_is_not_lost_when_its_triggerer_ends_at_once(
    airflow: Airflow, watcher: Watcher, end: Callable[[Airflow, str], None]
) -> None:
    """By the time that a liquidation is noted its event is in Airflow's database, and stays the only one."""
    liquidation = liquidate(watcher.exchange, 1)
    watcher.wait_until_noted(liquidation)
    end(airflow, "triggerer")
    airflow.start("triggerer")
    looked_again(watcher.exchange, times=3)
    assert watcher.fired()[liquidation.start_ms] == 1


def test_a_watcher_whose_state_store_refuses_writes_repeats_nothing(
    airflow: Airflow, watcher: Watcher
) -> None:
    """While the database refuses its state, each liquidation makes one event; the state is written later."""
    with airflow.refusing_writes("asset_state_store"):
        liquidations = [liquidate(watcher.exchange, 1)]
        watcher.assert_fired_once(*liquidations)
        liquidations.append(liquidate(watcher.exchange, 2))
        watcher.assert_fired_once(*liquidations)
        assert str(liquidations[0].start_ms) not in airflow.asset_state(ASSET)
        until("the watcher says so", lambda: "Check Airflow's state store" in airflow.log("triggerer"))
    for liquidation in liquidations:
        watcher.wait_until_noted(liquidation)
    watcher.assert_fired_once(*liquidations)
