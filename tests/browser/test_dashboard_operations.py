"""The Operations page in a real browser: promotion, rollback, rejected rows and activity."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from search_api.auth.api_keys import revoke_key
from search_api.schemas import Build
from tests.support.dashboard.browser import NARROW, Browser, Page, assert_accessible, settle, shoot, visit
from tests.support.dashboard.review_site import BROKEN, ReviewSite


@pytest.fixture
def page(review_site: ReviewSite, browser: Browser) -> Iterator[Page]:
    """Open the Operations page."""
    page = visit(browser, f"{review_site.dashboard}/operations")
    yield page
    page.close()


def test_promote_and_roll_back(page: Page, review_site: ReviewSite) -> None:
    """Without confirmation nothing changes; with it the other build is live, and a rollback restores the first."""
    first, other = live_build(review_site), other_build(review_site)
    shoot(page, "operations")
    assert_accessible(page)
    page.get_by_role("button", name="Promote").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text(f"Promote {other.name}?").wait_for()
    shoot(page, "operations-promote", widths=[NARROW], themes=["dark"])
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="detached")
    assert live_build(review_site) == first
    page.get_by_role("button", name="Promote").click()
    dialog.get_by_role("button", name="Yes, change it").click()
    page.locator(f".st-key-build-{other.name}").get_by_text("Live").wait_for()
    assert live_build(review_site).name == other.name
    page.get_by_role("button", name="Roll back to this").click()
    dialog.get_by_role("button", name="Yes, change it").click()
    page.locator(f".st-key-build-{first.name}").get_by_text("Live").wait_for()
    assert live_build(review_site).name == first.name


def test_a_read_only_key_is_refused(reader_dashboard: str, browser: Browser) -> None:
    """A read-only key gets a clear refusal, and sees no build."""
    page = visit(browser, f"{reader_dashboard}/operations")
    page.get_by_text("This page needs an admin key.").wait_for()
    assert page.get_by_role("button", name="Promote").count() == 0
    shoot(page, "operations-refused")
    assert_accessible(page)
    page.close()


def test_a_revoked_key_changes_nothing(page: Page, review_site: ReviewSite) -> None:
    """A refusal after the confirmation is shown in the dialog, and the live build does not change."""
    first = live_build(review_site)
    page.get_by_role("button", name="Promote").click()
    dialog = page.get_by_role("dialog")
    confirm = dialog.get_by_role("button", name="Yes, change it")
    confirm.wait_for()
    keys = review_site.folder / "data" / "api-keys.json"
    content = keys.read_bytes()
    revoke_key(keys, "ann")
    try:
        confirm.click()
        dialog.get_by_text("The live build was not changed.").wait_for()
    finally:
        keys.write_bytes(content)
    assert live_build(review_site) == first


def test_rejected_rows_are_shown_and_exported(page: Page) -> None:
    """The run shows the number of rejected rows; the file lists each with stage and reason."""
    page.get_by_role("tab", name="Ingest runs").click()
    page.get_by_role("heading", name="1 rejected row").wait_for()
    assert page.get_by_text("truncated: 1").count() == 1
    shoot(page, "operations-runs")
    assert_accessible(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as CSV").click()
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    [row] = csv.DictReader(io.StringIO(text))
    assert (row["photo_id"], row["stage"], row["reason"]) == (BROKEN, "decode", "truncated")


def test_activity_refreshes_automatically(page: Page, review_site: ReviewSite) -> None:
    """Requests that the API receives after the page is drawn appear without a reload."""
    page.get_by_role("tab", name="Activity").click()
    settle(page)
    before = requests_shown(page)
    with review_site.client() as api:
        for _ in range(50):
            api.categories()
    page.wait_for_function(
        "least => Number(document.querySelector('[data-testid=stMetricValue]')?.innerText.replace(',', '')) >= least",
        arg=before + 50,
        timeout=40_000,
    )
    shoot(page, "operations-activity")
    assert_accessible(page)


def live_build(site: ReviewSite) -> Build:
    with site.client() as api:
        return next(build for build in api.builds().builds if build.is_live)


def other_build(site: ReviewSite) -> Build:
    with site.client() as api:
        return next(build for build in api.builds().builds if not build.is_live)


def requests_shown(page: Page) -> int:
    value = page.locator("[data-testid=stMetricValue]").first
    return int(value.inner_text().replace(",", "")) if value.count() else 0
