"""Answers: one that is not data is an error that says what to do, with its code and path, in both clients."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_binance_loan import exceptions as errors
from airflow_provider_binance_loan.binance.datasets.active_risk_units import ACTIVE_RISK_UNITS
from airflow_provider_binance_loan.binance.datasets.api_key_permissions import read_key_warnings
from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.messages import TIME, Request, Response
from airflow_provider_binance_loan.binance.plans import gather, paginate
from airflow_provider_binance_loan.client.sync import SyncClient
from airflow_provider_binance_loan.exceptions import BadResponseError, BinanceLoanError, TransientError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from tests.support.bad_input import HUSH, PULLS, Case, Environment, pull_sync, raised
from tests.support.raw import EMPTY, answer, error, raw_server

START = {"groupId": 1, "liquidationStartTime": 1772323200000}
CLOCK = answer("400 Bad Request", error(-1021, "Timestamp for this request is outside of the recvWindow."))
PATH, CLOSED = FORCE_LIQUIDATIONS.path, "/sapi/v1/margin/loan-groups/closed"
TIME_OF_RUN = answer("200 OK", '{"serverTime": 1772366400000}')  # the tests' NOW


def rows(*found: Any) -> bytes:
    return rows_of(*found, total=len(found))


def rows_of(*found: Any, total: int) -> bytes:
    return answer("200 OK", json.dumps({"total": total, "rows": found}))


def server_time(value: Any) -> list[bytes]:
    return [CLOCK, answer("200 OK", json.dumps({"serverTime": value}))]


def refusal(status: str, code: int, text: str, *headers: str) -> list[bytes]:
    return [answer(status, error(code, text), *headers)]


def answered(
    case_id: str, field: str, answers: list[bytes], kind: str, path: str = PATH, **details: Any
) -> Case:
    """Return the case of answers, one after another, and of the error that the last one is."""
    return Case(case_id, field, {"answers": answers, "kind": kind, "path": path, **details})


MALFORMED = [
    answered(f"{field}={value!r}", f"rows[0].{field}", [rows(START | {field: value})], "BadResponseError")
    for field, value in [
        ("liquidationStartTime", -1),
        ("liquidationEndTime", -1),
        ("groupId", -(2**62)),
        ("liquidationStartTime", None),
        ("totalLiability", "much"),
        ("liquidationSnapshot", 5),
    ]
]
CASES = [
    *MALFORMED,
    answered(
        "enabled='yes'",
        "rows[0].enabled",
        [EMPTY, rows({"groupId": 1, "enabled": "yes"})],
        "BadResponseError",
        CLOSED,
    ),
    answered("no rows", "rows", [answer("200 OK", '{"total": 1, "data": []}')], "BadResponseError"),
    answered(
        "microseconds",
        "rows[0] starts",
        [rows(START | {"liquidationStartTime": 10**15})],
        "BadResponseError",
    ),
    answered("liquidations as closed units", "closeTime", [EMPTY, rows(START)], "BadResponseError", CLOSED),
    answered(
        "levels", "levels", [rows(START | {"a": json.loads("[" * 700 + "]" * 700)})], "BadResponseError"
    ),
    answered(
        "a code beside data",
        "connection",
        [answer("200 OK", '{"code":"E1","msg":"Busy.","rows":[]}')],
        "RequestRefusedError",
    ),
    answered("key twice", "proxies", [answer("200 OK", '{"rows":[],"rows":[]}')], "BadResponseError"),
    answered("HTTP 206", "proxies", [answer("206 Partial Content", "{}")], "RequestRefusedError"),
    answered("HTTP 451", "region", [answer("451 No", "<html>")], "RequestRefusedError"),
    answered(
        "two records", "liquidationStartTime", [rows(START, START | {"startLtv": "1"})], "BadResponseError"
    ),
    answered("serverTime=10**30", "serverTime", server_time(10**30), "BadResponseError", TIME.path),
    answered("serverTime=-1", "serverTime", server_time(-1), "BadResponseError", TIME.path),
    answered("a list", "serverTime", [CLOCK, answer("200 OK", "[]")], "BadResponseError", TIME.path),
    answered("HTML", "HTML", [answer("200 OK", "<html>", "Content-Type: text/HTML")] * 5, "BadResponseError"),
    answered("cut off", "proxies", [answer("200 OK", '{"total": 1, "ro')] * 5, "TransientError"),
    answered("too large", "32 MiB", [answer("200 OK", b" " * (2**25 + 1))], "BadResponseError"),
    *(
        answered(f"code {code}", field, refusal(status, code, text), kind, code=code)
        for code, status, field, kind, text in [
            (
                -1022,
                "400 Bad Request",
                "secret",
                "AuthRefusedError",
                "Signature for this request is not valid.",
            ),
            (-1002, "401 Unauthorized", "permissions", "AuthRefusedError", "You are not authorized."),
            (-2014, "401 Unauthorized", "login", "AuthRefusedError", "API-key format invalid."),
            (-2015, "401 Unauthorized", "key", "AuthRefusedError", "Invalid API-key, IP, or permissions."),
            (-1099, "400 Bad Request", "key", "AuthRefusedError", "Not found, unauthenticated."),
            (-3003, "400 Bad Request", "credit account", "RequestRefusedError", "Margin account not exist."),
            (
                -3999,
                "400 Bad Request",
                "credit account",
                "RequestRefusedError",
                "Not available to this user.",
            ),
            (-1102, "400 Bad Request", "arguments", "RequestRefusedError", "Parameter was not sent."),
        ]
    ),
    answered("HTTP 401", "key", [answer("401 Unauthorized", "")], "AuthRefusedError"),
    answered("HTTP 403", "firewall", [answer("403 Forbidden", "<html>")], "AuthRefusedError"),
    answered("HTTP 404", "host", [answer("404 Not Found", "<html>")], "RequestRefusedError"),
    answered("HTTP 302", "host", [answer("302 Found", "", "Location: http://a")], "RequestRefusedError"),
    answered(
        "HTTP 429",
        "Wait until",
        refusal("429 Too Many", -1003, "Too many requests.", "Retry-After: 900"),
        "RateLimitedError",
        code=-1003,
    ),
    answered(
        "HTTP 418",
        "Wait until",
        refusal("418 Teapot", -1003, "IP banned until 1772367300000."),
        "RateLimitedError",
        code=-1003,
    ),
    answered("HTTP 503", "later", refusal("503 No", -1008, "Server busy.") * 5, "TransientError", code=-1008),
    answered("HTTP 502", "later", [answer("502 Bad Gateway", "<html>")] * 5, "TransientError"),
    answered("hung up", "host", [b""], "TransientError"),
    answered("clock", "clock", [CLOCK, TIME_OF_RUN, CLOCK], "ClockError", code=-1021),
]
# Three passes, each of which sees fewer rows than the total says.
MOVING = [rows_of(START, total=5), rows_of(START | {"groupId": 2}, total=5), rows_of(total=5)]
PLANS = [
    Case(
        "permissions",
        "permissions",
        {"answers": [answer("200 OK", "{}")], "plan": read_key_warnings, "kind": "BadResponseError"},
    ),
    Case(
        "a list that moves",
        "list",
        {
            "answers": MOVING * 20,
            "plan": lambda: paginate(
                FORCE_LIQUIDATIONS,
                lambda page: Request(PATH, (("current", page),), parse=FORCE_LIQUIDATIONS.parse),
            ),
            "kind": "TransientError",
        },
    ),
]
PLANS += [
    Case(
        f"active risk units, code {code}",
        "parent account's key",
        {
            "answers": [TIME_OF_RUN, *refusal("400 Bad Request", code, "Not available to this user.")],
            "plan": lambda: gather([ACTIVE_RISK_UNITS.request()]),
            "kind": "RequestRefusedError",
        },
    )
    for code in (-3003, -3999)
]
UNANSWERED = [
    Case("timeout", "timeout", {"error": TimeoutError()}),
    Case("certificate", "verify", {"error": ssl.SSLError()}),
]


def provoke(case: Case, environment: Environment, pull: Callable[[], Any] = pull_sync) -> None:
    """Run into the error of an answer."""
    with raw_server(case.given["answers"]) as (url, _), environment.connection(host=url):
        try:
            pull()
        except TransientError as error:
            error.message = error.message.replace(url, environment.host)
            raise


def provoke_plan(case: Case, environment: Environment) -> None:
    """Run into the error of a plan that no pull, or no pull by itself, runs."""
    with (
        raw_server(case.given["answers"]) as (url, _),
        environment.connection(host=url),
        SyncClient(BinanceLoanHook()._settings()) as client,
    ):
        client.run(case.given["plan"]())


def provoke_unanswered(case: Case, environment: Environment) -> None:
    """Run into the error for a fault of the network that takes long, or a certificate, to run into."""
    with (
        environment.connection(),
        SyncClient(BinanceLoanHook()._settings()) as client,
        client._naming_connection(),
    ):
        raise client._unreachable(Request(PATH), case.given["error"])


@pytest.mark.parametrize("pull", PULLS)
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_names_what_is_wrong_with_an_answer(
    case: Case, pull: Any, environment: Environment, refused: Any
) -> None:
    """The error is of the type that says what to do, and states code, path and connection."""
    kind: type[BinanceLoanError] = getattr(errors, case.given["kind"])
    error = refused(kind, case.field, lambda: provoke(case, environment, pull))
    assert (error.code, error.path, error.conn_id) == (
        case.given.get("code"),
        case.given["path"],
        "binance_loan_default",
    )
    if isinstance(error, BadResponseError):
        assert error.status in {200, None}


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in PLANS])
def test_names_what_is_wrong_with_a_plan(case: Case, environment: Environment, refused: Any) -> None:
    """The error states path and connection."""
    kind: type[BinanceLoanError] = getattr(errors, case.given["kind"])
    error = refused(kind, case.field, lambda: provoke_plan(case, environment))
    assert (error.path.startswith("/sapi/v1/"), error.conn_id) == (True, "binance_loan_default")


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in UNANSWERED])
def test_names_what_to_check_without_an_answer(case: Case, environment: Environment, refused: Any) -> None:
    """The error names the settings to check."""
    error = refused(TransientError, case.field, lambda: provoke_unanswered(case, environment))
    assert (error.path, error.conn_id) == (PATH, "binance_loan_default")


@pytest.mark.parametrize("pull", PULLS)
@pytest.mark.parametrize("weight", ["9" * 5000, "\u0665", "-1", "1e3", ""])
def test_ignores_a_weight_that_is_not_a_number(weight: str, pull: Any, environment: Environment) -> None:
    """The used weight is a help; one that cannot be read hinders nothing."""
    heavy = answer("200 OK", '{"total":0,"rows":[]}', f"X-SAPI-USED-IP-WEIGHT-1M: {weight}")
    with raw_server([heavy] * 3) as (url, _), environment.connection(host=url):
        assert pull() == []


@pytest.mark.parametrize("depth", range(900, 1000, 2))
def test_refuses_a_value_however_deep_it_nests(depth: int) -> None:
    """A value that can just be read, but not be written out, is refused as any other."""
    body = f'{{"rows":[{{"groupId":{"[" * depth}{"]" * depth}}}]}}'.encode()
    response = Response(Request("/"), 200, {}, body, 0)
    error = raised(BadResponseError, lambda: FORCE_LIQUIDATIONS.parse(response.payload), (HUSH,))
    assert error.status == 200
