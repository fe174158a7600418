"""The module names that `test_readme` compares with the README's table; goes when that table does."""

from __future__ import annotations

import airflow_provider_binance_loan

PACKAGE = airflow_provider_binance_loan.__name__

LADDER = (
    "exceptions",
    "validation",
    "binance",
    "client",
    "hooks",
    "windows",
    "landing",
    "lineage",
    "links",
    "conditions",
    "operators",
    "triggers",
    "sensors",
)
