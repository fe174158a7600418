"""Bad input to the page of a liquidation: each error names the argument or the field that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.report.landing import land_page
from airflow_provider_binance_loan.report.liquidation_page import render_liquidation_page
from tests.support.bad_input import Case, Environment, cases
from tests.support.clock import HOUR, NOW

RECORD = {"groupId": 6, "liquidationStartTime": 1772324260113}
CASES = [
    *cases("liquidation", None, [RECORD]),
    *(
        Case(f"{field}={value!r}", field, {"liquidation": RECORD | {field: value}})
        for field, value in [
            ("groupId", None),
            ("groupId", "6"),
            ("liquidationStartTime", None),
            ("liquidationStartTime", "2026-03-01"),
            ("liquidationStartTime", NOW),
        ]
    ),
    *cases("levels", "high", [None]),
    *cases("manifests", {}, "s3://risk-lake/a.jsonl", ["s3://risk-lake/a.jsonl"]),
]
LANDED = cases("s3_key", None) + cases("s3_extra_args", "x", s3_key="s3://risk-lake/page.html")


def provoke(case: Case, _: Environment) -> None:
    """Run into the error of a page."""
    arguments: dict[str, Any] = {"liquidation": RECORD, "start": NOW - HOUR, "end": NOW, **case.given}
    render_liquidation_page(**arguments)


def provoke_landed(case: Case, _: Environment) -> None:
    """Run into the error of landing a page."""
    land_page("page", **case.given)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_names_what_is_wrong_with_a_page(case: Case, environment: Environment, refused: Any) -> None:
    """There is no page of what is no record."""
    refused(ConfigurationError, case.field, lambda: provoke(case, environment))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in LANDED])
def test_names_what_is_wrong_with_where_it_goes(case: Case, environment: Environment, refused: Any) -> None:
    """S3 is not asked."""
    refused(ConfigurationError, case.field, lambda: provoke_landed(case, environment))
