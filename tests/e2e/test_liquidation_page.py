"""The page of a liquidation in a browser: it fits, asks for nothing, is accessible, and prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from airflow_provider_binance_loan.report.liquidation_page import render_liquidation_page
from tests.e2e.browser import chromium
from tests.support.stories import sandbox_story

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.e2e

WIDTHS = (1400, 390)
A4 = (595, 842)  # in points
LONG = {
    "assetName": "A" * 10_000,
    "principal": "9" * 60 + "." + "9" * 60,
    "interest": "<script>document.title = 'changed'</script>\u202e",
}


def story(name: str) -> dict[str, Any]:
    """The arguments of a page, by what is special about it."""
    told = sandbox_story(finished=name != "running")
    if name == "without anything else":
        return {part: told[part] for part in ("liquidation", "start", "end")}
    if name == "long texts":
        told["liquidation"]["liquidationSnapshot"]["liabilities"].append(LONG)
        told["checks"][0]["note"] = "a long note " * 200
    return told


STORIES = ("finished", "running", "without anything else", "long texts")


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    with chromium() as browser:
        yield browser


@pytest.fixture(params=STORIES)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The file of a page."""
    file = tmp_path / "page.html"
    file.write_text(render_liquidation_page(**story(request.param)), encoding="utf-8")
    return file


@pytest.fixture
def opened(browser: BrowserContext, file: Path) -> Iterator[Callable[..., Page]]:
    """Open the page with a width; whatever it asks for or complains of is an error in the end."""
    said: list[str] = []
    with browser.new_page() as page:
        page.on("request", lambda request: said.append(f"asks for {request.url}"))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))

        def open_page(width: int, **media: Any) -> Page:
            page.emulate_media(**media)
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(file.as_uri())
            return page

        yield open_page
        assert set(said) <= {f"asks for {file.as_uri()}"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_accessible(opened: Callable[..., Page], width: int, scheme: str) -> None:
    """The checker finds nothing, at both widths, in both colour schemes."""
    results = Axe().run(opened(width, color_scheme=scheme))
    assert results.response["passes"]
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_the_screen(opened: Callable[..., Page], width: int) -> None:
    """Nothing is cut off: what is wider than the screen is a table, which scrolls by itself."""
    page = opened(width)
    assert page.title().startswith("Liquidation of risk unit 1, ")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    boxes = [each.bounding_box() for each in page.locator("h1, h2, p, dd, dt, figcaption, svg text").all()]
    assert len(boxes) > 20
    # A label at the edge may be wider by the part of a pixel.
    outside = [box for box in boxes if box and not -1 <= box["x"] <= box["x"] + box["width"] <= width + 1]
    assert outside == []


def test_the_page_prints_on_a4(opened: Callable[..., Page]) -> None:
    """Every sheet is A4, upright, and no table is cut off at its edge."""
    page = opened(1400)
    pdf = page.pdf(prefer_css_page_size=True)
    sizes = re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    assert sizes
    assert {(round(float(width)), round(float(height))) for width, height in sizes} == {A4}
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 703, "height": 1000})  # A4 less the margins, in CSS pixels
    assert page.evaluate("document.documentElement.scrollWidth") <= 703
