"""Values as the page writes them."""

from __future__ import annotations

import pytest

from airflow_provider_binance_loan.report.cells import add_up, duration_text, instant_cell, time_cell


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (999, "less than 1 s"),
        (61_000, "1 min 1 s"),
        (3_600_000, "1 h"),
        (144_000_000, "1 d 16 h"),
    ],
)
def test_writes_a_length_of_time_in_words(ms: int, text: str) -> None:
    """Units that are zero are left out."""
    assert duration_text(ms) == text


@pytest.mark.parametrize(
    ("amounts", "total"),
    [
        ([], "0"),
        (["0.1", "0.2"], "0.3"),
        (
            ["99999999999999999999.00000000000000000001", "0.00000000000000000001"],
            "99999999999999999999.00000000000000000002",
        ),
        (["1", "INF"], None),
        (["1", None], None),
        (["1", "1E+400"], None),
        (["9" * 201], None),
    ],
)
def test_adds_up_exactly_or_not_at_all(amounts: list[str], total: str | None) -> None:
    """No digit of a sum is rounded, and with an amount that is no number there is none."""
    assert add_up(amounts) == total


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        ("2026-03-01T12:00:00+02:00", "2026-03-01 10:00:00"),
        ("2026-03-01T12:00:00", "2026-03-01T12:00:00"),
        ("yesterday", "yesterday"),
        (5, "5"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
    ],
)
def test_writes_an_instant_in_utc(instant: object, text: str) -> None:
    """A text that is no instant, or has no time zone, is written as it is."""
    assert instant_cell(instant).text == text


def test_a_time_keeps_its_milliseconds_where_a_program_reads_them() -> None:
    """What is written is to the second, and the attribute exact."""
    cell = time_cell(1772324260113)
    assert (cell.text, cell.iso) == ("2026-03-01 00:17:40", "2026-03-01T00:17:40.113Z")
