"""LTVs through both HTTP clients: exact, dated by Binance's clock, and never empty by mistake."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_binance_loan.exceptions import BadResponseError, ConfigurationError, TransientError
from airflow_provider_binance_loan.hooks import BinanceLoanHook
from tests.support.clock import FakeClock
from tests.support.ltvs import CLOSED_PATH, DOCUMENTED, PATH, TIME_PATH, LtvServer, unit

# As a number or as a text, with more digits than a float can hold, and in every notation of JSON.
DIGITS = st.text("0123456789", min_size=1, max_size=30)
WHOLE = DIGITS.map(lambda digits: digits.lstrip("0") or "0")
PLAIN = st.builds("{}.{}".format, WHOLE, DIGITS) | WHOLE
NUMBERS = PLAIN | st.builds("{}E-{}".format, WHOLE, st.integers(1, 40)) | st.just("0E-8")
AMOUNTS = st.tuples(NUMBERS, st.booleans())


def get_ltv(hook: BinanceLoanHook, kind: str, **arguments: Any) -> list[Any]:
    if kind == "sync":
        return hook.get_ltv(**arguments)
    return asyncio.run(hook.aget_ltv(**arguments))


def body_with(amounts: dict[str, tuple[str, bool]]) -> bytes:
    """Return an answer with amounts as they are written, as text or as a JSON number."""
    names = {name: f"@{name}@" for name in amounts}
    wallet = {"accountType": "SPOT", "netEquity": names.pop("netEquity"), "maintainMargin": "0"}
    accounts = [{"email": "a@test.com", "type": "CREDIT", "wallets": [wallet]}]
    body = json.dumps([unit(6, names.pop("ltv"), collateralAccounts=accounts, **names)])
    for name, (text, is_number) in amounts.items():
        body = body.replace(f'"@{name}@"', text if is_number else f'"{text}"')
    return body.encode()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        dict.fromkeys(("ltv", "totalNetEquity", "totalLiability", "newFigure", "netEquity"), AMOUNTS)
    )
)
def test_no_digit_is_altered(
    ltvs: LtvServer, kind: str, clock: FakeClock, amounts: dict[str, tuple[str, bool]]
) -> None:
    """Every digit arrives, in plain notation, of nested and undeclared fields too; none through a float."""
    ltvs.body = body_with(amounts)
    (record,) = get_ltv(BinanceLoanHook(clock=clock), kind)
    wallet = record["collateralAccounts"][0]["wallets"][0]
    for name, (text, _) in amounts.items():
        received = wallet[name] if name == "netEquity" else record[name]
        expected = text if name == "newFigure" else f"{Decimal(text):f}"
        assert received == expected
        assert isinstance(received, str)


def test_is_one_request_that_is_dated_by_binance(ltvs: LtvServer, kind: str, clock: FakeClock) -> None:
    """A clock is wrong by less than Binance refuses, and `asked_at` is right all the same."""
    ltvs.now_ms = lambda: clock.ms + 3000
    ltvs.show(u6="0.5")
    hook = BinanceLoanHook(clock=clock)
    (record,) = get_ltv(hook, kind)
    assert abs(record["asked_at"] - ltvs.now_ms()) <= 500
    assert ltvs.paths == [TIME_PATH, PATH]
    get_ltv(hook, kind)
    assert ltvs.paths == [TIME_PATH, PATH, PATH]
    clock.sleep(601)
    ltvs.now_ms = lambda: clock.ms - 900
    (record,) = get_ltv(hook, kind)
    assert abs(record["asked_at"] - ltvs.now_ms()) <= 500
    assert ltvs.paths[-2:] == [TIME_PATH, PATH]


@pytest.mark.parametrize(("risk_units", "expected"), [("all", [6, 7]), ([7, 8], [7]), ("6", [6]), (9, [])])
def test_returns_the_risk_units_that_are_wanted(
    ltvs: LtvServer, kind: str, clock: FakeClock, risk_units: Any, expected: list[int]
) -> None:
    """One request serves whichever are wanted."""
    ltvs.show(u7="0.5", u6="0.6")
    records = get_ltv(BinanceLoanHook(clock=clock), kind, risk_units=risk_units)
    assert [record["groupId"] for record in records] == expected
    assert ltvs.asked() == 1


def test_an_empty_answer_is_data_for_a_closed_risk_unit_alone(
    ltvs: LtvServer, kind: str, clock: FakeClock
) -> None:
    """Any other key that sees nothing is an error, which says which key to use."""
    with pytest.raises(TransientError, match=r"^Use the key of the parent account"):
        get_ltv(BinanceLoanHook(clock=clock), kind)
    ltvs.closed = b'{"total":1,"rows":[{"groupId":6,"closeTime":1764500000000}]}'
    assert get_ltv(BinanceLoanHook(clock=clock), kind) == []


def test_a_refused_list_of_closed_ones_is_no_answer(ltvs: LtvServer, kind: str, clock: FakeClock) -> None:
    """A parent account may not read closed risk units; when it sees no active one, that is an error."""
    ltvs.closed = b'{"code":-3999,"msg":"This function can only be available for invited users."}'
    with pytest.raises(TransientError, match="this key sees no risk unit"):
        get_ltv(BinanceLoanHook(clock=clock), kind)
    assert ltvs.asked() == ltvs.asked(CLOSED_PATH) == 2


@pytest.mark.parametrize("server_ms", [0, -5, 1_483_228_799_999])
def test_an_absurd_time_is_refused(ltvs: LtvServer, kind: str, clock: FakeClock, server_ms: int) -> None:
    """A time before Binance opened dates nothing."""
    ltvs.now_ms = lambda: server_ms
    ltvs.show(u6="0.5")
    with pytest.raises(BadResponseError, match=r"serverTime of its answer is .*, which is not a time"):
        get_ltv(BinanceLoanHook(clock=clock), kind)


def test_bad_arguments_ask_nothing(ltvs: LtvServer, kind: str, clock: FakeClock) -> None:
    """Arguments are checked before anything is requested."""
    for arguments in ({"risk_units": "x"}, {"on_bad_amount": "drop"}):
        with pytest.raises(ConfigurationError):
            get_ltv(BinanceLoanHook(clock=clock), kind, **arguments)
    assert ltvs.paths == []


def test_reads_the_documented_example(ltvs: LtvServer, kind: str, clock: FakeClock) -> None:
    """Binance's own example is returned field by field."""
    ltvs.body = json.dumps(DOCUMENTED).encode()
    (record,) = get_ltv(BinanceLoanHook(clock=clock), kind)
    assert {name: value for name, value in record.items() if name != "asked_at"} == DOCUMENTED[0]
