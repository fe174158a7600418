"""Mail a warning for each level that an LTV crosses, a reminder while it stays above, and the all-clear.

What: a watcher asks Binance once a minute for the loan-to-value of all risk units, and makes an asset event
of each crossing of one of three levels, upwards and back. A reminder follows each hour for as long as a risk
unit stays above a level. The run that the events start sends one mail for each of them; it says how far the
LTV is from the level, and what it would take to get back to it.

Why: a liquidation record tells what is lost. The LTV tells it before, while there is time to add collateral
or to repay.

There must be a connection `binance_loan_default` with the API key of the parent account, which sees all its
risk units, or of a credit account, which sees its own; a connection `smtp_default` for the mail; and a
triggerer. Choose the levels yourself, as Binance publishes none. Switch the DAG on: a new DAG is paused.
Before Airflow 3.3, each restart of the triggerer warns again of what is above a level.

A run that is started by hand has no events, and sends nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.providers.smtp.operators.smtp import EmailOperator
from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_binance_loan.triggers import BinanceLoanLtvEventTrigger

FROM, TO = "airflow@example.com", ["risk@example.com"]
SUBJECTS = {
    "above": "Warning: risk unit {group_id} is at LTV {ltv}, level {level}",
    "still_above": "Reminder: risk unit {group_id} is still at LTV {ltv}, level {level}",
    "below": "All clear: risk unit {group_id} is back at LTV {ltv}, level {level}",
}

ltvs = Asset(
    "binance_loan_ltv",
    watchers=[
        AssetWatcher(
            name="ltv",
            trigger=BinanceLoanLtvEventTrigger(
                asset_name="binance_loan_ltv",
                levels=[0.70, 0.80, 0.85],
                remind_every=3600,
                poke_interval=60,
            ),
        )
    ],
)


def lines(payload: dict) -> dict[str, str]:
    """Return what a mail says: when, and for a warning what it takes to get back to the level."""
    said = {"Asked at": payload["asked_at"]}
    if payload["what"] != "below":
        said["Above the level by"] = payload["distance"]
        said["Collateral to add"] = payload["back_to_level"]["add_collateral"]
        said["Or to repay from outside"] = payload["back_to_level"]["repay_from_outside"]
        said["Or to repay from inside"] = payload["back_to_level"]["repay_from_inside"]
    return said


@task
def write_mails(triggering_asset_events: dict) -> list[dict[str, str]]:
    """Return a mail for each event, in their order."""
    events = [event for found in triggering_asset_events.values() for event in found]
    payloads = [event.extra["payload"] for event in events if "payload" in event.extra]
    return [
        {
            "subject": SUBJECTS[payload["what"]].format(**payload),
            "html_content": "".join(
                f"<p>{name}: {amount or 'unknown'}</p>" for name, amount in lines(payload).items()
            ),
        }
        for payload in payloads
    ]


with DAG(
    dag_id="early_warning",
    schedule=[ltvs],
    start_date=datetime(2025, 5, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"retries": 5, "retry_delay": timedelta(minutes=1)},
    tags=["binance", "example"],
):
    EmailOperator.partial(task_id="mail", from_email=FROM, to=TO).expand_kwargs(write_mails())
