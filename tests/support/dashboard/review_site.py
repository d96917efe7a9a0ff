"""A separate site that tests may change: real listings with known mistakes among them."""

import csv
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from search_api.auth.api_keys import create_key
from search_api.client import Client
from tests.support.dashboard.browser import running_site
from tests.support.data.exports import write_csv

TWICE = "posted-twice"
WRONG = "Appliances"
MISFILED = ("Music", "DIY", "Phones")
BROKEN = "broken-photo"


@dataclass(frozen=True)
class ReviewSite:
    """Addresses and keys; the dashboard uses the admin key. `folder` also contains a second build of the catalogue."""

    api: str
    dashboard: str
    folder: Path
    admin_key: str
    read_key: str

    def client(self) -> Client:
        """Return a client with the dashboard's key."""
        return Client(self.api, self.admin_key)


@contextmanager
def running_review_site(folder: Path) -> Iterator[ReviewSite]:
    """Run a site on which a listing is posted again as TWICE, many are misfiled as WRONG, and BROKEN is truncated."""
    keys = folder / "data" / "api-keys.json"
    admin, reader = create_key(keys, "ann", "admin"), create_key(keys, "rob", "read")
    with running_site(folder, 120, spoil=_spoil, commands=[["index", "build"]], api_key=admin) as site:
        yield ReviewSite(site.api, site.dashboard, folder, admin, reader)


def _spoil(export: Path) -> None:
    (head, *products), (image_head, *images) = _rows(export / "Products.csv"), _rows(export / "Images.csv")
    for category in MISFILED:
        for row in [row for row in products if row[3].startswith(category)][::3]:
            row[3] = f"{WRONG} / Other"
    photos = export / "images"
    once = images[0]
    first = next(row for row in products if row[1] == once[2])
    products.append(["9001", TWICE, *first[2:5], "£7.50", "Leeds, West Yorkshire"])
    images.append(["9001", f"{TWICE}-0", TWICE])
    shutil.copy(photos / f"{once[1]}.jpg", photos / f"{TWICE}-0.jpg")
    products.append(["9002", "cut-off", "Lamp", first[3], "", "£3.00", "Leeds, West Yorkshire"])
    images.append(["9002", BROKEN, "cut-off"])
    whole = (photos / f"{once[1]}.jpg").read_bytes()
    (photos / f"{BROKEN}.jpg").write_bytes(whole[: len(whole) // 2])
    write_csv(export / "Products.csv", head, products)
    write_csv(export / "Images.csv", image_head, images)


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))
