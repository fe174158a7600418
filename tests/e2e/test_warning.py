"""Early warning, end to end: levels, the all-clear and the liquidation, in their order, in a real Airflow."""

from __future__ import annotations

import pytest

from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.e2e.harness import Airflow, epoch_ms, until

pytestmark = pytest.mark.e2e

LTVS, LIQUIDATIONS = "warned_ltvs", "warned_liquidations"
UPWARDS = [("above", "0.7"), ("above", "0.8"), ("above", "0.85")]
BACK = [("below", "0.85"), ("below", "0.8"), ("below", "0.7")]


class Story:
    """What the watchers told of the risk unit 1, in the order of the events."""

    def __init__(self, airflow: Airflow, exchange: Exchange) -> None:
        self._airflow = airflow
        self.exchange = exchange
        self._told = 0

    def crossings(self) -> list[tuple[str, str]]:
        return [(payload["what"], payload["level"]) for payload in self._airflow.asset_payloads(LTVS)]

    def wait_for(self, *expected: tuple[str, str]) -> None:
        """Wait until the next crossings are told, and require that they are these alone, in any order."""
        told = self._told + len(expected)
        until(f"{expected} are told", lambda: len(self.crossings()) >= told)
        assert sorted(self.crossings()[self._told :]) == sorted(expected)
        self._told = told


@pytest.fixture
def story(airflow: Airflow, warned: SandboxServer) -> Story:
    story = Story(airflow, warned.exchange)
    until(
        "the watcher has polled", lambda: any("ltv-details" in one.path for one in warned.exchange.requests)
    )
    return story


def test_warns_before_during_and_after(airflow: Airflow, story: Story) -> None:
    """Three levels, the all-clear of one, a liquidation and the rest of the all-clears: none lost.

    The triggerer is killed when the all-clear is told, and the LTV rises while there is none: whatever was
    recorded by then, the last that is told of the level is true.
    """
    exchange = story.exchange
    assert story.crossings() == []
    exchange.push(1, ltv="0.87", seconds=10)
    story.wait_for(*UPWARDS)

    exchange.push(1, ltv="0.83", seconds=1)
    story.wait_for(BACK[0])
    airflow.kill("triggerer")
    exchange.push(1, ltv="0.88", seconds=1)
    airflow.start("triggerer")
    story.wait_for(UPWARDS[-1])

    exchange.push(1, seconds=5)
    until("the liquidation is told", lambda: airflow.asset_payloads(LIQUIDATIONS))
    story.wait_for(*BACK)
    (started,) = airflow.asset_payloads(LIQUIDATIONS)
    (liquidation,) = exchange.liquidations()
    assert (started["what"], started["group_id"]) == ("started", liquidation.group_id)
    assert epoch_ms(started["start"]) == liquidation.start_ms

    def heard() -> list[str]:
        runs = [run for run in airflow.runs("hear_of_ltvs") if run.get()["state"] == "success"]
        return [line for run in runs for line in run.xcom("heard")]

    everything = [f"{what} {level}" for what, level in story.crossings()]
    until("the runs have heard everything", lambda: sorted(heard()) == sorted(everything))


def test_a_deferred_sensor_waits_for_calm(airflow: Airflow, story: Story) -> None:
    """The sensor waits in the triggerer until the LTV is below its level, and returns the figures."""
    story.exchange.push(1, ltv="0.84", seconds=1)
    until("the level is passed", lambda: ("above", "0.8") in story.crossings()[-2:])
    run = airflow.trigger("wait_for_calm")
    run.wait_for("wait", "deferred")
    run.wait_for_worker("wait")
    story.exchange.push(1, ltv="0.75", seconds=1)
    run.wait_for("wait", "success")
    found = run.xcom("wait")
    assert (found["group_ids"], found["unknown"], found["gone"]) == ([1], [], [])
    assert found["units"][0]["ltv"] == "0.75"
