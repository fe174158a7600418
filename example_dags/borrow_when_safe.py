"""Wait until every LTV is below a level, and only then start a job that borrows.

What: the sensor waits in the triggerer until the loan-to-value of every risk unit that the key sees is below
the level. An LTV that Binance does not state holds it back. What it found is its XCom, which the job gets:
each risk unit, how far it is below, and how much Binance says may be borrowed.

Why: a job that borrows raises the LTV, and one that starts near a liquidation causes it.

There must be a connection `binance_loan_default` with the API key of the parent account, or of a credit
account, and a triggerer. Put your own level into the variable `borrow_below`, and your own job in
place of `borrow`: this package reads, and never borrows. Switch the DAG on: a new DAG is paused.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, CronTriggerTimetable, task

from airflow_provider_binance_loan.sensors import BinanceLoanLtvSensor

LEVEL = "{{ var.value.get('borrow_below', '0.75') }}"


@task
def borrow(found: dict) -> dict[str, str]:
    """Return what may be borrowed by each risk unit: the place of your own job."""
    return {str(unit["group_id"]): unit["maxAllowedBorrowLimit"] for unit in found["units"]}


with DAG(
    dag_id="borrow_when_safe",
    schedule=CronTriggerTimetable("0 8 * * *", timezone="UTC"),
    start_date=datetime(2025, 5, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["binance", "example"],
):
    wait = BinanceLoanLtvSensor(
        task_id="wait",
        below=LEVEL,
        deferrable=True,
        poke_interval=60,
        timeout=timedelta(hours=2).total_seconds(),
        soft_fail=True,
    )
    borrow(wait.output)
