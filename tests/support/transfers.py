"""Rows of transfers: several transfers and assets, undeclared fields, and a row without a transfer."""

from __future__ import annotations

from typing import Any

from airflow_provider_binance_loan.binance.datasets.liquidation_transfers import (
    LIQUIDATION_TRANSFERS as TRANSFERS,
)


def transfer_records() -> list[dict[str, Any]]:
    """Records with several transfers, assets and undeclared fields, and one without a transfer."""
    rows = [
        {
            "liquidationId": 56,
            "liquidationTransferRecord": [
                _transfer(1_765_378_400_855, ("USDT", "17750.6316"), ("BTC", "0.000000000000000001")),
                _transfer(0, ("BTC", "0E-8")),
            ],
        },
        {"liquidationId": 55, "liquidationTransferRecord": _transfer(1_765_374_361_589) | {"note": "late"}},
        {"liquidationId": 54},
    ]
    return TRANSFERS.parse({"total": 3, "rows": rows}).rows


def _transfer(time_ms: int, *assets: tuple[str, str]) -> dict[str, Any]:
    return {
        "transferTime": time_ms,
        "fromUid": 1_000_277_033_525,
        "fromAccountType": "PORTFOLIO_MARGIN",
        "toUid": "1000277033505",
        "toAccountType": "PORTFOLIO_MARGIN",
        "status": "CONFIRM",
        "assets": [{"assetName": name, "amount": amount} for name, amount in assets],
    }
