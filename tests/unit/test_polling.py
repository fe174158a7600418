"""How a trigger polls: its waits, the failures that it waits out, and how it logs them."""

from __future__ import annotations

import pytest

from airflow_provider_binance_loan.exceptions import (
    BadResponseError,
    BinanceLoanError,
    RateLimitedError,
    RequestRefusedError,
    TransientError,
)
from airflow_provider_binance_loan.polling import back_off_s, is_waited_out, one_line, rate_limit_s
from tests.support.clock import FakeClock


@pytest.mark.parametrize(
    ("interval_s", "failures", "expected"),
    [(60, 0, 60), (60, 1, 120), (60, 3, 480), (60, 4, 600), (60, 10**6, 600), (601, 1, 601), (1, 9, 512)],
)
def test_backs_off_up_to_ten_minutes(interval_s: float, failures: int, expected: float) -> None:
    """Failed polls double the wait up to ten minutes, and never shorten it."""
    assert back_off_s(interval_s, failures) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RateLimitedError("Wait.", banned=True), True),
        (RateLimitedError("Wait."), False),
        *[(TransientError("Wait.", code=code), True) for code in (-1024, -1025, -27024, -27025)],
        (TransientError("Wait.", code=-1008), False),
        (TransientError("Wait."), False),
        (BadResponseError("Check it."), False),
        (RequestRefusedError("Check it.", code=-1102), False),
        (OSError("no"), False),
    ],
    ids=repr,
)
def test_waits_out_bans_and_liquidations(error: Exception, expected: bool) -> None:
    """Only what may last for hours and then passes is no failure."""
    assert is_waited_out(error) is expected


def test_waits_until_a_rate_limit_ends(clock: FakeClock) -> None:
    """The wait ends just after the limit, and is never negative."""
    assert rate_limit_s(RateLimitedError("Wait.", ends_at_ms=clock.ms + 5000), clock) == 5.01
    assert rate_limit_s(RateLimitedError("Wait.", ends_at_ms=clock.ms - 5000), clock) == 0
    assert rate_limit_s(TransientError("Wait."), clock) == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BinanceLoanError("Wait.", conn_id="a"), "Wait (connection 'a')."),
        (OSError("a\n b\t"), "OSError: a b (connection 'loans')"),
        (KeyError("x" * 300), f"KeyError: '{'x' * 199}… (connection 'loans')"),
        (RuntimeError(), "RuntimeError:  (connection 'loans')"),
    ],
    ids=repr,
)
def test_logs_an_error_on_one_line(error: Exception, expected: str) -> None:
    """Other errors than the package's get their type, their text on one line, and the connection."""
    assert one_line(error, "loans") == expected
