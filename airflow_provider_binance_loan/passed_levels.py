"""What a watcher of LTVs remembers: the levels that each risk unit is above."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_loan.binance.loan_to_value import build_level_figures, known_ltv, level_text
from airflow_provider_binance_loan.binance.time_range import utc_datetime
from airflow_provider_binance_loan.validation import LATEST_S, is_number, shown
from airflow_provider_binance_loan.watcher_state import STATE_VERSION, parse_versioned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from airflow_provider_binance_loan.binance.fields import Record


@dataclass(frozen=True, kw_only=True)
class LevelRules:
    """When an LTV gives rise to an event.

    :param levels: the levels, lowest first.
    :param hysteresis: how far below a level an LTV must fall before it counts as back below it.
    :param remind_every_ms: how long after the last event of a risk unit that is above a level the next one
        follows, in milliseconds; None for none.
    """

    levels: Sequence[Decimal]
    hysteresis: Decimal
    remind_every_ms: int | None = None


@dataclass
class _Unit:
    """What was fired for a risk unit. Levels are texts.

    :param above: the levels that it is above.
    :param doubtful: levels for which the watcher was killed while it fired: whether anybody was told, and
        what, is not known.
    :param untold: levels for which it has just fired; Airflow may not have these events yet.
    :param event_ms: when its last event was, in epoch milliseconds.
    """

    above: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    untold: set[str] = field(default_factory=set)
    event_ms: int = 0

    @property
    def is_empty(self) -> bool:
        return not (self.above or self.doubtful or self.untold)


class PassedLevels:
    """The levels that each risk unit is above, as far as events were fired for them.

    A level for which an event is on its way is stored as doubtful before, and as it is after Airflow has the
    event. When the watcher is killed in between, the level fires once more, for the side on which the LTV is
    then: the crossing back, while no watcher ran, would go unnoticed otherwise.
    """

    def __init__(self) -> None:
        self._units: dict[int, _Unit] = {}

    @classmethod
    def from_json(cls, value: Any) -> PassedLevels:
        """Return what :meth:`to_json` returned.

        :raises ValueError: it is something else; the text says what, and goes with "the state".
        """
        units = parse_versioned(value).get("units")
        if not isinstance(units, list):
            raise ValueError(f"has {shown(units)} as units, which is not a list")  # noqa: TRY004
        memory = cls()
        for item in units:
            match item:
                case [int(group_id), list(above), list(doubtful), event_ms] if (
                    is_number(event_ms, 0, LATEST_S * 1000, whole=True)
                    and type(group_id) is int
                    and all(isinstance(level, str) for level in (*above, *doubtful))
                ):
                    memory._units[group_id] = _Unit(set(above), set(doubtful), event_ms=event_ms)
                case _:
                    raise ValueError(
                        f"has {shown(item)} in units, which is not id, two lists of levels and time"
                    )
        return memory

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON, which outlives this version of the package in users' databases."""
        units = []
        for group_id, unit in sorted(self._units.items()):
            doubtful = unit.doubtful | unit.untold
            units.append([group_id, sorted(unit.above - doubtful), sorted(doubtful), unit.event_ms])
        return {"version": STATE_VERSION, "units": units}

    def settle(self) -> None:
        """Note that Airflow has all events that were fired."""
        for unit in self._units.values():
            unit.untold.clear()
        self._units = {group_id: unit for group_id, unit in self._units.items() if not unit.is_empty}

    @property
    def group_ids(self) -> list[int]:
        """The risk units that are above a level."""
        return sorted(group_id for group_id, unit in self._units.items() if unit.above)

    def update(self, record: Record, asked_at_ms: int, rules: LevelRules) -> list[dict[str, Any]]:
        """Take in the LTV of a risk unit, and return the payloads of the events that it gives rise to.

        An unknown LTV gives rise to none: it is neither above a level nor back below it.

        :param record: the risk unit as it is now.
        :param asked_at_ms: when that was, by Binance's clock, in epoch milliseconds.
        :param rules: when to fire.
        """
        ltv = known_ltv(record)
        if ltv is None:
            return []
        unit = self._units.get(record["groupId"], _Unit())
        # The farthest level first: of several events at once, Airflow makes a run of the first one soonest.
        upwards = [
            level
            for level in reversed(rules.levels)
            if ltv >= level and (level_text(level) in unit.doubtful or level_text(level) not in unit.above)
        ]
        back = [
            level
            for level in rules.levels
            if ltv < level - rules.hysteresis and level_text(level) in unit.doubtful | unit.above
        ]
        crossings = [("above", level) for level in upwards] + [("below", level) for level in back]
        passed = [level for level in rules.levels if level_text(level) in unit.above and level not in back]
        # Not later than now: Binance's time may have been wrong once.
        event_ms = min(unit.event_ms, asked_at_ms)
        is_due = rules.remind_every_ms is not None and asked_at_ms - event_ms >= rules.remind_every_ms
        if passed and is_due and not crossings:
            crossings = [("still_above", passed[-1])]
        payloads = [
            {
                "what": what,
                "asked_at": utc_datetime(asked_at_ms).isoformat(),
                **build_level_figures(record, ltv, level),
            }
            for what, level in crossings
        ]
        # Only now, when nothing can fail any more: what is in the memory counts as fired.
        texts = {level_text(level) for _, level in crossings}
        unit.above = (unit.above | set(map(level_text, upwards))) - set(map(level_text, back))
        unit.doubtful -= texts
        unit.untold |= texts
        unit.event_ms = asked_at_ms if crossings else event_ms
        if unit.is_empty:
            self._units.pop(record["groupId"], None)
        else:
            self._units[record["groupId"]] = unit
        return payloads
