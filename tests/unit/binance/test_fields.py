"""Fields: every digit as Binance sent it, every shape that its page allows, and errors that say where."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.datasets.closed_risk_units import CLOSED_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.exceptions import BadResponseError, TransientError

EXAMPLE = (Path(__file__).parents[2] / "data" / "documented-example.json").read_bytes()


def parse(body: bytes | str) -> list[dict[str, Any]]:
    """Return the records of a body as it is received."""
    body = body.encode() if isinstance(body, str) else body
    response = Response(Request("/path"), 200, {"content-type": "application/json"}, body, 0)
    return FORCE_LIQUIDATIONS.parse(response.payload).rows


def row(**fields: str) -> str:
    """Return a body with one row, its fields given as JSON text."""
    fields = {"groupId": "6", "liquidationStartTime": "1748381716906", **fields}
    return '{"total":1,"rows":[{' + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}]}"


def test_parses_the_documented_example() -> None:
    """The example of Binance's page becomes a record with every digit of it, and lists where lists belong."""
    (record,) = parse(EXAMPLE)
    snapshots = record["liquidationSnapshot"]["snapshots"]
    assert record | {"liquidationSnapshot": None} == {
        "groupId": 6,
        "startLtv": "1",
        "endLtv": "0",
        "liquidationStartTime": 1748381716906,
        "liquidationEndTime": 1748525848742,
        "totalNetEquity": "16671.5507973",
        "totalMaintenanceMargin": "0",
        "totalLiability": "16667.926",
        "liquidationSnapshot": None,
    }
    assert len(snapshots) == 6
    assert snapshots[0] == {
        "subEmail": "1000255973134@test.com",
        "memberType": "CREDIT",
        "walletType": "PORTFOLIO_MARGIN",
        "netEquity": "12671.05079731",
        "maintainMargin": "0.00000000",
    }
    assert record["liquidationSnapshot"]["liabilities"] == [
        {"assetName": "USDT", "principal": "11667.92600000", "interest": "5000.00000000"}
    ]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("16671.5507973", "16671.5507973"),
        ('"16671.55079730"', "16671.55079730"),
        ("0", "0"),
        ('"0E-8"', "0.00000000"),
        ("0e-8", "0.00000000"),
        ("1.5E3", "1500"),
        ('"1.50E+3"', "1500"),
        ("1e-7", "0.0000001"),
        ('"-0.5"', "-0.5"),
        ('"+1.5"', "1.5"),
        ('".5"', "0.5"),
        ('"5."', "5"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("0.1234567890123456789012345678901", "0.1234567890123456789012345678901"),
        ('"99999999999999999999.99999999999999999999"', "99999999999999999999.99999999999999999999"),
        ("1E100", "1" + "0" * 100),
        ("null", None),
    ],
)
def test_keeps_every_digit(sent: str, kept: str | None) -> None:
    """An amount is a decimal string in plain notation, whether it was sent as a number or a string."""
    assert parse(row(totalLiability=sent))[0]["totalLiability"] == kept
    nested = parse(row(liquidationSnapshot='{"liabilities":[{"interest":%s}]}' % sent))[0]
    assert nested["liquidationSnapshot"]["liabilities"][0]["interest"] == kept


LIABILITY = '{"assetName":"USDT","principal":"1","interest":"2"}'
READ = {"assetName": "USDT", "principal": "1", "interest": "2"}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ('{"liabilities":%s}' % LIABILITY, [READ]),
        ('{"liabilities":[%s]}' % LIABILITY, [READ]),
        ('{"liabilities":[%s,%s]}' % (LIABILITY, LIABILITY), [READ, READ]),
        ('{"liabilities":null}', []),
        ('{"liabilities":[]}', []),
        ("{}", []),
        ('[{"liabilities":%s}]' % LIABILITY, [READ]),
        ("[]", []),
        ("null", []),
    ],
)
def test_gives_lists_in_either_documented_shape(sent: str, kept: list[Any]) -> None:
    """The snapshot and its liabilities may be an object, a list or null; a list comes out."""
    snapshot = parse(row(liquidationSnapshot=sent))[0]["liquidationSnapshot"]
    assert snapshot == {"snapshots": [], "liabilities": kept}


def test_fills_documented_fields_and_keeps_others() -> None:
    """A field that Binance leaves out is None; one that it does not document is kept, all numbers as text."""
    (record,) = parse(
        row(
            newField='{"a":[1,2.50,null,true]}',
            liquidationSnapshot='{"snapshots":[{"extra":1}],"mode":"X"}',
        )
    )
    assert record["endLtv"] is None
    assert record["newField"] == {"a": ["1", "2.50", None, True]}
    assert record["liquidationSnapshot"]["mode"] == "X"
    assert record["liquidationSnapshot"]["snapshots"][0] == {
        "subEmail": None,
        "memberType": None,
        "walletType": None,
        "netEquity": None,
        "maintainMargin": None,
        "extra": "1",
    }


def test_orders_fields_the_same_whatever_was_received() -> None:
    """The same record has the same bytes, in whatever order its fields were received."""
    one = row(zeta="1", alpha="2", endLtv="1")
    other = '{"rows":[{"alpha":2,"endLtv":1,"zeta":1,"liquidationStartTime":"1748381716906","groupId":"6"}]}'
    assert json.dumps(parse(one)) == json.dumps(parse(other))


def test_keeps_unicode() -> None:
    """An e-mail address keeps its characters, however they are escaped."""
    sent = '{"snapshots":[{"subEmail":"użytkownik+\\ud83d\\ude00@例え.jp"}]}'
    snapshot = parse(row(liquidationSnapshot=sent))[0]["liquidationSnapshot"]
    assert snapshot["snapshots"][0]["subEmail"] == "użytkownik+😀@例え.jp"


@pytest.mark.parametrize(
    ("sent", "running"), [("null", True), ("0", True), ('"0"', True), ("1748525848742", False)]
)
def test_distinguishes_running_from_finished(sent: str, running: bool) -> None:
    """A liquidation runs until its end time is set."""
    assert FORCE_LIQUIDATIONS.is_final(parse(row(liquidationEndTime=sent))[0]) is not running


def test_takes_an_absent_end_for_running() -> None:
    """A record without an end time is one that runs."""
    assert not FORCE_LIQUIDATIONS.is_final(parse(row())[0])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("[]", r"the body is \[\], and should be an object"),
        ("null", "the body is null"),
        ("{}", "rows is absent, and should be a list"),
        ('{"total":1}', "rows is absent"),
        ('{"total":1,"rows":null}', "rows is null"),
        ('{"rows":null}', "rows is null"),
        ('{"rows":{}}', r"rows is \{\}"),
        ('{"rows":[],"total":"many"}', "total is 'many', and should be a whole number"),
        ('{"rows":[],"total":true}', "total is True"),
        ('{"rows":[1]}', r"rows\[0\] is 1, and should be an object"),
        ('{"rows":[{"liquidationStartTime":1}]}', r"rows\[0\].groupId is absent"),
        (row(groupId="null"), r"rows\[0\].groupId is null"),
        (row(groupId="6.0"), r"rows\[0\].groupId is '6.0'"),
        (row(groupId="true"), r"rows\[0\].groupId is True"),
        (row(groupId='"six"'), r"rows\[0\].groupId is 'six'"),
        (row(groupId='"٦"'), r"rows\[0\].groupId is '٦'"),
        ('{"rows":[{"groupId":6}]}', r"rows\[0\].liquidationStartTime is absent"),
        (row(liquidationEndTime='"soon"'), r"rows\[0\].liquidationEndTime is 'soon'"),
        (row(endLtv='"high"'), r"rows\[0\].endLtv is 'high', and should be a decimal number"),
        (row(endLtv='""'), r"rows\[0\].endLtv is ''"),
        (row(endLtv='"1_000"'), r"rows\[0\].endLtv is '1_000'"),
        (row(endLtv='" 1"'), r"rows\[0\].endLtv is ' 1'"),
        (row(endLtv='"NaN"'), r"rows\[0\].endLtv is 'NaN'"),
        (row(endLtv="1E101"), r"rows\[0\].endLtv is '1E101'"),
        (row(endLtv="1E-1000000"), r"rows\[0\].endLtv is '1E-1000000'"),
        (row(endLtv="true"), r"rows\[0\].endLtv is True"),
        (row(endLtv="[1]"), r"rows\[0\].endLtv is \['?1"),
        (row(liquidationSnapshot="1"), r"rows\[0\].liquidationSnapshot is 1"),
        (row(liquidationSnapshot="[{},{}]"), r"liquidationSnapshot is \[\{\}, \{\}\], .*a list of one"),
        (row(liquidationSnapshot='{"liabilities":"USDT"}'), "liquidationSnapshot.liabilities is 'USDT'"),
        (row(liquidationSnapshot='{"liabilities":[7]}'), r"liquidationSnapshot.liabilities\[0\] is 7"),
        (
            row(liquidationSnapshot='{"snapshots":[{},{"netEquity":"x"}]}'),
            r"rows\[0\].liquidationSnapshot.snapshots\[1\].netEquity is 'x'",
        ),
        (
            row(liquidationSnapshot='{"snapshots":[{"subEmail":5}]}'),
            r"snapshots\[0\].subEmail is 5, and should be a text",
        ),
        ('{"rows":[' + '{"a":' * 100_000, "too many levels"),
        (row(endLtv="9" * 5000), "a number that is too long"),
        (b"\xff\xfe", "is not JSON"),
        ("<html>", "the answer, 6 bytes of application/json, is not JSON"),
    ],
)
def test_says_what_is_wrong_and_where(body: bytes | str, says: str) -> None:
    """A body that is not the documented shape is an error with the path to what is wrong."""
    with pytest.raises(BadResponseError, match=says):
        parse(body)


@pytest.mark.parametrize("body", [EXAMPLE[:-3], EXAMPLE[:1], "{]", '{"rows":[nul]}'])
def test_says_that_a_body_is_cut_off(body: bytes | str) -> None:
    """A body that begins like JSON, and then is not, may be complete the next time."""
    with pytest.raises(TransientError, match="is cut off or damaged"):
        parse(body)


@pytest.mark.parametrize(
    ("body", "says", "may_pass"),
    [
        ("", "is not JSON", True),
        ("<html>", "is not JSON", True),
        ("\x00", "is not JSON", True),
        ('{"rows":[{"groupId":NaN}]}', "not finite, or an unpaired surrogate", False),
        (row(endLtv="-Infinity"), "not finite, or an unpaired surrogate", False),
        (row(memo='"\\ud83d"'), "not finite, or an unpaired surrogate", False),
        ('{"rows":[],"total":0,"rows":[{"groupId":6}]}', "has a key twice", False),
        ('{"code":0,"rows":[],"code":-1003}', "has a key twice", False),
    ],
)
def test_says_whether_another_answer_may_be_better(body: str, says: str, may_pass: bool) -> None:
    """A page of HTML may be gone the next time; an answer that is complete and wrong stays so."""
    with pytest.raises(BadResponseError, match=says) as caught:
        parse(body)
    assert caught.value.may_pass is may_pass


@pytest.mark.parametrize("layout", [{}, {"indent": 1}, {"separators": (" , ", " :\t")}], ids=str)
@pytest.mark.parametrize("place", range(EXAMPLE.count(b'":')))
def test_refuses_every_key_that_an_object_has_twice(place: int, layout: dict[str, Any]) -> None:
    """One of two values would win in silence, at whatever depth, and however the answer is laid out."""
    text = json.dumps(json.loads(EXAMPLE), **layout)
    key = list(re.finditer(r'"\w+"\s*:', text))[place]
    with pytest.raises(BadResponseError, match="has a key twice"):
        parse(f"{text[: key.start()]}{key[0]}null,{text[key.start() :]}")
    with pytest.raises(BadResponseError, match="has a key twice"):  # where the number of colons says nothing
        parse(f'{text[: key.start()]}{key[0]}null,"memo":"\\u003a",{text[key.start() :]}')


@pytest.mark.parametrize("text", ['"rows"', '"code" and "code"', '"total": "total"', "a:b", "\\u003a", ":::"])
def test_a_key_in_a_text_is_not_a_key(text: str) -> None:
    """A text that looks like a key, as often as it likes, does not make an answer suspicious for good."""
    (record,) = parse(row(memo=json.dumps(f"{text} {text}")))
    assert record["memo"] == f"{text} {text}"


@pytest.mark.parametrize(
    "body", ['{"total":0}', '{"total":"0"}', '{"total":0,"rows":null}', '{"total":0,"rows":[]}']
)
def test_takes_an_empty_answer_in_each_form(body: str) -> None:
    """A total of 0 needs no rows: an endpoint beside these answers without them."""
    assert parse(body) == []


@pytest.mark.parametrize("number", [1, -1, 0, 2**70])
def test_gives_undeclared_numbers_as_texts_at_any_depth(number: int) -> None:
    """A field that Binance adds has one type in all records, whether its number has a fraction or not."""
    (record,) = parse(row(fee=str(number), more=json.dumps({"list": [number, {"a": number}]})))
    assert record["fee"] == str(number)
    assert record["more"] == {"list": [str(number), {"a": str(number)}]}


def test_reads_a_closed_unit() -> None:
    """A closed unit has its times as integers, and keeps what is not documented."""
    payload = {"total": 1, "rows": [{"groupId": "7", "createTime": 1, "closeTime": "2", "reason": "x"}]}
    assert CLOSED_RISK_UNITS.parse(payload).rows == [
        {
            "groupId": 7,
            "parentEmail": None,
            "creditEmail": None,
            "enabled": None,
            "createTime": 1,
            "closeTime": 2,
            "reason": "x",
        }
    ]


@pytest.mark.parametrize("neighbour", ['"1"', "null", "2", "1.5", '"0E-8"', '".5"'])
@pytest.mark.parametrize("sent", ["1.50", "007.50", "-0", "0.000", "12345678901234567890.123456789012345678"])
def test_an_amount_is_the_same_whatever_its_column_holds(sent: str, neighbour: str) -> None:
    """An amount in plain notation stays as it was sent, on every page."""
    one, other = (row(startLtv=text)[len('{"total":1,"rows":[') : -2] for text in (f'"{sent}"', neighbour))
    records = parse(f'{{"total":2,"rows":[{one},{other}]}}')
    assert records[0]["startLtv"] == sent


@pytest.mark.parametrize("sent", [r"1\n2", r"1\n", "1 ", "", "-", "1..2", "\u0665"])
@pytest.mark.parametrize("neighbour", ['"1"', "null"])
def test_a_text_that_is_not_an_amount_is_refused_whatever_its_column_holds(sent: str, neighbour: str) -> None:
    """A text that reads as amounts only once a column is joined into lines is an error."""
    one, other = (row(startLtv=text)[len('{"total":1,"rows":[') : -2] for text in (f'"{sent}"', neighbour))
    with pytest.raises(BadResponseError, match=r"rows\[0\].startLtv"):
        parse(f'{{"total":2,"rows":[{one},{other}]}}')
