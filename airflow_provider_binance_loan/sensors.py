"""The sensors, which wait for liquidations, or for the loan-to-value of risk units."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_binance_loan.base_sensor import BinanceLoanBaseSensor
from airflow_provider_binance_loan.binance.time_range import utc_datetime
from airflow_provider_binance_loan.conditions import (
    DEFAULT_LOOKBACK,
    LiquidationCondition,
    WaitFor,
    parse_liquidation_condition,
)
from airflow_provider_binance_loan.ltv_condition import (
    LevelArgument,
    LtvCondition,
    parse_ltv_condition,
    write_levels,
)
from airflow_provider_binance_loan.windows import parse_instant, refuse_partition, resolve_window

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow.sdk import Context

    from airflow_provider_binance_loan.conditions import Condition
    from airflow_provider_binance_loan.triggers import (
        BinanceLoanForceLiquidationTrigger,
        BinanceLoanLtvTrigger,
    )


class BinanceLoanForceLiquidationSensor(BinanceLoanBaseSensor):
    """Wait until a liquidation started, or finished, at or after an instant.

    The run for the interval from 2026-03-01 09:00 to 10:00 UTC waits for liquidations since 09:00. At 10:20 a
    risk unit is liquidated; at the next poke the sensor succeeds, and its XCom is `{"count": 1, "group_ids":
    [6], "start": "2026-03-01T10:20:…", "end": …}`, in whichever mode it waits. An operator that is given this
    `start` and `end` pulls exactly these records; where the sensor waited for finished ones, at least these.

    Further arguments are those of :class:`.BinanceLoanBaseSensor`, and of Airflow's sensors.

    :param since: the instant, a datetime or ISO 8601 text, with time zone; empty for the start of the window
        that an operator in the same run would pull. (templated)
    :param wait_for: `"started"` or `"finished"`.
    :param lookback: for liquidations that finish, how long before `since` they may have started, at least.
    :param risk_units: `"all"`, `"active"`, or ids, as a list or separated by commas. (templated)
    """

    template_fields: Sequence[str] = ("since", "risk_units", "binance_loan_conn_id")
    missing = "no liquidation"

    def __init__(
        self,
        *,
        since: datetime | str | None = None,
        wait_for: WaitFor = "started",
        lookback: timedelta = DEFAULT_LOOKBACK,
        risk_units: str | int | Iterable[int | str] = "all",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.since = since
        self.wait_for = wait_for
        self.lookback = lookback
        self.risk_units = risk_units

    def _parse_condition(self, context: Context) -> LiquidationCondition:
        since_ms = parse_instant(self.since, "since")
        if since_ms is None:
            refuse_partition(context, "since", 'since="{{ partition_date }}"')
            since_ms = resolve_window(context).window.start_ms
        return parse_liquidation_condition(
            since_ms=since_ms, wait_for=self.wait_for, lookback=self.lookback, risk_units=self.risk_units
        )

    def _build_trigger(self, condition: Condition, **waiting: Any) -> BinanceLoanForceLiquidationTrigger:
        # Imported here, since triggers import much of Airflow, and DAGs are parsed without them.
        from airflow_provider_binance_loan.triggers import BinanceLoanForceLiquidationTrigger

        condition = cast("LiquidationCondition", condition)
        units = condition.risk_units
        return BinanceLoanForceLiquidationTrigger(
            since=utc_datetime(condition.since_ms).isoformat(),
            wait_for=condition.wait_for,
            risk_units=list(units) if isinstance(units, tuple) else units,
            lookback=self.lookback.total_seconds(),
            **waiting,
        )

    def _describe_found(self, event: dict[str, Any]) -> str:
        group_ids = ", ".join(map(str, event.get("group_ids", ())))
        noun = "liquidation" if event.get("count") == 1 else "liquidations"
        return (
            f"{event.get('count')} {noun}, of the risk units {group_ids}, that started from "
            f"{event.get('start')} to before {event.get('end')}"
        )


class BinanceLoanLtvSensor(BinanceLoanBaseSensor):
    """Wait until an LTV is at or above a level, or until all LTVs are below one.

    With `at_or_above=0.8`, and a risk unit whose LTV rises from 0.78 to 0.83, the sensor succeeds at the next
    poke. Its XCom is, with all figures as decimal strings, in whichever mode it waits:

        {"count": 1, "group_ids": [6], "asked_at": "2026-03-01T09:17:00.123000+00:00", "unknown": [],
         "gone": [], "units": [{"group_id": 6, "ltv": "0.83", "level": "0.8", "distance": "0.03",
         "back_to_level": {"add_collateral": …, "repay_from_outside": …, "repay_from_inside": …},
         "maxAllowedBorrowLimit": "0"}]}

    With `below=0.7` it waits until every risk unit that it watches is below, as before a job that borrows;
    the XCom lists them all. An LTV that Binance does not state is neither above nor below: it is listed as
    `unknown`, and holds `below` back. A risk unit that is not seen any more counts for neither, and is listed
    as `gone`; when none is left to watch, `below` waits on.

    `back_to_level` is this package's arithmetic, from the formula LTV = L / (E - M); see
    :func:`.build_level_figures`. Further arguments are those of :class:`.BinanceLoanBaseSensor`, and of
    Airflow's sensors.

    :param at_or_above: a level for all risk units that the key sees, such as `0.8` or `"0.80"`, or a mapping
        with one for each risk unit to watch, such as `{6: 0.8, 7: 0.75}`. (templated)
    :param below: likewise, and instead of `at_or_above`. (templated)
    """

    template_fields: Sequence[str] = ("at_or_above", "below", "binance_loan_conn_id")
    missing = "no such LTV"

    def __init__(
        self,
        *,
        at_or_above: LevelArgument | None = None,
        below: LevelArgument | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.at_or_above = at_or_above
        self.below = below

    def _parse_condition(self, context: Context) -> LtvCondition:  # noqa: ARG002
        return parse_ltv_condition(self.at_or_above, self.below)

    def _build_trigger(self, condition: Condition, **waiting: Any) -> BinanceLoanLtvTrigger:
        # Imported here, since triggers import much of Airflow, and DAGs are parsed without them.
        from airflow_provider_binance_loan.triggers import BinanceLoanLtvTrigger

        return BinanceLoanLtvTrigger(**write_levels(cast("LtvCondition", condition)), **waiting)

    def _describe_found(self, event: dict[str, Any]) -> str:
        units = event.get("units", ())
        parts = [
            f"risk unit {unit.get('group_id')} with an LTV of {unit.get('ltv')}, level {unit.get('level')}"
            for unit in units
        ]
        others = {name: event.get(name) for name in ("unknown", "gone")}
        parts += [f"{name}: {', '.join(map(str, ids))}" for name, ids in others.items() if ids]
        return "; ".join(parts)
