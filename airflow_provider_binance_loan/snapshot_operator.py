"""The base of the operators that take a snapshot at the moment when the task runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_binance_loan.base_operator import BinanceLoanLandingOperator
from airflow_provider_binance_loan.binance.risk_units import parse_risk_units
from airflow_provider_binance_loan.binance.time_range import utc_datetime, utc_text
from airflow_provider_binance_loan.exceptions import ConfigurationError
from airflow_provider_binance_loan.lineage import add_input
from airflow_provider_binance_loan.validation import shown

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.sdk import Context

    from airflow_provider_binance_loan.binance.declaration import Dataset
    from airflow_provider_binance_loan.binance.plans import Plan
    from airflow_provider_binance_loan.binance.snapshots import Sample

# When Binance was asked, in the key of an object: `{asked_at}`, or with a format as `strftime` takes it.
_ASKED_AT = re.compile(r"\{asked_at(?::([^{}]+))?\}")
_DIRECTIVE = re.compile("%[YmdHMSfjy]")


class BinanceLoanSnapshotOperator(BinanceLoanLandingOperator):
    """Take a snapshot at the moment when the task runs: the base of the operators that say of what.

    A retry, or a task that is cleared, takes another snapshot: Airflow's dates of the run say nothing of when
    that was. The manifest says it, as `asked_at`, and the key can: `{asked_at}` in `s3_key` becomes
    `20260301T091700123Z`, and `{asked_at:%Y-%m-%d}` the date in UTC; a format of the directives
    `%Y %m %d %H %M %S %f %j %y` may stand there. With a key that names the run alone, the later snapshot
    replaces the earlier one.

    `risk_units` is `"all"` that the key sees, or ids; those without a record are named in the log. The other
    arguments, and what is returned, are those of :class:`.BinanceLoanLandingOperator`.
    """

    def _choose(self) -> tuple[Dataset, Plan[Sample]]:
        """Return the dataset, and the plan that reads it.

        :raises ConfigurationError: an argument is wrong.
        """
        raise NotImplementedError

    def _pull(self, context: Context) -> list[Any] | dict[str, Any]:
        risk_units = parse_risk_units(self.risk_units)
        dataset, plan = self._choose()
        if self.s3_key is not None:
            _dated(self.s3_key, self.hook.now())  # a wrong key is refused before anything is requested
        sample = self.hook.sample(plan)
        asked_at = utc_datetime(sample.asked_at_ms)
        about = {"asked_at": asked_at.isoformat()}
        add_input(self.hook, dataset, about)
        records = sample.of(risk_units)
        self.log.info("Binance was asked at %s.", utc_text(sample.asked_at_ms))
        if missing := sample.missing(risk_units):
            named = ", ".join(map(str, missing))
            self.log.warning("No record of risk units %s: closed, or not seen by this key.", named)
        if self.s3_key is None:
            return self._collect(records)
        sink = self._open_sink(dataset, _dated(self.s3_key, asked_at))
        return self._report(sink, sink.land(records, about), context)


def _dated(key: str, asked_at: datetime) -> str:
    """Return the key of a snapshot's object, with when Binance was asked in place of `{asked_at}`.

    :raises ConfigurationError: the placeholder is written otherwise, or its format says nothing of the time.
    """

    def text(match: re.Match[str]) -> str:
        if not match[1]:
            return f"{asked_at:%Y%m%dT%H%M%S}{asked_at.microsecond // 1000:03}Z"
        written = _DIRECTIVE.sub(lambda directive: asked_at.strftime(directive[0]), match[1])
        return match[0] if "%" in written or written == match[1] else written

    if not isinstance(key, str):
        return key
    dated = _ASKED_AT.sub(text, key)
    if re.search(r"\{[^{}]*asked_at", dated, re.IGNORECASE):  # each snapshot would replace the one before
        raise ConfigurationError(
            "Write {asked_at} in s3_key, or {asked_at:%Y-%m-%d} with some of %Y %m %d %H %M %S %f %j %y: it "
            f"is {shown(key)}."
        )
    return dated
