"""Write exports to disk: small ones with generated pictures, and parts of the real one."""

import csv
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from catalog.listing import Photo
from tests.support.paths import LISTINGS
from tests.support.data.pictures import jpeg, picture

# Files have this time, because a file that just changed has no source tag: it may change again within the tick.
AN_HOUR_AGO = time.time() - 3600

MakeExport = Callable[..., Path]


def write_export(
    folder: Path, listings: int, photos_each: int = 2, *, categories: Sequence[str] = ("Home", "Garden")
) -> Path:
    """Write an export folder: listings l0, l1, ... with `photos_each` photos l0-0, l0-1, ... each."""
    (folder / "images").mkdir(parents=True)
    products, images = [], []
    for number in range(listings):
        category = f"{categories[number % len(categories)]} / Things"
        title = f"Thing {number} | in Leeds, West Yorkshire | Gumtree"
        products.append([number, f"l{number}", title, category, "Nice.", f"£{number + 1}.00", "Leeds, West Yorkshire"])
        for which in range(photos_each):
            photo_id = f"l{number}-{which}"
            images.append([len(images), photo_id, f"l{number}"])
            # The photos of a listing are similar: the same picture in other sizes.
            image = picture(number).resize((64 + 8 * which, 48 + 8 * which))
            path = folder / "images" / f"{photo_id}.jpg"
            path.write_bytes(jpeg(image))
            os.utime(path, (AN_HOUR_AGO, AN_HOUR_AGO))
    header = ["", "id", "product_name", "category", "product_description", "price", "location"]
    write_csv(folder / "Products.csv", header, products)
    write_csv(folder / "Images.csv", ["", "id", "product_id"], images)
    return folder


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def part_of_listings(folder: Path, count: int) -> Path:
    products = (LISTINGS / "Products.csv").read_bytes().split(b"\n")[: count + 1]
    (folder / "Products.csv").write_bytes(b"\n".join(products) + b"\n")
    listing_ids = {line.split(b",")[1].decode() for line in products[1:]}
    with (LISTINGS / "Images.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row[2] in listing_ids]
    write_csv(folder / "Images.csv", ["", "id", "product_id"], rows)
    (folder / "images").mkdir()
    for row in rows:
        shutil.copy(LISTINGS / "images" / f"{row[1]}.jpg", folder / "images")
    return folder


def undated(photo: Photo) -> Photo:
    """Return the photo without its listing's date, which depends on the catalogue if the export has none."""
    return replace(photo, listing=replace(photo.listing, listed_at=None))
