"""Checks of each transaction in itself: that it came once, and that its parts sum to its amount."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

from airflow_provider_binance_loan.binance.time_range import utc_text
from airflow_provider_binance_loan.reconciliation.check import amount, build, total
from airflow_provider_binance_loan.reconciliation.ledger import BORROW, is_confirmed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_binance_loan.reconciliation.check import Check
    from airflow_provider_binance_loan.reconciliation.ledger import Transaction


def check_transactions(transactions: Iterable[Transaction]) -> Iterator[Check]:
    """Yield a row `repeated_transaction` for each that came again, and the rows `repayment_parts`.

    There is a row of parts for each repayment whose parts do not sum to its amount, and for each asset one of
    all others.
    """
    agreeing: defaultdict[str, list[Decimal]] = defaultdict(list)
    unstated: Counter[str] = Counter()
    for record, is_repeat in transactions:
        asset, whole = str(record["assetName"]), amount(record["amount"])
        subject = f"transaction {record['tranId']} of {utc_text(record['timestamp'])}, {asset}"
        if is_repeat:
            note = "Binance sent the same transaction twice"
            yield build("repeated_transaction", subject, "different", note, Decimal(1), Decimal(2))
        elif record["type"] != BORROW and is_confirmed(record):
            principal, interest = amount(record["principal"]), amount(record["interest"])
            if whole is None or principal is None or interest is None:
                unstated[asset] += 1
            elif (parts := total((principal, interest))) == whole:
                agreeing[asset].append(whole)
            else:
                yield build("repayment_parts", subject, "different", None, parts, whole)
    for asset, amounts in sorted(agreeing.items()):
        note = f"repayments, each compared: {len(amounts)}"
        yield build("repayment_parts", asset, "equal", note, total(amounts), total(amounts))
    for asset, count in sorted(unstated.items()):
        note = f"repayments that do not state an amount, principal or interest: {count}"
        yield build("repayment_parts", asset, "not_compared", note)
