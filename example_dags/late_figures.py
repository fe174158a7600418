"""Keep a table of liquidations up to date while they run, by pulling two days again each hour and merging.

What: each run pulls its hour and the two days before it, and writes each record over the row with the same
natural key, `(groupId, liquidationStartTime)`. A record stays one row, with the latest figures. Amounts are
text, digit for digit: SQLite's numbers would round them.

Why: a liquidation has a record from its start, whose figures change until its end, hours or days later; and
Binance may show a record late.

There must be a connection `binance_loan_default` with the credit account's API key. Switch the DAG on: a new
DAG is paused. The table is in an SQLite file in Airflow's home, so that the example needs nothing else;
PostgreSQL accepts the same two statements.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, task

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator

DATABASE = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "liquidations.sqlite"

CREATE = """
    CREATE TABLE IF NOT EXISTS liquidations (
        group_id BIGINT,
        liquidation_start_time BIGINT,
        liquidation_end_time BIGINT,
        start_ltv TEXT,
        end_ltv TEXT,
        total_net_equity TEXT,
        total_maintenance_margin TEXT,
        total_liability TEXT,
        PRIMARY KEY (group_id, liquidation_start_time)
    )
"""
UPSERT = """
    INSERT INTO liquidations VALUES (
        :groupId, :liquidationStartTime, :liquidationEndTime, :startLtv, :endLtv,
        :totalNetEquity, :totalMaintenanceMargin, :totalLiability
    )
    ON CONFLICT (group_id, liquidation_start_time) DO UPDATE SET
        liquidation_end_time = excluded.liquidation_end_time,
        start_ltv = excluded.start_ltv,
        end_ltv = excluded.end_ltv,
        total_net_equity = excluded.total_net_equity,
        total_maintenance_margin = excluded.total_maintenance_margin,
        total_liability = excluded.total_liability
"""


@task
def merge(records: list[dict[str, Any]]) -> None:
    """Write each record as a row, in place of the row with the same key."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(DATABASE)) as database, database:  # a transaction: all records, or none
        database.execute(CREATE)
        database.executemany(UPSERT, records)
        query = "SELECT count(*), sum(coalesce(liquidation_end_time, 0) = 0) FROM liquidations"
        print("{} liquidations, {} of them running".format(*database.execute(query).fetchone()))


with DAG(
    dag_id="late_figures",
    schedule=CronDataIntervalTimetable("@hourly", timezone="UTC"),
    start_date=datetime(2025, 5, 1, tzinfo=timezone.utc),
    catchup=False,
    # One run at a time, so that none writes its figures over newer ones.
    max_active_runs=1,
    tags=["binance", "example"],
):
    pull = BinanceLoanForceLiquidationOperator(task_id="pull", lookback=timedelta(days=2))
    merge(pull.output)
