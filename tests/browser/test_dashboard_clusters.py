"""The Clusters page in a real browser, over real listings."""

import csv
import io
import re
import sys
from pathlib import Path

import pytest

from tests.support.browser import (
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
from tests.support.milvus_server import free_ports
from tests.support.paths import ROOT

# Sixty moves of the mouse, one after another, and how long each frame took meanwhile.
FRAMES = """() => {
    window.frames_ms = []
    let last = performance.now()
    const note = (now) => {
        window.frames_ms.push(now - last)
        last = now
        window.noting = requestAnimationFrame(note)
    }
    window.noting = requestAnimationFrame(note)
}"""


@pytest.fixture
def page(browser: Browser, dashboard_site: DashboardSite) -> Page:
    """The page as a visitor finds it."""
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


def chosen(page: Page) -> int:
    heading = page.get_by_role("heading", name="selected").inner_text()
    return int(re.match(r"[\d,]+", heading)[0].replace(",", ""))


def exported(page: Page) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as CSV").click()
    return list(csv.DictReader(io.StringIO(download.value.path().read_text("utf-8-sig"))))


def test_lasso_grid_export(page: Page, browser: Browser) -> None:
    """What is drawn around is counted, shown and exported; its address shows it to somebody else."""
    draw(page, (-150, -130), (150, -140), (170, 120), (-140, 130))
    many = chosen(page)
    assert many > 0
    rows = exported(page)
    assert len(rows) == len({row["photo_id"] for row in rows}) == many
    assert all(-0.5 < float(row["x"]) < 0.5 for row in rows)
    assert page.locator('[class*="st-key-tile-"]').count() == min(many, 60)
    shoot(page, "clusters-chosen")
    assert_accessible(page)
    assert chosen(visit(browser, page.url)) == many
    page.get_by_role("button", name="Clear selection").click()
    settle(page)
    assert "area=" not in page.url
    assert page.get_by_text("Draw around a part of the map").is_visible()


def test_box_and_keyboard(page: Page) -> None:
    """A box is drawn by its corners; without a mouse, what is in sight is chosen."""
    page.get_by_role("button", name="Box").click()
    draw(page, (-120, -100), (120, 100))
    boxed = chosen(page)
    assert boxed > 0
    page.locator(".map").focus()
    page.keyboard.press("Enter")
    wait_until(page, lambda: chosen(page) > boxed)
    everything = chosen(page)
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    wait_until(page, lambda: 0 < chosen(page) < everything)


def test_hover_shows_the_photo_and_a_click_chooses_it(page: Page) -> None:
    """Pointing at a photo shows it with what is known; a click chooses it, and More like this searches by it."""
    x, y = centre(page)
    card = page.locator(".card")
    for step in range(0, 200, 4):
        page.mouse.move(x + step, y + step / 3)
        if card.is_visible():
            break
    picture = card.locator("img")
    picture.evaluate("image => image.decode()")
    assert "Model:" in card.inner_text()
    shown = card.inner_text().splitlines()[0]
    page.screenshot(path=SCREENS / "clusters-hover-1280-light.png")
    page.mouse.down()
    page.mouse.up()
    page.get_by_role("heading", name="1 photo of 1 listing selected").wait_for()
    settle(page)
    assert page.locator('[class*="st-key-title-"]').first.inner_text().strip() == shown.strip()
    page.get_by_role("button", name="More like this").click()
    page.get_by_role("heading", name="Search by photo").wait_for()
    page.locator(".st-key-heading").wait_for()
    assert "listing_id=" in page.url


@pytest.mark.parametrize("way", ["Subcategory", "Price", "Confidence"])
def test_ways_to_colour(page: Page, way: str) -> None:
    """Each way has a legend that counts every photo of the map once."""
    page.get_by_label("Colour by").click()
    page.get_by_role("option", name=way, exact=True).click()
    settle(page)
    legend = page.locator(".category-counts").first.inner_text()
    total = int(re.search(r"^([\d,]+) of", page.get_by_text("look alike").inner_text())[1].replace(",", ""))
    assert sum(int(count.replace(",", "")) for count in re.findall(r"\(([\d,]+)\)", legend)) == total
    assert f"colour={way.lower()}" in page.url
    shoot(page, f"clusters-{way.lower()}", widths=(1280,), themes=("dark",))


def test_labels_by_title_words(page: Page) -> None:
    """Dense places of the map are named by what their titles say."""
    by_category = page.locator(".labels span").all_inner_texts()
    page.get_by_label("Labels").click()
    page.get_by_role("option", name="Title words").click()
    settle(page)
    words = page.locator(".labels span").all_inner_texts()
    assert words
    assert words != by_category
    shoot(page, "clusters-words", widths=(1280,), themes=("light",))


@pytest.mark.parametrize(
    ("part", "says"), [("Overlap", "of the nearest photos of"), ("Distance", "are near:"), ("Outliers", "Least like")]
)
def test_below_the_map(page: Page, part: str, says: str) -> None:
    """Overlap, distances and outliers are a click away, in words, as a picture and as CSV."""
    page.get_by_role("radio", name=part).or_(page.get_by_role("button", name=part)).first.click()
    page.get_by_text(says).first.wait_for()
    settle(page)
    shoot(page, f"clusters-{part.lower()}")
    assert exported(page)
    assert f"part={part.lower()}" in page.url
    assert_accessible(page)


def test_twenty_thousand_points_move_without_stutter(browser: Browser, tmp_path: Path) -> None:
    """While a map of 20,000 photos is dragged, it moves, with a frame for every third move; their times are told."""
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
            page.evaluate("() => { cancelAnimationFrame(window.noting); return window.frames_ms.slice(1) }")
        )
        page.mouse.up()
        assert page.locator(".map").screenshot() != before
    late = frames[int(len(frames) * 0.95)]
    print(f"{len(frames)} frames, median {frames[len(frames) // 2]:.0f} ms, 95th percentile {late:.0f} ms")
    assert len(frames) >= 20
