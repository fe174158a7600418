"""Validation: the values that are accepted, and the errors that name an argument and show its value."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pendulum
import pytest

from airflow_provider_binance_loan.conditions import require_poll_interval
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import (
    described,
    is_number,
    require_aware,
    require_bool,
    require_duration,
    require_seconds,
    shown,
    shown_from_answer,
    shown_unless_secret,
)

DAY_S = 86_400
EAST = timezone(timedelta(hours=5, minutes=30))
TINY = timedelta(microseconds=1)


class Unprintable:
    """An object that cannot be written out."""

    def __repr__(self) -> str:
        raise RecursionError


GOOD: list[tuple[Callable[[Any, str], None], list[Any]]] = [
    (require_seconds, [0, 0.0, 0.5, 1, 3650 * DAY_S]),
    (partial(require_seconds, low=1, high=2), [1, 1.5, 2]),
    (require_poll_interval, [1, 60.5, 7 * DAY_S]),
    (require_duration, [timedelta(), TINY, timedelta(days=3650), pendulum.duration(days=1)]),
    (
        require_aware,
        [
            datetime(1970, 1, 1, tzinfo=UTC),
            datetime(1970, 1, 1, 5, 30, tzinfo=EAST),
            datetime(2999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
            pendulum.datetime(2026, 3, 1, tz="Asia/Tokyo"),
        ],
    ),
    (require_bool, [True, False]),
]
BAD: list[tuple[Callable[[Any, str], None], list[Any]]] = [
    (require_seconds, [-1, -0.001, 3650 * DAY_S + 1, float("nan"), float("inf"), True, "1", None]),
    (partial(require_seconds, low=1, high=2), [0, 0.999, 2.001]),
    (require_poll_interval, [0, 0.999, 7 * DAY_S + 1, True, "60", timedelta(minutes=1)]),
    (require_duration, [-TINY, timedelta(days=3650) + TINY, timedelta.max, 1, 1.5, "1 day", None]),
    (
        require_aware,
        [
            datetime(2026, 3, 1),
            datetime(1970, 1, 1, tzinfo=UTC) - TINY,
            datetime(1970, 1, 1, tzinfo=EAST),
            datetime(3000, 1, 1, tzinfo=UTC),
            datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),
            date(2026, 3, 1),
            pendulum.naive(2026, 3, 1),
            "2026-03-01T00:00:00Z",
            1772323200,
            None,
        ],
    ),
    (require_bool, [1, 0, "True", "false", None, [], Unprintable()]),
]


@pytest.mark.parametrize(
    ("require", "value"), [(require, value) for require, values in GOOD for value in values]
)
def test_accepts(require: Callable[[Any, str], None], value: Any) -> None:
    """A value of the right type and within bounds is accepted; the bounds themselves are."""
    assert require(value, "argument") is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("require", "value"), [(require, value) for require, values in BAD for value in values]
)
def test_refuses(require: Callable[[Any, str], None], value: Any) -> None:
    """Any other value is an error that names the argument within the part of a line that a log page shows."""
    with pytest.raises(ConfigurationError) as caught:
        require(value, "argument")
    assert "argument" in str(caught.value)[:100]
    assert (caught.value.conn_id, caught.value.path) == (None, None)
    assert caught.value.__cause__ is None


def test_a_time_zone_that_cannot_be_is_named() -> None:
    """A zone a day or more from UTC, as ISO 8601 texts may have it, is the error, and not the time."""
    far = pendulum.parse("2026-03-01T00:00:00+24:00", exact=True)
    with pytest.raises(ConfigurationError, match="time zone of argument"):
        require_aware(far, "argument")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", r"'a\nb'"),
        ("a" * 198, f"'{'a' * 198}'"),
        ("a" * 199, f"'{'a' * 199}…"),
        pytest.param(10**5000, "an object of type int", id="many digits"),
        (Unprintable(), "an object of type Unprintable"),
    ],
)
def test_shows_a_value_as_one_short_line(value: Any, text: str) -> None:
    """Line ends are escaped, a long value is cut, and one that cannot be written out has its type shown."""
    assert shown(value) == text


@pytest.mark.parametrize(
    ("value", "hidden"), [("a" * 43, False), ("a" * 44, True), ("a@b", True), ("/run/key", False), (5, False)]
)
def test_hides_what_may_be_a_secret(value: Any, hidden: bool) -> None:
    """Secrets are long, or precede the @ of an address."""
    text = shown_unless_secret(value)
    assert (str(value) not in text) == hidden
    assert ("hidden" in text) == hidden


@pytest.mark.parametrize(
    ("value", "text"), [(None, "not set"), ("", "empty"), ([], "[]"), (0, "0"), (" ", "' '")]
)
def test_describes_a_missing_value(value: Any, text: str) -> None:
    """A value that is not there is described in words."""
    assert described(value) == text


@pytest.mark.parametrize(
    ("value", "whole", "accepted"),
    [
        (1, True, True),
        (1.0, True, False),
        (1.0, False, True),
        (True, True, False),
        (True, False, False),
        (float("nan"), False, False),
        (3, True, True),
        (4, True, False),
        (-1, True, False),
        ("1", False, False),
    ],
)
def test_recognises_numbers(value: Any, whole: bool, accepted: bool) -> None:
    """A number within the bounds is one; a boolean, NaN and a text are none."""
    assert is_number(value, 0, 3, whole=whole) is accepted


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("k3Y" * 22, "'…'"),
        (f"X {'0123456789abcdef' * 4} Y", "'X … Y'"),
        ({"total": "aB+/" * 22}, "{'total': '…'}"),
        ("9" * 40, f"'{'9' * 40}'"),
        ("an ordinary text of Binance's, with words of common lengths", None),
        (None, "None"),
    ],
)
def test_shows_no_secret_that_an_answer_quotes(value: object, text: str | None) -> None:
    """A word that may be a key or a signature is left out, wherever it is; a long number is shown."""
    assert shown_from_answer(value) == (repr(value) if text is None else text)
