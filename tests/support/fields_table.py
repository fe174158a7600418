"""The documentation's table of fields, from the declaration of a dataset.

`uv run python -m tests.support.fields_table` prints it, to be pasted into docs/records.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.fields import Field, FieldType

TYPES = {
    FieldType.INTEGER: "integer",
    FieldType.TIME: "time",
    FieldType.AMOUNT: "amount",
    FieldType.RATIO: "ratio",
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


if __name__ == "__main__":
    lines = [["Field", "Type", "Meaning"], ["---"] * 3, *rows(FORCE_LIQUIDATIONS.fields)]
    sys.stdout.write("".join(f"| {' | '.join(cells)} |\n" for cells in lines))
