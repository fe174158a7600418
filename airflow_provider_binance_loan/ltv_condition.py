"""The condition for LTVs: risk units at or above a level, or all of them below it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_binance_loan.binance.datasets.risk_unit_ltvs import RISK_UNIT_LTVS, read_ltvs
from airflow_provider_binance_loan.binance.loan_to_value import (
    build_level_figures,
    known_ltv,
    level_text,
    parse_level,
)
from airflow_provider_binance_loan.binance.risk_units import parse_group_id
from airflow_provider_binance_loan.binance.time_range import utc_datetime
from airflow_provider_binance_loan.conditions import Poll
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.validation import shown

if TYPE_CHECKING:
    from decimal import Decimal

    from airflow_provider_binance_loan.binance.fields import Record
    from airflow_provider_binance_loan.binance.snapshots import Sample
    from airflow_provider_binance_loan.hooks import BinanceLoanHook
    from airflow_provider_binance_loan.shared_polls import SharedPolls

#: A level for all risk units, or one for each of some; a number, or a decimal number as text.
LevelArgument = float | str | Mapping[int | str, float | str]


class _Watched(NamedTuple):
    """A risk unit that is watched, its LTV and its level."""

    record: Record
    ltv: Decimal
    level: Decimal


@dataclass(frozen=True, kw_only=True)
class LtvCondition:
    """Risk units whose LTV is at or above a level, or all of them below it.

    :param levels: the level of each risk unit that is watched; under None the level of all that the key sees.
    :param is_below: whether all must be below; else one at or above its level is enough.
    """

    levels: Mapping[int | None, Decimal]
    is_below: bool

    def __str__(self) -> str:
        levels = ", ".join(
            f"{level_text(level)} for {'all risk units' if group_id is None else f'risk unit {group_id}'}"
            for group_id, level in self.levels.items()
        )
        return f"all LTVs below {levels}" if self.is_below else f"an LTV at or above {levels}"

    def poll(self, hook: BinanceLoanHook) -> Poll:
        """Ask for the LTVs, and return whether they end the wait."""
        poll = self.evaluate(hook.sample(read_ltvs(RISK_UNIT_LTVS.for_polls)))
        if poll.event and poll.event["gone"]:  # for a moment only, perhaps
            poll = self.evaluate(hook.sample(read_ltvs(RISK_UNIT_LTVS.for_polls)))
        return poll

    async def apoll(self, polls: SharedPolls) -> Poll:
        """Return what :meth:`poll` returns, without blocking the event loop."""
        poll = self.evaluate(await polls.ltvs())
        if poll.event and poll.event["gone"]:  # for a moment only, perhaps
            poll = self.evaluate(await polls.ltvs())
        return poll

    def evaluate(self, sample: Sample) -> Poll:
        """Return whether a sample ends the wait.

        An unknown LTV is neither at or above a level nor below it. A risk unit that has no record counts for
        neither. The event names both. It goes through Airflow's database, so it has no e-mail addresses.
        """
        watched: list[_Watched] = []
        unknown: list[int] = []
        for record in sample.records:
            level = self.levels.get(record["groupId"], self.levels.get(None))
            if level is None:
                continue
            ltv = known_ltv(record)
            if ltv is None:
                unknown.append(record["groupId"])
            else:
                watched.append(_Watched(record, ltv, level))
        gone = sample.missing(tuple(group_id for group_id in self.levels if group_id is not None))
        above = [unit for unit in watched if unit.ltv >= unit.level]
        event = None
        if (bool(watched) and not above and not unknown) if self.is_below else above:
            units = watched if self.is_below else above
            event = {
                "count": len(units),
                "group_ids": [unit.record["groupId"] for unit in units],
                "asked_at": utc_datetime(sample.asked_at_ms).isoformat(),
                "units": [build_level_figures(*unit) for unit in units],
                "unknown": unknown,
                "gone": gone,
            }
        return Poll(event, _reason(watched, unknown, gone))


def parse_ltv_condition(at_or_above: Any, below: Any) -> LtvCondition:
    """Return the condition that the arguments of a sensor or a trigger describe; one of the two is given.

    :raises ConfigurationError: both are given, or neither; or a level or an id is wrong.
    """
    if (at_or_above is None) == (below is None):
        given = "neither is set" if at_or_above is None else "both are set"
        raise ConfigurationError(f"Give at_or_above or below, one of the two: {given}.")
    name, value = ("at_or_above", at_or_above) if below is None else ("below", below)
    return LtvCondition(levels=_parse_levels(value, name), is_below=below is not None)


def write_levels(condition: LtvCondition) -> dict[str, Any]:
    """Return the arguments that :func:`parse_ltv_condition` takes, as JSON: decimal texts, ids as texts."""
    texts = {group_id: level_text(level) for group_id, level in condition.levels.items()}
    levels = texts.get(None) or {str(group_id): text for group_id, text in texts.items()}
    return {"below" if condition.is_below else "at_or_above": levels}


def _parse_levels(value: Any, name: str) -> dict[int | None, Decimal]:
    if not isinstance(value, Mapping):
        return {None: parse_level(value, name)}
    if not value:
        raise ConfigurationError(f"Give {name} as a level, or as levels by risk unit: it is empty.")
    levels: dict[int | None, Decimal] = {}
    for key, level in value.items():
        group_id = parse_group_id(key)
        if group_id is None:
            raise ConfigurationError(f"Give {name} as levels by id of a risk unit: it has {shown(key)}.")
        if group_id in levels:
            raise ConfigurationError(f"Give {name} one level for risk unit {group_id}: it has two.")
        levels[group_id] = parse_level(level, f"{name}[{key}]")
    return levels


def _reason(watched: list[_Watched], unknown: list[int], gone: list[int]) -> str:
    """Return which risk unit is nearest to its level from above or below, and which have no LTV."""
    parts = []
    if watched:
        unit = max(watched, key=lambda unit: unit.ltv - unit.level)
        parts.append(
            f"highest for its level is risk unit {unit.record['groupId']}, LTV {unit.ltv:f}, level "
            f"{level_text(unit.level)}"
        )
    else:
        parts.append("no risk unit has an LTV to watch")
    parts += [f"unknown: {', '.join(map(str, unknown))}"] if unknown else []
    parts += [f"gone: {', '.join(map(str, gone))}"] if gone else []
    return "; ".join(parts) + "."
