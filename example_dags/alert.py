"""Send a mail about each new liquidation, through one of Airflow's notifiers.

What: a watcher polls Binance once a minute in the triggerer and makes an asset event of each new liquidation.
The event starts a run, the run pulls the records, and its success sends the mail. A run may get several
events, and then sends one mail about all of them. When the pull fails for good, a mail says so.

Why: the people on duty read it minutes after the start, while the liquidation may still be running. The mail
notifier comes with Airflow; those of Slack, PagerDuty and others take its place.

There must be a connection `binance_loan_default` with the credit account's API key, a connection
`smtp_default` for the mail, and a triggerer. Switch the DAG on: a new DAG is paused. Before Airflow 3.3, each
restart of the triggerer sends mails about the last seven days again.

A run that is started by hand covers the last seven days. In the sandbox its mail goes where
`AIRFLOW_CONN_SMTP_DEFAULT` says, and nowhere without it.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_provider_binance_loan.operators import BinanceLoanForceLiquidationOperator
from airflow_provider_binance_loan.triggers import BinanceLoanForceLiquidationEventTrigger

FROM, TO = "airflow@example.com", ["risk@example.com"]

liquidations = Asset(
    "binance_loan_alerts",
    watchers=[
        AssetWatcher(
            name="liquidations",
            trigger=BinanceLoanForceLiquidationEventTrigger(
                asset_name="binance_loan_alerts", poke_interval=60
            ),
        )
    ],
)

PAYLOADS = (
    "triggering_asset_events.values() | sum(start=[]) | map(attribute='extra')"
    " | selectattr('payload', 'defined') | map(attribute='payload')"
)

TEXT = """
{% for record in ti.xcom_pull(task_ids='pull') %}
<p>Risk unit {{ record.groupId }} at LTV {{ record.startLtv }}, owing {{ record.totalLiability }}</p>
{% endfor %}
"""

with DAG(
    dag_id="alert",
    schedule=[liquidations],
    start_date=datetime(2025, 5, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["binance", "example"],
):
    BinanceLoanForceLiquidationOperator(
        task_id="pull",
        start="{{ " + PAYLOADS + " | map(attribute='start') | min | default('') }}",
        end="{{ " + PAYLOADS + " | map(attribute='end') | max | default('') }}",
        retries=5,
        retry_delay=timedelta(minutes=1),
        on_success_callback=SmtpNotifier(
            from_email=FROM,
            to=TO,
            subject="{{ ti.xcom_pull(task_ids='pull') | length }} new liquidations",
            html_content=TEXT,
        ),
        on_failure_callback=SmtpNotifier(
            from_email=FROM,
            to=TO,
            subject="New liquidations could not be read",
            html_content="{{ exception | e }}",
        ),
    )
