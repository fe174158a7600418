"""Take the screenshots of the documentation again: `uv run python tests/e2e/screenshots.py`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from airflow_provider_binance_loan.report.liquidation_page import render_liquidation_page  # noqa: E402
from airflow_provider_binance_loan.sandbox.exchange import Exchange  # noqa: E402
from airflow_provider_binance_loan.sandbox.server import SandboxServer, airflow_connection  # noqa: E402
from tests.e2e.browser import chromium, fill, open_form  # noqa: E402
from tests.e2e.harness import Airflow, until  # noqa: E402
from tests.support.stories import sandbox_story  # noqa: E402

IMAGES = ROOT / ".github" / "images"
MAX_BYTES = 100_000
COLOURS = 64
DAG_ID = "wait_then_pull"


def main() -> None:
    """Take all of them."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as home,
        SandboxServer(Exchange()) as server,
        chromium() as browser,
    ):
        take_liquidation_page(browser)
        # That DAG's file and no other, which would be on the pictures too.
        dags = Path(home, "dags")
        dags.mkdir()
        shutil.copy(ROOT / "tests" / "e2e" / "dags" / "waiting.py", dags)
        # The watcher in that file has a connection of its own.
        both = ("binance_loan_default", "binance_loan_watched")
        connections = dict.fromkeys(both, airflow_connection(server.url))
        with Airflow(Path(home), dags, connections) as airflow:
            airflow.wait_for_dags(DAG_ID)
            take_form(browser, airflow)
            take_page_and_grid(browser, airflow, server)


def take(page: Page, name: str) -> None:
    """Take what a page shows, in few colours.

    :raises ValueError: the image is too large for the documentation.
    """
    file = IMAGES / f"{name}.png"
    with Image.open(BytesIO(page.screenshot(animations="disabled"))) as image:
        image.convert("RGB").quantize(COLOURS).save(file, optimize=True)
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"{file.name} is larger than {MAX_BYTES:,} bytes.")


def take_form(browser: BrowserContext, airflow: Airflow) -> None:
    """Take the connection form, filled in but for the secret."""
    with browser.new_page() as page:
        page.set_viewport_size({"width": 1000, "height": 760})
        page.goto(f"{airflow.url}/connections")
        form = open_form(page)
        fill(form, {"Connection ID": "binance_loan_default", "Port": "443"})
        take(page, "connection-form")


def take_liquidation_page(browser: BrowserContext) -> None:
    """Take the head of the page of a liquidation."""
    with browser.new_page() as page:
        page.set_viewport_size({"width": 1000, "height": 1030})
        page.set_content(render_liquidation_page(**sandbox_story()))
        take(page, "liquidation-page")


def take_page_and_grid(browser: BrowserContext, airflow: Airflow, server: SandboxServer) -> None:
    """Take the sandbox's page after its button was pressed, and the run whose sensor that woke."""
    run = airflow.trigger(DAG_ID)
    run.wait_for("wait", "deferred")
    run.wait_for_worker("wait")
    with browser.new_page() as page:
        page.set_viewport_size({"width": 860, "height": 1040})
        page.goto(server.url)
        units = server.exchange.state()["units"]
        idle = next(unit["groupId"] for unit in units if unit["active"] and not unit["running"])
        page.get_by_role("button", name=f"Liquidate unit {idle}", exact=True).click()
        page.get_by_text(f"Unit {idle}: a liquidation started").wait_for()
        take(page, "sandbox-page")
    run.wait_for("pull", "success")
    until("the run has ended", lambda: run.get()["state"] == "success")
    with browser.new_page() as page:
        page.set_viewport_size({"width": 1200, "height": 560})
        page.goto(f"{airflow.url}/dags/{DAG_ID}/runs/{run.run_id}")
        page.get_by_role("table").get_by_text("pull").first.wait_for()
        page.wait_for_load_state("networkidle")
        take(page, "resumed-sensor")


if __name__ == "__main__":
    main()
