"""The requests of a pull are those that version 0.1.0 sends, whichever client sends them."""

from __future__ import annotations

import json

import pytest

from tests.support.wire import GOLDEN, SCENARIOS, Client, requests_of, summary

REQUESTS = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize(
    ("name", "client"),
    [
        pytest.param(name, client, id=f"{name}, {client[0]}, {client[1]} at once")
        for name, scenario in SCENARIOS.items()
        for client in scenario.clients
    ],
)
def test_sends_the_same_requests(name: str, client: Client) -> None:
    """The paths and parameters of all requests of a pull, in any order, are those of the golden file."""
    requests = requests_of(SCENARIOS[name], client)
    assert summary(requests) == REQUESTS[name], "\n".join(requests)


def test_compares_every_scenario() -> None:
    """The golden file has each scenario, and no other."""
    assert list(REQUESTS) == list(SCENARIOS)
