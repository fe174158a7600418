"""The documentation's tables of fields, from the declarations of the datasets.

`uv run python -m tests.support.fields_table` prints them, to be pasted into the pages of `docs/`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from airflow_provider_binance_loan.binance.datasets.active_risk_units import ACTIVE_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.borrow_repay import BORROW_REPAY
from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.datasets.interest_history import INTEREST_HISTORY
from airflow_provider_binance_loan.binance.datasets.liquidation_transfers import LIQUIDATION_TRANSFERS
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS
from airflow_provider_binance_loan.binance.fields import Field, FieldType

TYPES = {
    FieldType.INTEGER: "integer",
    FieldType.TIME: "time",
    FieldType.AMOUNT: "amount",
    FieldType.RATIO: "ratio",
    FieldType.RATIO_OR_EMPTY: "ratio",
    FieldType.TEXT: "string",
    FieldType.FLAG: "boolean",
    FieldType.OBJECT: "object",
    FieldType.LIST: "list",
}


def rows(fields: Sequence[Field], above: str = "") -> Iterator[list[str]]:
    """Yield the cells of each row: the path of a field, its type, and what it means."""
    for field in fields:
        path = f"{above}{field.name}"
        never_null = "; never null" if field.required and not field.fields else ""
        yield [f"`{path}`", TYPES[field.type], f"{field.description}{never_null}"]
        yield from rows(field.fields, f"{path}.")


#: The first column's header of each table, and the fields in it.
TABLES = {
    "Field": FORCE_LIQUIDATIONS.fields,
    "Field of an LTV": RISK_UNIT_LTVS.fields,
    "Field of transfers": LIQUIDATION_TRANSFERS.fields,
    "Field of interest": INTEREST_HISTORY.fields,
    "Field of a transaction": BORROW_REPAY.fields,
    "Field of an active risk unit": ACTIVE_RISK_UNITS.fields,
    "Field of a closed risk unit": CLOSED_RISK_UNITS.fields,
}

if __name__ == "__main__":
    for header, fields in TABLES.items():
        lines = (f"| {' | '.join(cells)} |\n" for cells in rows(fields))
        sys.stdout.write("".join([f"| {header} | Type | Meaning |\n|---|---|---|\n", *lines, "\n"]))
