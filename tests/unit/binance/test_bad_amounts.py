"""A text in place of an amount: an error, unless the reader keeps it or needs no amounts."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.fields import FieldType
from airflow_provider_binance_loan.binance.own_columns import OWN_COLUMNS
from airflow_provider_binance_loan.exceptions import BadResponseError
from tests.support.descriptions import DESCRIBED
from tests.support.ledger import NOW
from tests.support.places import Place, good_row, places

KEPT = FORCE_LIQUIDATIONS.with_bad_amounts("keep")
POLLED = FORCE_LIQUIDATIONS.for_polls
TEXTS = ["INF", "", "NaN", "-Infinity", "1_000", " 1", "٣", "1e400", "n/a", "\n"]
# Where an amount may be, and the path to it in an error message.
PLACES = {
    "endLtv": lambda text: {"endLtv": text},
    "totalLiability": lambda text: {"totalLiability": text},
    "liquidationSnapshot.snapshots[0].netEquity": lambda text: {
        "liquidationSnapshot": {"snapshots": [{"netEquity": text}]}
    },
    "liquidationSnapshot.liabilities[0].interest": lambda text: {
        "liquidationSnapshot": {"liabilities": {"interest": text}}
    },
}
GOOD = {"groupId": 7, "liquidationStartTime": NOW + 1, "endLtv": "0.5"}


def page(**fields: Any) -> dict[str, Any]:
    """Return a page of a good row and of one with these fields."""
    return {"rows": [copy.deepcopy(GOOD), {"groupId": 6, "liquidationStartTime": NOW, **fields}]}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("place", PLACES)
def test_a_pull_fails_and_names_the_record(place: str, text: str) -> None:
    """The error says which field of which record, and how to keep the text."""
    with pytest.raises(BadResponseError) as caught:
        FORCE_LIQUIDATIONS.parse(page(**PLACES[place](text)))
    message = caught.value.message
    assert message.startswith("Set on_bad_amount='keep', or check")
    assert f"rows[1].{place} is {text!r}" in message
    assert f"in the record with liquidationStartTime {NOW} and groupId 6" in message


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("place", PLACES)
def test_a_pull_may_keep_the_text(place: str, text: str) -> None:
    """The record is as it would be, with the text as it was sent; all other amounts are as always."""
    kept = KEPT.parse(page(**PLACES[place](text))).rows
    plain = FORCE_LIQUIDATIONS.parse(page(**PLACES[place]("0E-8"))).rows
    assert json.dumps(kept) == json.dumps(plain).replace('"0.00000000"', json.dumps(text))


@pytest.mark.parametrize("value", [True, [], {"a": 1}, [1]])
def test_only_a_text_is_kept(value: Any) -> None:
    """What is no text has no place in a column of amounts."""
    with pytest.raises(BadResponseError, match=r"^Check what Binance changed: rows\[1\]\.endLtv"):
        KEPT.parse(page(endLtv=value))


@pytest.mark.parametrize("value", [*TEXTS, True, [], {"a": 1}, 5, [[1]]])
@pytest.mark.parametrize("name", ["endLtv", "totalNetEquity", "liquidationSnapshot", "new"])
def test_a_poll_reads_keys_and_times_alone(name: str, value: Any) -> None:
    """Whatever else a row holds, it stops nobody who waits."""
    assert POLLED.parse(page(**{name: value})).rows == [
        {"groupId": 7, "liquidationStartTime": NOW + 1, "liquidationEndTime": None},
        {"groupId": 6, "liquidationStartTime": NOW, "liquidationEndTime": None},
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("groupId", "INF"), ("groupId", None), ("liquidationStartTime", ""), ("liquidationEndTime", "soon")],
)
def test_a_poll_needs_keys_and_times(name: str, value: Any) -> None:
    """What it goes by must be as documented."""
    with pytest.raises(BadResponseError, match=rf"rows\[1\]\.{name}"):
        POLLED.parse(page(**{name: value}))


AMOUNTS = [
    place
    for described in DESCRIBED
    for place in places(described)
    if place.field.type in {FieldType.AMOUNT, FieldType.RATIO, FieldType.RATIO_OR_EMPTY}
]


def parse(dataset: Any, place: Place, value: Any) -> list[Any]:
    """Return the records of an answer with a good row and one with a value at a place, in this order."""
    page = dataset.parse(place.described.payload(place.row(value), good_row(place.described)))
    return page if isinstance(page, list) else page.rows  # type: ignore[no-any-return]


@pytest.mark.parametrize("text", ["INF", "n/a"])
@pytest.mark.parametrize("place", AMOUNTS, ids=str)
def test_any_amount_of_any_dataset_may_be_a_text(place: Place, text: str) -> None:
    """It is an error that names the field and says how to keep the text; kept, nothing else differs."""
    dataset = place.described.dataset
    with pytest.raises(BadResponseError, match=re.escape(f"{place.path} is {text!r}")) as caught:
        parse(dataset, place, text)
    assert caught.value.message.startswith("Set on_bad_amount='keep', or check")
    kept, good = parse(dataset.with_bad_amounts("keep"), place, text)
    (plain, _) = parse(dataset, place, "0")
    assert place.value(kept) == text
    assert json.dumps(kept).replace(json.dumps(text), '"0"') == json.dumps(plain)
    assert good == parse(dataset, place, "0")[1]


@pytest.mark.parametrize("value", ["INF", True, [1]])
@pytest.mark.parametrize("place", AMOUNTS, ids=str)
def test_a_poll_of_any_dataset_is_stopped_by_no_amount(place: Place, value: Any) -> None:
    """Whoever waits for records reads their keys all the same."""
    dataset = place.described.dataset
    names = [name for name in dataset.key_fields if name not in OWN_COLUMNS]
    polled = parse(dataset.for_polls, place, value)
    good = good_row(place.described)
    assert [[record[name] for name in names] for record in polled] == [[good[name] for name in names]] * 2
