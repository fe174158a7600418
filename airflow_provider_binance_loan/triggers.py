"""The triggers, which poll in the triggerer: for deferred sensors, and for the watchers of assets."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_binance_loan.binance.datasets.force_liquidations import FORCE_LIQUIDATIONS
from airflow_provider_binance_loan.binance.loan_to_value import (
    known_ltv,
    level_text,
    parse_hysteresis,
    parse_level,
)
from airflow_provider_binance_loan.binance.risk_units import RiskUnits, RiskUnitsArgument, parse_risk_units
from airflow_provider_binance_loan.conditions import (
    DEFAULT_LOOKBACK,
    LiquidationCondition,
    WaitFor,
    parse_liquidation_condition,
)
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.fired_events import FiredEvents
from airflow_provider_binance_loan.ltv_condition import parse_ltv_condition
from airflow_provider_binance_loan.passed_levels import LevelRules, PassedLevels
from airflow_provider_binance_loan.validation import described, require_bool, require_seconds
from airflow_provider_binance_loan.waiting_trigger import WaitingArguments, WaitingTrigger
from airflow_provider_binance_loan.watching_trigger import WatchingArguments, WatchingTrigger
from airflow_provider_binance_loan.windows import parse_instant

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from decimal import Decimal

    from airflow_provider_binance_loan.binance.snapshots import Sample
    from airflow_provider_binance_loan.ltv_condition import LtvCondition
    from airflow_provider_binance_loan.shared_polls import SharedPolls
    from airflow_provider_binance_loan.watcher_state import WatcherState


class BinanceLoanForceLiquidationTrigger(WaitingTrigger):
    """Wait for liquidations that started, or finished, at or after an instant, and fire once.

    The payload of its event is one of:

    - `{"status": "success", "count": 1, "group_ids": [6], "start": "2026-03-01T09:17:…", "end": …}`: the
      liquidations, and a window that holds their records;
    - `{"status": "refused", "message": …}`: no retry can help;
    - `{"status": "timeout"}`: there was none until `deadline`.

    Further arguments are those of :class:`.WaitingTrigger`. All but `clock` are JSON, and are stored in
    Airflow's database.

    :param since: the instant, as ISO 8601 text with time zone.
    :param wait_for: `"started"` or `"finished"`.
    :param risk_units: `"all"`, `"active"`, or ids.
    :param lookback: for liquidations that finish, how long before `since` they may have started at least, in
        seconds.
    """

    def __init__(
        self,
        *,
        since: str,
        wait_for: WaitFor = "started",
        risk_units: str | list[int] = "all",
        lookback: float = DEFAULT_LOOKBACK.total_seconds(),
        **waiting: Unpack[WaitingArguments],
    ) -> None:
        super().__init__(**waiting)
        self.since = since
        self.wait_for = wait_for
        self.risk_units = risk_units
        self.lookback = lookback

    def _condition_arguments(self) -> dict[str, Any]:
        return {
            "since": self.since,
            "wait_for": self.wait_for,
            "risk_units": self.risk_units,
            "lookback": self.lookback,
        }

    def _parse_condition(self) -> LiquidationCondition:
        since_ms = parse_instant(self.since, "since")
        if since_ms is None:
            raise ConfigurationError("Give since as an ISO 8601 instant: it is empty.")
        require_seconds(self.lookback, "lookback")
        return parse_liquidation_condition(
            since_ms=since_ms,
            wait_for=self.wait_for,
            lookback=timedelta(seconds=self.lookback),
            risk_units=self.risk_units,
        )


class BinanceLoanLtvTrigger(WaitingTrigger):
    """Wait until an LTV is at or above a level, or all LTVs are below one, and fire once.

    The payload of its event is `{"status": "success", …}` with what :class:`.BinanceLoanLtvSensor` returns,
    or one of the others of :class:`.WaitingTrigger`, whose arguments it takes too.

    :param at_or_above: a level as decimal text, or one for each of some risk units, by their ids as text.
    :param below: likewise, and instead of `at_or_above`.
    """

    def __init__(
        self,
        *,
        at_or_above: str | dict[str, str] | None = None,
        below: str | dict[str, str] | None = None,
        **waiting: Unpack[WaitingArguments],
    ) -> None:
        super().__init__(**waiting)
        self.at_or_above = at_or_above
        self.below = below

    def _condition_arguments(self) -> dict[str, Any]:
        return {"at_or_above": self.at_or_above, "below": self.below}

    def _parse_condition(self) -> LtvCondition:
        return parse_ltv_condition(self.at_or_above, self.below)


class BinanceLoanForceLiquidationEventTrigger(WatchingTrigger[FiredEvents]):
    """Fire once for each new liquidation, and if asked once more when it finishes, for an `AssetWatcher`.

    A liquidation that starts on 2026-03-01 at 09:17 UTC becomes an asset event whose payload is
    `{"what": "started", "group_id": 6, "start": "2026-03-01T09:17:…", "end": …}`; an operator that is given
    this start and end as its window pulls the record.

    Without a state store (Airflow 3.2), each start of the triggerer fires again for the liquidations that
    started within `lookback`.

    How it survives failures and restarts, and its further arguments, are those of :class:`.WatchingTrigger`.

    :param finished: whether to fire again when a liquidation finishes.
    :param risk_units: `"all"`, `"active"`, or ids, as a list or separated by commas.
    :param lookback: how late a record may become visible after its start, in seconds; its finish is waited
        for 99 days longer.
    :raises ConfigurationError: an argument is wrong.
    """

    _state_kind = "binance_loan_fired"
    _parse_memory = staticmethod(FiredEvents.from_json)

    def __init__(
        self,
        *,
        finished: bool = False,
        risk_units: RiskUnitsArgument = "all",
        lookback: float = DEFAULT_LOOKBACK.total_seconds(),
        **watching: Unpack[WatchingArguments],
    ) -> None:
        super().__init__(**watching)
        require_bool(finished, "finished")
        require_seconds(lookback, "lookback")
        self._risk_units = parse_risk_units(risk_units)
        self.finished = finished
        self.risk_units = self._risk_units if isinstance(self._risk_units, str) else sorted(self._risk_units)
        self.lookback = lookback

    def _own_arguments(self) -> dict[str, Any]:
        return {"finished": self.finished, "risk_units": self.risk_units, "lookback": self.lookback}

    @property
    def _watched(self) -> str:
        return f"{self.risk_units} {self.finished}"

    async def _poll(
        self, polls: SharedPolls, state: WatcherState[FiredEvents]
    ) -> AsyncGenerator[dict[str, Any]]:
        lookback_ms = int(self.lookback * 1000)
        fired = await state.load()
        oldest_ms = fired.oldest_ms if fired else max(0, polls.now_ms - lookback_ms)
        window = LiquidationCondition(since_ms=oldest_ms).window(polls.now_ms)
        found = await polls.liquidations(window, self._risk_units)
        if fired is None:
            # By Binance's clock, less how long ago the watcher started, as polls may have failed.
            started_ms = found.passed_ms - state.age_ms
            fired = state.begin(
                FiredEvents(started_ms if state.has_store else started_ms - lookback_ms),
                without_store=f"liquidations that started in the last {self.lookback / 3600:.0f} h fire now, "
                "perhaps again",
            )
        # In the order of the starts, so that the events are.
        for record in sorted(found.records, key=FORCE_LIQUIDATIONS.key):
            for payload in fired.add(record, finished=self.finished):
                yield payload
        # Only after the poll, and by its beginning, so that nothing is forgotten that it did not cover; by
        # Binance's clock, since one wrong moment of this machine's would be kept for good.
        if fired.forget_before(found.began_ms - lookback_ms, keep_running=self.finished):
            state.note_change()


class BinanceLoanLtvEventTrigger(WatchingTrigger[PassedLevels]):
    """Fire each time an LTV crosses a level, upwards and back, for an `AssetWatcher`.

    With `levels=[0.70, 0.80, 0.85]`, an LTV of risk unit 6 that rises from 0.69 to 0.81 between two polls
    becomes two asset events, for 0.8 and for 0.7. When it falls below 0.79, which is 0.8 less the hysteresis
    of 0.01, one more tells that it is back below 0.8. The payload is, with figures as decimal strings:

        {"what": "above", "asked_at": "2026-03-01T09:17:00.123000+00:00", "group_id": 6, "ltv": "0.81",
         "level": "0.8", "distance": "0.01", "back_to_level": {"add_collateral": …, "repay_from_outside": …,
         "repay_from_inside": …}, "maxAllowedBorrowLimit": "0"}

    `what` is `"above"`, `"below"` or, as a reminder, `"still_above"`. `back_to_level` is this package's
    arithmetic, from the formula LTV = L / (E - M); see :func:`.build_level_figures`.

    An LTV that is above a level at the first poll fires. One that Binance does not state crosses nothing: it
    is logged, and gives no all-clear. What crosses a level and comes back between two polls is not seen.

    Without a state store (Airflow 3.2), each start of the triggerer fires again for what is above a level.
    How it survives failures and restarts otherwise, and its further arguments, are those of
    :class:`.WatchingTrigger`. One poll, of weight 200, serves all risk units and levels.

    :param levels: the levels, as numbers or decimal texts: `0.7` is the same as `"0.70"`. They are the user's
        choice, as Binance publishes none of its own.
    :param hysteresis: how far below a level an LTV must fall before it is back below it, so that one that
        trembles about the level fires once.
    :param remind_every: how long after the last event of a risk unit that is still above a level a reminder
        follows, for the highest of these levels, in seconds; None for no reminders.
    :param risk_units: `"all"` that the key sees, or ids, as a list or separated by commas.
    :raises ConfigurationError: an argument is wrong.
    """

    _state_kind = "binance_loan_levels"
    _parse_memory = staticmethod(PassedLevels.from_json)

    def __init__(
        self,
        *,
        levels: Iterable[float | str],
        hysteresis: float | str = "0.01",
        remind_every: float | None = None,
        risk_units: RiskUnitsArgument = "all",
        **watching: Unpack[WatchingArguments],
    ) -> None:
        super().__init__(**watching)
        parsed = _parse_levels(levels)
        if remind_every is not None:
            require_seconds(remind_every, "remind_every", low=1)
        self._rules = LevelRules(
            levels=parsed,
            hysteresis=parse_hysteresis(hysteresis, "hysteresis"),
            remind_every_ms=None if remind_every is None else int(remind_every * 1000),
        )
        if self._rules.hysteresis >= parsed[0]:
            raise ConfigurationError(
                f"Give hysteresis below the lowest level, {level_text(parsed[0])}: it is "
                f"{described(hysteresis)}, and no LTV could be back below that level."
            )
        units = parse_risk_units(risk_units)
        self._risk_units: RiskUnits = "all" if isinstance(units, str) else units
        self._noted: set[tuple[str, int]] = set()
        self.levels = [level_text(level) for level in parsed]
        self.hysteresis = level_text(self._rules.hysteresis)
        self.remind_every = remind_every
        self.risk_units = self._risk_units if isinstance(self._risk_units, str) else sorted(self._risk_units)

    def _own_arguments(self) -> dict[str, Any]:
        return {
            "levels": self.levels,
            "hysteresis": self.hysteresis,
            "remind_every": self.remind_every,
            "risk_units": self.risk_units,
        }

    @property
    def _watched(self) -> str:
        return f"{self.risk_units} {self.levels} {self.hysteresis}"

    async def _poll(
        self, polls: SharedPolls, state: WatcherState[PassedLevels]
    ) -> AsyncGenerator[dict[str, Any]]:
        passed = await state.load()
        sample = await polls.ltvs()
        if passed is None:
            passed = state.begin(
                PassedLevels(), without_store="what is above a level fires now, perhaps again"
            )
        self._log_unknown(sample, passed)
        payloads: list[dict[str, Any]] = []
        failure: Exception | None = None
        for record in sample.of(self._risk_units):
            try:
                payloads += passed.update(record, sample.asked_at_ms, self._rules)
            except Exception as error:  # noqa: BLE001 - raised below: one risk unit must not silence the others
                failure = error
        if payloads:
            await state.announce()
        for payload in payloads:
            yield payload
        if failure is not None:
            raise failure

    def _log_unknown(self, sample: Sample, passed: PassedLevels) -> None:
        """Log which risk units have no LTV, once for each time that this changes."""
        expected = passed.group_ids if isinstance(self._risk_units, str) else self._risk_units
        noted = {("gone", group_id) for group_id in sample.missing(tuple(expected))}
        noted |= {
            ("unknown", record["groupId"])
            for record in sample.of(self._risk_units)
            if known_ltv(record) is None
        }
        for what, group_id in sorted(noted - self._noted):
            self.log.warning(
                "The LTV of risk unit %d is %s, and crosses no level (asset %r).",
                group_id,
                what,
                self.asset_name,
            )
        for what, group_id in sorted(self._noted - noted):
            self.log.info(
                "The LTV of risk unit %d is not %s any more (asset %r).", group_id, what, self.asset_name
            )
        self._noted = noted


def _parse_levels(levels: Any) -> list[Decimal]:
    """Return the levels, lowest first and each once.

    :raises ConfigurationError: they are no list of levels, or there is none.
    """
    if isinstance(levels, (str, bytes, dict)) or not isinstance(levels, Iterable):
        raise ConfigurationError(f"Give levels as a list such as [0.7, 0.8]: it is {described(levels)}.")
    parsed = sorted({parse_level(level, f"levels[{index}]") for index, level in enumerate(levels)})
    if not parsed:
        raise ConfigurationError("Give levels as a list such as [0.7, 0.8]: it is empty.")
    return parsed
