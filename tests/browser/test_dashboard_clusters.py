"""The Clusters page in a real browser, over real listings."""

import csv
import io
import re
import sys
from pathlib import Path

import pytest

from tests.support.dashboard.browser import (
    SCREENS,
    Browser,
    DashboardSite,
    Page,
    assert_accessible,
    process,
    settle,
    shoot,
    visit,
    wait_until,
)
from tests.support.paths import ROOT
from tests.support.servers.milvus_server import free_ports

# Record the duration of each frame from now on, in milliseconds.
FRAMES = """() => {
    window.frames_ms = []
    let last = performance.now()
    const record = (now) => {
        window.frames_ms.push(now - last)
        last = now
        window.recording = requestAnimationFrame(record)
    }
    window.recording = requestAnimationFrame(record)
}"""


@pytest.fixture
def page(browser: Browser, dashboard_site: DashboardSite) -> Page:
    """Open the Clusters page."""
    page = visit(browser, f"{dashboard_site.dashboard}/clusters")
    page.locator(".map canvas").wait_for()
    return page


def centre(page: Page) -> tuple[float, float]:
    area = page.locator(".map").bounding_box()
    return area["x"] + area["width"] / 2, area["y"] + area["height"] / 2


def draw(page: Page, *corners: tuple[float, float]) -> None:
    """Drag over the map, from corner to corner around its centre."""
    x, y = centre(page)
    page.mouse.move(x + corners[0][0], y + corners[0][1])
    page.mouse.down()
    for dx, dy in corners[1:]:
        page.mouse.move(x + dx, y + dy, steps=5)
    page.mouse.up()
    page.get_by_role("heading", name="selected").wait_for()
    settle(page)


def selected_count(page: Page) -> int:
    heading = page.get_by_role("heading", name="selected").inner_text()
    return int(re.match(r"[\d,]+", heading)[0].replace(",", ""))


def exported_rows(page: Page) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as CSV").click()
    return list(csv.DictReader(io.StringIO(download.value.path().read_text("utf-8-sig"))))


def test_lasso_grid_and_export(page: Page, browser: Browser) -> None:
    """Photos inside a lasso are counted, shown and exported; the URL restores the selection in another session."""
    draw(page, (-150, -130), (150, -140), (170, 120), (-140, 130))
    count = selected_count(page)
    assert count > 0
    rows = exported_rows(page)
    assert len(rows) == len({row["photo_id"] for row in rows}) == count
    assert all(-0.5 < float(row["x"]) < 0.5 for row in rows)
    assert page.locator('[class*="st-key-tile-"]').count() == min(count, 60)
    shoot(page, "clusters-selected")
    assert_accessible(page)
    assert selected_count(visit(browser, page.url)) == count
    page.get_by_role("button", name="Clear selection").click()
    settle(page)
    assert "area=" not in page.url
    assert page.get_by_text("Draw around a part of the map").is_visible()


def test_box_and_keyboard(page: Page) -> None:
    """Drag a box by its corners; with the keyboard, select everything in view."""
    page.get_by_role("button", name="Box").click()
    draw(page, (-120, -100), (120, 100))
    in_box = selected_count(page)
    assert in_box > 0
    page.locator(".map").focus()
    page.keyboard.press("Enter")
    wait_until(page, lambda: selected_count(page) > in_box)
    in_view = selected_count(page)
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    wait_until(page, lambda: 0 < selected_count(page) < in_view)


def test_hover_shows_a_photo_and_a_click_selects_it(page: Page) -> None:
    """Hovering shows a photo with its facts; a click selects it, and "More like this" searches by it."""
    x, y = centre(page)
    card = page.locator(".card")
    for step in range(0, 200, 4):
        page.mouse.move(x + step, y + step / 3)
        if card.is_visible():
            break
    picture = card.locator("img")
    picture.evaluate("image => image.decode()")
    assert "Model:" in card.inner_text()
    title = card.inner_text().splitlines()[0]
    page.screenshot(path=SCREENS / "clusters-hover-1280-light.png")
    page.mouse.down()
    page.mouse.up()
    page.get_by_role("heading", name="1 photo of 1 listing selected").wait_for()
    settle(page)
    assert page.locator('[class*="st-key-title-"]').first.inner_text().strip() == title.strip()
    page.get_by_role("button", name="More like this").click()
    page.get_by_role("heading", name="Search by words or photo").wait_for()
    page.locator(".st-key-heading").wait_for()
    assert "listing_id=" in page.url


@pytest.mark.parametrize("colouring", ["Subcategory", "Price", "Confidence"])
def test_colour_by(page: Page, colouring: str) -> None:
    """The legend of each colouring counts every photo of the map once."""
    page.get_by_label("Colour by").click()
    page.get_by_role("option", name=colouring, exact=True).click()
    settle(page)
    legend = page.locator(".category-counts").first.inner_text()
    total = int(re.search(r"^([\d,]+) of", page.get_by_text("look alike").inner_text())[1].replace(",", ""))
    assert sum(int(count.replace(",", "")) for count in re.findall(r"\(([\d,]+)\)", legend)) == total
    assert f"colour={colouring.lower()}" in page.url
    shoot(page, f"clusters-{colouring.lower()}", widths=(1280,), themes=("dark",))


def test_labels_by_title_words(page: Page) -> None:
    """Clusters of the map are labelled with words of their titles."""
    by_category = page.locator(".labels span").all_inner_texts()
    page.get_by_label("Labels").click()
    page.get_by_role("option", name="Title words").click()
    settle(page)
    words = page.locator(".labels span").all_inner_texts()
    assert words
    assert words != by_category
    shoot(page, "clusters-words", widths=(1280,), themes=("light",))


@pytest.mark.parametrize(
    ("section", "text"),
    [("Overlap", "of the nearest photos of"), ("Distance", "are near:"), ("Outliers", "Least like")],
)
def test_sections_below_the_map(page: Page, section: str, text: str) -> None:
    """Overlap, distances and outliers are shown after a click, as text, as a chart and as CSV."""
    page.get_by_role("radio", name=section).or_(page.get_by_role("button", name=section)).first.click()
    page.get_by_text(text).first.wait_for()
    settle(page)
    shoot(page, f"clusters-{section.lower()}")
    assert exported_rows(page)
    assert f"part={section.lower()}" in page.url
    assert_accessible(page)


def test_twenty_thousand_points_move_without_stutter(browser: Browser, tmp_path: Path) -> None:
    """Dragging a map of 20,000 photos moves it, with a frame for at least every third move. Print the frame times."""
    script = tmp_path / "map.py"
    script.write_text(
        "import numpy as np\n"
        "from dashboard.widgets.categories import COLOURS\n"
        "from dashboard.clusters.map_component import draw_map\n"
        "n = 20_000\n"
        "at = np.random.default_rng(0).uniform(-1, 1, (2, n)).round(4).tolist()\n"
        "ids = [f'photo-{i}' for i in range(n)]\n"
        "draw_map({'x': at[0], 'y': at[1], 'colour': [i % 20 for i in range(n)], 'palette': COLOURS, 'photo_id': ids,\n"
        "          'photo_url': ids, 'title': ids, 'facts': [ids], 'labels': [], 'chosen': None, 'api': '',\n"
        "          'photo_pixels': 320, 'alt': 'Map.'}, print)\n"
    )
    port = free_ports(1)[0]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "streamlit", "run", script, "--server.headless=true", "--server.address=127.0.0.1"]
    root = str(ROOT)
    with process([*command, f"--server.port={port}"], tmp_path, f"{address}/_stcore/health", PYTHONPATH=root):
        page = visit(browser, address)
        page.locator(".map canvas").wait_for()
        page.get_by_role("button", name="Move").click()
        x, y = centre(page)
        page.mouse.move(x, y)
        before = page.locator(".map").screenshot()
        page.mouse.down()
        page.evaluate(FRAMES)
        for step in range(60):
            page.mouse.move(x + 3 * step, y + step)
        frames = sorted(
            page.evaluate("() => { cancelAnimationFrame(window.recording); return window.frames_ms.slice(1) }")
        )
        page.mouse.up()
        assert page.locator(".map").screenshot() != before
    late = frames[int(len(frames) * 0.95)]
    print(f"{len(frames)} frames, median {frames[len(frames) // 2]:.0f} ms, 95th percentile {late:.0f} ms")
    assert len(frames) >= 20
