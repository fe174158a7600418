"""Arithmetic of the LTV: exact, and null where it makes no sense."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_provider_binance_loan.binance.loan_to_value import (
    build_level_figures,
    known_ltv,
    level_text,
    parse_hysteresis,
    parse_level,
)
from airflow_provider_binance_loan.exceptions import ConfigurationError
from tests.support.paths import DATA

(EXAMPLE,) = json.loads((DATA / "documented-ltv.json").read_text())
AMOUNTS = st.decimals(0, 10**18, places=18, allow_nan=False, allow_infinity=False).map("{:f}".format)
LEVELS = st.decimals(Decimal("0.01"), Decimal("1.5"), places=4).map("{:f}".format)


def unit(liability: Any, equity: Any, margin: Any = "0", ltv: Any = "0.5") -> dict[str, Any]:
    return {
        "groupId": 6,
        "ltv": ltv,
        "totalLiability": liability,
        "totalNetEquity": equity,
        "totalMaintenanceMargin": margin,
        "maxAllowedBorrowLimit": "1",
    }


def figures(record: dict[str, Any], level: str) -> dict[str, Any]:
    return build_level_figures(record, Decimal("0.5"), Decimal(level))["back_to_level"]


def test_the_formula_holds_in_the_documented_example() -> None:
    """Binance's LTV is L / (E - M), and its borrow limit is what lifts that to 0.75."""
    liability, equity, margin = (
        Fraction(EXAMPLE[name]) for name in ("totalLiability", "totalNetEquity", "totalMaintenanceMargin")
    )
    assert round(liability / (equity - margin), 3) == Fraction(EXAMPLE["ltv"])
    room = -Fraction(figures(EXAMPLE, "0.75")["repay_from_inside"])
    assert abs(room - Fraction(EXAMPLE["maxAllowedBorrowLimit"])) <= Fraction(1, 10**8)  # Binance rounds


def test_says_how_to_get_back_in_the_documented_example() -> None:
    """Half of the collateral's value is the level: computed by hand from the figures of the page."""
    assert build_level_figures(EXAMPLE, Decimal("0.592"), Decimal("0.50")) == {
        "group_id": 1,
        "ltv": "0.592",
        "level": "0.5",
        "distance": "0.092",
        "back_to_level": {
            "add_collateral": "4.76346773",
            "repay_from_outside": "2.381733865",
            "repay_from_inside": "4.76346773",
        },
        "maxAllowedBorrowLimit": "16.32397222",
    }


@given(AMOUNTS, AMOUNTS, AMOUNTS, LEVELS)
def test_each_amount_brings_the_ltv_to_the_level(
    liability: str, equity: str, margin: str, level: str
) -> None:
    """Each of the three gets there by itself, and one unit of the last digit less does not."""
    base = Fraction(equity) - Fraction(margin)
    assume(base > 0)
    found = figures(unit(liability, equity, margin), level)
    ratio, owed = Fraction(level), Fraction(liability)
    outside = Fraction(found["repay_from_outside"])
    assert owed - outside == ratio * base
    added, digit = Fraction(found["add_collateral"]), Fraction(1, 10**18)
    assert owed <= ratio * (base + added)
    assert owed > ratio * (base + added - digit)
    if found["repay_from_inside"] is not None:
        repaid = Fraction(found["repay_from_inside"])
        assert owed - repaid <= ratio * (base - repaid)
        assert owed - (repaid - digit) > ratio * (base - repaid + digit)
    assert (found["repay_from_inside"] is None) == (ratio >= 1 or owed >= base)


@pytest.mark.parametrize(
    ("liability", "equity", "margin"),
    [
        ("1", "1", "1"),
        ("1", "9" * 500, "1"),
        ("9" * 500, "2", "1"),
        ("1", "1", "2"),
        (None, "1", "0"),
        ("1", "INF", "0"),
        ("1", "2", None),
        ("1", "", "0"),
    ],
)
def test_says_nothing_where_it_makes_no_sense(liability: Any, equity: Any, margin: Any) -> None:
    """Where E is not above M, or a figure is no number, there is no amount to name."""
    assert set(figures(unit(liability, equity, margin), "0.5").values()) == {None}


def test_keeps_the_digits_of_a_long_ltv() -> None:
    """A distance has all digits of its LTV, of which a decimal of Python's keeps 28."""
    ltv = "0." + "123456789" * 5
    distance = build_level_figures(unit("1", "2"), Decimal(ltv), Decimal("0.1"))["distance"]
    assert distance == "0.0" + ltv[3:]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (unit("1", "2", ltv="0.592"), "0.592"),
        (unit("1", "2", ltv="1.2"), "1.2"),
        (unit("1", "2", ltv=None), None),
        (unit("1", "2", ltv="INF"), None),
        (unit("1", "2", ltv=""), None),
        (unit("1", "2", ltv="-0.5"), None),
        (unit("1", "2", ltv="0.9" + "1" * 500), None),
        # 0 while the unit owes, and its other figures say something else
        (unit("1", "2", ltv="0"), None),
        (unit("1", "2", ltv="0.000"), None),
        (unit("1", "1", "2", ltv="0"), None),
        (unit(None, None, ltv="0"), None),
        (unit("1", None, ltv="0"), None),
        # and where they agree
        (unit("0", "2", ltv="0"), "0"),
        (unit("0E-8".replace("E-8", ""), None, ltv="0"), "0"),
        (unit("0.004", "10", ltv="0"), "0"),
    ],
)
def test_tells_an_unknown_ltv_from_a_low_one(record: dict[str, Any], expected: str | None) -> None:
    """What Binance does not state, or contradicts, is unknown, and never 0."""
    assert known_ltv(record) == (None if expected is None else Decimal(expected))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.7, "0.7"),
        ("0.70", "0.7"),
        (Decimal("0.700"), "0.7"),
        (1, "1"),
        ("1.0", "1"),
        (0.1 + 0.2, None),  # 0.30000000000000004: nobody means that
        (1e-05, "0.00001"),
        (np.float64(0.7), "0.7"),
    ],
)
def test_takes_a_level_as_it_is_written(value: Any, text: str | None) -> None:
    """A level is its decimal text, whichever way it is written."""
    if text is None:
        with pytest.raises(ConfigurationError):
            parse_level(value, "level")
    else:
        assert level_text(parse_level(value, "level")) == text


@pytest.mark.parametrize(
    "value",
    [
        0,
        -0.1,
        70,
        pytest.param(10**5000, id="huge"),
        "70%",
        "",
        None,
        True,
        [0.7],
        float("nan"),
        "1e-1",
        " 0.7",
    ],
)
def test_refuses_what_is_no_level(value: Any) -> None:
    """The error names the argument, and shows a level."""
    with pytest.raises(
        ConfigurationError,
        match=r"^Give levels\[0\] as a ratio .* with ten decimals at most: it is ",
    ):
        parse_level(value, "levels[0]")


def test_takes_no_hysteresis() -> None:
    """0 is a hysteresis, however it is written."""
    assert parse_hysteresis(0, "hysteresis") == parse_hysteresis("0.00", "hysteresis") == 0
