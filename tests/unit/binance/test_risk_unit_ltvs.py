"""The LTVs of risk units: what a snapshot holds, and what an empty answer means."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS, read_ltvs
from airflow_provider_binance_loan.binance.declaration import Snapshot
from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.binance.snapshots import Sample
from airflow_provider_binance_loan.exceptions import (
    BadResponseError,
    RequestRefusedError,
    TransientError,
)
from tests.support.paths import DATA
from tests.support.plans import PlanRunner

DOCUMENTED = json.loads((DATA / "documented-ltv.json").read_text())
NOW_MS = 1_772_366_400_000
CLOSED = {"total": 1, "rows": [{"groupId": 7, "closeTime": NOW_MS - 1}]}
NONE_CLOSED = {"total": 0, "rows": []}
NOT_CREDIT = RequestRefusedError("Refused.", code=-3999)


class Answers:
    """What Binance answers, by the end of the path, one after another; the last one again and again."""

    def __init__(self, ltvs: list[Any], closed: list[Any]) -> None:
        self.answers = {"ltv-details": ltvs, "closed": closed}
        self.asked: list[str] = []

    def __call__(self, request: Request) -> Response:
        name = request.path.rpartition("/")[2]
        answers = self.answers[name]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        response = Response(
            request, 200, {}, json.dumps(answer, default=str).encode(), NOW_MS + len(self.asked)
        )
        if isinstance(answer, RequestRefusedError):
            assert answer.code in request.handled_codes
            response.refusal = answer
        self.asked.append(name)
        return response


def read(ltvs: list[Any], closed: list[Any], dataset: Snapshot = RISK_UNIT_LTVS) -> tuple[Sample, list[str]]:
    answers = Answers(copy.deepcopy(ltvs), closed)
    return PlanRunner(answers, 1).run(read_ltvs(dataset)), answers.asked


def ltv_of(value: Any) -> Any:
    sample, _ = read([[{**DOCUMENTED[0], "ltv": value}]], [NONE_CLOSED])
    return sample.records[0]["ltv"]


def test_reads_the_documented_example() -> None:
    """Every field is there, digit for digit, and first when Binance was asked. It is one request."""
    sample, asked = read([DOCUMENTED], [NONE_CLOSED])
    assert sample.asked_at_ms == NOW_MS
    assert sample.records == [{"asked_at": NOW_MS, **DOCUMENTED[0]}]
    assert list(sample.records[0])[:2] == ["asked_at", "groupId"]
    assert asked == ["ltv-details"]


@pytest.mark.parametrize("value", [None, ""])
def test_an_ltv_that_is_not_stated_is_null(value: Any) -> None:
    """It is null, and not 0."""
    assert ltv_of(value) is None


def test_an_ltv_of_zero_is_zero() -> None:
    """What Binance states is kept."""
    assert ltv_of("0E-8") == "0.00000000"


def test_sorts_by_risk_unit() -> None:
    """The order of the answer does not matter."""
    rows = [{**DOCUMENTED[0], "groupId": group_id} for group_id in (9, 1, 7)]
    sample, _ = read([rows], [NONE_CLOSED])
    assert [record["groupId"] for record in sample.records] == [1, 7, 9]
    assert [record["groupId"] for record in sample.of((7, 1))] == [1, 7]
    assert sample.of("active") == sample.of("all") == sample.records
    assert sample.missing((7, 8)) == [8]
    assert sample.missing("all") == []


class TestNoRiskUnit:
    """An empty list is data for the key of a closed risk unit alone."""

    def test_of_a_closed_one(self) -> None:
        """A credit account whose risk unit is closed has no LTV."""
        sample, asked = read([[]], [CLOSED])
        assert sample.records == []
        assert asked == ["ltv-details", "closed"]

    def test_of_one_that_closed_in_between(self) -> None:
        """A risk unit that is in neither list at first, and then closed, is closed."""
        sample, asked = read([[]], [NONE_CLOSED, CLOSED])
        assert sample.records == []
        assert asked == ["ltv-details", "closed"] * 2

    def test_of_one_that_is_in_neither_list_for_a_moment(self) -> None:
        """The second answer counts."""
        sample, _ = read([[], DOCUMENTED], [NONE_CLOSED])
        assert [record["groupId"] for record in sample.records] == [1]

    @pytest.mark.parametrize("closed", [NONE_CLOSED, NOT_CREDIT], ids=["credit account", "other account"])
    def test_of_any_other(self, closed: Any) -> None:
        """Whether it passes is not known, so it may be tried again."""
        with pytest.raises(TransientError, match=r"^Use the key of the parent account, .* sees no risk unit"):
            read([[]], [closed])


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ({"rows": DOCUMENTED}, "the body is"),
        ([{"groupId": 1, "liquidationStartTime": 5}], r"\[0\] has none of"),
        ([{**DOCUMENTED[0], "groupId": None}], r"\[0\]\.groupId is null"),
        ([{**DOCUMENTED[0], "ltv": "high"}], r"\[0\]\.ltv is 'high'.*, in the record with groupId 1"),
        ([{**DOCUMENTED[0], "totalLiability": "INF"}], r"\[0\]\.totalLiability is 'INF'"),
        (
            [DOCUMENTED[0], {**DOCUMENTED[0], "ltv": "0.7"}],
            "two different records with groupId 1, asked_at",
        ),
    ],
)
def test_refuses_what_is_not_documented(rows: Any, text: str) -> None:
    """The error names the field and the record."""
    with pytest.raises(BadResponseError, match=text):
        read([rows], [NONE_CLOSED])


@pytest.mark.parametrize("value", ["INF", "high", True, [], {}, "1e5000"])
def test_one_bad_ltv_does_not_silence_the_others(value: Any) -> None:
    """In a poll an LTV that is no number is unknown, whatever it is, and the other risk units are read."""
    rows = [{**DOCUMENTED[0], "ltv": value}, {**DOCUMENTED[0], "groupId": 7}]
    sample, _ = read([rows], [NONE_CLOSED], RISK_UNIT_LTVS.for_polls)
    assert [(record["groupId"], record["ltv"]) for record in sample.records] == [(1, None), (7, "0.592")]


def test_a_column_of_binances_does_not_take_ours() -> None:
    """Should Binance add a field of that name, it is kept under another one."""
    sample, _ = read([[{**DOCUMENTED[0], "asked_at": 5}]], [NONE_CLOSED])
    (record,) = sample.records
    assert (record["asked_at"], record["asked_at_"]) == (NOW_MS, "5")


def test_a_poll_reads_what_it_uses() -> None:
    """A bad amount elsewhere does not stop whoever waits."""
    row = copy.deepcopy(DOCUMENTED[0])
    row["ltv"], row["updateTime"], row["maxTransferOutAmount"] = "INF", "never", []
    row["collateralAccounts"] = "none"
    sample, _ = read([[row]], [NONE_CLOSED], RISK_UNIT_LTVS.for_polls)
    assert sample.records[0]["ltv"] is None
    assert sample.records[0].keys() == {
        "asked_at",
        "groupId",
        "ltv",
        "totalNetEquity",
        "totalMaintenanceMargin",
        "totalLiability",
        "maxAllowedBorrowLimit",
    }


def test_keeps_a_bad_amount_when_told_to() -> None:
    """With `keep` the text is landed as it was sent."""
    rows = [{**DOCUMENTED[0], "ltv": "INF"}]
    sample, _ = read([rows], [NONE_CLOSED], RISK_UNIT_LTVS.with_bad_amounts("keep"))
    assert sample.records[0]["ltv"] == "INF"
