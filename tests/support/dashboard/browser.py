"""Helpers for browser tests: a site of real processes, Chromium, screenshots under build/screens, and axe.

A test uses the fixtures `dashboard_site` and `browser`:

    def test_the_page(dashboard_site: DashboardSite, browser: Browser) -> None:
        page = visit(browser, dashboard_site.dashboard)
        page.get_by_role("button", name="Search").click()
        settle(page)
        shoot(page, "search-hits")
        assert_accessible(page)
"""

import csv
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
import pytest

from tests.support.commands import COMMAND, marketlens
from tests.support.data.exports import write_csv
from tests.support.paths import LISTINGS, MODEL, ROOT
from tests.support.servers.milvus_server import free_ports

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need Playwright")
Browser, Page, Error = playwright.Browser, playwright.Page, playwright.Error

SCREENS = ROOT / "build" / "screens"
CHROMIUM = Path("/usr/bin/chromium")
START_SECONDS = 300
WIDE, NARROW = 1280, 390
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")


@dataclass(frozen=True)
class DashboardSite:
    """Addresses of the API and the dashboard, and the export that they show."""

    api: str
    dashboard: str
    export: Path


@contextmanager
def running_site(
    folder: Path,
    listings: int = 300,
    *,
    spoil: Callable[[Path], None] | None = None,
    commands: Sequence[Sequence[object]] = (),
    api_key: str = "",
) -> Iterator[DashboardSite]:
    """Ingest some of the real listings with the shipped model, then run the API and the dashboard.

    `spoil` changes the export before it is ingested; `commands` are run before the servers start. Skips the test first,
    before minutes of work, if Chromium or the listings are missing.
    """
    require_chromium()
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    export = spread_listings(folder / "export", listings)
    settings = {"MARKETLENS_MILVUS__URI": str(folder / "milvus.db"), "MARKETLENS_MODEL__PATH": str(MODEL)}
    if spoil:
        spoil(export)
    for command in (["ingest", export], ["insights"], *commands):
        done = marketlens(*command, cwd=folder, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
    port = free_ports(1)[0]
    api = f"http://127.0.0.1:{port}"
    with (
        process([COMMAND, "serve", "--port", port], folder, f"{api}/readyz", **settings),
        running_dashboard(folder, api, MARKETLENS_DASHBOARD__API_KEY=api_key) as dashboard,
    ):
        yield DashboardSite(api, dashboard, export)


def spread_listings(export: Path, count: int) -> Path:
    """Write an export of evenly spaced listings of the real one, which is sorted by category."""
    export.mkdir()
    with (LISTINGS / "Products.csv").open(encoding="utf-8", newline="") as file:
        header, *products = csv.reader(file)
    products = [row for row in products if len(row) == len(header)]
    chosen = products[:: len(products) // count][:count]
    write_csv(export / "Products.csv", header, chosen)
    with (LISTINGS / "Images.csv").open(encoding="utf-8", newline="") as file:
        header, *images = csv.reader(file)
    ids = {row[1] for row in chosen}
    images = [row for row in images if row[2] in ids]
    write_csv(export / "Images.csv", header, images)
    (export / "images").mkdir()
    for row in images:
        shutil.copy(LISTINGS / "images" / f"{row[1]}.jpg", export / "images")
    return export


@contextmanager
def running_dashboard(folder: Path, api: str, **environment: str) -> Iterator[str]:
    """Run the dashboard for an API; yield its address."""
    port = free_ports(1)[0]
    address = f"http://127.0.0.1:{port}"
    command = [COMMAND, "dashboard", "--port", port, "--api-url", api]
    with process(command, folder, f"{address}/_stcore/health", **environment):
        yield address


def require_chromium() -> None:
    """Skip the test if Chromium is not installed."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Debian's Chromium."""
    require_chromium()
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def visit(browser: Browser, address: str, *, width: int = WIDE, theme: Theme = "light") -> Page:
    """Open a page in a new browser session and wait until it is settled."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    page.set_default_timeout(120_000)
    page.goto(address)
    settle(page)
    return page


def settle(page: Page) -> None:
    """Wait until the script has finished and every visible picture is loaded."""
    app = "[data-testid=stApp][data-test-script-state=notRunning]"
    # A click takes a moment to start the script.
    page.wait_for_timeout(250)
    page.wait_for_selector(app)
    page.wait_for_selector("[data-testid=stSkeleton]", state="detached")
    page.wait_for_function("[...document.images].every(image => image.complete || image.loading === 'lazy')")
    page.wait_for_selector(app)


def wait_until(page: Page, holds: Callable[[], bool]) -> None:
    """Wait until a condition holds, then until the page is settled."""
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline, "the condition never held"
        page.wait_for_timeout(50)
    settle(page)


def each_look(page: Page, widths: Sequence[int] = (WIDE, NARROW), themes: Sequence[Theme] = THEMES) -> Iterator[str]:
    """Show the page in each width and theme, yielding `WIDTH-THEME`; restore its size and theme at the end."""
    before = page.viewport_size
    for width in widths:
        for theme in themes:
            page.emulate_media(color_scheme=theme)
            page.set_viewport_size({"width": width, "height": 900})
            settle(page)
            yield f"{width}-{theme}"
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(before)
    settle(page)


def shoot(page: Page, name: str, *, widths: Sequence[int] = (WIDE, NARROW), themes: Sequence[Theme] = THEMES) -> None:
    """Save screenshots of the whole page as build/screens/NAME-WIDTH-THEME.png, then restore the page.

    Only if MARKETLENS_TEST_SCREENS is set: screenshots are for people, and take most of a browser test's time.
    """
    if not os.environ.get("MARKETLENS_TEST_SCREENS"):
        return
    SCREENS.mkdir(parents=True, exist_ok=True)
    for look in each_look(page, widths, themes):
        # Streamlit scrolls inside an element, so the window gets that element's height.
        height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        page.set_viewport_size({"width": page.viewport_size["width"], "height": min(max(int(height), 900), 5000)})
        settle(page)
        page.wait_for_timeout(300)  # charts are redrawn after a change of size
        page.screenshot(path=SCREENS / f"{name}-{look}.png")


# Violations in Streamlit's own markup, which a page cannot fix. Each: rule, part of the element, reason.
OF_STREAMLIT: tuple[tuple[str, str, str], ...] = ()


def assert_accessible(page: Page) -> None:
    """Fail on serious or critical axe violations in any width and theme, except in Streamlit's own markup."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    violations = [
        f"{look}: {violation['id']}: {violation['help']}\n  {node['html'][:300]}\n  {node.get('failureSummary', '')}"
        for look in each_look(page)
        for violation in axe.Axe().run(page).response["violations"]
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"]
        if not any(rule == violation["id"] and part in node["html"] for rule, part, _ in OF_STREAMLIT)
    ]
    assert not violations, "\n".join(violations)


@contextmanager
def process(command: Sequence[object], folder: Path, probe: str, **environment: str) -> Iterator[None]:
    """Run a server until the end of the block; its output goes to FOLDER/<command>.log."""
    log = folder / f"{re.sub(r'[^a-z]', '', str(command[1]))}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*map(str, command)], cwd=folder, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_for(probe, process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(probe: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(probe, timeout=5).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    process.kill()
    pytest.fail(f"{probe} did not answer:\n{log.read_text()[-3000:]}")
