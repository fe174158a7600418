"""Whatever Binance answers, plans return records of the documented shape, or raise an error of ours."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from airflow_provider_binance_loan import exceptions
from airflow_provider_binance_loan.binance import declaration
from airflow_provider_binance_loan.binance.datasets.api_key_permissions import read_key_warnings
from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS, ClosedRiskUnit
from airflow_provider_binance_loan.binance.datasets.force_liquidations import (
    FORCE_LIQUIDATIONS,
    ForceLiquidation,
    Liability,
    LiquidationSnapshot,
    Snapshot,
)
from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS
from airflow_provider_binance_loan.binance.fields import Field, FieldType
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.plans import Plan
from airflow_provider_binance_loan.binance.reader import read_closed_units, read_window
from airflow_provider_binance_loan.binance.snapshots import read_listing, read_snapshot
from airflow_provider_binance_loan.binance.time_range import TimeRange
from airflow_provider_binance_loan.binance.typed_records import TypedRecord, plain
from airflow_provider_binance_loan.exceptions import BinanceLoanError
from tests.support.descriptions import DESCRIBED, Described, Windowed
from tests.support.places import START_MS as ROW_MS
from tests.support.places import good_row
from tests.support.plans import PlanRunner

EXAMPLE = json.loads((Path(__file__).parents[2] / "data" / "documented-example.json").read_text())
# One row, as `total` says, and one wallet: most pages pass for whole ones, and most changes hit a figure.
EXAMPLE["total"] = 1
del EXAMPLE["rows"][0]["liquidationSnapshot"]["snapshots"][1:]
START_MS = EXAMPLE["rows"][0]["liquidationStartTime"]
WINDOW = TimeRange(START_MS - 1000, START_MS + 1000)
CLOSED = {
    "total": 1,
    "rows": [
        {
            "groupId": 7,
            "parentEmail": "parent@test.com",
            "creditEmail": "credit@test.com",
            "enabled": False,
            "createTime": START_MS - 5000,
            "closeTime": START_MS + 5000,
        }
    ],
}
ERROR = {"code": -1003, "msg": "Way too many requests; IP banned until 1772370000000."}
KEY = {"ipRestrict": True, "enableWithdrawals": False, "enableReading": True}
EMPTY = (200, {}, b'{"total":0,"rows":[]}')

Answer = tuple[int, dict[str, str], bytes]

# What JSON can say and Python's writer cannot, by the text that stands for it until the body is written.
RAW = {
    f"@{name}@": text
    for name, text in {
        "deep": "[" * 400 + "]" * 400,
        "deeper": '{"a":' * 700 + "1" + "}" * 700,
        "too deep": "[" * 100_000,
        "digits": "9" * 400,
        "minus": "-" + "9" * 30,
        "too many digits": "9" * 5000,
        "places": f"0.{'1' * 500}",
        "exponent": "1e999999999999",
        "small": "-1.5E-99",
        "zero": "-0.0",
        "half": r'"\ud83d"',
        "halves": r'"\uDE00\uD83D"',
        "nul": r'"\u0000"',
        "separator": r'"\u2028\u0085\r\n"',
        "infinity": "-Infinity",
        "nan": "NaN",
        "broken": "{]",
        "twice": '{"groupId":1,"groupId":2}',
    }.items()
}
INTEGERS = [0, -1, 1, 99, 100, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, -(10**30), 10**400]
TEXTS = ["", " 1", "1.", ".5", "+1", "-1", "0E-8", "1e400", "NaN", "-Infinity", "1_000", "0x1", "٣", "9" * 20]
LONG = ["x" * 5000, "a\nb", "signature=abc", "banned until ٣٣٣٣٣٣٣٣٣٣٣٣٣"]
TIMES = [START_MS, START_MS + 999, START_MS + 1000]
ODD = [None, True, False, 1.5, -1e-7, [], {}, [[]], [{}, {}], *INTEGERS, *TEXTS, *LONG, *TIMES, *RAW]
ODD_VALUES = (
    st.sampled_from(ODD).map(copy.deepcopy)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
JSON = st.recursive(
    ODD_VALUES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place in a document, as what holds it and its key or index."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        yield value, key
        yield from places(inner)


def change(draw: st.DrawFn, holder: Any, key: Any) -> None:
    holder[key] = draw(ODD_VALUES | JSON)


def turn_to_text(draw: st.DrawFn, holder: Any, key: Any) -> None:
    holder[key] = str(holder[key])


def wrap(draw: st.DrawFn, holder: Any, key: Any) -> None:
    holder[key] = draw(st.sampled_from([[holder[key]], {"rows": holder[key]}, [holder[key]] * 2]))


def remove(draw: st.DrawFn, holder: Any, key: Any) -> None:
    del holder[key]


def add(draw: st.DrawFn, holder: Any, key: Any) -> None:
    """Add a field, or repeat a row, also up to a full page and past it."""
    if isinstance(holder, dict):
        holder[draw(st.text(max_size=8))] = draw(JSON)
    else:
        holder += [copy.deepcopy(holder[key])] * draw(st.sampled_from([1, 1, 98, 99, 100]))


CHANGES = st.sampled_from([change, change, turn_to_text, wrap, remove, add])


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> Any:
    """Draw a document that is changed in some places."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.sampled_from([0, 1, 1, 2, 3, 4]))):
        if found := list(places(document)):
            holder, key = draw(st.sampled_from(found))
            draw(CHANGES)(draw, holder, key)
    return document


def written(document: Any) -> str:
    """Return a document as JSON, also what Python's writer would not write."""
    text = json.dumps(document)
    for name, raw in RAW.items():
        text = text.replace(json.dumps(name), raw)
    return text


ENCODINGS = ["utf-8", "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7"]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Draw a body: a documented one that was changed, any JSON, or no JSON at all; perhaps cut off."""
    documents = st.sampled_from([EXAMPLE, EXAMPLE, CLOSED, CLOSED, ERROR, KEY]).flatmap(mutated)
    body = draw(
        st.one_of(
            st.builds(
                lambda document, code: written(document).encode(code), documents, st.sampled_from(ENCODINGS)
            ),
            documents.map(lambda document: written(document).encode()),
            JSON.map(lambda document: written(document).encode()),
            st.fixed_dictionaries({"code": JSON, "msg": JSON}).map(lambda body: written(body).encode()),
            st.binary(max_size=50),
            st.sampled_from(
                [b"", b"<html>", b"null", b"\x00", b"\xef\xbb\xbf", b"\xff\xfe", b"{", b"[1,", b"nul"]
            ),
        )
    )
    if draw(st.integers(0, 9)) == 0:
        body = body[: draw(st.integers(0, len(body)))]
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=4)) + body[at:]
    return body


STATUSES = st.sampled_from([200, 200, 200, 200, 302, 400, 401, 403, 404, 408, 418, 429, 500, 503])
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(["text/html", "application/json", "a\r\nb", "x" * 5000]) | st.text(),
        "retry-after": st.sampled_from(
            ["0", "7", "-1", "1.5", "9" * 7, "9" * 8, "٣", "Wed, 21 Oct 2026 07:28:00 GMT", "", " 7"]
        )
        | st.text()
        | st.integers().map(str),
        "x-sapi-used-ip-weight-1m": st.text(),
    },
)
ANSWERS = st.lists(st.tuples(STATUSES | st.integers(100, 599), HEADERS, bodies()), min_size=1, max_size=4)
PAGES = {
    path: st.lists(mutated(document).map(lambda page: (200, {}, written(page).encode())), max_size=3)
    for path, document in ((FORCE_LIQUIDATIONS.path, EXAMPLE), (CLOSED_RISK_UNITS.path, CLOSED))
}
PLANS: dict[str, Callable[[], Iterable[Plan[list[Any]]]]] = {
    "all": lambda: read_window(FORCE_LIQUIDATIONS, WINDOW, "all"),
    "named": lambda: read_window(FORCE_LIQUIDATIONS, WINDOW, (6, 7)),
    "closed": lambda: [read_closed_units()],
    "key": lambda: [read_key_warnings()],
}


def read(kind: str, answer: Callable[[Request], Answer]) -> list[Any]:
    """Run the plans of a kind as a client does, which refuses answers that are errors."""

    def checked(request: Request) -> Response:
        response = Response(request, *answer(request), START_MS)
        response.raise_for_error()
        return response

    runner = PlanRunner(checked, max_concurrency=4)
    items = (item for plan in PLANS[kind]() for item in runner.run(plan))
    return [plain(item) if isinstance(item, TypedRecord) else item for item in items]


def check_error(error: BinanceLoanError) -> None:
    """Check that an error is one that a person and another process can use."""
    text = str(error)
    assert type(error) in vars(exceptions).values()
    assert text.isprintable()
    assert 10 < len(text) < 600
    thawed = pickle.loads(pickle.dumps(error))
    assert (type(thawed), str(thawed), vars(thawed)) == (type(error), text, vars(error))


PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?")
# the documented fields by what they hold; those that are not named here are amounts
WHOLE = {"groupId", "liquidationStartTime", "liquidationEndTime", "createTime", "closeTime"}
WORDS = {"subEmail", "memberType", "walletType", "assetName", "parentEmail", "creditEmail"}


def check_fields(row: dict[str, Any], documented: type) -> None:
    """Check that the documented fields come first and hold what they should, and the others are sorted."""
    names, count = list(row), len(documented.__annotations__)
    assert names[:count] == list(documented.__annotations__)
    assert names[count:] == sorted(names[count:])
    for name in names[:count]:
        value = row[name]
        if name in WHOLE:
            assert type(value) is int or (value is None and name not in {"groupId", "liquidationStartTime"})
        elif name in WORDS:
            assert value is None or type(value) is str
        elif name not in {"liquidationSnapshot", "snapshots", "liabilities", "enabled"}:
            assert value is None or PLAIN.fullmatch(value)


def check_liquidation(row: dict[str, Any]) -> None:
    check_fields(row, ForceLiquidation)
    snapshot = row["liquidationSnapshot"]
    check_fields(snapshot, LiquidationSnapshot)
    for wallet in snapshot["snapshots"]:
        check_fields(wallet, Snapshot)
    for loan in snapshot["liabilities"]:
        check_fields(loan, Liability)


def check_records(kind: str, found: list[Any]) -> None:
    """Check that records are of the documented shape, and can be written as JSON, without a float."""
    assert (
        json.loads(json.dumps(found, ensure_ascii=False, allow_nan=False).encode(), parse_float=no_float)
        == found
    )
    if kind == "key":
        assert all(type(warning) is str for warning in found)
    elif kind == "closed":
        for unit in found:
            check_fields(unit, ClosedRiskUnit)
    else:
        for record in found:
            check_liquidation(record)
        keys = [FORCE_LIQUIDATIONS.key(record) for record in found]
        assert keys == sorted(set(keys))
        assert all(start_ms < WINDOW.end_ms for start_ms, _ in keys)


def no_float(text: str) -> None:
    raise AssertionError(f"{text} is a float")


def paged(pages: dict[str, list[Answer]]) -> Callable[[Request], Answer]:
    """Return a Binance of one record: it shows its pages in turn wherever that is asked for."""
    turns = {path: cycle(answers or [EMPTY]) for path, answers in pages.items()}

    def answer(request: Request) -> Answer:
        asked = {"startTime": 0, "endTime": START_MS, **dict(request.params)}
        shown = asked["startTime"] <= START_MS <= asked["endTime"] and asked["current"] == 1
        return next(turns[request.path]) if shown and request.path in turns else EMPTY

    return answer


def check(kind: str, answer: Callable[[Request], Answer]) -> str:
    """Read, check what comes of it, and return what that is."""
    try:
        found = read(kind, answer)
    except BinanceLoanError as error:
        check_error(error)
        return f"{kind}: {type(error).__name__}"
    check_records(kind, found)
    return f"{kind}: {'records' if found else 'nothing'}"


RIGOROUS = settings(max_examples=400, suppress_health_check=list(HealthCheck))


@RIGOROUS
@given(st.sampled_from(sorted(PLANS)), ANSWERS)
def test_any_answer_gives_records_or_an_error_of_ours(kind: str, answers: list[Answer]) -> None:
    """Of whatever comes with any status, records come out, or an error that says in a line what it is."""
    remaining = iter(answers)
    event(check(kind, lambda _: next(remaining, EMPTY)))


@RIGOROUS
@given(st.sampled_from(["all", "named", "closed"]), st.fixed_dictionaries(PAGES))
def test_any_page_gives_records_or_an_error_of_ours(kind: str, pages: dict[str, list[Answer]]) -> None:
    """A page that is nearly as documented gives records of the documented shape, or says what is wrong."""
    event(check(kind, paged(pages)))


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: f"{odd!r:.30}")
def test_any_field_may_hold_anything(odd: Any) -> None:
    """An odd value in any one place of a page is read, or refused."""
    for kind, path, document in (
        ("all", FORCE_LIQUIDATIONS.path, EXAMPLE),
        ("closed", CLOSED_RISK_UNITS.path, CLOSED),
    ):
        for number, _ in enumerate(places(document)):
            page = copy.deepcopy(document)
            holder, key = list(places(page))[number]
            holder[key] = odd
            check(kind, paged({path: [(200, {}, written(page).encode())]}))


def plans_of(described: Described) -> Iterable[Plan[Any]]:
    """Return the plans that read a dataset, or its window around the time of its row."""
    if isinstance(described, Windowed):
        return read_window(described.dataset, TimeRange(ROW_MS - 1000, ROW_MS + 1000))
    if isinstance(described.dataset, declaration.Listing):
        return [read_listing(described.dataset)]
    assert isinstance(described.dataset, declaration.Snapshot)
    return [read_snapshot(described.dataset)]


def check_types(fields: Sequence[Field], row: dict[str, Any]) -> None:
    """Check that the declared fields come first, in their order, and hold what they are declared to hold."""
    assert list(row)[: len(fields)] == [field.name for field in fields]
    for field in fields:
        value = row[field.name]
        if field.fields:
            for inner in [value] if field.type is FieldType.OBJECT else value:
                check_types(field.fields, inner)
        elif value is None:
            assert not field.required
        elif field.type in {FieldType.INTEGER, FieldType.TIME}:
            assert type(value) is int
        elif field.type is FieldType.FLAG:
            assert type(value) is bool
        else:
            assert type(value) is str
            assert field.type is FieldType.TEXT or PLAIN.fullmatch(value)


@pytest.mark.parametrize("described", DESCRIBED, ids=str)
@settings(RIGOROUS, max_examples=100)
@given(st.data())
def test_any_page_of_any_dataset_gives_its_records_or_an_error(described: Described, data: Any) -> None:
    """What is nearly a row gives records of the declared types, or an error that says what is wrong."""
    page = data.draw(mutated(described.payload(good_row(described))))
    body = written(page).encode()

    def answer(request: Request) -> Response:
        asked = {"startTime": 0, "endTime": ROW_MS, "current": 1, **dict(request.params)}
        is_shown = asked["startTime"] <= ROW_MS <= asked["endTime"] and asked["current"] == 1
        empty = b"[]" if isinstance(described.dataset, declaration.Snapshot) else EMPTY[2]
        if request.path != described.path:
            empty, is_shown = b"[]" if request.path == RISK_UNIT_LTVS.path else EMPTY[2], False
        return Response(request, 200, {}, body if is_shown else empty, ROW_MS)

    try:
        results = [PlanRunner(answer).run(plan) for plan in plans_of(described)]
    except BinanceLoanError as error:
        check_error(error)
        event(type(error).__name__)
        return
    found = [plain(record) for result in results for record in getattr(result, "records", result)]
    for record in found:
        check_types(described.dataset.fields, record)
    text = json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    assert json.loads(text, parse_float=no_float) == found
    event("records" if found else "nothing")
