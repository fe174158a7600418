"""The sandbox's page: the file, what it polls, and which posts of a browser may act. No HTTP of its own."""

from __future__ import annotations

from importlib.resources import files
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_binance_loan.sandbox.exchange import Exchange

PAGE = files(__package__).joinpath("dashboard.html").read_text(encoding="utf-8")
# Nothing from elsewhere comes into the page, and it goes into no frame, where clicks can be stolen.
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src data:; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}

HOURS = 24
SHOWN_LIQUIDATIONS = 50


def watched(exchange: Exchange) -> dict[str, Any]:
    """Sum up what the page shows: the units with their LTVs, and the newest liquidations, newest first."""
    state, ltvs = exchange.state(), exchange.ltvs(HOURS)
    newest = exchange.liquidations()[: -SHOWN_LIQUIDATIONS - 1 : -1]
    return {
        "serverTime": state["serverTime"],
        "hours": HOURS,
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
            for one in newest
            for row in [exchange.row(one)]
        ],
    }


def may_act(headers: Mapping[str, str], own_host: str) -> bool:
    """Tell whether a post may act: from a browser, only the page's own may, in JSON.

    A browser names the origin of the page that posts, and lets no page leave it out; other clients name none.
    The host must be an address or a name of ours, as a foreign name can be made to lead here.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if origin is None:
        return site in {"none", "same-origin"}
    host = headers.get("host", "")
    json = headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
    return json and origin == f"http://{host}" and _is_ours(host, own_host)


def _is_ours(host: str, own_host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name in {"localhost", own_host.lower()} or bool(ip_address(name))
    except ValueError:
        return False
