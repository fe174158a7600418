"""The contexts of runs, as Airflow hands them to operators and sensors."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import Any

from tests.support.clock import HOUR, NOW


def run_context(start: datetime = NOW - HOUR, end: datetime = NOW, **keys: Any) -> Any:
    """Return the context of the first attempt of a run for the data interval `[start, end)`."""
    return {
        "dag_run": SimpleNamespace(run_after=end),
        "data_interval_start": start,
        "data_interval_end": end,
        "ti": SimpleNamespace(get_first_reschedule_date=lambda _: None),
        **keys,
    }
