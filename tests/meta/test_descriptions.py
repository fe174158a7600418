"""The descriptions of datasets: there is one for each, and it fits its declaration."""

from __future__ import annotations

import json

import pytest

from airflow_provider_binance_loan.binance.fields import walk_fields
from airflow_provider_binance_loan.binance.own_columns import OWN_COLUMNS
from airflow_provider_binance_loan.binance.time_range import TimeRange
from airflow_provider_binance_loan.binance.windowed_dataset import WindowedDataset
from airflow_provider_binance_loan.sandbox.endpoints import ENDPOINTS
from airflow_provider_binance_loan.sandbox.rows import write_json
from tests.support.clock import NOW
from tests.support.datasets import DATASETS
from tests.support.descriptions import DESCRIBED, WINDOWED, Described, Event, Windowed

NOW_MS = int(NOW.timestamp() * 1000)


def test_every_dataset_is_described() -> None:
    """A dataset without a description would be left out of all tests that run for each dataset."""
    assert {str(described): described.dataset for described in DESCRIBED} == DATASETS
    windowed = {name for name, dataset in DATASETS.items() if isinstance(dataset, WindowedDataset)}
    assert set(map(str, WINDOWED)) == windowed


@pytest.mark.parametrize("described", DESCRIBED, ids=str)
def test_a_row_is_of_its_dataset(described: Described) -> None:
    """A row has fields that the dataset declares, and all lists that are in it hold something."""
    row = described.row(Event(NOW_MS, 7, end_ms=NOW_MS + 1, transfers_ms=[NOW_MS]))
    fields = [field for field in described.dataset.fields if field.name not in OWN_COLUMNS]
    assert row.keys() <= {field.name for field in fields}
    assert {field.name for field in fields if field.required} <= row.keys()
    text = write_json(row).decode()
    assert all(f'"{field.name}"' in text for field in walk_fields(fields) if field.fields)
    assert described.path in ENDPOINTS


@pytest.mark.parametrize("described", WINDOWED, ids=str)
def test_a_record_tells_its_event(described: Windowed) -> None:
    """Of every part of a unit there is a row, and its record has the event's identity and figures."""
    for part in range(described.parts):
        event = Event(NOW_MS, 7, part, transfers_ms=[NOW_MS])
        (kind,) = (kind for kind in described.dataset.kinds if kind.may_hold(described.row(event)))
        unit = event.unit if described.dataset.by_risk_unit else None
        request = described.dataset.span_request(TimeRange(NOW_MS, NOW_MS), unit, kind=kind)
        body = write_json(described.payload(described.row(event)))
        (record,) = request.check(request.parse(json.loads(body, parse_float=str))).rows
        assert described.identity(record) == event.identity
        assert set(described.figures(record)) == {event.figure}
        assert described.is_asked_for(event, dict(request.params), is_active=True)
