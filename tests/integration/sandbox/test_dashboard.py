"""The dashboard over real HTTP: its page, the data that it polls, and who may post."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from airflow_provider_binance_loan.sandbox.dashboard import may_post
from airflow_provider_binance_loan.sandbox.exchange import Behaviour, Exchange, number
from airflow_provider_binance_loan.sandbox.server import SandboxServer

NOW_MS = 1_775_000_000_000  # 2026-03-31T23:33:20Z
HOUR_MS = 3_600_000
JSON = "application/json"


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    """A server with the units 1, created two and a half hours ago, 2, and 3, which is closed."""
    exchange = Exchange(clock=lambda: NOW_MS / 1000, history=False, behaviour=Behaviour(running_end="absent"))
    exchange.add_unit(1, NOW_MS - 5 * HOUR_MS // 2)
    exchange.add_unit(2)
    exchange.add_unit(3, 1, 2)
    with SandboxServer(exchange) as server:
        yield server


def poll(server: SandboxServer, query: str = "") -> dict[str, Any]:
    data: dict[str, Any] = requests.get(f"{server.url}/sandbox/watch{query}", timeout=10).json()
    return data


def test_the_page_loads_no_other_resource(server: SandboxServer) -> None:
    """The page refers to no other resource, and its headers allow none."""
    response = requests.get(server.url, timeout=10)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert re.findall(r"""(?:src|href)=["']([^"']*)|url\(|@import""", response.text) == ["data:,"]
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; connect-src 'self'; ")
    assert "frame-ancestors 'none'" in policy


def test_the_ltvs_are_those_of_the_api(server: SandboxServer) -> None:
    """The last LTV of a unit is that of ltv-details, after those of a whole day or since its creation."""
    data = poll(server)
    by_unit = {unit["groupId"]: unit["ltvs"] for unit in data["units"]}
    details = {row["groupId"]: row["ltv"] for row in server.exchange.ltv_details()}
    assert {unit: ltvs[-1] for unit, ltvs in by_unit.items() if ltvs} == {
        unit: [NOW_MS, ltv] for unit, ltv in details.items()
    }
    assert NOW_MS - 5 * HOUR_MS // 2 <= by_unit[1][0][0] < NOW_MS - 2 * HOUR_MS
    assert by_unit[2][0][0] == NOW_MS - 24 * HOUR_MS
    assert [at_ms for at_ms, _ in by_unit[2]] == sorted(at_ms for at_ms, _ in by_unit[2])
    assert len({ltv for _, ltv in by_unit[2]}) > 50
    assert by_unit[3] == []
    assert (data["level"], data["minutes"]) == ("0.9", 24 * 60)


def test_the_curves_of_minutes_have_every_turn(server: SandboxServer) -> None:
    """A shorter time has more points a minute; a liquidation is seen before, at and after its start."""
    server.exchange.add_liquidation(1, NOW_MS - 60_001, NOW_MS - 30_003)
    data = poll(server, "?minutes=10")
    (curve,) = (dict(unit["ltvs"]) for unit in data["units"] if unit["groupId"] == 1)
    assert data["minutes"] == 10
    assert len(curve) > 240
    assert min(curve) == NOW_MS - 600_000
    assert float(curve[NOW_MS - 60_002]) < 0.7
    assert float(curve[NOW_MS - 60_001]) >= 0.9
    assert float(curve[NOW_MS - 30_003]) < 0.7


@pytest.mark.parametrize("minutes", ["0", "1441", "x", "1.5", "-1", ""])
def test_other_minutes_are_refused(server: SandboxServer, minutes: str) -> None:
    """The page may ask for a minute to a day."""
    response = requests.get(f"{server.url}/sandbox/watch?minutes={minutes}", timeout=10)
    assert response.status_code == 400
    assert response.json()["error"] == f"minutes must be a number from 1 to 1440, not {minutes!r}."


def test_the_newest_liquidations_are_listed(server: SandboxServer) -> None:
    """A hundred and older ones that run are listed, newest first, with every digit; the total counts all."""
    before = len(server.exchange.liquidations())
    server.exchange.add_liquidation(1, NOW_MS - 48 * HOUR_MS)
    for age_ms in range(110):
        server.exchange.add_liquidation(2, NOW_MS - age_ms, NOW_MS if age_ms else None)
    server.exchange.add_liquidation(1, NOW_MS, startLtv=number("1.12345678901234567890"))
    data = poll(server)
    assert (data["total"], data["running"], len(data["liquidations"])) == (112 + before, 3, 101)
    starts = [one["start"] for one in data["liquidations"]]
    assert starts == sorted(starts, reverse=True)
    newest = {one["groupId"]: one for one in data["liquidations"] if one["start"] == NOW_MS}
    assert newest[1]["startLtv"] == "1.12345678901234567890"
    assert [one["end"] for one in data["liquidations"][:3]] == [None, None, NOW_MS]


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
def test_other_web_pages_cannot_post(server: SandboxServer, headers: dict[str, str]) -> None:
    """A browser's POST from another page, or to a foreign name that resolves to the server, is refused."""
    host = server.url.removeprefix("http://")
    sent = {name: value.replace("HOST", host) for name, value in headers.items()}
    before = server.exchange.state()
    response = requests.post(f"{server.url}/sandbox/liquidate", data=b"{}", headers=sent, timeout=10)
    assert response.status_code == 403
    assert response.json()["error"].startswith("Open the dashboard at the URL that `serve` prints")
    assert server.exchange.state()["liquidations"] == before["liquidations"]


def test_cors_gives_no_permission(server: SandboxServer) -> None:
    """A preflight request, or a GET, of another web page receives no CORS headers."""
    preflight = {"Origin": "http://attacker.example", "Access-Control-Request-Method": "POST"}
    for method, path in (("OPTIONS", "liquidate"), ("GET", "watch"), ("GET", "state")):
        response = requests.request(method, f"{server.url}/sandbox/{path}", headers=preflight, timeout=10)
        assert not [name for name in response.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8099", "localhost:8099", "[::1]:8099", "192.168.1.5", "box:8099"]
)
def test_the_dashboard_may_post(host: str) -> None:
    """The dashboard may post under an IP address, as localhost, or under the host of the server."""
    sent = {"origin": f"http://{host}", "host": host, "content-type": "application/json; charset=utf-8"}
    assert may_post(sent, "Box")
