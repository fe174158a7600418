"""A window with rows of every kind, for comparing what two versions land."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "landed"

START = datetime(2026, 3, 1, 11, tzinfo=UTC)
END = datetime(2026, 3, 1, 12, tzinfo=UTC)

_START_MS = int(START.timestamp() * 1000)


def fill(exchange: Any) -> None:
    """Put the window's liquidations on an exchange without history.

    Every row is given in full, so that it does not depend on what the sandbox draws.
    """
    from airflow_provider_binance_loan.sandbox.exchange import number

    closed_ms = int(END.timestamp() * 1000) + 1
    for group_id, row in enumerate(_rows(number), start=1):
        start_ms = _START_MS + 1001 * group_id
        exchange.add_unit(group_id, 0, closed_ms if group_id == 3 else None)
        exchange.add_liquidation(group_id, start_ms, row.pop("end_ms", start_ms + 60_001), **row)


def _rows(number: Any) -> list[dict[str, Any]]:
    amounts = {
        "startLtv": number("0.92"),
        "endLtv": number("0"),
        "totalNetEquity": number("16671.5507973"),
        "totalMaintenanceMargin": "0E-8",
        "totalLiability": "16667.92600000",
    }
    largest = _wallet("PORTFOLIO_MARGIN", "99999999999999999999.999999999999999999")
    smallest = _wallet("SPOT", "-0.000000000000000001")
    debt = {"assetName": "USDT", "principal": "11667.92600000", "interest": number("5E+3")}
    other_debt = {"assetName": "USDC", "principal": number("0.10"), "interest": "0E-8"}
    both = [debt, other_debt]
    return [
        amounts | {"liquidationSnapshot": {"snapshots": [largest, smallest], "liabilities": debt}},
        amounts | {"liquidationSnapshot": {"snapshots": [smallest], "liabilities": both}, "end_ms": None},
        amounts | {"liquidationSnapshot": [{"snapshots": [largest], "liabilities": [debt]}]},
        amounts | {"liquidationSnapshot": None, "end_ms": None, "liquidationEndTime": 0},
        amounts | {"liquidationSnapshot": {"snapshots": [], "liabilities": None}, "totalNetEquity": None},
        amounts
        | {
            "liquidationSnapshot": {
                "snapshots": [smallest | {"position": "long", "groupId": 66}],
                "liabilities": [debt | {"rate": "0.00010"}],
                "reason": "LTV",
            },
            "fee": "1.50",
            "extra": {"b": [1, None], "a": "żółć"},
        },
        amounts | {"liquidationSnapshot": {"snapshots": [_wallet("SPOT", None)], "liabilities": []}},
    ]


def _wallet(wallet: str, equity: str | None) -> dict[str, Any]:
    return {
        "subEmail": "użytkownik@例え.jp",
        "memberType": "CREDIT",
        "walletType": wallet,
        "netEquity": equity,
        "maintainMargin": "0E-8",
    }
