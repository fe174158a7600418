"""The errors: what they say, what they carry, and how they are caught."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException

from airflow_provider_binance_loan import exceptions
from airflow_provider_binance_loan.exceptions import (
    AuthRefusedError,
    BadResponseError,
    BinanceLoanError,
    ClockError,
    ConfigurationError,
    PermanentError,
    RateLimitedError,
    RequestRefusedError,
    TransientError,
)

DETAILS: dict[str, Any] = {"status": 401, "code": -2015, "path": "/sapi/v1/x", "conn_id": "loans"}

# The errors that users may catch, and by which base.
BASES: dict[type[BinanceLoanError], type[BinanceLoanError]] = {
    ConfigurationError: PermanentError,
    RequestRefusedError: PermanentError,
    AuthRefusedError: RequestRefusedError,
    BadResponseError: BinanceLoanError,
    ClockError: TransientError,
    RateLimitedError: TransientError,
    TransientError: BinanceLoanError,
    PermanentError: BinanceLoanError,
}
ERRORS = [BinanceLoanError, *BASES]


def new_error(kind: type[BinanceLoanError]) -> BinanceLoanError:
    """Return an error with all its attributes set."""
    if kind is RateLimitedError:
        return RateLimitedError("Wait.", **DETAILS, ends_at_ms=1_772_366_400_000, banned=True)
    return kind("Check it: it is wrong.", **DETAILS)


def test_the_table_has_every_error() -> None:
    """No error is missing in the tests below, and each is caught by its base."""
    defined = {value for value in vars(exceptions).values() if isinstance(value, type)}
    assert defined == set(ERRORS)
    assert {kind: kind.__bases__ for kind in BASES} == {kind: (base,) for kind, base in BASES.items()}


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)
def test_survives_copying_and_pickling(kind: type[BinanceLoanError], copied: Any) -> None:
    """A copy has the type, the attributes and the text of the error."""
    error = new_error(kind)
    made = copied(error)
    assert made is not error
    assert type(made) is kind
    assert vars(made) == vars(error)
    assert vars(made).items() >= DETAILS.items()
    assert (str(made), made.args) == (str(error), error.args)


@pytest.mark.parametrize(("attempts", "text"), [(None, ""), (1, ""), (2, "2 attempts, ")])
def test_says_how_often_a_request_was_sent(attempts: int | None, text: str) -> None:
    """A request that was sent more than once says so, before its path; a copy says it too."""
    error = TransientError("Wait.", **DETAILS)
    error.attempts = attempts
    expected = f"Wait (connection 'loans', HTTP 401, code -2015, {text}/sapi/v1/x)."
    assert [str(error), str(copy.copy(error)), str(pickle.loads(pickle.dumps(error)))] == [expected] * 3


@pytest.mark.parametrize("kind", ERRORS)
def test_permanent_errors_are_those_that_no_retry_can_help(kind: type[BinanceLoanError]) -> None:
    """`except PermanentError` catches wrong configurations and refusals, and nothing else."""
    permanent = {PermanentError, ConfigurationError, RequestRefusedError, AuthRefusedError}
    assert isinstance(new_error(kind), PermanentError) == (kind in permanent)
    assert not issubclass(kind, PermanentError) or not issubclass(kind, TransientError)


@pytest.mark.parametrize("kind", ERRORS)
def test_none_is_an_airflow_exception(kind: type[BinanceLoanError]) -> None:
    """Airflow turns its own exceptions into a skip where `soft_fail` is set, which would hide a refusal."""
    assert not issubclass(kind, AirflowException)


@pytest.mark.parametrize(
    ("details", "text"),
    [
        ({}, "Check it: it is wrong."),
        ({"conn_id": "loans"}, "Check it: it is wrong (connection 'loans')."),
        ({"status": 502}, "Check it: it is wrong (HTTP 502)."),
        ({"code": 0}, "Check it: it is wrong (code 0)."),
        (DETAILS, "Check it: it is wrong (connection 'loans', HTTP 401, code -2015, /sapi/v1/x)."),
    ],
)
def test_states_the_details_that_are_set(details: dict[str, Any], text: str) -> None:
    """The text is the message, then in brackets the attributes that are set."""
    error = BinanceLoanError("Check it: it is wrong.", **details)
    assert str(error) == text
    assert error.message == "Check it: it is wrong."
    error.conn_id = "other"
    assert "connection 'other'" in str(error)
