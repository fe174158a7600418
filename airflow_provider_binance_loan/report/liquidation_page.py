"""The page that tells the story of one liquidation, for people who have no Airflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_loan.binance.loan_to_value import level_text, parse_level
from airflow_provider_binance_loan.binance.time_range import parse_window
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.report import chart
from airflow_provider_binance_loan.report.cells import is_time
from airflow_provider_binance_loan.report.story import Story
from airflow_provider_binance_loan.validation import TOO_LARGE, described, is_number, shown

if TYPE_CHECKING:
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
    levels: Iterable[Decimal | float | str] | Decimal | float | str | None = (),
) -> str:
    """Return the page of a liquidation: one HTML document that needs no other file, no script and no network.

    Records are dicts as the hook returns them, with times in epoch milliseconds and amounts as decimal texts.
    Amounts are written digit for digit, times in UTC to the second. Every text is escaped. None says that
    records were not read, and an empty list that there are none: the page says which. A None in a list, as a
    task leaves it that was skipped, is ignored.

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
    :param levels: the levels of the LTV to draw, such as `[0.8, "0.85"]`, or one level.
    :raises ConfigurationError: an argument is wrong: a level, `start`, `end`, or what should be records.
    """
    parsed = _parse_levels(levels)
    _require_liquidation(liquidation)
    given: dict[str, Iterable[Mapping[str, Any]] | None] = {
        "ltvs": ltvs,
        "transfers": transfers,
        "transactions": transactions,
        "interest": interest,
        "checks": checks,
        "manifests": manifests,
    }
    records = {name: _parse_records(found, name) for name, found in given.items()}
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


def _parse_levels(levels: Any) -> list[str]:
    if levels is None:
        return []
    given = levels if isinstance(levels, Iterable) and not isinstance(levels, str) else [levels]
    return [level_text(parse_level(level, "levels")) for level in given]


def _require_liquidation(liquidation: Any) -> None:
    if not isinstance(liquidation, Mapping):
        raise ConfigurationError(
            f"Give liquidation as one record of get_force_liquidations: it is {described(liquidation)}."
        )
    group_id, start = (liquidation.get(name) for name in ("groupId", "liquidationStartTime"))
    if not is_number(group_id, 0, TOO_LARGE - 1, whole=True):
        raise ConfigurationError(
            "Give groupId of the liquidation as a whole number, as get_force_liquidations returns it: it is "
            f"{described(group_id)}."
        )
    if not is_time(start):
        raise ConfigurationError(
            "Give liquidationStartTime of the liquidation in epoch milliseconds, as get_force_liquidations "
            f"returns it: it is {described(start)}."
        )


def _parse_records(records: Any, name: str) -> list[Mapping[str, Any]] | None:
    """Return records without the None among them; None where they were not read."""
    if records is None:
        return None
    if isinstance(records, str | bytes | Mapping) or not isinstance(records, Iterable):
        raise ConfigurationError(
            f"Give {name} as a list of records, or as None where they were not read: it is "
            f"{described(records)}."
        )
    found = [one for one in records if one is not None]
    for one in found:
        if not isinstance(one, Mapping):
            raise ConfigurationError(
                f"Give {name} as a list of dicts, as the hook or an operator returns them: one of them is "
                f"{shown(one)}."
            )
    return found


@cache
def _template() -> Template:
    # Imported here, so that nobody pays for it who makes no page.
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = files(__package__).joinpath("liquidation_page.html").read_text(encoding="utf-8")
    return environment.from_string(text)
