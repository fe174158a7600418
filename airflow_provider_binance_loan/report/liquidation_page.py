"""The page that tells the story of one liquidation, for people who have no Airflow."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_loan.binance.loan_to_value import level_text, parse_level
from airflow_provider_binance_loan.binance.time_range import parse_window
from airflow_provider_binance_loan.report import chart
from airflow_provider_binance_loan.report.story import Story

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from decimal import Decimal

    from jinja2 import Template


def render_liquidation_page(
    liquidation: Mapping[str, Any],
    *,
    start: datetime,
    end: datetime,
    ltvs: Iterable[Mapping[str, Any]] | None = None,
    transfers: Iterable[Mapping[str, Any]] | None = None,
    transactions: Iterable[Mapping[str, Any]] | None = None,
    interest: Iterable[Mapping[str, Any]] | None = None,
    checks: Iterable[Mapping[str, Any]] | None = None,
    manifests: Iterable[Mapping[str, Any]] | None = None,
    levels: Iterable[Decimal | float | str] = (),
) -> str:
    """Return the page of a liquidation: one HTML document that needs no other file, no script and no network.

    Records are dicts as the hook returns them, with times in epoch milliseconds and amounts as decimal texts.
    Amounts are written digit for digit, times in UTC to the second. Every text is escaped. None says that
    records were not read, and an empty list that there are none: the page says which.

    The same arguments give the same text. It is UTF-8, and may be written to a file or an object as it is.

    :param liquidation: a record of `get_force_liquidations`; it may still be running.
    :param start: from when on the page tells, a datetime with time zone.
    :param end: until when; likewise.
    :param ltvs: records of `get_ltv`, in any order; those of other risk units are left out.
    :param transfers: records of `get_liquidation_transfers`. They name no risk unit, so those of which no
        transfer was made during the liquidation are left out, and the page says how many.
    :param transactions: records of `get_borrow_repay`; those of other risk units are left out.
    :param interest: records of `get_interest_history`; those of other risk units are left out.
    :param checks: dicts of the texts `check`, `subject`, `expected`, `found`, `difference`, `outcome` and
        `note`; the outcome is `"equal"`, `"different"` or `"not_compared"`.
    :param manifests: what operators returned that landed the data; `dataset` may say what it is.
    :param levels: the levels of the LTV to draw, such as `0.8` or `"0.80"`.
    :raises ConfigurationError: a level, `start` or `end` is wrong.
    """
    parsed = [level_text(parse_level(level, "levels")) for level in levels]
    records: dict[str, Iterable[Mapping[str, Any]] | None] = {
        "ltvs": ltvs,
        "transfers": transfers,
        "transactions": transactions,
        "interest": interest,
        "checks": checks,
        "manifests": manifests,
    }
    story = Story(liquidation, parse_window(start, end), records)
    return _template().render(
        **story.heading(),
        chart=story.ltv_chart(parsed),
        top=chart.TOP,
        bottom=chart.HEIGHT - chart.BOTTOM,
        height=chart.HEIGHT,
        lanes=story.lanes(),
        lane_height=chart.LANE_HEIGHT,
        band=story.band(),
        tables=story.tables(),
    )


@cache
def _template() -> Template:
    # Imported here, so that nobody pays for it who makes no page.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = files(__package__).joinpath("liquidation_page.html").read_text(encoding="utf-8")
    return environment.from_string(text)
