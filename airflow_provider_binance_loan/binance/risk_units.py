"""The argument that chooses risk units."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import TOO_LARGE, WHOLE_NUMBER, described, shown

RiskUnits = Literal["all", "active"] | tuple[int, ...]
RiskUnitsArgument = str | int | Iterable[int | str]


def parse_risk_units(value: RiskUnitsArgument) -> RiskUnits:
    """Return which risk units to read: `"all"`, `"active"`, or ids without repetition.

    :param value: `"all"`, `"active"`, an id, ids separated by commas, or several ids.
    :raises ConfigurationError: it is none of these, or no id at all.
    """
    if value == "all":
        return "all"
    if value == "active":
        return "active"
    if isinstance(value, int):
        value = [value]
    elif not isinstance(value, Iterable) or isinstance(value, bytes):
        raise ConfigurationError(f"Give risk_units as 'all', 'active' or ids: it is {described(value)}.")
    ids: dict[int, None] = {}
    for item in value.split(",") if isinstance(value, str) else value:
        group_id = parse_group_id(item)
        if group_id is None:
            raise ConfigurationError(
                "Give risk_units as 'all', 'active' or ids, listed or comma-separated: it holds "
                f"{shown(item)}."
            )
        ids[group_id] = None
    if not ids:
        raise ConfigurationError("Give risk_units as 'all', 'active' or ids: it is empty.")
    return tuple(ids)


def parse_group_id(value: object) -> int | None:
    """Return the id of a risk unit, from a whole number or its text; None for anything else."""
    number = int(value) if isinstance(value, str) and WHOLE_NUMBER.fullmatch(value.strip()) else value
    return number if type(number) is int and 0 <= number < TOO_LARGE else None
