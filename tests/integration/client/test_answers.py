"""Error answers: what each means, byte for byte as Binance, a proxy or a firewall may send it."""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

import pytest

from airflow_provider_binance_loan.client.base import RetryPolicy
from airflow_provider_binance_loan.exceptions import (
    AuthRefusedError,
    BadResponseError,
    BinanceLoanError,
    RateLimitedError,
    RequestRefusedError,
    TransientError,
)
from tests.support.clock import HOUR, NOW, FakeClock
from tests.support.descriptions import DESCRIBED, Described, Windowed
from tests.support.errors import assert_no_secret
from tests.support.hook_client import HookClient
from tests.support.raw import EMPTY, answer, error, raw_server

NOW_MS = int(NOW.timestamp() * 1000)
CREDIT_ACCOUNT = "Use the key of a credit account"
PARENT_ACCOUNT = "Use the parent account's key"
BUSY = answer("503 Service Unavailable", error(-1008))
TRUNCATED = EMPTY.replace(b"Length: 21", b"Length: 99\r\nConnection: close")


def ban(text: str, *headers: str) -> bytes:
    return answer("418 I'm a teapot", error(-1003, text), *headers)


def limit(retry_after: str) -> bytes:
    return answer("429 Too Many Requests", error(-1003), f"Retry-After: {retry_after}")


class Case(NamedTuple):
    """What is answered, and the error that it means.

    :param answer: the answer to every request.
    :param error: the error's type.
    :param message: a part of its message.
    :param status: the HTTP status that it states.
    :param code: Binance's code that it states.
    :param requests: how many requests are sent.
    """

    answer: bytes
    error: type[BinanceLoanError]
    message: str
    status: int | None
    code: int | None = None
    requests: int = 1


CASES = {
    "parameter": Case(
        answer("400 Bad Request", error(-1102)),
        RequestRefusedError,
        "Check the connection and the arguments: Binance says 'Text'.",
        400,
        -1102,
    ),
    "signature": Case(
        answer("400 Bad Request", error(-1022)),
        AuthRefusedError,
        "Check that the secret or private key belongs to the API key",
        400,
        -1022,
    ),
    "key": Case(
        answer("401 Unauthorized", error(-2015)),
        AuthRefusedError,
        "Check the API key, its permission to read and its allowed IP addresses",
        401,
        -2015,
    ),
    "account": Case(answer("400 Bad Request", error(-3999)), RequestRefusedError, CREDIT_ACCOUNT, 400, -3999),
    "code as text": Case(
        answer("400 Bad Request", '{"code":"-2015"}'), AuthRefusedError, "Check the API key", 400, -2015
    ),
    "no code": Case(
        answer("401 Unauthorized", "<html>"), AuthRefusedError, "the answer has no error code", 401
    ),
    "quoted request": Case(
        answer("400 Bad Request", error(-1100, "Bad: a=1&signature=abc%2Fdef&b=2")),
        RequestRefusedError,
        "Bad: a=1&…&b=2",
        400,
        -1100,
    ),
    "refused with 200": Case(answer("200 OK", error(-1102)), RequestRefusedError, "'Text'", 200, -1102),
    "unknown code with 200": Case(answer("200 OK", error(77)), RequestRefusedError, "'Text'", 200, 77),
    "firewall": Case(
        answer("403 Forbidden", "<html>", "Content-Type: text/html"), AuthRefusedError, "firewall", 403
    ),
    "redirect": Case(
        answer("302 Found", "", "Location: http://127.0.0.1:1/elsewhere"),
        RequestRefusedError,
        "redirects are not followed",
        302,
    ),
    **{
        f"redirect to {location!r}": Case(
            answer("302 Found", "", f"Location: {location}"),
            RequestRefusedError,
            "redirects are not followed",
            302,
        )
        for location in ("http://[::1", "https://h:abc/", "mailto:x", "\x01x")
    },
    "html with 200": Case(
        answer("200 OK", "<html>", "Content-Type: text/html"),
        BadResponseError,
        "6 bytes of text/html, is not JSON",
        200,
        requests=5,
    ),
    "nothing with 200": Case(answer("200 OK", ""), BadResponseError, "0 bytes", 200, requests=5),
    "not a finite number": Case(
        answer("200 OK", '{"total":0,"rows":[],"x":NaN}'), BadResponseError, "not finite", 200
    ),
    "rows twice": Case(
        answer("200 OK", '{"total":0,"rows":[],"rows":[]}'), BadResponseError, "a key twice", 200
    ),
    "an error beside data": Case(
        answer("200 OK", '{"code":-1000,"msg":"Text.","total":0,"rows":[]}'),
        TransientError,
        "Binance says 'Text'",
        200,
        -1000,
        5,
    ),
    "a failure beside data": Case(
        answer("200 OK", '{"code":"-9000","success":false,"msg":"Text.","total":0,"rows":[]}'),
        RequestRefusedError,
        "Binance says 'Text'",
        200,
        -9000,
    ),
    "a failure without a code": Case(
        answer("200 OK", '{"success":false,"total":0,"rows":[]}'), RequestRefusedError, "'no message'", 200
    ),
    "a code that is no number": Case(
        answer("200 OK", '{"code":"E01","msg":"Text.","rows":[]}'), RequestRefusedError, "(code E01)", 200
    ),
    "partial content": Case(
        answer("206 Partial Content", '{"total":0,"rows":[]}'), RequestRefusedError, "Check the proxies", 206
    ),
    "legal reasons": Case(
        answer("451 Unavailable", "<html>"), RequestRefusedError, "Use another IP address or region", 451
    ),
    **{
        f"liquidation, code {code}": Case(
            answer("400 Bad Request", error(code)), TransientError, "Try again later", 400, code, 5
        )
        for code in (-1024, -1025, -27024, -27025)
    },
    "cut off JSON": Case(
        answer("200 OK", '{"total":0,"rows":['), TransientError, "is cut off or damaged", 200, requests=5
    ),
    "no rows": Case(answer("200 OK", "{}"), BadResponseError, "and should be a list", 200),
    "ban": Case(
        ban("Text.", "Retry-After: 120"),
        RateLimitedError,
        "Wait until 2026-03-01T12:02:00+00:00: Binance has banned this IP address",
        418,
        -1003,
    ),
    "short ban": Case(
        ban("Text.", "Retry-After: 5"), RateLimitedError, "Wait until 2026-03-01T12:00:05", 418, -1003
    ),
    "ban with its end in the text": Case(
        ban("IP banned until 1772370000000."), RateLimitedError, "Wait until 2026-03-01T13:00:00", 418, -1003
    ),
    "ban with a fraction": Case(
        ban("Text.", "Retry-After: 86400.0"), RateLimitedError, "Wait until 2026-03-02T12:00:00", 418, -1003
    ),
    "long limit": Case(
        limit("3600"),
        RateLimitedError,
        "Wait until 2026-03-01T13:00:00+00:00: Binance limits this IP address, and says 'Text'.",
        429,
        -1003,
    ),
    "limit until a date": Case(
        limit("Sun, 01 Mar 2026 13:00:00 GMT"),
        RateLimitedError,
        "Wait until 2026-03-01T13:00:00",
        429,
        -1003,
    ),
    "limit with a fraction": Case(
        limit("3600.5"), RateLimitedError, "Wait until 2026-03-01T13:00:00", 429, -1003
    ),
    "limit stated twice": Case(
        limit("60, 3600"), RateLimitedError, "Wait until 2026-03-01T13:00:00", 429, -1003
    ),
    "limit beyond the calendar": Case(
        limit("9" * 400), RateLimitedError, "Wait until 2026-03-04T12:00:00", 429, -1003
    ),
    "busy for ever": Case(BUSY, TransientError, "Try again later: Binance says 'Text'.", 503, -1008, 5),
    "bad gateway for ever": Case(
        answer("502 Bad Gateway", "<html>"),
        TransientError,
        "Try again later: the answer has no error code.",
        502,
        requests=5,
    ),
    "hangs up for ever": Case(b"\r\nConnection: close", TransientError, "hung up", None, requests=5),
    "truncated for ever": Case(TRUNCATED, TransientError, "hung up", None, requests=5),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("described", DESCRIBED, ids=str)
def test_raises_the_error_that_an_answer_means(
    client: HookClient, connect: Any, described: Described, case: Case
) -> None:
    """Each answer has its error; only a fault that may pass is met with another request, signed anew."""
    before = described.requests[: -len(described.data_requests)]
    time_answers = [answer("200 OK", f'{{"serverTime":{NOW_MS}}}') for _ in before]
    with raw_server([*time_answers, *[case.answer] * case.requests]) as (url, lines):
        connect(host=url, extra={"max_concurrency": 1})
        with pytest.raises(BinanceLoanError) as caught:
            read(client, described)
    error = caught.value
    is_for_parent = getattr(described.dataset, "for_parent", False)
    message = PARENT_ACCOUNT if is_for_parent and case.message == CREDIT_ACCOUNT else case.message
    assert message in error.message
    assert (type(error), error.status, error.code) == (case.error, case.status, case.code)
    assert (error.path, error.conn_id) == (described.path, "binance_loan_default")
    if isinstance(error, RateLimitedError):
        assert error.banned == (case.status == 418)
    assert len(lines) == len(set(lines)) == len(before) + case.requests
    assert_no_secret(error)


def read(client: HookClient, described: Described) -> list[Any]:
    window = described.window(described.calm) if isinstance(described, Windowed) else ()
    return described.read(client, *window)


@pytest.mark.parametrize("described", DESCRIBED, ids=str)
def test_raises_an_error_when_nobody_listens(
    client: HookClient, connect: Any, clock: FakeClock, described: Described
) -> None:
    """A host that cannot be reached is a transient error after the last attempt."""
    connect(host="http://127.0.0.1:9", extra={"max_concurrency": 1})
    with pytest.raises(TransientError, match="could not be reached") as caught:
        read(client, described)
    assert caught.value.path == described.requests[0]
    assert len(clock.waits) == 4
    assert_no_secret(caught.value)


def test_raises_an_error_without_an_answer(client_kind: str, connect: Any, clock: FakeClock) -> None:
    """A server that is silent beyond the timeout is a transient error."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connect(host=f"http://127.0.0.1:{silent.getsockname()[1]}", extra={"timeout": 1})
        client = HookClient(client_kind, clock=clock, retry_policy=RetryPolicy(max_attempts=1))
        with pytest.raises(TransientError, match="gave no answer in time") as caught:
            client.pull(NOW - HOUR, NOW)
    assert clock.waits == []
    assert_no_secret(caught.value)
