"""The requests of a pull do not change unnoticed, whichever client sends them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.wire import GOLDEN, SCENARIOS, Client, requests_of, summary

REQUESTS = json.loads(GOLDEN.read_text())


def cases(*, concurrent: bool) -> list[Any]:
    """Return each scenario with each client that has several requests under way, or none of these."""
    return [
        pytest.param(name, client, id=f"{name}, {client[0]}")
        for name, scenario in SCENARIOS.items()
        for client in scenario.clients
        if (client[1] > 1) is concurrent
    ]


@pytest.mark.parametrize(("name", "client"), cases(concurrent=False))
def test_sends_the_same_requests(name: str, client: Client) -> None:
    """The paths and parameters of all requests, one at a time, are those of the golden file."""
    requests = requests_of(SCENARIOS[name], client)
    assert summary(requests) == REQUESTS[name], "\n".join(requests)


@pytest.mark.parametrize(("name", "client"), cases(concurrent=True))
def test_sends_few_more_requests_at_the_same_time(name: str, client: Client) -> None:
    """With sixteen under way, where answers decide late what is asked next, a pull takes few more."""
    alone, together = REQUESTS[name]["count"], len(requests_of(SCENARIOS[name], client))
    assert together <= 1.5 * alone + 5


def test_compares_every_scenario() -> None:
    """The golden file has each scenario, and no other."""
    assert list(REQUESTS) == list(SCENARIOS)
