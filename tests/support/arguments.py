"""The arguments of a class of the package, its own and those that it hands on to its bases."""

from __future__ import annotations

import inspect
from typing import Any

import airflow_provider_binance_loan


def keyword_arguments(owner: type) -> dict[str, Any]:
    """Return the defaults of a class's keyword arguments, by their names; Airflow's own are left out."""
    found: dict[str, Any] = {}
    for base in reversed(owner.__mro__):
        if base.__module__.startswith(airflow_provider_binance_loan.__name__):
            parameters = inspect.signature(base.__init__).parameters.values()
            found |= {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
    return found
