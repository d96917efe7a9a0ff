"""The Quality page in a real browser: metrics with intervals, and a confusion matrix that opens its photos."""

import re
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from search_api.schemas import ConfusionResponse
from tests.support.dashboard.browser import Browser, Page, assert_accessible, settle, shoot, visit
from tests.support.dashboard.review_site import ReviewSite

MATRIX = "[data-testid=stVegaLiteChart] svg g.mark-rect path"


@pytest.fixture
def page(review_site: ReviewSite, browser: Browser) -> Iterator[Page]:
    """Open the Quality page."""
    page = visit(browser, f"{review_site.dashboard}/quality")
    yield page
    page.close()


def test_the_card_and_its_figures(page: Page, review_site: ReviewSite) -> None:
    """The page shows the live model's name and fingerprint, and a chart of all metrics with intervals."""
    with review_site.client() as api:
        [model] = api.models().models
    card = page.locator(".st-key-card").inner_text()
    assert f"{model.name}, live" in card
    assert model.model_fingerprint[:12] in card
    labels = page.locator("[data-testid=stVegaLiteChart]").inner_text()
    assert "recall@1, the other photo of the listing" in labels
    assert page.get_by_text("From its twin").count() == 1
    shoot(page, "quality")
    assert_accessible(page)


def test_a_cell_opens_its_photos(page: Page, review_site: ReviewSite) -> None:
    """A click on a cell shows as many photos as its count, and the URL contains the cell, also after a reload."""
    page.get_by_role("tab", name="Confusion").click()
    settle(page)
    with review_site.client() as api:
        confusion = api.confusion()
    assert page.get_by_text(re.compile(f"trained on {confusion.trained_on:,} of these photos")).count() == 1
    row = max(range(len(confusion.counts)), key=lambda row: max(confusion.counts[row]))
    column = confusion.counts[row].index(max(confusion.counts[row]))
    page.locator(MATRIX).nth(row * len(confusion.predicted_categories) + column).click()
    page.get_by_role("heading", name=f"{confusion.counts[row][column]:,} photos").wait_for()
    settle(page)
    assert page.locator("[class*=st-key-tile-] img").count() == min(confusion.counts[row][column], 24)
    assert "seller=" in page.url
    assert "model_says=" in page.url
    shoot(page, "quality-confusion")
    assert_accessible(page)
    page.reload()
    page.get_by_role("heading", name=f"{confusion.counts[row][column]:,} photos").wait_for()


def test_training_plots_are_shown(page: Page) -> None:
    """The plots of the training are loaded."""
    page.get_by_role("tab", name="Curves").click()
    settle(page)
    widths = page.locator("[class*=st-key-plot-] img").evaluate_all("images => images.map(i => i.naturalWidth)")
    assert len(widths) == 3
    assert min(widths) > 300
    shoot(page, "quality-curves")
    assert_accessible(page)


def test_a_model_without_a_category_head() -> None:
    """Without a category head there is no matrix, and the page says so."""
    confusion = ConfusionResponse(categories=["Home"], predicted_categories=[], counts=[[]], trained_on=3)

    def script(api: object) -> None:
        from dashboard.quality.confusion import draw_confusion

        draw_confusion(api)

    app = AppTest.from_function(script, args=(SimpleNamespace(confusion=lambda: confusion),)).run()
    assert not app.exception
    assert "no category head" in app.info[0].value


def test_live_recall_needs_an_admin_key(page: Page, reader_dashboard: str, browser: Browser) -> None:
    """With an admin key the page shows the recall or when it starts; without one it asks for the key."""
    page.get_by_role("tab", name="Live recall").click()
    settle(page)
    assert page.locator(".st-key-needs-admin").count() == 0
    shoot(page, "quality-recall")
    assert_accessible(page)
    reader = visit(browser, f"{reader_dashboard}/quality?view=Live+recall")
    reader.get_by_text("Live recall needs an admin key.").wait_for()
    reader.close()
