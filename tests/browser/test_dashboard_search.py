"""The Search page in a real browser, over real listings."""

import base64
import csv
import io
import re
from pathlib import Path

import pytest

from tests.support.dashboard.browser import (
    Browser,
    DashboardSite,
    Page,
    assert_accessible,
    settle,
    shoot,
    visit,
    wait_until,
)


@pytest.fixture
def page(browser: Browser, dashboard_site: DashboardSite) -> Page:
    """Open the Search page."""
    return visit(browser, dashboard_site.dashboard)


def photo(site: DashboardSite, number: int) -> Path:
    """Return a photo of a listing."""
    return sorted((site.export / "images").iterdir())[number]


def listing_of(site: DashboardSite, photo: Path) -> str:
    with (site.export / "Images.csv").open(encoding="utf-8", newline="") as file:
        return next(row[2] for row in csv.reader(file) if row[1] == photo.stem)


def upload(page: Page, *photos: Path) -> None:
    page.locator("input[type=file]").set_input_files([str(photo) for photo in photos])
    page.locator(".st-key-heading").wait_for()
    settle(page)


def tiles(page: Page) -> list[str]:
    """Return the listing IDs of the tiles, in order."""
    keys = page.locator('[class*="st-key-tile-"]').evaluate_all("tiles => tiles.map(tile => tile.className)")
    return [re.search(r"st-key-tile-(\S+)", key)[1] for key in keys]


def press(page: Page, action: str, listing_id: str) -> None:
    page.locator(f".st-key-{action}-{listing_id} button").click()
    settle(page)


def exported_rows(page: Page) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as CSV").click()
    return list(csv.DictReader(io.StringIO(download.value.path().read_text("utf-8-sig"))))


def test_upload_filter_more_like_this(page: Page, dashboard_site: DashboardSite) -> None:
    """A typical search: a photo finds its listing, a filter narrows, a hit becomes an example; the URL contains it."""
    shoot(page, "search-empty", widths=(1280,))
    query = photo(dashboard_site, 7)
    upload(page, query)
    hits = tiles(page)
    assert hits[0] == listing_of(dashboard_site, query)
    assert len(hits) == 20
    shoot(page, "search-hits")
    assert_accessible(page)

    page.get_by_label("Category", exact=True).click()
    option = page.get_by_role("option").nth(1)
    category, count = re.fullmatch(r"(.+) \((\d+)\)", option.inner_text()).groups()
    option.click()
    page.keyboard.press("Escape")
    settle(page)
    narrowed = tiles(page)
    assert len(narrowed) == min(int(count), 20)
    assert {row["category"] for row in exported_rows(page)} == {category}

    press(page, "more", narrowed[1])
    wait_until(page, lambda: narrowed[1] not in tiles(page))
    assert f"listing_id={narrowed[1]}" in page.url
    assert page.locator(f".st-key-example-{narrowed[1]}").get_by_text("Like", exact=True).is_visible()
    shoot(page, "search-examples")
    assert_accessible(page)


def test_not_this_removes_a_hit(page: Page, dashboard_site: DashboardSite) -> None:
    """A negative example is shown and leaves the results; removing it restores them."""
    upload(page, photo(dashboard_site, 30))
    before = tiles(page)
    press(page, "less", before[1])
    wait_until(page, lambda: before[1] not in tiles(page))
    assert f"unlike={before[1]}" in page.url
    page.locator(f".st-key-forget-{before[1]} button").click()
    wait_until(page, lambda: tiles(page) == before)


def test_search_by_a_part_of_a_photo(page: Page, dashboard_site: DashboardSite) -> None:
    """A part selected by mouse or keyboard changes the results; the whole photo restores them."""
    upload(page, photo(dashboard_site, 12))
    whole = tiles(page)
    area = page.locator(".frame").bounding_box()
    page.mouse.move(area["x"] + 5, area["y"] + 5)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.45, area["y"] + area["height"] * 0.45, steps=5)
    page.mouse.up()
    page.get_by_role("button", name="Whole photo").wait_for()
    settle(page)
    marked = tiles(page)
    assert marked != whole
    shoot(page, "search-part", widths=(1280,), themes=("light",))
    page.locator(".frame").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.wait_for_timeout(700)
    settle(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Whole photo").wait_for(state="hidden")
    wait_until(page, lambda: tiles(page) == whole)


def test_a_pasted_photo(page: Page, dashboard_site: DashboardSite) -> None:
    """Ctrl + V anywhere on the page searches by the photo in the clipboard."""
    pasted = photo(dashboard_site, 40)
    page.evaluate(
        """async (data) => {
            const blob = await (await fetch(data)).blob()
            const clipboardData = new DataTransfer()
            clipboardData.items.add(new File([blob], "image.png", { type: "image/jpeg" }))
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }))
        }""",
        f"data:image/jpeg;base64,{base64.b64encode(pasted.read_bytes()).decode()}",
    )
    page.locator(".st-key-heading").wait_for()
    settle(page)
    assert tiles(page)[0] == listing_of(dashboard_site, pasted)


def test_several_photos(page: Page, dashboard_site: DashboardSite) -> None:
    """Several photos are one search: its hits are near to any of them."""
    both = photo(dashboard_site, 3), photo(dashboard_site, 90)
    upload(page, *both)
    assert {listing_of(dashboard_site, path) for path in both} <= set(tiles(page)[:2])
    assert page.locator(".frame").count() == 2


def test_explanation(page: Page, dashboard_site: DashboardSite) -> None:
    """Query and hit are side by side, each with its heat map, at every width."""
    upload(page, photo(dashboard_site, 7))
    press(page, "why", tiles(page)[1])
    page.get_by_text("The warmer an area").wait_for()
    settle(page)
    shoot(page, "search-why")
    sides = [page.locator(f".st-key-why-{side} img").bounding_box() for side in ("query", "hit")]
    assert sides[0]["x"] + sides[0]["width"] <= sides[1]["x"]
    assert_accessible(page)


def test_the_next_page_and_the_export(page: Page, dashboard_site: DashboardSite) -> None:
    """The next page has no repeats, and the export contains the listings on screen, in the same order."""
    upload(page, photo(dashboard_site, 55))
    page.get_by_role("button", name="Next page").click()
    settle(page)
    hits = tiles(page)
    assert len(hits) == len(set(hits)) == 40
    rows = exported_rows(page)
    assert [row["listing_id"] for row in rows] == hits
    # Less than 1, because the stored vector of the same photo also contains its title.
    assert 0.8 < float(rows[0]["score"]) == max(float(row["score"]) for row in rows)
    assert page.get_by_text(re.compile(r"40 listings, nearest first · \d+ ms")).is_visible()


def test_no_good_match(page: Page, tmp_path: Path) -> None:
    """For a photo without a matching listing, the page says that the hits are only the most similar ones."""
    from tests.support.data.pictures import jpeg, picture

    unlisted = tmp_path / "unlisted.jpg"
    unlisted.write_bytes(jpeg(picture(5, (200, 200))))
    upload(page, unlisted)
    assert page.get_by_text("No good match").is_visible()
    shoot(page, "search-no-good-match", widths=(390,))


def test_the_first_paint(page: Page, dashboard_site: DashboardSite) -> None:
    """Each search replaces all twenty tiles with decoded photos. Print how long this takes after the API's response."""
    seconds = []
    for number in (60, 70, 80):
        upload(page, photo(dashboard_site, number))
        page.evaluate(
            """() => new Promise((started) => {
                const photos = () => [...document.querySelectorAll('[class*="st-key-tile-"] img')]
                const before = new Set(photos().map((photo) => photo.src))
                const start = performance.now()
                window.painted = new Promise((done) => {
                    const check = () => {
                        const now = photos()
                        const loaded = now.filter((photo) => photo.complete && photo.naturalWidth)
                        const isNew = now.some((photo) => !before.has(photo.src))
                        if (now.length === 20 && loaded.length === 20 && isNew) done(performance.now() - start)
                        else requestAnimationFrame(check)
                    }
                    check()
                })
                started()
            })"""
        )
        button = page.locator('[class*="st-key-more-"] button').nth(3)
        button.evaluate("button => button.click()")
        painted = page.evaluate("window.painted")
        settle(page)
        answered = float(re.search(r"· ([\d,]+) ms", page.locator(".st-key-heading").inner_text())[1].replace(",", ""))
        seconds.append((painted - answered) / 1000)
        page.get_by_role("button", name="Start again").click()
        settle(page)
    print(f"first paint after the answer: {', '.join(f'{second:.2f}' for second in seconds)} s")
