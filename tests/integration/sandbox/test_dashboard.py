"""The sandbox's page over real HTTP: what it is made of, what it polls, and who may press its buttons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from airflow_provider_binance_loan.sandbox.dashboard import may_act
from airflow_provider_binance_loan.sandbox.exchange import Behaviour, Exchange, number
from airflow_provider_binance_loan.sandbox.server import SandboxServer

NOW_MS = 1_775_000_000_000  # 2026-03-31T23:33:20Z
HOUR_MS = 3_600_000
JSON = "application/json"


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    """Serve an exchange with unit 1, opened two and a half hours ago, and 2, both as they were drawn."""
    exchange = Exchange(clock=lambda: NOW_MS / 1000, history=False, behaviour=Behaviour(running_end="absent"))
    exchange.add_unit(1, NOW_MS - 5 * HOUR_MS // 2)
    exchange.add_unit(2)
    exchange.add_unit(3, 1, 2)
    with SandboxServer(exchange) as server:
        yield server


def watch(server: SandboxServer) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{server.url}/sandbox/watch", timeout=10).json()
    return found


def test_the_page_is_one_file_that_loads_nothing(server: SandboxServer) -> None:
    """The page names no other resource, and its headers allow none."""
    answer = requests.get(server.url, timeout=10)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert re.findall(r"""(?:src|href)=["']([^"']*)|url\(|@import""", answer.text) == ["data:,"]
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; connect-src 'self'; ")
    assert "frame-ancestors 'none'" in policy


def test_the_page_is_told_what_ltv_details_would_tell(server: SandboxServer) -> None:
    """The last LTV of a unit is what the API says, and before it come those of the hours that it lived."""
    by_unit = {unit["groupId"]: unit["ltvs"] for unit in watch(server)["units"]}
    details = {row["groupId"]: row["ltv"] for row in server.exchange.ltv_details()}
    assert {unit: ltvs[-1][1] for unit, ltvs in by_unit.items() if ltvs} == details
    hour_ms = NOW_MS // HOUR_MS * HOUR_MS
    assert [at_ms for at_ms, _ in by_unit[1]] == [hour_ms - HOUR_MS, hour_ms]
    assert [at_ms for at_ms, _ in by_unit[2]] == [hour_ms - hour * HOUR_MS for hour in range(24, -1, -1)]
    assert len({ltv for _, ltv in by_unit[2]}) > 1
    assert by_unit[3] == []


def test_the_page_is_told_of_the_newest_liquidations(server: SandboxServer) -> None:
    """The newest fifty come, newest first, with every digit and in one shape; the total counts them all."""
    for age_ms in range(60):
        server.exchange.add_liquidation(2, NOW_MS - age_ms, NOW_MS if age_ms else None)
    server.exchange.add_liquidation(1, NOW_MS, startLtv=number("1.12345678901234567890"))
    told = watch(server)
    assert (told["total"], told["running"], len(told["liquidations"])) == (61, 2, 50)
    starts = [one["start"] for one in told["liquidations"]]
    assert starts == sorted(starts, reverse=True)
    newest = {one["groupId"]: one for one in told["liquidations"] if one["start"] == NOW_MS}
    assert newest[1]["startLtv"] == "1.12345678901234567890"
    assert [one["end"] for one in told["liquidations"][:3]] == [None, None, NOW_MS]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://attacker.example", "Content-Type": JSON},
        {"Origin": "null", "Content-Type": JSON},
        {"Origin": "", "Content-Type": JSON},
        {"Origin": "http://127.0.0.1:1", "Content-Type": JSON},
        {"Origin": "https://HOST", "Content-Type": JSON},
        {"Origin": "http://HOST", "Content-Type": "text/plain"},
        {"Origin": "http://HOST", "Content-Type": "application/x-www-form-urlencoded"},
        {"Origin": "http://HOST"},
        {"Origin": "http://attacker.example", "Host": "attacker.example", "Content-Type": JSON},
        {"Origin": "http://[::1", "Host": "[::1", "Content-Type": JSON},
        {"Sec-Fetch-Site": "cross-site", "Content-Type": JSON},
        {"Sec-Fetch-Site": "same-site", "Content-Type": JSON},
    ],
)
def test_a_foreign_page_cannot_post(server: SandboxServer, headers: dict[str, str]) -> None:
    """What a browser sends for another page, or under a name that was made to lead here, changes nothing."""
    host = server.url.removeprefix("http://")
    sent = {name: value.replace("HOST", host) for name, value in headers.items()}
    before = server.exchange.state()
    answer = requests.post(f"{server.url}/sandbox/liquidate", data=b"{}", headers=sent, timeout=10)
    assert answer.status_code == 403
    assert answer.json()["error"].startswith("From a browser only the sandbox's own page may post")
    assert server.exchange.state()["liquidations"] == before["liquidations"]


def test_a_foreign_page_is_not_let_in_by_asking_first(server: SandboxServer) -> None:
    """A browser that asks whether another page may post, or read, hears of no permission."""
    asking = {"Origin": "http://attacker.example", "Access-Control-Request-Method": "POST"}
    for method, path in (("OPTIONS", "liquidate"), ("GET", "watch"), ("GET", "state")):
        answer = requests.request(method, f"{server.url}/sandbox/{path}", headers=asking, timeout=10)
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8099", "localhost:8099", "[::1]:8099", "192.168.1.5", "box:8099"]
)
def test_the_page_itself_may_post(host: str) -> None:
    """By an address, as localhost, or by the name that the server was given, the page's own posts act."""
    sent = {"origin": f"http://{host}", "host": host, "content-type": "application/json; charset=utf-8"}
    assert may_act(sent, "Box")
