"""The link on the page of a task."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_binance_loan.sandbox.exchange import Exchange
from tests.support.operators import operator
from tests.support.runs import run_context

pytestmark = pytest.mark.usefixtures("real_time")


@pytest.mark.parametrize(
    ("arguments", "page"),
    [
        ({}, ""),
        (
            {"s3_key": "s3://lake/dt=1/a.jsonl"},
            "https://console.aws.amazon.com/s3/object/lake?region=us-east-1&prefix=dt%3D1%2Fa.jsonl",
        ),
        (
            {"s3_key": "s3://lake/b.jsonl", "flatten": True},
            "https://console.aws.amazon.com/s3/object/lake?region=us-east-1&prefix=liquidations%2Fb.jsonl",
        ),
    ],
    ids=["xcom", "records", "tables"],
)
def test_links_to_the_object(exchange: Exchange, s3: Any, arguments: dict[str, Any], page: str) -> None:
    """The link leads to the object in the AWS console, and is empty when there is none."""
    task = operator(**arguments)
    (link,) = task.operator_extra_links
    assert link.name == "S3 object"
    assert link.get_link(task, ti_key=None) == ""
    task.execute(run_context())
    assert link.get_link(task, ti_key=None) == page
