"""A headless Chromium, and how a person fills Airflow's connection form in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from playwright.sync_api import BrowserContext, Locator, Page, sync_playwright

from tests.e2e.harness import DEADLINE_S

# Playwright's own download is not needed; Chromium comes from the distribution.
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",  # root may not have one
    "--disable-gpu",
    "--disable-quic",
    # Nothing but the pages under test is asked for.
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[BrowserContext]:
    """Run the system's Chromium for as long as the block lasts; its pages share what they have loaded.

    :raises FileNotFoundError: there is none.
    """
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        raise FileNotFoundError("There is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        try:
            context = browser.new_context(viewport={"width": 1000, "height": 900})
            context.set_default_timeout(1000 * DEADLINE_S)
            yield context
        finally:
            browser.close()


def open_form(connections: Page) -> Locator:
    """Open, on Airflow's page of connections, the form for a new one of our type."""
    connections.get_by_role("button", name="Add Connection").first.click()
    form = connections.get_by_role("dialog")
    form.get_by_role("combobox", name="Connection Type").click()
    connections.get_by_role("option", name="Binance Institutional Loan").click()
    form.get_by_label("Base URL").wait_for()
    return form


def fill(form: Locator, fields: Mapping[str, str]) -> None:
    """Fill fields in, by their labels, and leave each, which is when the form looks at it."""
    for label, value in fields.items():
        field = form.get_by_label(label)  # not exact: a required one has a star after it
        field.fill(value)
        field.blur()


def save(form: Locator) -> None:
    """Save what the form holds, and wait until it has closed."""
    form.get_by_role("button", name="Save").click()
    form.wait_for(state="hidden")
