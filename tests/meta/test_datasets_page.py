"""The tables of docs/datasets.md say what the code and the sandbox have for each dataset."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_provider_binance_loan import operators
from airflow_provider_binance_loan.binance.time_range import DAY_MS
from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset
from airflow_provider_binance_loan.exceptions import RequestRefusedError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.landing.tables import flat_tables
from airflow_provider_binance_loan.sandbox.exchange import ApiKey, Exchange
from tests.support import docs
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.datasets import DATASETS

READING = docs.table("Dataset", "Operator", "Methods of the hook", "Key", "Weight")
ROWS = docs.table(
    "Dataset",
    "Name in manifests",
    "API key of the",
    "A request spans up to",
    "A row may change",
    "Flat tables",
)
LISTS = docs.table("Flat table", "Name in manifests", "One row for each", "Columns besides the fields")
SECRET = "secret"


def dataset_of(methods: str) -> Any:
    """The dataset that the methods of a row read."""
    suffix = docs.names(methods)[-1].removeprefix("aget_")
    return DATASETS["risk_unit_ltvs" if suffix == "ltv" else suffix]


def read(methods: str, clock: FakeClock) -> list[Any]:
    """Read a dataset with the hook's method that returns a list."""
    method = getattr(BinanceLoanHook(clock=clock), docs.names(methods)[-1].removeprefix("a"))
    found = method(NOW - HOUR, NOW) if isinstance(dataset_of(methods), WindowedDataset) else method()
    return list(found)


@pytest.fixture
def keys(exchange: Exchange, connect: Any) -> Any:
    """Choose the account whose API key is used."""
    for account in ("credit", "parent"):
        exchange.add_key(ApiKey(account * 8, SECRET, account=account, group_id=1))
    exchange.add_unit(9, 0, 1)
    exchange.add_liquidation(1, int((NOW - HOUR).timestamp() * 1000) + 1)
    return lambda account: connect(login=account * 8, password=SECRET)


def test_both_tables_have_every_dataset() -> None:
    """Each dataset has a line in both, in one order."""
    assert [dataset_of(row[2]).name for row in READING] == list(
        dict.fromkeys(dataset_of(row[2]).name for row in READING)
    )
    assert {dataset_of(row[2]).name for row in READING} == DATASETS.keys()
    first = [re.sub(r"[\[\]]|\(.*?\)", "", row[0]).split(" of ")[0] for row in READING]
    assert len(first) == len(ROWS)
    for long, (short, *_) in zip(first, ROWS, strict=True):
        assert long.startswith(short), (long, short)


@pytest.mark.parametrize("number", range(len(READING)))
def test_a_dataset_is_read_as_its_line_says(
    keys: Any, exchange: Exchange, clock: FakeClock, number: int
) -> None:
    """Binance takes the key of the accounts that are named, and of no other; a request has the weight."""
    _, _, methods, _, weight = READING[number]
    path = dataset_of(methods).path
    for account in ("credit", "parent"):
        keys(account)
        exchange.requests.clear()
        if account in ROWS[number][2]:
            assert read(methods, clock)
            assert {one.weight for one in exchange.requests if one.path == path} == {int(weight)}
        else:
            with pytest.raises(RequestRefusedError):
                read(methods, clock)


@pytest.mark.parametrize("number", range(len(READING)))
def test_a_dataset_is_as_it_is_declared(number: int) -> None:
    """The operator, the methods, the key, the span and the flat tables are those of the code."""
    _, operator, methods, key, _ = READING[number]
    _, name_in_manifests, _, span, change, tables = ROWS[number]
    dataset = dataset_of(methods)
    assert docs.names(name_in_manifests) == [dataset.name]
    for name in docs.names(operator):
        assert name.startswith("status=") or hasattr(operators, name)
    *starts, complete = docs.names(methods)
    suffix = complete.removeprefix("aget_")
    for start in starts:
        assert callable(getattr(BinanceLoanHook, start if start.endswith(suffix) else start + suffix))
    assert set(re.findall(r"\w+", key)) == set(dataset.key_fields)
    assert set(docs.names(tables)) == {table.name for table in flat_tables(dataset)}
    if isinstance(dataset, WindowedDataset):
        assert span == f"{dataset.max_span_ms // DAY_MS} days"
        assert dataset.is_final is None or "`liquidationEndTime`" in change
    else:
        assert span.startswith("none")


def test_a_manifest_has_the_name_of_the_table(keys: Any, clock: FakeClock, s3: Any) -> None:
    """A manifest says which dataset it is of, by the name that the table gives."""
    for operator, account, name in (
        (operators.BinanceLoanInterestOperator, "credit", "interest_history"),
        (operators.BinanceLoanRiskUnitOperator, "parent", "active_risk_units"),
    ):
        keys(account)
        window = {"start": NOW - HOUR, "end": NOW} if account == "credit" else {}
        task = operator(task_id="land", s3_key="s3://lake/a.jsonl", **window)
        task.hook = BinanceLoanHook(clock=clock)
        assert task.execute({})["dataset"] == name
        assert name in {docs.names(row[1])[0] for row in ROWS}


def test_the_columns_of_flat_tables() -> None:
    """The table has each list of the other datasets, and the columns that say where a row is from."""
    expected = [
        [table.name, dataset.name, *table.key, *table.positions]
        for dataset in DATASETS.values()
        if dataset.name != "force_liquidations"
        for table in flat_tables(dataset)
        if table.positions
    ]
    assert sorted(
        [*docs.names(table), *docs.names(name), *docs.names(added)] for table, name, _, added in LISTS
    ) == sorted(expected)


def test_names_the_tables_that_two_datasets_have() -> None:
    """The warning names each such table."""
    found = Counter(table.name for dataset in DATASETS.values() for table in flat_tables(dataset))
    (warning,) = re.findall(
        r"^- \*\*Two datasets have a table of one name\*\*: (.*?)\.", docs.TEXT, re.MULTILINE
    )
    assert set(docs.names(warning)) == {name for name, count in found.items() if count > 1}


def test_a_window_longer_than_a_span_is_read(keys: Any, exchange: Exchange, clock: FakeClock) -> None:
    """It takes several requests, of which none spans more than the table says."""
    keys("credit")
    exchange.requests.clear()
    start: datetime = NOW - timedelta(days=250)
    assert BinanceLoanHook(clock=clock).get_force_liquidations(start, NOW)
    asked = [dict(one.params) for one in exchange.requests]
    spans = [int(one["endTime"]) - int(one["startTime"]) for one in asked if "endTime" in one]
    assert len(spans) >= 3
    assert max(spans) <= 99 * DAY_MS + 1
