"""The example DAGs, end to end: put into the folder of a real Airflow, they run by their own schedules."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_binance_loan.sandbox.exchange import Liquidation
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.e2e.harness import Airflow, epoch_ms, until
from tests.support.mail import MailServer

pytestmark = pytest.mark.e2e

FOLDER = Path(__file__).parents[2] / "example_dags"
EXAMPLES = {file.stem: file.name for file in FOLDER.glob("*.py")}
ASSETS = ("binance_loan_liquidations", "binance_loan_alerts", "binance_loan_stories")


def fired(airflow: Airflow, asset: str, liquidation: Liquidation) -> int:
    """Count the events of an asset about a liquidation; there may be others, as history goes on."""
    starts = [epoch_ms(payload["start"]) for payload in airflow.asset_payloads(asset)]
    return starts.count(liquidation.start_ms)


@pytest.fixture
def folder(airflow: Airflow) -> Iterator[Path]:
    """The folder that the DAGs are put into, for as long as the test lasts."""
    yield airflow.dags
    for name in EXAMPLES.values():
        (airflow.dags / name).unlink(missing_ok=True)


def test_all_of_them_run_green(
    airflow: Airflow, folder: Path, store: Any, shown: SandboxServer, mail_server: MailServer
) -> None:
    """Those with a schedule run by it, the watchers start the others, and a backfill fills its days."""
    bucket = store.create_bucket(Bucket="risk-lake")
    # By itself at first: SQLite can be too busy to note a backfill.
    shutil.copy(FOLDER / "backfill.py", folder)
    airflow.wait_for_dags("backfill")
    airflow.backfill("backfill", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z")
    for name in EXAMPLES.values():
        shutil.copy(FOLDER / name, folder)
    airflow.wait_for_dags(*EXAMPLES)
    for asset in ASSETS:
        until(f"{asset} is watched", lambda asset=asset: airflow.asset_state(asset))
    liquidation = shown.exchange.liquidate()
    shown.exchange.finish(liquidation.group_id, liquidation.start_ms)

    def green() -> bool:
        states = {name: [run.get()["state"] for run in airflow.runs(name)] for name in EXAMPLES}
        assert not [name for name in states if "failed" in states[name]]
        return all("success" in states[name] for name in EXAMPLES) and states["backfill"].count("success") > 2

    # The watchers look once a minute.
    until("all have succeeded", green, every_s=1, within_s=240)
    landed = {item.key for item in bucket.objects.all()}
    assert {f"daily/dt=2026-03-0{day}/part.jsonl.gz" for day in (1, 2)} < landed
    for account in ("asia", "europe", "market_making"):
        assert any(key.startswith(f"liquidations/account=binance_loan_{account}/dt=") for key in landed)
    for asset in ASSETS:
        until(f"{asset} has its event", lambda asset=asset: fired(airflow, asset, liquidation))
        assert fired(airflow, asset, liquidation) == 1
    told = f"Risk unit {liquidation.group_id} at LTV"
    page = f"s3://risk-lake/stories/unit={liquidation.group_id}/"
    for mailed in (told, page):
        until("a mail tells of it", lambda mailed=mailed: any(mailed in text for text in mail_server.texts))
