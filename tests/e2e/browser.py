"""A headless Chromium, and how a person fills Airflow's connection form in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from playwright.sync_api import Browser, Locator, Page, sync_playwright

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
DEADLINE_MS = 30_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the system's Chromium for as long as the block lasts.

    :raises FileNotFoundError: there is none.
    """
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        raise FileNotFoundError("There is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, width: int = 1000, height: int = 900) -> Iterator[Page]:
    """Open an empty page in a window of its own."""
    with browser.new_context(viewport={"width": width, "height": height}) as context:
        context.set_default_timeout(DEADLINE_MS)
        yield context.new_page()


def open_form(page: Page, airflow_url: str) -> Locator:
    """Open the form for a new connection of our type."""
    page.goto(f"{airflow_url}/connections")
    page.get_by_role("button", name="Add Connection").first.click()
    form = page.get_by_role("dialog")
    form.get_by_role("combobox", name="Connection Type").click()
    page.keyboard.type("Binance Institutional Loan")
    page.keyboard.press("Enter")
    form.get_by_label("Base URL").wait_for()
    return form


def fill(form: Locator, fields: Mapping[str, str]) -> None:
    """Fill fields in, by their labels."""
    for label, value in fields.items():
        form.get_by_label(label, exact=True).fill(value)


def save(form: Locator) -> None:
    """Save what the form holds, and wait until it has closed."""
    form.get_by_role("button", name="Save").click()
    form.wait_for(state="hidden")
