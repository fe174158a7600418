"""Liquidations as they are after parsing, for the tests of landing."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.time_range import TimeRange, parse_window
from tests.support.clock import HOUR, NOW
from tests.support.paths import DATA

WINDOW: TimeRange = parse_window(NOW - HOUR, NOW)


def record(group_id: int = 6, start_ms: int = 1_772_364_000_123, **fields: Any) -> dict[str, Any]:
    """A finished liquidation with three snapshots and a liability, and with digits that are easily lost."""
    row = {
        "groupId": group_id,
        "startLtv": "0.92",
        "endLtv": "0.592",
        "liquidationStartTime": start_ms,
        "liquidationEndTime": start_ms + 60_001,
        "totalNetEquity": "16671.5507973",
        "totalMaintenanceMargin": "0E-8",
        "totalLiability": "16667.92600000",
        "liquidationSnapshot": {
            "snapshots": [
                snapshot("PORTFOLIO_MARGIN", "99999999999999999999.999999999999999999"),
                snapshot("SPOT", "-0.000000000000000001"),
                snapshot("CROSS_MARGIN", None),
            ],
            "liabilities": [{"assetName": "USDT", "principal": "16667.9", "interest": 0}],
        },
    }
    return parsed(row | fields)


def snapshot(wallet: str, equity: str | None) -> dict[str, Any]:
    return {
        "subEmail": "użytkownik@例え.jp",
        "memberType": "CREDIT",
        "walletType": wallet,
        "netEquity": equity,
        "maintainMargin": "0",
    }


def parsed(row: dict[str, Any]) -> dict[str, Any]:
    return FORCE_LIQUIDATIONS.parse({"rows": [row]}).rows[0]


def running(group_id: int = 7, **fields: Any) -> dict[str, Any]:
    """A running liquidation, with as few fields as Binance may send."""
    return parsed({"groupId": group_id, "liquidationStartTime": 1_772_364_000_124} | fields)


def documented() -> dict[str, Any]:
    """The record that Binance's page shows."""
    page = json.loads((DATA / "documented-example.json").read_text(), parse_float=str)
    return parsed(page["rows"][0])


def records() -> list[dict[str, Any]]:
    """A window's records: the documented one, finished and running ones."""
    return [documented(), record(), running(), running(8, liquidationEndTime=0)]


def with_undeclared_fields() -> dict[str, Any]:
    """A record with fields that Binance does not document, in every object that may have some."""
    known = record()["liquidationSnapshot"]
    return record(
        fee="1.50",
        extra={"b": [1, None], "a": "żółć"},
        liquidationSnapshot={
            "snapshots": [snapshot("SPOT", "1") | {"position": "long", "groupId": 66}],
            "liabilities": [known["liabilities"][0] | {"rate": "0.00010"}],
            "reason": "LTV",
        },
    )
