"""What a person sees in a browser: the connection form in a real Airflow, and the sandbox's page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version

import pytest
from packaging.version import Version
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

from airflow_provider_binance_loan.get_provider_info import get_provider_info
from airflow_provider_binance_loan.sandbox.exchange import SANDBOX_API_KEY, SANDBOX_API_SECRET
from airflow_provider_binance_loan.sandbox.server import SandboxServer
from tests.e2e.browser import chromium, fill, open_form, save
from tests.e2e.conftest import serve
from tests.e2e.harness import DEADLINE_S, Airflow, Run

pytestmark = pytest.mark.e2e

expect.set_options(timeout=1000 * DEADLINE_S)


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    with browser.new_page() as page:
        yield page


@pytest.fixture(scope="module")
def pressed() -> Iterator[SandboxServer]:
    """The local Binance whose page is looked at, and that the connection from the form leads to."""
    with serve() as server:
        yield server


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    """A local Binance for one test."""
    with serve() as server:
        yield server


@pytest.fixture(scope="module")
def connections(airflow: Airflow, browser: BrowserContext) -> Iterator[Page]:
    """Airflow's page of connections, which takes many seconds to load."""
    with browser.new_page() as page:
        page.goto(f"{airflow.url}/connections")
        yield page


@pytest.fixture
def form(connections: Page) -> Iterator[Locator]:
    """The form for a new connection of our type."""
    form = open_form(connections)
    yield form
    if form.is_visible():
        form.get_by_role("button", name="Close").click()
        form.wait_for(state="hidden")


@pytest.fixture(scope="module")
def from_the_form(connections: Page, pressed: SandboxServer) -> str:
    """A connection that a person filled in and saved, with the fields left empty that have a default."""
    form = open_form(connections)
    fill(form, account("from_the_form", pressed, SANDBOX_API_SECRET))
    save(form)
    return "from_the_form"


@pytest.fixture(scope="module")
def waiting(airflow: Airflow, from_the_form: str) -> Run:
    """A run whose sensor waits with that connection; it gets there while other tests run."""
    return airflow.trigger("wait_with_form")


def account(conn_id: str, server: SandboxServer, secret: str) -> dict[str, str]:
    host, _, port = server.url.rpartition(":")
    return {
        "Connection ID": conn_id,
        "Base URL": host,
        "Port": port,
        "API key": SANDBOX_API_KEY,
        "HMAC secret": secret,
    }


def button_of(connections: Page, conn_id: str) -> Locator:
    """Find the test button of a stored connection."""
    row = connections.get_by_role("row").filter(has=connections.get_by_role("cell", name=conn_id, exact=True))
    return row.get_by_role("button", name="Test Connection")


def leave_unanswered(route: Route) -> None:
    """Let a request wait for ever."""


# The form


def test_the_form_has_the_fields_of_the_connection(form: Locator) -> None:
    """Every field is there with its label and help, long and secret ones are such, and none is required."""
    described = get_provider_info()["connection-types"][0]
    for label in ("Description", "Base URL", "API key", "HMAC secret", "Port"):
        expect(form.get_by_label(label, exact=True)).to_be_visible()
    expect(form.get_by_label("Base URL")).to_have_attribute("placeholder", "https://api.binance.com")
    expect(form.get_by_label("HMAC secret", exact=True)).to_have_attribute("type", "password")
    expect(form.get_by_label("Schema")).to_have_count(0)
    form.get_by_role("button", name="Extra Fields", exact=True).click()
    for field in described["conn-fields"].values():
        expect(form.get_by_text(field["label"], exact=True)).to_be_visible()
        expect(form.get_by_text(field["description"], exact=True)).to_be_visible()
    groups = form.get_by_role("group")
    expect(groups.filter(has_text="PEM of an Ed25519").locator("textarea")).to_be_visible()
    passphrase = groups.filter(has_text="encrypted private key").locator("input")
    expect(passphrase).to_be_visible()
    if Version(version("apache-airflow")) >= Version("3.3"):  # the form of 3.2 hides the standard field alone
        expect(passphrase).to_have_attribute("type", "password")
    fill(form, {"Connection ID": "nothing_else"})
    expect(form.get_by_role("button", name="Save")).to_be_enabled()


def test_the_test_button_accepts_the_key(connections: Page, from_the_form: str) -> None:
    """The button becomes green, which is all that Airflow shows of what the hook says."""
    button = button_of(connections, from_the_form)
    with connections.expect_response("**/connections/test") as answer:
        button.click()
    assert answer.value.json() == {
        "status": True,
        "message": "Binance accepts the key for the institutional loan records of its account.",
    }
    expect(button.locator("svg")).to_have_attribute("color", "green")


def test_the_test_button_says_what_is_wrong_with_the_key(
    connections: Page, form: Locator, pressed: SandboxServer
) -> None:
    """The toast says what to check, and what Binance said."""
    fill(form, account("wrong_secret", pressed, SANDBOX_API_SECRET[::-1]))
    save(form)
    button_of(connections, "wrong_secret").click()
    toast = connections.get_by_role("status").filter(has_text="Test Connection Failed")
    expect(toast).to_contain_text(
        "Check that the secret or private key belongs to the API key: "
        "Binance says 'Signature for this request is not valid' (HTTP 400, code -1022"
    )


# The page


def test_a_button_makes_a_deferred_sensor_go_green(page: Page, pressed: SandboxServer, waiting: Run) -> None:
    """A liquidation by the page's button appears in its list, and ends the wait in an Airflow beside it."""
    waiting.wait_for("wait", "deferred")
    waiting.wait_for_worker("wait")
    page.goto(pressed.url)
    liquidations = page.get_by_role("table", name="Liquidations")
    expect(page.get_by_role("button", name="liquidate unit 2")).to_be_visible()
    expect(liquidations.get_by_role("cell")).to_have_count(0)
    page.get_by_role("button", name="liquidate unit 2").click()
    expect(liquidations.get_by_role("row").nth(1)).to_contain_text("running")
    waiting.wait_for("pull", "success")
    (liquidation,) = pressed.exchange.liquidations()
    pulled = [(one["groupId"], one["liquidationStartTime"]) for one in waiting.xcom("pull")]
    assert pulled == [(2, liquidation.start_ms)]


def test_the_page_is_used_with_the_keyboard_alone(page: Page, sandbox: SandboxServer) -> None:
    """Tab and Enter do all that there is, what happened is said, and the focus stays where it is."""
    page.goto(sandbox.url)
    expect(page.get_by_role("button", name="liquidate unit 1")).to_be_visible()
    row = page.get_by_role("table", name="Risk units").get_by_role("row").nth(1)
    said = page.get_by_role("status")
    for button_name, says, shows in (
        ("push to its level: unit 1", "Unit 1: the LTV rises from 0.", "0 0"),
        ("liquidate unit 1", "Unit 1: a liquidation started, LTV ", "1 1"),
        ("finish unit 1", "Unit 1: a liquidation finished, LTV ", "1 0"),
        ("close unit 1", "Unit 1 is closed.", "1 0"),
    ):
        page.keyboard.press("Tab")
        button = page.get_by_role("button", name=button_name)
        expect(button).to_be_focused()
        page.keyboard.press("Enter")
        expect(said).to_contain_text(says)
        assert row.get_by_role("cell").all_inner_texts()[1:3] == shows.split()
        expect(button).to_be_focused()  # though it may do nothing now
    assert [one.path for one in sandbox.exchange.requests if one.method == "POST"] == [
        "/sandbox/push",
        "/sandbox/liquidate",
        "/sandbox/finish",
        "/sandbox/close",
    ]
    expect(page.get_by_role("button", name="liquidate unit 1")).to_have_attribute("aria-disabled", "true")


def test_the_page_shows_a_push_from_its_rise_to_its_end(page: Page, sandbox: SandboxServer) -> None:
    """The LTV of a pushed unit rises, it is liquidated at the level, and its LTV is low again afterwards."""
    page.goto(sandbox.url)
    page.get_by_role("button", name="15 minutes").click()
    row = page.get_by_role("table", name="Risk units").get_by_role("row").nth(1)
    buttons = [
        page.get_by_role("button", name=name)
        for name in ("push to its level: unit 1", "liquidate unit 1", "finish unit 1")
    ]
    expect(page.get_by_role("button", name="15 minutes")).to_have_attribute("aria-pressed", "true")
    sandbox.exchange.push(1, seconds=4)
    expect(row.get_by_role("cell").first).to_have_text(re.compile(r"0\.[78]"))
    for button, idle in zip(buttons, ("false", "false", "true"), strict=True):
        expect(button).to_have_attribute("aria-disabled", idle)
    expect(page.get_by_role("status")).to_contain_text("Unit 1: a liquidation started, LTV 0.9")
    for button, idle in zip(buttons, ("true", "true", "false"), strict=True):
        expect(button).to_have_attribute("aria-disabled", idle)
    expect(page.locator("#chart .fall.running")).to_have_count(1)
    expect(page.get_by_role("status")).to_contain_text("Unit 1: a liquidation finished, LTV 0")
    expect(row.get_by_role("cell").first).to_have_text(re.compile(r"0$|0\.[3456]"))
    expect(page.locator("#chart .fall.running")).to_have_count(0)
    expect(page.locator("#chart .fall")).to_have_count(1)


@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_fits_the_screen(page: Page, sandbox: SandboxServer, width: int) -> None:
    """On a phone and on a large screen nothing is cut off; the level and closed units are named."""
    sandbox.exchange.add_unit(3, 0, 1_770_700_000_000)
    sandbox.exchange.liquidate(2)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(sandbox.url)
    units = page.get_by_role("table", name="Risk units")
    expect(units.get_by_role("row").nth(3)).to_contain_text("closed 2026-02-10 05:06")
    expect(page.locator("#chart text.level")).to_have_text("level 0.9")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    shown = [
        *page.get_by_role("button").all(),
        *page.locator("#chart text").all(),
        *units.locator("td").all(),
    ]
    boxes = [box for box in (each.bounding_box() for each in shown) if box]
    assert len(boxes) > 20
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    # What is written in the chart is as large as the rest.
    assert (
        10 < page.locator("#chart text.level").evaluate("(text) => text.getBoundingClientRect().height") < 20
    )


def test_the_page_shows_what_others_do_and_says_what_is_refused(page: Page, sandbox: SandboxServer) -> None:
    """A liquidation from elsewhere appears by itself; of what cannot be done the server's reason is said."""
    page.goto(sandbox.url)
    button = page.get_by_role("button", name="close unit 2")
    expect(button).to_be_visible()
    sandbox.exchange.liquidate(1)
    expect(page.get_by_role("status")).to_contain_text("Unit 1: a liquidation started")
    # Between two polls: the page still takes the unit for an active one.
    page.route("**/sandbox/watch*", leave_unanswered)
    sandbox.exchange.close(2)
    button.click()
    expect(page.get_by_role("status")).to_have_text("Unit 2 is not active.")


def test_the_page_says_when_the_sandbox_is_gone_and_recovers(page: Page) -> None:
    """Without a server the page says so, keeps trying, and is right again once there is one."""
    trouble = page.get_by_role("alert")
    rows = page.get_by_role("table", name="Liquidations").locator("tbody tr")
    with serve() as server:
        page.goto(server.url)
        expect(page.get_by_role("button", name="liquidate unit 1")).to_be_visible()
        expect(trouble).to_be_empty()
    expect(trouble).to_contain_text("The sandbox cannot be reached.")
    page.get_by_role("button", name="liquidate unit 1").click()
    expect(trouble).to_contain_text("The sandbox cannot be reached.")
    with SandboxServer(server.exchange, port=server.port):
        expect(trouble).to_be_empty()
        expect(rows).to_have_count(0)
        page.get_by_role("button", name="liquidate unit 1").click()
        expect(rows).to_have_count(1)


def test_the_page_gives_up_on_a_server_that_is_silent(page: Page, sandbox: SandboxServer) -> None:
    """A poll that is never answered ends by itself, and the next one finds the server again."""
    page.goto(sandbox.url)
    expect(page.get_by_role("button", name="liquidate unit 1")).to_be_visible()
    page.route("**/sandbox/watch*", leave_unanswered)
    expect(page.get_by_role("alert")).to_contain_text("The sandbox cannot be reached.")
    page.unroute("**/sandbox/watch*")
    expect(page.get_by_role("alert")).to_be_empty()
