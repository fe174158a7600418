"""Parquet: values are exact or the task fails, and nothing is lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.fields import FieldType, walk_fields
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.landing.parquet import Amounts
from airflow_provider_binance_loan.landing.tables import flat_rows
from tests.support.parquet import rows_of, write
from tests.support.records import documented, record, records, running, with_undeclared_fields
from tests.support.transfers import TRANSFERS, transfer_records

AMOUNTS = {
    field.name
    for field in walk_fields(FORCE_LIQUIDATIONS.fields)
    if field.type in {FieldType.AMOUNT, FieldType.RATIO}
}


def read(rows: list[dict[str, Any]], table: str = "", amounts: Amounts = "decimal") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = write(rows, table, amounts).read().to_pylist()
    return found


def exactly(value: Any) -> Any:
    """A record as Parquet holds it: amounts as decimals, times as datetimes, and no undeclared fields."""
    if isinstance(value, list):
        return [exactly(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: leaf(name, item) for name, item in value.items()} | {"extra": None}


def leaf(name: str, value: Any) -> Any:
    if name in AMOUNTS:
        return None if value is None else Decimal(value)
    if name == "liquidationStartTime" or (name == "liquidationEndTime" and value):
        return datetime.fromtimestamp(value // 1000, UTC).replace(microsecond=value % 1000 * 1000)
    return None if name == "liquidationEndTime" else exactly(value)


def test_holds_the_records() -> None:
    """Nested lists are lists of structs, amounts decimals, times UTC; a running liquidation has no end."""
    assert read(records()) == [exactly(one) for one in records()]


def test_holds_the_documented_example() -> None:
    """Every value of the record that Binance's page shows is read back as the same number."""
    (found,) = read([documented()])
    assert found["totalNetEquity"] == Decimal("16671.5507973")
    assert found["liquidationStartTime"].tzinfo is not None
    assert found["liquidationSnapshot"]["liabilities"][0]["assetName"] == "USDT"


amounts = st.from_regex(r"\A-?[0-9]{1,25}(\.[0-9]{1,32})?\Z")


@pytest.mark.parametrize(("name", "whole_digits", "scale"), [("totalLiability", 20, 18), ("endLtv", 10, 28)])
@settings(deadline=None)
@given(amounts)
def test_holds_a_number_exactly_or_refuses_it(name: str, whole_digits: int, scale: int, amount: str) -> None:
    """Every amount and ratio that fits is read back as the same number; any other is an error."""
    number = Decimal(amount)
    whole, _, fraction = amount.lstrip("-").partition(".")
    fits = len(whole.lstrip("0")) <= whole_digits and len(fraction.rstrip("0")) <= scale
    rows = [running(**{name: amount})]
    if fits:
        assert read(rows)[0][name] == number
    else:
        with pytest.raises(ConfigurationError, match=rf"which decimal128\(38, {scale}\) cannot hold exactly"):
            write(rows)


@pytest.mark.parametrize(
    "amount", ["0." + "0" * 40, "0." + "0" * 80, "0" * 60 + "1.5", "-" + "9" * 20 + "." + "9" * 18 + "0"]
)
def test_holds_a_number_with_digits_that_say_nothing(amount: str) -> None:
    """Zeros at the start and the end do not count, and other amounts of the column stay as they are."""
    rows = [running(1, totalLiability=text) for text in ("1.25", amount, None)]
    assert [row["totalLiability"] for row in read(rows)] == [Decimal("1.25"), Decimal(amount), None]


@pytest.mark.parametrize("amount", ["865018614427031617487.0", "-" + "9" * 40, "0." + "0" * 80 + "1"])
def test_names_the_first_record_that_does_not_fit(amount: str) -> None:
    """A number that is too long for Arrow, which would keep some bits of it, is an error in any place."""
    rows = [running(number, totalLiability=amount if number >= 700 else "1") for number in range(1, 1_200)]
    with pytest.raises(ConfigurationError, match=r"in the record with groupId 700 and"):
        write(rows)


@pytest.mark.parametrize("name", ["startLtv", "endLtv"])
@pytest.mark.parametrize("ltv", ["0.9123456789012345678", "0." + "1234567890" * 2 + "12345678"])
def test_holds_a_ratio_of_many_decimals(name: str, ltv: str) -> None:
    """An LTV, which is a quotient, may have up to 28 decimals, in a whole record and in a flat table."""
    one = record(**{name: ltv})
    assert read([one])[0][name] == Decimal(ltv)
    flat = dict(flat_rows(FORCE_LIQUIDATIONS)(one))
    assert read([dict(flat["liquidations"])], "liquidations")[0][name] == Decimal(ltv)


@settings(deadline=None)
@given(amounts)
def test_holds_every_digit_of_a_text(amount: str) -> None:
    """As text an amount is read back digit for digit."""
    (found,) = read([running(totalLiability=amount)], amounts="string")
    assert found["totalLiability"] == amount


@pytest.mark.parametrize("name", ["totalLiability", "netEquity", "interest"])
def test_says_which_amount_does_not_fit(name: str) -> None:
    """The error names the column, the record, the value, and the argument that helps; and it does."""
    value = "0.1234567890123456789"
    one = record(totalLiability=value)
    one["liquidationSnapshot"]["snapshots"][1]["netEquity"] = value
    one["liquidationSnapshot"]["liabilities"][0]["interest"] = value
    others: dict[str, Any] = {
        other: "string" for other in ("totalLiability", "netEquity", "interest") if other != name
    }
    with pytest.raises(ConfigurationError) as caught:
        write([one], amounts=others)
    text = str(caught.value)
    assert text.startswith(f"Set parquet_amounts={{{name!r}: 'string'}}")
    for part in (
        f"{name} is '{value}'",
        "decimal128(38, 18)",
        "groupId 6",
        "liquidationStartTime 1772364000123",
    ):
        assert part in text
    assert value in str(read([one], amounts={**others, name: "string"}))


@pytest.mark.parametrize("table", ["", "assets"])
def test_names_a_record_by_the_key_of_its_dataset(table: str) -> None:
    """The error about an amount identifies the record by the key fields that the dataset declares."""
    some = transfer_records()
    some[0]["liquidationTransferRecord"][1]["assets"][0]["amount"] = "1" * 21
    with pytest.raises(ConfigurationError, match=r"amount is '1{21}'.* record with liquidationId 56"):
        write(rows_of(TRANSFERS, some, table), table, dataset=TRANSFERS)


def test_keeps_undeclared_fields() -> None:
    """They are JSON in the column `extra` of the object that they were in; it is null without any."""
    (found,) = read([with_undeclared_fields()])
    assert json.loads(found["extra"]) == {"fee": "1.50", "extra": {"a": "żółć", "b": ["1", None]}}
    nested = found["liquidationSnapshot"]
    assert json.loads(nested["extra"]) == {"reason": "LTV"}
    assert json.loads(nested["snapshots"][0]["extra"]) == {"position": "long", "groupId": "66"}
    assert json.loads(nested["liabilities"][0]["extra"]) == {"rate": "0.00010"}
    flat = {table: dict(row) for table, row in flat_rows(FORCE_LIQUIDATIONS)(with_undeclared_fields())}
    (liquidation,) = read([flat["liquidations"]], "liquidations")
    assert json.loads(liquidation["extra"])["liquidationSnapshot"] == {"reason": "LTV"}
    (detail,) = read([flat["snapshots"]], "snapshots")
    assert json.loads(detail["extra"]) == {"position_": "long", "groupId_": "66"}


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [({}, [5_000, 5_000, 1_001]), ({"batch_rows": 1_000, "group_batches": 4}, [4_000, 4_000, 3_001])],
    ids=["default", "given"],
)
def test_writes_row_groups_of_one_size(sizes: dict[str, int], groups: list[int]) -> None:
    """All row groups hold the same number of rows, and the last one the rest."""
    file = write([running(number) for number in range(1, 11_002)], **sizes)
    found = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    assert found == groups
    assert file.read(["groupId"]).column("groupId").to_pylist() == list(range(1, 11_002))


@pytest.mark.parametrize("text", ["INF", "", "NaN", "1_000", " 1", "٣", "-"])
def test_a_text_that_was_kept_fits_a_column_of_strings_alone(text: str) -> None:
    """Python takes some of them for numbers, which would alter what Binance sent."""
    row = {**record(), "totalLiability": text}
    (found,) = read([row], amounts={"totalLiability": "string"})
    assert found["totalLiability"] == text
    with pytest.raises(ConfigurationError, match=r"Set parquet_amounts=\{'totalLiability': 'string'\}"):
        read([row])
