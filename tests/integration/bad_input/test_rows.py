"""Rows: a value of the wrong type in any field of any dataset is an error that names it, in both clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.fields import FieldType
from airflow_provider_binance_loan.binance.messages import TIME
from airflow_provider_binance_loan.exceptions import BadResponseError
from tests.support.bad_input import HUSH, Environment
from tests.support.clock import NOW, FakeClock
from tests.support.descriptions import DESCRIBED, Described, Windowed
from tests.support.hook_client import KINDS, HookClient
from tests.support.places import ABSENT, Place, good_row, places
from tests.support.raw import EMPTY, answer, raw_server

NOW_MS = int(NOW.timestamp() * 1000)
_AMOUNT = ["much", "NaN", "1,5", True, [1]]
WRONG: dict[FieldType, list[Any]] = {
    FieldType.INTEGER: [-(2**62), "six", 1.5, True, 10**30],
    FieldType.TIME: [-1, "soon", 1.5, {}],
    FieldType.AMOUNT: _AMOUNT,
    FieldType.RATIO: _AMOUNT,
    FieldType.RATIO_OR_EMPTY: _AMOUNT,
    FieldType.TEXT: [5, True, ["a"]],
    FieldType.FLAG: ["yes", 1],
    FieldType.OBJECT: [5, "a", [{}, {}]],
    FieldType.LIST: [5, "a", [5]],
}


def cases() -> Iterator[Any]:
    """Yield each place with each value that is wrong there."""
    for described in DESCRIBED:
        for place in places(described):
            wrong = [*WRONG[place.field.type]]
            if place.field.required and not place.field.fields:
                wrong += [None, ABSENT]
            for value in wrong:
                shown = "absent" if value is ABSENT else f"{value!r:.20}"
                yield pytest.param(place, value, id=f"{place}={shown}")


def read(described: Described, kind: str, environment: Environment, row: Any) -> list[Any]:
    """Return the records of an answer with one row, and of empty ones after it."""
    body = answer("200 OK", json.dumps(described.payload(row)))
    time_answers = [answer("200 OK", f'{{"serverTime":{NOW_MS}}}')] * (described.requests[0] == TIME.path)
    window = described.window(described.calm) if isinstance(described, Windowed) else ()
    others = [EMPTY] * 9
    with (
        raw_server([*time_answers, body, *others]) as (url, _),
        environment.connection(host=url, extra={"max_concurrency": 1}),
    ):
        return described.read(HookClient(kind, clock=FakeClock()), *window)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("place", "value"), list(cases()))
def test_names_the_field_that_is_malformed(
    place: Place, value: Any, kind: str, environment: Environment, refused: Any
) -> None:
    """The error has the path to the field, and nothing of the answer is used."""
    path = f"{place.path}[0]" if value == [5] else place.path
    error = refused(
        BadResponseError,
        "Binance changed: ",
        lambda: read(place.described, kind, environment, place.row(value)),
        (HUSH,),
    )
    assert f": {path} is " in error.message
    assert (error.path, error.conn_id) == (place.described.path, "binance_loan_default")


@pytest.mark.parametrize("described", DESCRIBED, ids=str)
def test_the_row_is_right_otherwise(described: Described) -> None:
    """Without a wrong value, the row is a record of the dataset."""
    parsed: Any = described.dataset.parse(described.payload(good_row(described)))  # type: ignore[attr-defined]
    records = parsed if isinstance(parsed, list) else parsed.rows
    assert described.contents(records) == described.contents([good_row(described)])
