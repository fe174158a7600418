"""The interest of an hour: it is compared where the rate says enough of it."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_binance_loan.reconciliation.movements import check_interest_rates


def charge(principal: str, rate: str, interest: str) -> dict[str, Any]:
    return {
        "groupId": 6,
        "assetName": "USDT",
        "interestTimestamp": 1_772_323_200_000,
        "principal": principal,
        "interestRate": rate,
        "interest": interest,
    }


@pytest.mark.parametrize(
    ("principal", "rate", "interest", "expected"),
    [
        ("851340.57601652", "0.00000833", "7.09447643", "equal"),  # Binance's example
        ("1000000", "0.00000833", "8.34", "equal"),
        ("1000000", "0.00000833", "8.36", "different"),
        ("1000000", "0.00001", "19.99", "not_compared"),
        ("1000000", "0.00001", "10.00", "equal"),
        ("1000000", "0.00001", "21.01", "different"),
        ("1000000", "0", "999999", "not_compared"),
        ("1000000", "0", "0", "equal"),
        ("1000000", "0.0001", "1", "not_compared"),
        ("0", "0.00000833", "0", "equal"),
    ],
)
def test_a_rate_with_few_decimals_is_not_compared(
    principal: str, rate: str, interest: str, expected: str
) -> None:
    """What a rate may have lost must be small against the interest that it gives."""
    (row,) = check_interest_rates([charge(principal, rate, interest)])
    assert row["outcome"] == expected


@pytest.mark.parametrize(("interest", "expected"), [("10.00999", "equal"), ("19.99", "not_compared")])
def test_a_rate_may_have_lost_zeros(interest: str, expected: str) -> None:
    """Where another rate has eight decimals, one with fewer lacks zeros, and is compared by eight."""
    other = charge("0", "0.00000833", "0")
    rows = list(check_interest_rates([charge("1000000", "0.00001", interest), other]))
    assert {row["outcome"] for row in rows} == {"equal", expected}
