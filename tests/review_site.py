"""A site of its own to change: real listings, among which some things are wrong that a test can count on."""

import csv
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from search_api.client import Client
from search_api.keys import create_key
from tests.browser import running_site
from tests.conftest import LISTINGS, write_csv

ONCE = "243809c0-9cfc-4486-ad12-3b7a16605ba9"
TWICE = "posted-twice"
WRONG = "Phones, Mobile Phones & Telecoms"
RIGHT = "Home & Garden"
BROKEN = "broken-photo"


@dataclass(frozen=True)
class ReviewSite:
    """Where it is; the dashboard asks with the admin key. In `folder` there is also a second build of the catalogue."""

    api: str
    dashboard: str
    folder: Path
    admin_key: str
    read_key: str

    def client(self) -> Client:
        """What the dashboard asks with."""
        return Client(self.api, self.admin_key)


@contextmanager
def running_review_site(folder: Path) -> Iterator[ReviewSite]:
    """The listing ONCE is posted a second time as TWICE; sofas are filed as telephones; the photo BROKEN is cut off."""
    keys = folder / "data" / "api-keys.json"
    admin, reader = create_key(keys, "ann", "admin"), create_key(keys, "rob", "read")
    with running_site(folder, 200, make=_spoiled, commands=[["index", "build"]], api_key=admin) as site:
        yield ReviewSite(site.api, site.dashboard, folder, admin, reader)


def _spoiled(export: Path, count: int) -> None:
    """Every so manieth listing, so that all categories are there, and then what is wrong."""
    products, images = _rows(LISTINGS / "Products.csv"), _rows(LISTINGS / "Images.csv")
    header, rows = products[0], products[1 :: len(products) // count]
    for row in rows:
        if "sofa" in row[2].lower():
            row[3] = f"{WRONG} / Other"
    wanted = {row[1] for row in rows}
    shown = [row for row in images[1:] if row[2] in wanted]
    (export / "images").mkdir()
    for row in shown:
        shutil.copy(LISTINGS / "images" / f"{row[1]}.jpg", export / "images")
    once = next(row for row in shown if row[2] == rows[0][1])
    rows.append(["9001", TWICE, *rows[0][2:5], "£7.50", "Leeds, West Yorkshire"])
    shown.append(["9001", f"{TWICE}-0", TWICE])
    photo = shutil.copy(export / "images" / f"{once[1]}.jpg", export / "images" / f"{TWICE}-0.jpg")
    rows.append(["9002", "cut-off", "Lamp", rows[0][3], "", "£3.00", "Leeds, West Yorkshire"])
    shown.append(["9002", BROKEN, "cut-off"])
    whole = Path(photo).read_bytes()
    (export / "images" / f"{BROKEN}.jpg").write_bytes(whole[: len(whole) // 2])
    write_csv(export / "Products.csv", header, rows)
    write_csv(export / "Images.csv", images[0], shown)


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))
