"""The dashboard, a web page: its HTML, the data that it polls, and the check of who may post. No HTTP."""

from __future__ import annotations

from importlib.resources import files
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_binance_loan.sandbox.loans import LIQUIDATION_LTV
from airflow_provider_binance_loan.sandbox.rows import format_ltv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_binance_loan.sandbox.exchange import Exchange

HTML = files(__package__).joinpath("dashboard.html").read_text(encoding="utf-8")
# The page loads nothing from other origins, and no other page may frame it, which would allow clickjacking.
HTML_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src data:; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}

MOST_MINUTES = 24 * 60
SHOWN_LIQUIDATIONS = 100  # of two days, and those that run


def dashboard_data(exchange: Exchange, minutes: int) -> dict[str, Any]:
    """Return the data of the dashboard: the units with their LTVs, and the newest liquidations first.

    :param minutes: how far the LTVs go back.
    """
    state, ltvs = exchange.state(), exchange.ltvs(minutes)
    newest_first = exchange.liquidations()[::-1]
    older_running = [one for one in newest_first[SHOWN_LIQUIDATIONS:] if one.running(state["serverTime"])]
    return {
        "serverTime": state["serverTime"],
        "minutes": minutes,
        "level": format_ltv(LIQUIDATION_LTV),
        "total": state["liquidations"],
        "running": state["running"],
        "units": [unit | {"ltvs": ltvs.get(unit["groupId"], [])} for unit in state["units"]],
        "liquidations": [
            {
                "groupId": one.group_id,
                "start": one.start_ms,
                "end": None if one.running(state["serverTime"]) else one.end_ms,
                "startLtv": str(row["startLtv"]).strip("\0"),
                "endLtv": str(row["endLtv"]).strip("\0"),
            }
            for one in newest_first[:SHOWN_LIQUIDATIONS] + older_running
            for row in [exchange.row(one)]
        ],
    }


def may_post(headers: Mapping[str, str], own_host: str) -> bool:
    """Return whether to accept a POST request: from a browser, only JSON sent by the dashboard itself.

    A browser always sends the origin of the page that posts; other clients send none. The host must be an IP
    address, localhost or the host of this server: attackers can make a name of their own resolve to it (DNS
    rebinding).
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if origin is None:
        return site in {"none", "same-origin"}
    host = headers.get("host", "")
    is_json = headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
    return is_json and origin == f"http://{host}" and _is_own_host(host, own_host)


def _is_own_host(host: str, own_host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name in {"localhost", own_host.lower()} or bool(ip_address(name))
    except ValueError:
        return False
