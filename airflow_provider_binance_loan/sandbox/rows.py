"""The rows of the responses, digit for digit as Binance writes them."""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_loan.sandbox.loans import ONE, Dice, Figures, scaled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_binance_loan.sandbox.behaviour import Behaviour, Shape
    from airflow_provider_binance_loan.sandbox.history import Liquidation, Unit
    from airflow_provider_binance_loan.sandbox.ledger import Transaction
    from airflow_provider_binance_loan.sandbox.loans import Loan
    from airflow_provider_binance_loan.sandbox.repayments import Repayment

Row = dict[str, Any]


def number(text: str) -> str:
    """Mark a text so that `write_json` writes it as a JSON number."""
    return f"\0{text}\0"


def write_json(value: object) -> bytes:
    """Return compact JSON with the marked numbers digit for digit: no amount passes through a float."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace('"\\u0000', "").replace('\\u0000"', "").encode()


def format_nested(amount: int) -> str:
    """Return an amount as Binance writes nested ones: eight decimals, and zero as "0E-8"."""
    return f"{amount // ONE}.{amount % ONE:08d}" if amount else "0E-8"


def format_total(amount: int) -> str:
    """Return an amount as Binance writes top-level ones: without trailing zeros."""
    return f"{amount // ONE}.{amount % ONE:08d}".rstrip("0").rstrip(".")


def format_ltv(ltv: int) -> str:
    """Return an LTV as Binance writes it: rounded to three decimals, without trailing zeros."""
    thousandths = (ltv + 500) // 1000
    return f"{thousandths // 1000}.{thousandths % 1000:03d}".rstrip("0").rstrip(".")


def liquidation_row(seed: int, one: Liquidation, ltv: int, behaviour: Behaviour, *, running: bool) -> Row:
    """Return the row of a liquidation: the figures are those of its start, and the LTV is the latest."""
    row: Row = {
        "groupId": one.group_id,
        **_initial_row(seed, one.group_id, one.start_ms, one.initial_figures(seed)),
    }
    row["endLtv"] = number(format_ltv(ltv)) if row["startLtv"].startswith("\0") else format_ltv(ltv)
    snapshot, shape = dict(row["liquidationSnapshot"]), behaviour.snapshot_shape
    snapshot["liabilities"] = _reshape(snapshot["liabilities"], behaviour.liabilities_shape)
    mixed: Sequence[Shape] = ("object", "list", "null")
    row["liquidationSnapshot"] = _reshape(snapshot, mixed[one.start_ms % 3] if shape == "mixed" else shape)
    if not running:
        row["liquidationEndTime"] = one.end_ms
    elif behaviour.running_end == "zero":
        row["liquidationEndTime"] = 0
    elif behaviour.running_end == "absent":
        del row["liquidationEndTime"]
    return row | one.fields


@lru_cache(maxsize=8192)
def _initial_row(seed: int, group_id: int, start_ms: int, figures: Figures) -> Row:
    """Return the row of a liquidation at its start, without its latest LTV."""
    dice = Dice("row", seed, group_id, start_ms)
    loans = _loans(figures)
    write = number if dice(4) else str  # documented as strings, but numbers in the example
    return {
        "startLtv": write(format_ltv(figures.ltv)),
        "endLtv": None,
        "liquidationStartTime": start_ms,
        "liquidationEndTime": None,
        "totalNetEquity": write(format_total(figures.equity)),
        "totalMaintenanceMargin": write(format_total(figures.margin)),
        "totalLiability": write(format_total(figures.liability)),
        "liquidationSnapshot": {
            "snapshots": [
                {
                    "subEmail": _email(group_id, wallet.account),
                    "memberType": "COLLATERAL" if wallet.account else "CREDIT",
                    "walletType": wallet.kind,
                    "netEquity": format_nested(wallet.equity),
                    "maintainMargin": format_nested(wallet.margin),
                }
                for wallet in figures.wallets
            ],
            "liabilities": loans[0] if len(loans) == 1 and dice(2) else loans,
        },
    }


def ltv_row(group_id: int, figures: Figures, at_ms: int, behaviour: Behaviour, *, liquidating: bool) -> Row:
    """Return the row of a unit's LTV details."""
    ltvs = {"number": format_ltv(figures.ltv), "null": None, "empty": ""}
    return {
        "groupId": group_id,
        "parentEmail": "parent@test.com",
        "creditEmail": _email(group_id, 0),
        "updateTime": at_ms - at_ms % 60_000 if behaviour.update_time == "still" else at_ms,
        "ltv": ltvs[behaviour.ltv_while_liquidating if liquidating else "number"],
        "totalNetEquity": format_total(figures.equity),
        "totalMaintenanceMargin": format_total(figures.margin),
        "totalLiability": format_total(figures.liability),
        # Binance does not say what it freezes; in its example that is about half of the liability.
        "parentAccountFrozenAmount": format_total(figures.liability // 2),
        "maxTransferOutAmount": format_total(figures.transfer_limit),
        "maxAllowedBorrowLimit": format_total(figures.borrow_limit),
        "liabilities": _loans(figures),
        "collateralAccounts": [
            {
                "email": _email(group_id, account),
                "type": "COLLATERAL" if account else "CREDIT",
                "wallets": [
                    {
                        "accountType": wallet.kind,
                        "netEquity": format_nested(wallet.equity),
                        "maintainMargin": format_nested(wallet.margin),
                    }
                    for wallet in wallets
                ],
            }
            for account, wallets in groupby(figures.wallets, attrgetter("account"))
        ],
    }


def transfers_row(seed: int, one: Liquidation, repayments: Iterable[Repayment]) -> Row:
    """Return the row of a liquidation's transfers, one for each step and wallet of a collateral account.

    They sum to what was repaid, less what the equity of the credit account's own wallets fell by.
    """
    return {
        "liquidationId": Dice("liquidationId", seed, one.group_id, one.start_ms)(10**12),
        "liquidationTransferRecord": [
            {
                "transferTime": step.at_ms,
                "fromUid": _uid(one.group_id, wallet.account),
                "fromAccountType": wallet.kind,
                "toUid": _uid(one.group_id, 0),
                "toAccountType": "PORTFOLIO_MARGIN",
                "status": "CONFIRM",
                "assets": [
                    {"assetName": loan.asset, "amount": format_total(amount)}
                    for loan, amount in zip(
                        step.loans,
                        scaled([loan.principal + loan.interest for loan in step.loans], wallet.equity),
                        strict=True,
                    )
                ],
            }
            for step in repayments
            for wallet in step.wallets
            if wallet.account and wallet.equity
        ],
    }


def interest_row(group_id: int, at_ms: int, loan: Loan) -> Row:
    """Return the row of the interest that is charged on a loan at a full hour."""
    return {
        "groupId": group_id,
        "assetName": loan.asset,
        "principal": number(format_total(loan.principal)),
        "interestRate": number(format_total(loan.rate)),
        "interest": number(format_total(loan.hourly_interest)),
        "interestTimestamp": at_ms,
    }


def transaction_row(one: Transaction) -> Row:
    """Return the row of what was borrowed or repaid, or of an attempt that failed."""
    parts = {"principal": one.principal, "interest": one.interest} if one.kind != "BORROW" else {}
    return {
        "tranId": one.number,
        "assetName": one.asset,
        "amount": number(format_total(one.principal + one.interest)),
        **{name: number(format_total(amount)) for name, amount in parts.items()},
        "status": "FAILED" if one.failed else "CONFIRM",
        "type": one.kind,
        "timestamp": one.at_ms,
    }


def active_row(unit: Unit, figures: Figures) -> Row:
    """Return the row of an active unit with its accounts."""
    kinds = [
        (account, {wallet.kind for wallet in wallets})
        for account, wallets in groupby(figures.wallets, attrgetter("account"))
    ]
    return {
        "groupId": unit.group_id,
        "members": [
            {
                "email": _email(unit.group_id, account),
                "type": "COLLATERAL" if account else "CREDIT",
                "enableMargin": kinds_of_account != {"SPOT"},
                "enableSpot": "SPOT" in kinds_of_account,
            }
            for account, kinds_of_account in kinds
        ],
        "createTime": unit.create_ms,
    }


def closed_row(unit: Unit) -> Row:
    """Return the row of a closed unit."""
    return {
        "groupId": unit.group_id,
        "parentEmail": "parent@test.com",
        "creditEmail": _email(unit.group_id, 0),
        "enabled": False,
        "createTime": unit.create_ms,
        "closeTime": unit.close_ms,
    }


def _uid(group_id: int, account: int) -> int:
    return 1_000_255_900_000 + 100 * group_id + account


def _email(group_id: int, account: int) -> str:
    return f"{_uid(group_id, account)}@test.com"


def _loans(figures: Figures) -> list[Row]:
    return [
        {
            "assetName": loan.asset,
            "principal": format_nested(loan.principal),
            "interest": format_nested(loan.interest),
        }
        for loan in figures.loans
    ]


def _reshape(value: object, shape: Shape) -> object:
    """Return an object or a list in one of the two documented shapes; "mixed" leaves it as generated."""
    if shape == "list" and isinstance(value, dict):
        return [value]
    if shape == "object" and isinstance(value, list) and len(value) == 1:
        return value[0]
    return None if shape == "null" else value
