"""Login, and the pages while the API is unavailable: in a real browser."""

from pathlib import Path

import pytest

from catalog.settings import MilvusSettings
from search_api.auth.api_keys import create_key, revoke_key
from tests.support.dashboard.browser import Browser, assert_accessible, running_dashboard, settle, shoot, visit
from tests.support.data.exports import MakeExport
from tests.support.data.models import fake_embedder
from tests.support.data.pictures import jpeg, picture
from tests.support.servers.proxy import proxied
from tests.support.servers.serving import make_app, serving

PHOTO = jpeg(picture(2))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "api-keys.json"


def test_login(browser: Browser, make_export: MakeExport, lite: MilvusSettings, keys: Path, tmp_path: Path) -> None:
    """If the API needs a key, the dashboard needs one; it stays in one browser session and is not in the URL."""
    key = create_key(keys, "ann", "read")
    app = make_app(make_export(listings=6), fake_embedder(), lite, keys=keys)
    with serving(app) as api, running_dashboard(tmp_path, api) as dashboard:
        page = visit(browser, f"{dashboard}/?listing_id=l2")
        page.get_by_label("API key").wait_for()
        assert page.get_by_text("Search by words or photo").count() == 0
        shoot(page, "login")
        assert_accessible(page)

        for wrong in ("mlk_wrong", "schlüssel"):
            page.get_by_label("API key").fill(wrong)
            page.keyboard.press("Enter")
            settle(page)
            assert page.get_by_role("alert").is_visible()

        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        page.locator(".st-key-heading").wait_for()
        settle(page)
        assert page.get_by_text("ann (read)").is_visible()
        assert key not in page.url + page.content()
        assert "listing_id=l2" in page.url

        other = visit(browser, dashboard)
        assert other.get_by_label("API key").is_visible()

        revoke_key(keys, "ann")
        page.get_by_role("button", name="Start again").click()
        page.get_by_label("API key").wait_for()


def test_a_personal_key_replaces_the_dashboards(
    browser: Browser, make_export: MakeExport, lite: MilvusSettings, keys: Path, tmp_path: Path
) -> None:
    """A user can log in with a key that allows more than the dashboard's; logging out restores the dashboard's."""
    shared, personal = create_key(keys, "dashboard", "read"), create_key(keys, "ann", "write")
    app = make_app(make_export(listings=6), fake_embedder(), lite, keys=keys)
    environment = {"MARKETLENS_DASHBOARD__API_KEY": shared}
    with serving(app) as api, running_dashboard(tmp_path, api, **environment) as dashboard:
        page = visit(browser, dashboard)
        page.get_by_text("dashboard (read)").wait_for()
        page.get_by_role("button", name="Log in").click()
        page.get_by_label("API key").fill(personal)
        shoot(page, "login-own", widths=[1280], themes=["light"])
        page.get_by_label("API key").press("Enter")
        page.get_by_text("ann (write)").wait_for()
        page.get_by_role("button", name="Log out").click()
        page.get_by_text("dashboard (read)").wait_for()


def test_an_api_that_fails_and_recovers(
    browser: Browser, make_export: MakeExport, lite: MilvusSettings, tmp_path: Path
) -> None:
    """While the API is unavailable, the page says so and what to do; when it answers again, the page reloads itself."""
    app = make_app(make_export(listings=6), fake_embedder(), lite)
    with serving(app) as api, proxied(api) as (address, network), running_dashboard(tmp_path, address) as dashboard:
        page = visit(browser, dashboard)
        page.locator("input[type=file]").set_input_files({"name": "p.jpg", "mimeType": "image/jpeg", "buffer": PHOTO})
        page.locator(".st-key-heading").wait_for()
        settle(page)
        network.cut()
        page.get_by_role("button", name="More like this").first.click()
        page.get_by_text("The API does not answer.").wait_for()
        page.get_by_text("marketlens serve").wait_for()
        shoot(page, "api-away")
        assert_accessible(page)
        network.restore()
        page.locator(".st-key-heading").wait_for()
        settle(page)
        assert page.get_by_text("The API does not answer.").count() == 0
        # The uploaded photo and the example listing are both still part of the search.
        assert page.locator(".frame").count() == page.url.count("listing_id=") == 1
