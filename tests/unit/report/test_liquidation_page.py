"""The page of a liquidation: what it says of what is there and of what is missing, whatever the texts are."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_binance_loan.binance.time_range import utc_datetime
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.report.liquidation_page import render_liquidation_page
from tests.support.pages import Page
from tests.support.stories import MANIFEST, sandbox_story

Story = dict[str, Any]
RECORDS = ("ltvs", "transfers", "transactions", "interest")
CHECKS = [
    {
        "check": "repayments equal the fall of the liabilities",
        "subject": "USDT",
        "expected": "120.50000001",
        "found": "120.50000001",
        "difference": "0",
        "outcome": "equal",
        "note": None,
    },
    {
        "check": "transfers equal what was repaid",
        "subject": "BTC",
        "expected": "0.50000000",
        "found": "0.49999999",
        "difference": "-0.00000001",
        "outcome": "different",
        "note": "less was moved than was repaid",
    },
    {
        "check": "interest equals principal times rate",
        "subject": "ETH",
        "expected": "1.25",
        "found": None,
        "difference": None,
        "outcome": "not_compared",
        "note": "no interest was charged in this time",
    },
]
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=20)


@pytest.fixture(scope="module")
def read() -> Story:
    return sandbox_story()


@pytest.fixture
def told(read: Story) -> Story:
    """The story of a liquidation of the sandbox, which a test may change."""
    return copy.deepcopy(read | {"checks": CHECKS})


@pytest.fixture(scope="module")
def running() -> Story:
    return sandbox_story(finished=False)


def rendered(story: Story) -> Page:
    return Page(render_liquidation_page(**story))


def strings(value: Any) -> Iterator[str]:
    """Yield all texts in a record."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings(one)


def with_texts(value: Any, text: str) -> Any:
    """Return a record with a text in place of each of its texts."""
    if isinstance(value, dict):
        return {name: with_texts(one, text) for name, one in value.items()}
    if isinstance(value, list):
        return [with_texts(one, text) for one in value]
    return text if isinstance(value, str) else value


# What is there


def test_says_in_one_sentence_what_happened(told: Story) -> None:
    """The first sentence has the risk unit, the times, the LTVs and what was repaid, added up exactly."""
    repaid = sum(
        Decimal(one["amount"])
        for one in told["transactions"]
        if one["type"] != "BORROW" and one["status"] == "CONFIRM"
    )
    assert (
        "Binance liquidated risk unit 1 from 2026-03-01 00:17:40 to 2026-03-01 01:03:43 UTC, which took "
        f"46 min 2 s: the LTV went from 0.925 to 0, and {repaid} USDT was repaid." in rendered(told).text
    )


def test_shows_every_amount_as_it_came(told: Story) -> None:
    """Each text of the records is in a cell, digit for digit, also one with more digits than a float has."""
    told["liquidation"]["totalLiability"] = "12345678901234567890.123456789012345678900"
    told["transfers"][0]["liquidationTransferRecord"][0]["assets"][0]["amount"] = "0.000000000000000000000100"
    cells = {cell for table in rendered(told).tables.values() for row in table for cell in row}
    shown = (told["liquidation"], *(told[name] for name in RECORDS[1:]))
    assert {text for record in shown for text in strings(record)} <= cells


def test_has_a_row_for_each_record(told: Story) -> None:
    """Transfers, transactions and interest are complete; of many LTVs the lowest and highest are there."""
    tables = rendered(told).tables
    transfers = told["transfers"][0]["liquidationTransferRecord"]
    assert len(tables["Transfers of collateral"]) == 1 + len(transfers)
    assert len(tables["Repayments and borrowings"]) == 1 + len(told["transactions"])
    assert len(tables["Interest"]) == 1 + len(told["interest"])
    assert len(tables["Wallets when it started"]) == 1 + len(
        told["liquidation"]["liquidationSnapshot"]["snapshots"]
    )
    ltvs = {row[1] for row in tables["LTV samples"][1:]}
    assert len(ltvs) < len(told["ltvs"])
    known = [one["ltv"] for one in told["ltvs"]]
    assert {min(known, key=Decimal), max(known, key=Decimal)} <= ltvs


def test_shows_fields_that_binance_does_not_document(told: Story) -> None:
    """A field of the record that is new has a row too, and times are there to the millisecond."""
    told["liquidation"] |= {"newField": "7.50", "newList": [{"amount": "0.10"}, None]}
    rows = {row[0]: row[1] for row in rendered(told).tables["The record of the liquidation"]}
    assert rows["newField"] == "7.50"
    assert rows["newList"] == '[{"amount": "0.10"}, null]'
    assert rows["liquidationStartTime"] == "2026-03-01T00:17:40.113Z"


def test_tells_the_outcomes_apart_in_words(told: Story) -> None:
    """What differs comes first, each outcome is a word with a mark of its own, and the head counts them."""
    page = rendered(told)
    assert [row[0] for row in page.tables["Checks"]] == ["Outcome", "different", "not compared", "equal"]
    assert page.tables["Checks"][1][1:] == [
        "transfers equal what was repaidBTCless was moved than was repaid",
        "0.50000000",
        "0.49999999",
        "-0.00000001",
    ]
    assert "1 of 3 checks found a difference: 1 equal, 1 different, 1 not compared" in page.text
    style = render_liquidation_page(**told)
    marks = [
        re.search(rf'\.{outcome}::before {{ content: "(.+?)"', style)
        for outcome in ("equal", "different", "not_compared")
    ]
    assert len({mark[1] for mark in marks if mark}) == 3


@pytest.mark.parametrize(
    ("outcomes", "says", "colour"),
    [
        (["equal"] * 2, "All checks found what they expected: 2 equal", "equal"),
        (["equal", "different"], "1 of 2 checks found a difference: 1 equal", "different"),
        (["equal", "not_compared"], "No check found a difference, but not all could compare", "not_compared"),
        (["equal", "other"], "1 with another outcome", "not_compared"),
        (["equal", None], "1 with another outcome", "not_compared"),
        ([], "There was nothing to check.", "not_compared"),
    ],
)
def test_says_how_the_checks_ended(told: Story, outcomes: list[str], says: str, colour: str) -> None:
    """All equal is said only when all are, and has a colour of its own."""
    told["checks"] = [{"check": "a check", "subject": "BTC", "outcome": outcome} for outcome in outcomes]
    page = rendered(told)
    assert says in page.text
    assert ("All checks found" in page.text) == (outcomes == ["equal"] * 2)
    assert ("p", {"class": f"verdict {colour}"}) in page.elements


def test_lists_the_objects_with_their_hashes(told: Story) -> None:
    """Each object of a manifest has a row, those of flat tables as well, and a snapshot its moment."""
    flat = {"uri": "s3://lake/liabilities.parquet", "records": 2, "bytes": 5, "sha256": "b" * 64}
    snapshot = {
        "dataset": "risk_unit_ltvs",
        "asked_at": "2026-03-01T00:00:00.000+00:00",
        **flat,
        "tables": {"liabilities": flat},
    }
    told["manifests"] = [MANIFEST, snapshot]
    rows = rendered(told).tables["The data, and its hashes"]
    assert rows[1] == [
        "transfers",
        "7",
        "2310",
        "2026-03-01 08:17:02",
        "2026-03-01 10:40:11",
        MANIFEST["uri"],
        MANIFEST["sha256"],
    ]
    assert rows[2][0] == "risk_unit_ltvs: liabilities"
    assert rows[2][3:] == ["2026-03-01 00:00:00", "–", flat["uri"], flat["sha256"]]  # noqa: RUF001


def repayment(told: Story, **changes: Any) -> dict[str, Any]:
    """A repayment that was made while the liquidation ran."""
    first = next(one for one in told["transactions"] if one["type"] != "BORROW")
    at_ms = told["liquidation"]["liquidationStartTime"] + 1000
    return {**first, "status": "CONFIRM", "timestamp": at_ms, "occurrence": 0, **changes}


@pytest.mark.parametrize(
    ("transactions", "changes", "nothing", "says"),
    [
        ([], {}, True, "Nothing was repaid in this time."),
        ([], {"start": 1}, False, "The page does not cover the whole liquidation"),
        ([], {"end": -1}, False, "The page does not cover the whole liquidation"),
        ([], {"end": 0}, False, "The page does not cover the whole liquidation"),
        ([], {"end": 1}, True, "Nothing was repaid in this time."),
        ([], {"ended": None}, False, "The liquidation had not ended."),
        ([{"status": "PENDING"}], {}, False, "and 1 repayment is not confirmed."),
        ([{"status": "FAILED"}, {"status": None}], {}, False, "2 repayments not confirmed."),
        ([{"timestamp": None}], {}, False, "1 record of another type or without a time, not counted."),
        ([{"type": None}], {}, False, "1 record of another type or without a time, not counted."),
        ([{"type": "BORROW"}], {}, True, "Nothing was repaid in this time."),
        ([{"timestamp": 1}], {}, True, "Nothing was repaid in this time."),
    ],
)
def test_says_that_nothing_was_repaid_only_where_that_is_known(
    told: Story, transactions: list[Story], changes: Story, nothing: bool, says: str
) -> None:
    """The page covers the whole liquidation, and no repayment lies in it, whatever its status."""
    told["transactions"] = [repayment(told, **one) for one in transactions]
    record = told["liquidation"]
    if "ended" in changes:
        record["liquidationEndTime"] = None
    for name, edge in (("start", "Start"), ("end", "End")):
        if name in changes:
            told[name] = utc_datetime(record[f"liquidation{edge}Time"] + changes[name])
    text = rendered(told).text
    assert (", and nothing was repaid." in text, "Nothing was repaid in this time." in text) == (
        nothing,
        nothing,
    )
    assert says in text


def test_adds_up_each_repayment_once(told: Story) -> None:
    """Repeats and records of types that are not known are in the table, and in no sum."""
    told["transactions"] = [
        repayment(told, amount="1.5"),
        repayment(told, amount="1.5", occurrence=1),
        *(repayment(told, amount="1.5", type=name) for name in ("NORMAL_REPAY", "FORCE_REPAY", "REPAY")),
        *(repayment(told, amount="9", type=name) for name in (None, "COLLATERAL_TOP_UP")),
    ]
    page = rendered(told)
    assert "and 6.0 USDT was repaid." in page.text
    assert "2 records of another type or without a time, not counted." in page.text
    assert "Repaid: 4" in page.text
    assert "Of another type: 2" in page.text
    assert len(page.tables["Repayments and borrowings"]) == 1 + 7


def test_leaves_out_other_risk_units(told: Story) -> None:
    """Records of another risk unit are not shown; those that name none are."""
    other = {"asked_group_id": 2, **dict.fromkeys(("assetName", "amount"), "OTHER"), "timestamp": 1}
    told["transactions"] += [other, other | {"asked_group_id": None, "assetName": "NAMELESS"}]
    told["interest"].append(told["interest"][0] | {"groupId": 2, "interest": "OTHER"})
    told["ltvs"].append(told["ltvs"][0] | {"groupId": 2, "ltv": "1.9"})
    page = rendered(told)
    cells = {cell for table in page.tables.values() for row in table for cell in row}
    assert {"NAMELESS"} <= cells
    assert not {"OTHER2", "1.9"} & cells
    assert page.tables["Interest"][-1][-1] != "OTHER"


def test_says_which_transfers_are_left_out(told: Story) -> None:
    """A record without a transfer during the liquidation is counted; one that touches it is shown."""
    (ours,) = told["transfers"]
    start, end = (told["liquidation"][f"liquidation{name}Time"] for name in ("Start", "End"))
    moved = ours["liquidationTransferRecord"][0]
    before = {"liquidationId": 1, "liquidationTransferRecord": [moved | {"transferTime": start - 1}]}
    touching = {
        "liquidationId": 2,
        "liquidationTransferRecord": [moved | {"transferTime": time} for time in (end, end + 1)],
    }
    page = rendered(told | {"transfers": [ours, before, touching]})
    ids = {row[1] for row in page.tables["Transfers of collateral"][1:]}
    assert ids == {str(ours["liquidationId"]), "2"}
    assert "Left out: 1 record without a transfer during this liquidation." in page.text
    assert (
        "of more than one record with transfers during this liquidation, some may be of others" in page.text
    )


# What is missing


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ({"ltvs": None}, ["LTVs were not read for this page.", "LTVs were not read."]),
        ({"ltvs": []}, ["No LTV was sampled between 2026-02-28 23:17:40 and", "No LTV was sampled before"]),
        ({"transfers": None}, ["Transfers were not read for this page.", "Transfers: not read"]),
        (
            {"transfers": []},
            ["No transfer of collateral was made during this liquidation.", "Transfers: none"],
        ),
        ({"transactions": None}, ["Repayments were not read.", "Repaid: not read"]),
        ({"transactions": []}, ["Nothing was repaid in this time.", ", and nothing was repaid."]),
        ({"interest": None}, ["Interest was not read for this page."]),
        ({"interest": []}, ["No interest was charged between 2026-02-28 23:17:40 and"]),
        ({"checks": None}, ["No checks were made for this page."]),
        ({"manifests": None}, ["No object was named that holds the data of this page."]),
        ({"levels": []}, ["No levels were given."]),
        (dict.fromkeys(RECORDS) | {"checks": None, "manifests": None, "levels": ()}, ["0.925"]),
    ],
    ids=str,
)
def test_says_what_is_missing(told: Story, missing: Story, says: list[str]) -> None:
    """A page without some of its parts says so in their places."""
    text = rendered(told | missing).text
    assert [part for part in says if part not in text] == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"asked_at": 1772000000000}, "None of the LTV samples lies within the drawn time."),
        ({"ltv": None}, "Binance stated no LTV in any of the samples of this time."),
    ],
    ids=["outside", "unknown"],
)
def test_says_why_no_ltv_is_drawn(told: Story, changes: Story, says: str) -> None:
    """Samples of another time do not lack an LTV, and those that lack one are of this time."""
    told["ltvs"] = [told["ltvs"][80] | changes]
    text = rendered(told).text
    assert says in text
    assert ("Binance stated no LTV" in text) == ("Binance" in says)


def test_promises_the_digits_of_records_alone(told: Story) -> None:
    """Samples may have been read from a column that has one number of decimals."""
    assert "Amounts of the records are written digit for digit" in rendered(told).text
    assert "LTV samples may have been stored with other trailing zeros" in rendered(told).text


def test_says_that_a_liquidation_is_running(running: Story) -> None:
    """Without an end there is no duration, no LTV at the end and nothing after it, and the page says why."""
    page = rendered(running)
    assert "Binance has been liquidating risk unit 1 since 2026-03-01 00:17:40 UTC" in page.text
    assert "It was still running when its record was read" in page.text
    assert "Latest LTV" in page.text
    assert "First LTV sampled after It had not ended." in page.text
    assert "which took" not in page.text
    assert "LTV at the end" not in page.text


@pytest.mark.parametrize("end", [None, 0, "", "absent"])
def test_a_liquidation_without_an_end_is_running(told: Story, end: Any) -> None:
    """However Binance says that there is no end, and also where it says nothing."""
    told["liquidation"]["liquidationEndTime"] = end
    if end == "absent":
        del told["liquidation"]["liquidationEndTime"]
    assert "It was still running when its record was read" in rendered(told).text


def test_an_end_before_the_start_has_no_duration(told: Story) -> None:
    """Times that contradict one another are shown, and no length is made of them."""
    told["liquidation"]["liquidationEndTime"] = told["liquidation"]["liquidationStartTime"] - 60_000
    page = rendered(told)
    assert "from 2026-03-01 00:17:40 to 2026-03-01 00:16:40 UTC: the LTV went" in page.text


@pytest.mark.parametrize("gone", ["startLtv", "endLtv", "totalLiability", "liquidationSnapshot"])
def test_invents_nothing(told: Story, gone: str) -> None:
    """A figure that the record does not state is said not to be, and none takes its place."""
    for record in (
        told["liquidation"] | {gone: None},
        {k: v for k, v in told["liquidation"].items() if k != gone},
    ):
        page = rendered(told | {"liquidation": record, "ltvs": None})
        assert ("not stated" in page.text) or gone == "liquidationSnapshot"
        assert ("the LTV went from" in page.text) == ("Ltv" not in gone)
        assert ("names no wallet" in page.text) == (gone == "liquidationSnapshot")


def test_adds_up_no_text(told: Story) -> None:
    """The sum of amounts of which one is no number is not stated."""
    told["transactions"][0]["amount"] = "INF"
    assert "an amount that cannot be added up USDT was repaid" in rendered(told).text


# Any text


HOSTILE = {
    "script": "<script>alert(1)</script>",
    "end of an element": "</title></style></svg></table><img src=x onerror=alert(1)>",
    "quotes": '"\'` onmouseover=alert(1) x="',
    "address": "javascript:alert(1)",
    "template": "{{ 7 * 7 }}{% raw %}",
    "long": "<script>alert(1)</script>" * 20,
    "entity": "&lt;script&gt;&#x202e;",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_escapes_every_text(told: Story, text: str) -> None:
    """Whatever Binance, an object's name or a note says is shown as it is, and is never markup."""
    plain = rendered(told)
    names = ("liquidation", *RECORDS, "checks", "manifests")
    page = rendered(told | {name: with_texts(told[name], text) for name in names})
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements} | {"div"}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert {attributes.get("href") for tag, attributes in page.elements if tag == "a"} == {"#checks-title"}
    cells = [cell for table in page.tables.values() for row in table for cell in row]
    assert cells.count(text) > 50


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ("USD\u202eTDSU", r"USD\u202eTDSU"),
        ("a\u2066b\u200bc", r"a\u2066b\u200bc"),
        ("a\x00b\x1b", r"a\x00b\x1b"),
        ("half \ud83d of one", r"half \ud83d of one"),
        ("a\nb\u2028c", r"a\nb\u2028c"),
        ("中文 ümlaut €", "中文 ümlaut €"),
        (r"USD\u202e", r"USD\\u202e"),
        ("a\u00a0b\u3000c d", r"a\xa0b\u3000c d"),
        ("\u3164\u2800\u115f\u1160\u034f\ufe0f", r"\u3164\u2800\u115f\u1160\u034f\ufe0f"),
        ("\u17b5\u180b\uffa0\ufff0\U000e0101", r"\u17b5\u180b\uffa0\ufff0\U000e0101"),
        ("", "empty"),
    ],
)
def test_writes_what_cannot_be_seen_as_an_escape(told: Story, text: str, shows: str) -> None:
    """No text turns the direction of the page, hides in it, or cannot be encoded."""
    told["liquidation"]["liquidationSnapshot"]["liabilities"][0]["assetName"] = text
    html = render_liquidation_page(**told)
    html.encode()
    assert Page(html).tables["Loans when it started"][1][0] == shows


def test_gives_a_long_text_a_place_of_its_own(told: Story) -> None:
    """A name of 10 kB is there as a whole, in a box that scrolls and that the keyboard reaches."""
    name = "A" * 10_000
    told["liquidation"]["liquidationSnapshot"]["liabilities"][0]["assetName"] = name
    page = rendered(told)
    assert page.tables["Loans when it started"][1][0] == name
    assert [
        attributes["tabindex"] for _, attributes in page.elements if attributes.get("class") == "endless"
    ] == ["0"]


@given(text=TEXTS)
def test_no_text_is_an_error(text: str) -> None:
    """With any text in place of each there is a page, in UTF-8, with all of its tables."""
    story = json.loads(_SMALL)
    names = ("liquidation", *RECORDS, "checks", "manifests")
    changed = {name: with_texts(story[name], text) for name in names}
    start, end = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
    html = render_liquidation_page(**changed, start=start, end=end)
    html.encode()
    assert len(Page(html).tables) == 9


_SMALL = json.dumps(
    {
        "liquidation": {
            "groupId": 6,
            "startLtv": "0.9",
            "endLtv": "0",
            "liquidationStartTime": 1772324260113,
            "liquidationEndTime": 1772327023103,
            "totalLiability": "1",
            "liquidationSnapshot": {
                "snapshots": [{"subEmail": "a@b.c", "netEquity": "1"}],
                "liabilities": [{"assetName": "BTC", "principal": "1"}],
            },
        },
        "ltvs": [{"asked_at": 1772324260113, "groupId": 6, "ltv": "0.9", "totalLiability": "1"}],
        "transfers": [
            {
                "liquidationId": 1,
                "liquidationTransferRecord": [
                    {"transferTime": 1772325000000, "status": "CONFIRM", "assets": [{"amount": "1"}]}
                ],
            }
        ],
        "transactions": [
            {
                "timestamp": 1772325000000,
                "assetName": "BTC",
                "amount": "1",
                "status": "CONFIRM",
                "type": "REPAY",
            }
        ],
        "interest": [{"groupId": 6, "assetName": "BTC", "interest": "1", "interestTimestamp": 1772325000000}],
        "checks": [{"check": "a", "outcome": "equal", "note": "b"}],
        "manifests": [{"uri": "s3://a/b", "sha256": "c", "window_start": "d"}],
    }
)


@pytest.mark.parametrize("time", [None, 0, -1, 10**20, "soon", 1.5, True])
def test_times_that_are_none_are_shown_as_they_are(told: Story, time: Any) -> None:
    """A record whose time cannot be a time is shown all the same, and is last."""
    told["transactions"].insert(0, told["transactions"][0] | {"timestamp": time, "tranId": 77})
    told["transfers"][0]["liquidationTransferRecord"][0]["transferTime"] = time
    told["interest"][0]["interestTimestamp"] = time
    row = next(row for row in rendered(told).tables["Repayments and borrowings"] if row[-1] == "77")
    assert row[0] == ("not stated" if time is None else "yes" if time is True else str(time))


@pytest.mark.parametrize("ltv", [None, "", "INF", "-1", "1E+400", "99999999999999999999", "0." + "1" * 300])
def test_any_ltv_is_drawn_or_left_out(told: Story, ltv: Any) -> None:
    """An LTV that is none interrupts the curve, one that is enormous is drawn at the edge; the rest stays."""
    told["ltvs"][80]["ltv"] = ltv
    told["liquidation"]["endLtv"] = ltv
    page = rendered(told)
    known = 167 if str(ltv).startswith("9") else 166
    assert f"Line: {known} samples of the LTV" in page.text
    assert ("1 sample above 2 is drawn at the upper edge." in page.text) == (ltv == "9" * 20)


# The document


def test_needs_nothing_else(told: Story) -> None:
    """There is no script and no address of another resource; the policy forbids both."""
    html = render_liquidation_page(**told)
    page = Page(html)
    assert not {tag for tag, _ in page.elements} & {
        "script",
        "img",
        "iframe",
        "object",
        "use",
        "form",
        "input",
    }
    addresses = [a[name] for _, a in page.elements for name in ("src", "href", "xlink:href") if name in a]
    assert addresses == ["data:,", "#checks-title"]
    assert not re.search(r"url\(|@import|https?://", html)
    policy = next(
        a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")


def test_is_built_for_all_readers(told: Story) -> None:
    """Headings are in order, header cells have a scope, tables captions, and drawings a title and a text."""
    page = rendered(told)
    tags = [tag for tag, _ in page.elements]
    headings = [tag for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert headings == ["h1", *["h2"] * (len(headings) - 1)]
    assert {a.get("scope") for tag, a in page.elements if tag == "th"} == {"col", "row"}
    assert tags.count("caption") == tags.count("table") == 9
    drawings = [a for tag, a in page.elements if tag == "svg" and "role" in a]
    assert [a["role"] for a in drawings] == ["img", "img"]
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    named = {
        name
        for _, a in page.elements
        if a.get("aria-labelledby")
        for name in str(a["aria-labelledby"]).split()
    }
    assert named <= set(ids)
    assert {tag for tag, a in page.elements if a.get("id", "").endswith(("-title", "-desc"))} == {
        "title",
        "desc",
        "h2",
    }


def test_the_same_story_is_the_same_page(told: Story) -> None:
    """Nothing of the machine, the time or the order of samples is in the page."""
    page = render_liquidation_page(**told)
    told["ltvs"].reverse()
    assert render_liquidation_page(**told | {"ltvs": iter(told["ltvs"])}) == page


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"levels": ["high"]}, "levels"),
        ({"levels": [-1]}, "levels"),
        ({"start": datetime(2026, 3, 1)}, "start"),
        ({"end": datetime(2020, 3, 1, tzinfo=UTC)}, "end"),
        ({"levels": ["0.8", None]}, "levels .*not set"),
        ({"levels": "0.7, 0.8"}, "levels .*'0.7, 0.8'"),
        ({"liquidation": None}, "liquidation .*not set"),
        ({"liquidation": [{}]}, "liquidation .*one record"),
        ({"manifests": MANIFEST}, "manifests .*list of records"),
        ({"ltvs": "none"}, "ltvs .*'none'"),
        ({"checks": 5}, "checks .*5"),
        ({"transfers": ["a"]}, "transfers .*'a'"),
    ],
)
def test_says_which_argument_is_wrong(told: Story, wrong: Story, says: str) -> None:
    """Levels are LTVs, and the time is one with a time zone."""
    with pytest.raises(ConfigurationError, match=says):
        render_liquidation_page(**told | wrong)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("groupId", None, "Give groupId of the liquidation as a whole number.*not set"),
        ("groupId", "6", "groupId.*'6'"),
        ("groupId", True, "groupId.*True"),
        ("liquidationStartTime", None, "Give liquidationStartTime .* in epoch milliseconds.*not set"),
        ("liquidationStartTime", "soon", "liquidationStartTime.*'soon'"),
        ("liquidationStartTime", datetime(2026, 3, 1, tzinfo=UTC), "liquidationStartTime.*datetime"),
        ("liquidationStartTime", 1.5, "liquidationStartTime.*1.5"),
        ("liquidationStartTime", 10**20, "liquidationStartTime.*100000"),
    ],
)
def test_says_which_field_of_the_liquidation_is_wrong(told: Story, field: str, value: Any, says: str) -> None:
    """Without a risk unit and a start there is no page, and the field and what it holds are named."""
    told["liquidation"][field] = value
    with pytest.raises(ConfigurationError, match=says):
        render_liquidation_page(**told)
    if value is None:
        del told["liquidation"][field]
        with pytest.raises(ConfigurationError, match=says):
            render_liquidation_page(**told)


def test_ignores_what_a_skipped_task_leaves(told: Story) -> None:
    """A None among the records is as if it were not there, and so is a null in the lists of a record."""
    page = render_liquidation_page(**told)
    snapshot = told["liquidation"]["liquidationSnapshot"]
    transfers = told["transfers"][0]["liquidationTransferRecord"]
    nested = [snapshot["snapshots"], snapshot["liabilities"], transfers, transfers[0]["assets"]]
    for records in (*(told[name] for name in (*RECORDS, "checks", "manifests")), *nested):
        records.insert(0, None)
    assert render_liquidation_page(**told) == page
    assert "No object was named" in rendered(told | {"manifests": [None]}).text


@pytest.mark.parametrize(
    ("levels", "like"), [(None, []), ("0.8", ["0.8"]), (0.8, ["0.8"]), (Decimal("0.8"), ["0.8"])]
)
def test_takes_one_level_or_none(told: Story, levels: Any, like: list[str]) -> None:
    """A level that stands alone is one, and None is none."""
    expected = render_liquidation_page(**told | {"levels": like})
    assert render_liquidation_page(**told | {"levels": levels}) == expected


def test_many_records_stay_readable(told: Story) -> None:
    """A week of minutes is one curve of at most twelve hundred points, and a table of a hundred rows."""
    first = told["ltvs"][0]
    start_ms = told["liquidation"]["liquidationStartTime"]
    told["ltvs"] = [
        first | {"asked_at": start_ms + 60_000 * minute, "ltv": f"0.{minute % 90:02}"}
        for minute in range(10_080)
    ]
    told["end"] = datetime(2026, 3, 9, tzinfo=UTC)
    page = rendered(told)
    assert len(page.tables["LTV samples"]) < 100
    points: Callable[[str], int] = lambda text: len(text.split())  # noqa: E731
    assert sum(points(str(a["points"])) for tag, a in page.elements if tag == "polyline") <= 1200
