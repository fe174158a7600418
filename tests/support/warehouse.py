"""DuckDB in the place of a warehouse, and the SQL of the documentation as it is for each dataset."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

import duckdb
import sqlglot

from airflow_provider_binance_loan import operators
from airflow_provider_binance_loan.binance.declaration import Dataset
from airflow_provider_binance_loan.landing.tables import flat_tables
from airflow_provider_binance_loan.windowed_operator import BinanceLoanDatasetOperator
from tests.support import docs
from tests.support.lake import Lake, Rows, ms

KEYS = ("Windowed dataset", "Table of its records", "Key columns", "Tables of its lists")
#: The operators of windowed datasets, by the table of their records.
OPERATORS: dict[str, type[BinanceLoanDatasetOperator]] = {
    operator.dataset.table: operator
    for operator in vars(operators).values()
    if isinstance(operator, type) and BinanceLoanDatasetOperator in operator.__bases__
}


class Warehouse:
    """DuckDB, which runs statements in the dialect of a warehouse.

    :param dialect: that of the warehouse.
    :param lake: the objects.
    :param parent: the table of the records of the dataset that it is for.
    """

    def __init__(self, dialect: str, lake: Lake, parent: str = "liquidations") -> None:
        self._dialect, self._lake, self._parent = dialect, lake, parent
        self._database = duckdb.connect()

    def __enter__(self) -> Self:
        self._database.execute("set timezone = 'UTC'")
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def run(self, statements: Iterable[str], dialect: str | None = None) -> None:
        """Run statements for liquidations and snapshots as they are for the dataset, in their order.

        Those about snapshots are run for each list of the dataset.

        :param dialect: theirs, if it is not that of the warehouse.
        """
        *children, _ = tables(self._parent)
        for sql in statements:
            for child in children if re.search(r"\b(\w+_)?snapshots\b", sql) else [""]:
                self.run_as_it_is(adapted(sql, self._parent, child), dialect or self._dialect)

    def rows(self, relation: str) -> Rows:
        """Return the rows of a relation, with times in milliseconds, without `extra`."""
        result = self._database.execute(f"from {relation}")
        names = [name for name, *_ in result.description or []]
        return [
            {
                name: ms(value) if isinstance(value, datetime) else value
                for name, value in zip(names, row, strict=True)
                if name != "extra"
            }
            for row in result.fetchall()
        ]

    def run_as_it_is(self, sql: str, dialect: str = "duckdb") -> None:
        """Run a statement."""
        if dialect != "duckdb":
            raised = sqlglot.ErrorLevel.RAISE
            (sql,) = sqlglot.transpile(sql, dialect, "duckdb", unsupported_level=raised, error_level=raised)
        self._database.execute(self._lake.located(sql))


def tables(parent: str) -> list[str]:
    """Return the flat tables of a dataset, that of the records last."""
    return [table.name for table in flat_tables(OPERATORS[parent].dataset)]


def columns(dataset: Dataset, table: str) -> list[str]:
    """Return the columns of a flat table with `window_end`, apart from `extra`."""
    (found,) = (one for one in flat_tables(dataset) if one.name == table)
    return ["window_end", *found.columns]


def counted(rows: Rows, *, as_numbers: bool = True) -> Counter[Any]:
    """Return how often each row is there, with 0 for the end of a liquidation that runs.

    :param as_numbers: whether amounts that are texts are compared as numbers.
    """

    def value(name: str, raw: Any) -> Any:
        if name == "liquidationEndTime":
            return raw or 0
        is_amount = isinstance(raw, str) and re.fullmatch(r"-?\d+(\.\d+)?", raw)
        return Decimal(raw) if as_numbers and is_amount else raw

    return Counter(frozenset((name, value(name, raw)) for name, raw in row.items()) for row in rows)


def adapted(sql: str, parent: str, child: str = "") -> str:
    """Return a statement for liquidations and snapshots with the names of another dataset in their place.

    :param parent: the table of the records.
    :param child: the table of one of its lists.
    """
    text = " ".join(sql.split())
    old_keys, keys = (_key_columns(name) for name in ("liquidations", parent))
    liquidations, dataset = (OPERATORS[name].dataset for name in ("liquidations", parent))
    for form in ("{}", "child.{}", "pulled.{}", "{0} = pulled.{0}"):
        for old, new in (("liquidations", parent), ("snapshots", child)):
            old_names, new_names = columns(liquidations, old), columns(dataset, new) if new else []
            if "=" in form:  # a merge does not set the key
                old_names = [name for name in old_names if name not in old_keys]
                new_names = [name for name in new_names if name not in keys]
            text = text.replace(
                ", ".join(map(form.format, old_names)), ", ".join(map(form.format, new_names))
            )
    text = text.replace("partition by groupId, liquidationStartTime", f"partition by {', '.join(keys)}")
    text = re.sub(
        r"(\w+)\.groupId = (\w+)\.groupId and \1\.liquidationStartTime = \2\.liquidationStartTime",
        lambda match: " and ".join(f"{match[1]}.{name} = {match[2]}.{name}" for name in keys),
        text,
    )
    names = {"liquidations": parent, "snapshots": child}
    return re.sub(
        r"\b((?:landed|latest|pulled|current)_)?(liquidations|snapshots)\b",
        lambda match: f"{match[1] or ''}{names[match[2]]}",
        text,
    )


def _key_columns(parent: str) -> list[str]:
    (found,) = (docs.names(key) for _, name, key, _ in docs.table(*KEYS) if docs.names(name) == [parent])
    return found
