"""The Wrong category and Duplicates pages in a real browser: verdicts by click and by key are saved."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from search_api.schemas import Suggestion, Verdict
from tests.support.dashboard.browser import NARROW, Browser, Page, assert_accessible, settle, shoot, visit
from tests.support.dashboard.review_site import TWICE, WRONG, ReviewSite


@pytest.fixture(autouse=True)
def undecided(review_site: ReviewSite) -> Iterator[None]:
    """Withdraw the verdicts after each test, so that every test has all questions."""
    yield
    with review_site.client() as api:
        for verdict in api.verdicts(limit=200).verdicts:
            api.withdraw(verdict.verdict_id)


@pytest.fixture
def questions(review_site: ReviewSite) -> list[Suggestion]:
    """Return the API's suggestions, in its order."""
    with review_site.client() as api:
        return api.suggestions(limit=50).suggestions


@pytest.fixture
def page(review_site: ReviewSite, browser: Browser) -> Iterator[Page]:
    """Open the Wrong category page."""
    page = visit(browser, f"{review_site.dashboard}/wrong-category")
    yield page
    page.close()


def test_a_suggestion_shows_its_evidence(page: Page, questions: list[Suggestion]) -> None:
    """The page shows the photo, both categories, the certainty in words and numbers, and every neighbour."""
    first = questions[0]
    assert shown_listing(page) == first.listing_id
    versus = page.locator(".versus").inner_text()
    assert first.category in versus
    assert first.suggested_category in versus
    certainty = page.locator(".certainty").inner_text()
    assert f"{first.certainty:.0%}" in certainty
    assert "likely to be accepted" in certainty
    voices = page.locator(".voices").inner_text()
    for voice in ("its title", "its photos", "similar listings"):
        assert voice in voices
    assert page.locator("[class*=st-key-tile-] img").count() == len(first.neighbours)
    assert page.locator(".st-key-large-photo img").evaluate("image => image.naturalWidth") > 50
    shoot(page, "wrong-category")
    assert_accessible(page)


def test_an_accepted_suggestion_is_not_asked_again_and_is_exported(
    page: Page, review_site: ReviewSite, questions: list[Suggestion]
) -> None:
    """The next suggestion appears at once, also after a reload, and the export contains the verdict."""
    page.get_by_role("button", name="Accept").click()
    wait_for(page, questions[1].listing_id)
    page.reload()
    wait_for(page, questions[1].listing_id)
    [verdict] = verdicts(review_site)
    assert (verdict.decision, verdict.question.listing_id) == ("accept", questions[0].listing_id)
    page.get_by_role("tab", name="Decided").click()
    rows = exported_rows(page)
    assert [(row["listing_id"], row["decision"], row["suggested_category"]) for row in rows] == [
        (questions[0].listing_id, "accept", questions[0].suggested_category)
    ]
    shoot(page, "wrong-category-decided")
    assert_accessible(page)


def test_verdicts_by_key(page: Page, review_site: ReviewSite, questions: list[Suggestion]) -> None:
    """A, X and S decide one suggestion each, in order; Z withdraws the last verdict and shows its suggestion again."""
    for key, next_question in zip("axs", questions[1:4], strict=True):
        page.keyboard.press(key)
        wait_for(page, next_question.listing_id)
    assert [verdict.decision for verdict in reversed(verdicts(review_site))] == ["accept", "reject", "skip"]
    page.keyboard.press("z")
    wait_for(page, questions[2].listing_id)
    assert [verdict.decision for verdict in reversed(verdicts(review_site))] == ["accept", "reject"]


def test_a_key_typed_into_a_field_decides_nothing(page: Page, review_site: ReviewSite) -> None:
    """Typing a category's name into a filter is no verdict."""
    page.locator(".st-key-seller input").click()
    page.keyboard.type("axs")
    settle(page)
    assert verdicts(review_site) == []


def test_skipped_questions_are_asked_again_on_request(page: Page, questions: list[Suggestion]) -> None:
    """A skipped suggestion disappears, and returns with the toggle, which is in the URL."""
    page.get_by_role("button", name="Skip").click()
    wait_for(page, questions[1].listing_id)
    page.get_by_text("Ask skipped questions again").click()
    wait_for(page, questions[0].listing_id)
    assert "skipped=true" in page.url


def test_a_filter_is_in_the_url(review_site: ReviewSite, browser: Browser) -> None:
    """A shared link only shows suggestions for its category."""
    page = visit(browser, f"{review_site.dashboard}/wrong-category?seller={WRONG}")
    with review_site.client() as api:
        remaining = api.suggestions(category=WRONG).remaining
    assert remaining > 0
    assert page.locator(".st-key-decision-bar").inner_text().count(f"{remaining} left") == 1
    versus = page.locator(".versus").inner_text()
    assert WRONG in versus
    page.close()


def test_a_refused_verdict_shows_an_error(review_site: ReviewSite, reader_dashboard: str, browser: Browser) -> None:
    """With a read-only key, the suggestion stays and the page says why."""
    page = visit(browser, f"{reader_dashboard}/wrong-category")
    before = shown_listing(page)
    page.get_by_role("button", name="Accept").click()
    page.get_by_text("The verdict was not saved.").wait_for()
    assert shown_listing(page) == before
    assert verdicts(review_site) == []
    shoot(page, "wrong-category-refused", widths=[NARROW], themes=["light"])
    page.close()


def test_a_group_of_duplicates_is_decided(review_site: ReviewSite, browser: Browser) -> None:
    """A listing that was posted twice is shown with its differences; once accepted, it is exported and gone."""
    page = visit(browser, f"{review_site.dashboard}/duplicates")
    group = page.locator("[class*=st-key-group-]", has_text=TWICE)
    text = group.inner_text()
    assert "Same file, 2 listings" in text
    assert "Different places" in text
    assert "£7.50" in group.locator(".differs").all_inner_texts()[0]
    shoot(page, "duplicates")
    assert_accessible(page)
    group.get_by_role("button", name="Accept").click()
    group.wait_for(state="detached")
    page.reload()
    settle(page)
    assert group.count() == 0
    page.get_by_role("tab", name="Decided").click()
    rows = exported_rows(page)
    assert TWICE in {row["listing_id"] for row in rows}
    assert len({row["verdict_id"] for row in rows}) == 1
    page.close()


def test_duplicates_by_key_undo_and_kind(review_site: ReviewSite, browser: Browser) -> None:
    """X rejects the first group, Z restores it; the kind in the URL filters the groups."""
    page = visit(browser, f"{review_site.dashboard}/duplicates?same=Same+file")
    groups = page.locator("[class*=st-key-group-]")
    with review_site.client() as api:
        assert groups.count() == api.duplicates(kind="same_bytes").remaining
    first = groups.first.inner_text()
    count = groups.count()
    page.keyboard.press("x")
    page.wait_for_function(f"document.querySelectorAll('[class*=st-key-group-]').length == {count - 1}")
    assert [verdict.decision for verdict in verdicts(review_site)] == ["reject"]
    page.keyboard.press("z")
    page.wait_for_function(f"document.querySelectorAll('[class*=st-key-group-]').length == {count}")
    settle(page)
    assert groups.first.inner_text() == first
    assert verdicts(review_site) == []
    page.close()


def shown_listing(page: Page) -> str:
    """Return the ID of the listing that the page shows."""
    return page.get_by_text(re.compile("^Listing ")).inner_text().removeprefix("Listing ")


def wait_for(page: Page, listing_id: str) -> None:
    page.get_by_text(f"Listing {listing_id}").wait_for()


def verdicts(site: ReviewSite) -> list[Verdict]:
    with site.client() as api:
        return api.verdicts().verdicts


def exported_rows(page: Page) -> list[dict[str, str]]:
    """Return the rows of the exported file."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as CSV").click()
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))
