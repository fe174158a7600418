"""Answers that ask to wait: what the error says and carries."""

from __future__ import annotations

import json

import pytest

from airflow_provider_binance_loan.binance.messages import Request, Response
from airflow_provider_binance_loan.exceptions import RateLimitedError

LIMITED = "Wait until 1970-01-01T00:00:07: Binance limits this IP address"
BANNED = "Wait until 1970-01-01T00:00:07: Binance has banned this IP address"


@pytest.mark.parametrize(
    ("status", "code", "banned", "message"),
    [
        (429, -1003, False, f"{LIMITED}, and says 'Slow down'."),
        (429, -1015, False, f"{LIMITED}, and says 'Slow down'."),
        (429, None, False, f"{LIMITED}."),
        (418, -1003, True, f"{BANNED}, and says 'Slow down'."),
        (418, None, True, f"{BANNED}."),
        (400, -1003, False, f"{LIMITED}, and says 'Slow down'."),
    ],
)
def test_carries_what_the_answer_said(status: int, code: int | None, banned: bool, message: str) -> None:
    """A limit or a ban has the code that Binance gave, whichever it is, and none where a proxy answered."""
    body = "<html>" if code is None else json.dumps({"code": code, "msg": "Slow down."})
    response = Response(Request("/path"), status, {"retry-after": "7"}, body.encode(), 0)
    with pytest.raises(RateLimitedError) as caught:
        response.raise_for_error()
    error = caught.value
    assert (error.status, error.code, error.banned, error.path) == (status, code, banned, "/path")
    assert (error.ends_at_ms, error.message.replace("+00:00", "")) == (7000, message)
