"""Landing, end to end: keys, assets and links in a real Airflow, and objects in a real S3."""

from __future__ import annotations

import hashlib
import io
from datetime import datetime, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest

from airflow_provider_binance_loan.sandbox.exchange import Exchange
from tests.e2e.harness import Airflow, Run, until

pytestmark = pytest.mark.e2e


def window(run: Run, **length: int) -> datetime:
    """The start of the window of a run that is given none, or a length."""
    after = datetime.fromisoformat(run.get()["run_after"])
    return after - timedelta(**length or {"days": 7})


def heard(airflow: Airflow, dag_id: str, uri: str) -> dict[str, Any]:
    """Wait until a run of the DAG has heard of an object, and return what it heard."""

    def found() -> dict[str, Any] | None:
        for run in airflow.runs(dag_id):
            if run.task("hear")["state"] == "success":
                for extra in run.xcom("hear"):
                    if extra.get("s3_uri") == uri:
                        return dict(extra)
        return None

    return until(f"{dag_id} heard of {uri}", found)


def test_what_lands_starts_runs_that_hear_of_it(airflow: Airflow, exchange: Exchange, lake: Any) -> None:
    """A run without a data interval lands under a key of its window; both consumers get the manifest."""
    exchange.add_liquidation(1, exchange.now_ms())
    run = airflow.trigger("land")
    run.wait_for("land", "success")
    manifest = run.xcom("land")
    start = window(run)
    key = f"loans/dt={start:%Y-%m-%d}/{start:%Y%m%dT%H%M%S}.parquet"
    assert manifest["s3_uri"] == f"s3://lake/{key}"
    found = lake.Object(key).get()
    data = found["Body"].read()
    assert hashlib.sha256(data).hexdigest() == manifest["sha256"] == found["Metadata"]["sha256"]
    assert pq.read_table(io.BytesIO(data)).num_rows == manifest["records"] > 0
    for consumer in ("hear_of_asset", "hear_of_alias"):
        assert heard(airflow, consumer, manifest["s3_uri"]) == manifest


def test_the_task_page_shows_the_key_and_leads_to_the_object(airflow: Airflow, exchange: Exchange) -> None:
    """The rendered templates are the final key and the window, and the link that of the object's page."""
    run = airflow.trigger("land")
    run.wait_for("land", "success")
    uri = run.xcom("land")["s3_uri"]
    fields = run.task("land")["rendered_fields"]
    assert fields["s3_key"] == uri
    assert fields["window"].endswith("Z): seven days by default")
    page = until("there is a link", lambda: run.links("land").get("S3 object"))
    assert page.startswith(
        "https://console.aws.amazon.com/s3/object/lake?region=us-east-1&prefix=loans%2Fdt%3D"
    )


def test_mapped_tasks_name_their_own_windows(airflow: Airflow, exchange: Exchange, lake: Any) -> None:
    """Each of the tasks that one was expanded to lands under a key of its own window, as three tables."""
    run = airflow.trigger("land_mapped")
    run.wait_for_all("land", 2)
    starts = [datetime(2026, 3, 1, 9), window(run, days=1)]
    keys = {item.key for item in lake.objects.filter(Prefix="loans/")}
    for start in starts:
        for table in ("liquidations", "snapshots", "liabilities"):
            assert f"loans/{table}/dt={start:%Y-%m-%d}/{start:%Y%m%dT%H%M%S}.parquet" in keys


def test_a_wrong_window_fails_without_a_retry(airflow: Airflow, exchange: Exchange) -> None:
    """A window that is none fails the task at once, though the key names it."""
    before = len(exchange.requests)
    task = airflow.trigger("land_wrong_window").wait_for("land", "failed", "up_for_retry")
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert len(exchange.requests) == before


def test_an_empty_window_is_skipped_when_told_to(airflow: Airflow, exchange: Exchange, lake: Any) -> None:
    """Nothing is written, and nobody hears of it."""
    run = airflow.trigger("land_nothing")
    run.wait_for("land", "skipped")
    assert not list(lake.objects.filter(Prefix="loans/dt=2020"))
