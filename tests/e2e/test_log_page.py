"""The log page of a failed task, as it opens: the advice is on the screen, without a click or a scroll.

Screenshots are written to the directory in LOG_PAGE_SCREENSHOTS, or to a temporary one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import chromium
from tests.e2e.failures import FAILURES, Failure
from tests.e2e.harness import DEADLINE_S, Airflow, Run

pytestmark = pytest.mark.e2e

VIEWPORT = {"width": 1400, "height": 900}

# Returns where the advice of each line is, from its beginning to the colon, and whether it is visible: where
# an element around it cuts it off, another element is found at its coordinates.
VISIBILITY = """
(lines, advice) => lines.map((line) => {
  const texts = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const start = text.data.indexOf(advice);
    if (start < 0) continue;
    const colon = text.data.indexOf(": ", start);
    const end = colon < 0 ? text.data.length : colon;
    const range = document.createRange();
    range.setStart(text, start);
    range.setEnd(text, end);
    const box = range.getBoundingClientRect();
    const isVisible = (x) => line.contains(document.elementFromPoint(x, box.y + box.height / 2));
    return {
      text: range.toString(),
      left: box.left,
      right: box.right,
      bottom: box.bottom,
      visible: isVisible(box.left + 1) && isVisible(box.right - 1),
    };
  }
  return null;
})
"""


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory for the screenshots."""
    chosen = Path(os.environ.get("LOG_PAGE_SCREENSHOTS") or tmp_path_factory.mktemp("log-pages"))
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser, browser.new_page() as page:
        page.set_viewport_size(VIEWPORT)
        yield page


@pytest.fixture(scope="module")
def failed(airflow: Airflow) -> Run:
    """A run whose tasks all fail."""
    return airflow.trigger("fail")


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.task_id)
def test_the_log_page_shows_the_advice(
    airflow: Airflow, failed: Run, page: Page, screenshots: Path, failure: Failure
) -> None:
    """The page shows the message once, and its advice to the end."""
    failed.wait_for(failure.task_id, "failed")
    page.goto(f"{airflow.url}/dags/fail/runs/{failed.run_id}/tasks/{failure.task_id}")
    line = page.get_by_test_id("virtualized-list").locator("summary, p").filter(has_text=failure.advice)
    expect(line).to_have_count(1, timeout=1000 * DEADLINE_S)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=screenshots / f"{failure.task_id}.png", animations="disabled")
    (found,) = line.evaluate_all(VISIBILITY, failure.advice)
    assert 0 <= found["left"] < found["right"] <= VIEWPORT["width"], found
    assert found["bottom"] <= VIEWPORT["height"], found
    assert found["visible"], found
