"""Take the README's pictures of the demo: `python -m tests.support.dashboard.gallery` writes docs/images. Needs npm.

Not a test: run it by hand when the look of the pages has changed.
"""

import csv
import tempfile
from pathlib import Path

from PIL import Image

from tests.support.commands import COMMAND, marketlens
from tests.support.dashboard.browser import Browser, Page, process, running_browser, running_dashboard, settle, visit
from tests.support.data.exports import write_csv
from tests.support.paths import MODEL, ROOT
from tests.support.servers.milvus_server import free_ports

IMAGES = ROOT / "docs" / "images"


def main() -> None:
    """Fill a catalogue with the demo's photos, and take a screenshot of each page."""
    with tempfile.TemporaryDirectory() as name, running_browser() as browser:
        folder = Path(name)
        settings = {"MARKETLENS_MILVUS__URI": "data/demo/milvus.db", "MARKETLENS_MODEL__PATH": str(MODEL)}
        done = marketlens("demo", "--once", cwd=folder, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        manifest = write_duplicate(folder / "data" / "demo")
        for command in (["ingest", manifest], ["insights"]):
            done = marketlens(*command, cwd=folder, **settings)
            assert done.returncode == 0, done.stdout + done.stderr
        port = free_ports(1)[0]
        api = f"http://127.0.0.1:{port}"
        with (
            process([COMMAND, "serve", "--port", port], folder, f"{api}/readyz", **settings),
            running_dashboard(folder, api) as dashboard,
        ):
            photos = sorted((folder / "data" / "demo" / "vendure").rglob("*.jpg"))
            take_search(browser, dashboard, photos)
            take_clusters(browser, dashboard)
            for part in ("quality", "duplicates"):
                save(visit(browser, f"{dashboard}/{part}"), part)


def write_duplicate(demo: Path) -> Path:
    """Write a manifest next to the photos in which one listing is posted again with its photo cropped."""
    header, *rows = csv.reader((demo / "manifest.csv").open(encoding="utf-8", newline=""))
    _, _, title, category, *_, photo = rows[len(rows) // 2]
    again = demo / "vendure" / "again.jpg"
    with Image.open(demo / "vendure" / photo) as image:
        width, height = image.size
        image.crop((width // 20, height // 20, width, height)).save(again, quality=70)
    rows.append(["again", "again", f"{title} (as new)", category, "19.90", "USD", "", again.name])
    write_csv(demo / "vendure" / "twice.csv", header, rows)
    return demo / "vendure" / "twice.csv"


def take_search(browser: Browser, dashboard: str, photos: list[Path]) -> None:
    """Save the hits of a photo, and the explanation of one of them."""
    page = visit(browser, dashboard)
    page.locator("input[type=file]").set_input_files(str(photos[0]))
    page.locator(".st-key-heading").wait_for()
    save(page, "search")
    page.locator('[class*="st-key-why-"] button').nth(1).click()
    page.get_by_text("The warmer an area").wait_for()
    save(page, "why")


def take_clusters(browser: Browser, dashboard: str) -> None:
    """Save the map, and the outliers on a narrow screen with the dark theme."""
    save(visit(browser, f"{dashboard}/clusters"), "clusters")
    page = visit(browser, f"{dashboard}/clusters?part=outliers", width=390, theme="dark")
    page.locator('[class*="st-key-tile-"]').first.scroll_into_view_if_needed()
    save(page, "clusters-narrow")


def save(page: Page, name: str) -> None:
    """Save the visible part of the page."""
    settle(page)
    page.wait_for_timeout(500)
    page.screenshot(path=IMAGES / f"{name}.jpg", type="jpeg", quality=75)


if __name__ == "__main__":
    main()
