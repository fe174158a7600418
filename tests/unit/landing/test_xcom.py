"""Records to an XCom: all of them or an error."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.landing.xcom import collect_for_xcom, require_max_xcom_records
from tests.support.records import running


@pytest.mark.parametrize("count", [0, 1, 3])
def test_collects_as_many_as_are_allowed(count: int) -> None:
    """Up to the limit all records are returned, as they are."""
    some = [running(number) for number in range(count)]
    assert collect_for_xcom(iter(some), 3) == some


@pytest.mark.parametrize("limit", [0, 2])
def test_refuses_more(limit: int) -> None:
    """One record more is an error that names the way out, and no further record is read."""
    some = iter([running(number) for number in range(limit + 2)])
    with pytest.raises(ConfigurationError, match=f"Set s3_key .*max_xcom_records={limit}"):
        collect_for_xcom(some, limit)
    assert len(list(some)) == 1


@pytest.mark.parametrize("limit", [0, 1, 1_000_000])
def test_accepts_a_limit(limit: int) -> None:
    """A whole number of records is a limit."""
    require_max_xcom_records(limit)
    assert collect_for_xcom([], limit) == []


@pytest.mark.parametrize("limit", [-1, 1_000_001, None, "5", 5.0, True, 10**5000], ids=lambda _: "")
def test_refuses_a_limit(limit: Any) -> None:
    """Any other limit is an error that names the argument."""
    with pytest.raises(ConfigurationError, match="Give max_xcom_records as a whole number"):
        require_max_xcom_records(limit)
