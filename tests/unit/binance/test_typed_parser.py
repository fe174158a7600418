"""The typed parser: what the careful one gives, or nothing; documented answers of any dataset are typed."""

from __future__ import annotations

import random
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.typed_records import TypedRecord
from airflow_provider_binance_loan.exceptions import BadResponseError, RequestRefusedError
from airflow_provider_binance_loan.sandbox.exchange import Exchange
from airflow_provider_binance_loan.sandbox.rows import write_json
from tests.support.descriptions import DESCRIBED, INTEREST, LIQUIDATIONS, Described, Event
from tests.support.mutations import SPAN, START_MS, Bodies, compare, outcome, requests_of

BODIES = 700
PLAIN_ROW = {
    "groupId": 6,
    "assetName": "USDT",
    "principal": "1.50",
    "interestRate": "0.1",
    "interest": "2",
    "interestTimestamp": START_MS,
}


@pytest.mark.parametrize("described", DESCRIBED, ids=str)
def test_says_what_the_careful_parser_says(described: Described) -> None:
    """Of any body, as documented or nearly so, the records are the same, or the error to its last word."""
    bodies, requests = Bodies(described), requests_of(described)
    typed = 0
    for seed in range(BODIES):
        typed += compare(requests, bodies.draw(random.Random(seed))).was_typed
    assert BODIES / 40 < typed < BODIES / 2  # so that both were at work


@pytest.mark.parametrize("described", DESCRIBED, ids=str)
def test_documented_rows_are_typed(described: Described) -> None:
    """A page with every documented field, nulls and numbers in each notation among them, is typed."""
    parts = getattr(described, "parts", 1)
    # The last request asks for the last part.
    for number in range(4):
        event = Event(START_MS - number, 1, parts - 1, end_ms=START_MS, transfers_ms=[START_MS])
        body = write_json(described.payload(described.documented_row(event)))
        found = compare(requests_of(described)[-1:], body)
        assert found.was_typed, body


@pytest.mark.parametrize("described", DESCRIBED, ids=str)
def test_an_answer_without_rows_is_parsed_at_once(described: Described) -> None:
    """Most requests of a quiet account are answered so."""
    (request, *_) = requests_of(described)
    content = request.parse_documented(write_json(described.payload()))
    assert content is not None
    assert list(getattr(content, "rows", content)) == []


def test_rows_of_the_sandbox_are_typed() -> None:
    """It writes totals as numbers, zero as "0E-8", and a single loan as an object, as Binance does."""
    exchange = Exchange(history=False)
    exchange.add_unit(1)
    for number in range(60):
        exchange.add_liquidation(1, START_MS - 1000 * number, START_MS)
    body = write_json({"total": 60, "rows": [exchange.row(one) for one in exchange.liquidations()]})
    assert all(sign in body for sign in (b'"totalLiability":1', b'"0E-8"', b'"liabilities":{'))
    page = FORCE_LIQUIDATIONS.parse_documented(body)
    assert page is not None
    assert all(isinstance(row, TypedRecord) for row in page.rows)
    compare([FORCE_LIQUIDATIONS.page_request(1)], body)


@pytest.mark.parametrize("described", [LIQUIDATIONS, DESCRIBED[-1]], ids=str)
def test_a_poll_is_parsed_carefully(described: Described) -> None:
    """It reads some fields alone, and lets no other one stop it."""
    event = Event(START_MS, 1, end_ms=START_MS, transfers_ms=[START_MS])
    body = write_json(described.payload(described.documented_row(event)))
    dataset: Any = described.dataset
    assert dataset.parse_documented(body) is not None
    assert dataset.for_polls.parse_documented(body) is None


def interest(**changes: Any) -> bytes:
    """Return a body with one row of interest; a field that is `...` is left out."""
    row = {name: value for name, value in (PLAIN_ROW | changes).items() if value is not ...}
    return write_json({"total": 1, "rows": [row]})


def parsed(body: bytes) -> Any:
    return INTEREST.dataset.parse_documented(body)


@pytest.mark.parametrize(
    "body",
    [
        interest(principal=...),
        interest(newField=None),
        interest(groupId=None),
        interest(groupId=1.5),
        interest(groupId=-1),
        interest(groupId=2**63),
        interest(groupId=True),
        interest(interestTimestamp="soon"),
        interest(assetName=None),
        interest(assetName=1),
        interest(principal="INF"),
        interest(principal="1e101"),
        interest(principal=[]),
        interest(principal={"a": 1}),
        interest(principal=True),
        interest(assetName="\u00e9"),  # written with an escape
        interest().replace(b'"groupId":6', b'"groupId":6,"groupId":6'),
        interest().replace(b'"total":1', b'"total":1,"total":1'),
        interest().replace(b'"total":1', b'"total":1,"code":-1000'),
        interest().replace(b'"total":1', b'"total":-1'),
        interest().replace(b'"total":1,', b""),
        interest().replace(b"groupId", b"groupid"),
        interest()[:-1],
        interest() + b"x",
        interest().replace(b"USDT", b"\xff"),
        b"",
        b"null",
        b"[]",
        b'{"total":0}',
        b'{"total":0,"rows":null}',
    ],
)
def test_leaves_all_else_to_the_careful_parser(body: bytes) -> None:
    """Whatever is not exactly as documented it has no say in."""
    assert parsed(interest()) is not None
    assert parsed(body) is None


def test_one_unusual_row_makes_a_page_one_for_the_careful_parser() -> None:
    """A page is of typed records, or of dicts."""
    page = {"total": 2, "rows": [PLAIN_ROW, PLAIN_ROW | {"assetName": "USDC", "newField": 1}]}
    response = Response(INTEREST.dataset.page_request(1), 200, {}, write_json(page), 0)
    assert [type(row) for row in response.content.rows] == [dict, dict]


def test_an_error_beside_data_is_an_error() -> None:
    """A code that means failure is seen, however well the rest of the answer reads."""
    body = interest().replace(b'"total":1', b'"code":-1102,"msg":"no","total":1')
    with pytest.raises(RequestRefusedError, match="no"):
        Response(INTEREST.dataset.page_request(1), 200, {}, body, 0).raise_for_error()


def test_data_with_another_status_is_an_error() -> None:
    """A documented page is data with status 200 alone."""
    found = outcome(INTEREST.dataset.page_request(1), interest(), 206)
    assert found.content.startswith("RequestRefusedError")


def test_an_answer_to_another_question_is_refused() -> None:
    """Typed records are checked against the request as dicts are, and the error has the path."""
    request = INTEREST.dataset.span_request(SPAN, 7)
    with pytest.raises(BadResponseError, match="risk unit 6, and 7 was asked") as caught:
        _ = Response(request, 200, {}, interest(), 0).content
    assert caught.value.path == INTEREST.path


def test_the_payload_is_not_decoded_where_the_answer_is_as_documented() -> None:
    """Such a body is decoded once, and not to dicts."""
    response = Response(INTEREST.dataset.page_request(1), 200, {}, interest(), 0)
    response.raise_for_error()
    assert response.content.rows
    assert "payload" not in vars(response)


def test_a_request_without_a_typed_parser_gives_its_payload() -> None:
    """Such as that for Binance's time."""
    assert Response(Request("/path"), 200, {}, b'{"serverTime":1}', 0).content == {"serverTime": 1}
