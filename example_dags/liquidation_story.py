"""Tell the story of each liquidation on a page of its own, for people who have no Airflow.

What: a watcher makes an asset event of each new liquidation. The run that it starts waits until the
liquidation has finished, and for an hour more; lands its record, the transfers of collateral, the repayments
and the interest, from an hour before it to an hour after it; checks that they agree; and lands a page beside
them, with the LTV, the checks and the hashes of the objects. Then it mails where the page is. The page is one
HTML file without scripts, which any browser shows and prints.

Why: after a liquidation, risk and audit ask what happened and whether the figures agree.

There must be a connection `binance_loan_default` with the credit account's API key, a connection
`aws_default`, the bucket, the package's extra `s3`, and a triggerer. The LTVs are those that `ltv_history.py`
has landed in the same bucket, read with the extra `parquet`; where there are none, the page says so. A column
of Parquet has one number of decimals, so the zeros at the end of these LTVs are left out, also those that
Binance sent; the other amounts of the page are digit for digit those of the records. For the mail there must
be a connection `smtp_default`; without it the task `mail` is skipped and says why. Switch the DAG on: a new
DAG is paused.

A run that is started by hand tells of the latest liquidation of the last week that finished an hour ago or
earlier. The variable `minutes_around_liquidation` makes the hour longer or shorter.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from airflow.providers.standard.sensors.date_time import DateTimeSensor
from airflow.sdk import DAG, Asset, AssetWatcher, Variable, task, task_group

from airflow_provider_binance_loan.hooks import BinanceLoanHook
from airflow_provider_binance_loan.operators import (
    BinanceLoanBorrowRepayOperator,
    BinanceLoanForceLiquidationOperator,
    BinanceLoanInterestOperator,
    BinanceLoanLiquidationTransferOperator,
    BinanceLoanReconciliationOperator,
)
from airflow_provider_binance_loan.sensors import BinanceLoanForceLiquidationSensor
from airflow_provider_binance_loan.triggers import BinanceLoanForceLiquidationEventTrigger

BUCKET, LTV_PREFIX = "risk-lake", "ltv/risk_units/"
LEVELS = ["0.70", "0.80", "0.85"]
FROM, TO = "airflow@example.com", ["risk@example.com"]

liquidations = Asset(
    "binance_loan_stories",
    watchers=[
        AssetWatcher(
            name="liquidations",
            trigger=BinanceLoanForceLiquidationEventTrigger(
                asset_name="binance_loan_stories", poke_interval=60
            ),
        )
    ],
)

# Where the story of a mapped task is landed, and when it ends.
FOLDER, END = (
    f"{{{{ ti.xcom_pull(task_ids='story.choose', key='{key}', map_indexes=ti.map_index) }}}}"
    for key in ("folder", "end")
)


def margin() -> timedelta:
    """Return how long before and after the liquidation the story begins and ends."""
    return timedelta(minutes=int(Variable.get("minutes_around_liquidation", default=60)))


def to_datetime(ms: int) -> datetime:
    """Return a time of Binance's, which is in milliseconds."""
    return datetime.fromtimestamp(0, timezone.utc) + timedelta(milliseconds=ms)


@task
def find(triggering_asset_events: dict) -> list[dict]:
    """Return the risk unit and the start of each liquidation of the events, or of the latest that is over."""
    events = [event for found in triggering_asset_events.values() for event in found]
    payloads = [event.extra["payload"] for event in events if "payload" in event.extra]
    found = [(payload["group_id"], payload["start"]) for payload in payloads]
    if not found:
        now = datetime.now(timezone.utc)
        over = [
            (to_datetime(record["liquidationStartTime"]).isoformat(), record["groupId"])
            for record in BinanceLoanHook().get_force_liquidations(now - timedelta(days=7), now)
            if record["liquidationEndTime"] and to_datetime(record["liquidationEndTime"]) + margin() < now
        ]
        found = [(group_id, started) for started, group_id in sorted(over)[-1:]]
    # A restart of the triggerer may repeat an event.
    return [{"group_id": group_id, "started": started} for group_id, started in dict.fromkeys(found)]


@task
def choose(group_id: int, started: str) -> dict[str, str]:
    """Return the time that the story is of, and the folder that it goes to."""
    start = datetime.fromisoformat(started)
    (record,) = BinanceLoanHook().get_force_liquidations(
        start, start + timedelta(milliseconds=1), risk_units=group_id
    )
    ended = record["liquidationEndTime"]
    return {
        "start": (start - margin()).isoformat(),
        "end": (to_datetime(ended + 1) + margin()).isoformat(),  # the end itself is in the window
        "folder": f"stories/unit={group_id}/{start:%Y%m%dT%H%M%SZ}",
    }


def read_ltvs(start: datetime, end: datetime) -> list[dict]:
    """Return what `ltv_history.py` has landed from one time to another."""
    from io import BytesIO

    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    hook = S3Hook()
    days = (f"{start + timedelta(days=number):%Y-%m-%d}" for number in range((end - start).days + 2))
    keys = [key for day in days for key in hook.list_keys(BUCKET, f"{LTV_PREFIX}dt={day}/")]
    first, last = (f"{time:%Y%m%dT%H%M%S}" for time in (start, end))
    rows = []
    for key in keys:
        if first <= key.rpartition("/")[2] <= last:
            import pyarrow.parquet as pq

            rows += pq.read_table(BytesIO(hook.get_key(key, BUCKET).get()["Body"].read())).to_pylist()
    for row in rows:
        row["asked_at"] = round(row["asked_at"].timestamp() * 1000)
        # A column of Parquet has one number of decimals, so a value has zeros that Binance did not send.
        row |= {
            name: f"{value:f}".rstrip("0").rstrip(".")
            for name, value in row.items()
            if isinstance(value, Decimal)
        }
    return rows


@task
def write_page(group_id: int, started: str, chosen: dict, checks: list, manifests: list) -> dict[str, str]:
    """Land the page of the records that the manifests describe, and return where it is."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from airflow_provider_binance_loan.report.landing import land_page
    from airflow_provider_binance_loan.report.liquidation_page import render_liquidation_page

    landed = {
        manifest["dataset"]: [
            json.loads(line)
            for line in S3Hook().read_key(*S3Hook.parse_s3_url(manifest["uri"])[::-1]).splitlines()
        ]
        for manifest in manifests
    }
    start, end = (datetime.fromisoformat(chosen[name]) for name in ("start", "end"))
    (liquidation,) = (
        record
        for record in landed["force_liquidations"]
        if record["groupId"] == group_id
        and to_datetime(record["liquidationStartTime"]) == datetime.fromisoformat(started)
    )
    page = render_liquidation_page(
        liquidation,
        start=start,
        end=end,
        ltvs=read_ltvs(start, end),
        transfers=landed["liquidation_transfers"],
        transactions=landed["borrow_repay"],
        interest=landed["interest_history"],
        checks=checks,
        manifests=manifests,
        levels=LEVELS,
    )
    uri, console_url = land_page(page, s3_bucket=BUCKET, s3_key=f"{chosen['folder']}/page.html")
    return {"page": uri, "console": console_url}


@task
def mail(group_id: int, started: str, page: dict) -> None:
    """Mail where the page is."""
    from airflow.providers.smtp.hooks.smtp import SmtpHook
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSkipException

    try:
        Connection.get("smtp_default")
    except AirflowNotFoundException:
        raise AirflowSkipException(
            f"Add a connection smtp_default to get a mail: there is none. The page is at {page['page']}."
        ) from None
    with SmtpHook() as hook:
        hook.send_email_smtp(
            from_email=FROM,
            to=TO,
            subject=f"The liquidation of risk unit {group_id} at {started}",
            html_content=f'<p>{page["page"]}</p><p><a href="{page["console"]}">Open it</a></p>',
        )


@task_group
def story(group_id: int, started: str) -> None:
    """Tell of one liquidation."""
    wait = BinanceLoanForceLiquidationSensor(
        task_id="wait",
        since=started,
        wait_for="finished",
        lookback=timedelta(),
        risk_units=group_id,
        deferrable=True,
        poke_interval=60,
        timeout=timedelta(days=30).total_seconds(),
    )
    chosen = choose(group_id, started)
    settle = DateTimeSensor(
        task_id="settle",
        target_time=END,
        mode="reschedule",
        poke_interval=300,
    )
    window = {"start": chosen["start"], "end": chosen["end"]}
    pulls = [
        BinanceLoanForceLiquidationOperator(
            task_id="record", risk_units=group_id, s3_bucket=BUCKET, s3_key=f"{FOLDER}/record.jsonl", **window
        ),
        BinanceLoanLiquidationTransferOperator(
            task_id="transfers", s3_bucket=BUCKET, s3_key=f"{FOLDER}/transfers.jsonl", **window
        ),
        BinanceLoanBorrowRepayOperator(
            task_id="repayments",
            risk_units=group_id,
            s3_bucket=BUCKET,
            s3_key=f"{FOLDER}/repayments.jsonl",
            **window,
        ),
        BinanceLoanInterestOperator(
            task_id="interest",
            risk_units=group_id,
            s3_bucket=BUCKET,
            s3_key=f"{FOLDER}/interest.jsonl",
            **window,
        ),
    ]
    manifests = [pull.output for pull in pulls]
    check = BinanceLoanReconciliationOperator(
        task_id="check", risk_units=group_id, manifests=manifests, on_difference="warn", **window
    )
    wait >> chosen >> settle >> pulls
    mail(group_id, started, write_page(group_id, started, chosen, check.output, manifests))


with DAG(
    dag_id="liquidation_story",
    schedule=[liquidations],
    start_date=datetime(2025, 5, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"retries": 5, "retry_delay": timedelta(minutes=1)},
    tags=["binance", "example"],
):
    story.expand_kwargs(find())
