"""Exports for benchmarks: parts of a real one, or synthetic drawings."""

import csv
import io
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from catalog.exports.export import Export
from catalog.listing import Photo
from catalog.photo_files.files import read_photo

_COLUMNS = ("photo_id", "listing_id", "title", "category", "price", "currency", "location", "photo")
_MAX_BYTES = 100_000_000
_DRAWINGS = 200


def first_rows(export: Export, count: int, folder: Path, side: int | None) -> Path:
    """Write a manifest and copies of the first `count` photos, scaled to a longer side of `side` pixels unless None."""
    folder.mkdir(parents=True)
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(_COLUMNS)
        for photo in islice((row for row in export.rows() if isinstance(row, Photo)), count):
            data = read_photo(photo.uri, _MAX_BYTES)
            (folder / f"{photo.photo_id}.jpg").write_bytes(_scaled(data, side) if side else data)
            table.writerow(_row(photo, photo.photo_id, f"{photo.photo_id}.jpg"))
    return folder / "manifest.csv"


def drawings(count: int, folder: Path) -> Path:
    """Write a manifest of `count` photos, two per listing, 13 categories: the same drawings repeat under other ids."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(_DRAWINGS):
        colours = random.integers(0, 256, (24, 24, 3), np.uint8)
        Image.fromarray(colours).resize((192, 192)).save(folder / f"{number}.jpg", quality=88)
    table = {
        "photo_id": [f"p{n}" for n in range(count)],
        "listing_id": [f"l{n // 2}" for n in range(count)],
        "title": [f"Thing {n // 2 % 997} of kind {n // 2 % 89}" for n in range(count)],
        "category": [f"c{n // 2 % 13} / Things" for n in range(count)],
        "price": [str(n // 2 % 1_000) for n in range(count)],
        "currency": ["GBP"] * count,
        "location": [f"Town {n // 2 % 50}" for n in range(count)],
        "photo": [f"{n % _DRAWINGS}.jpg" for n in range(count)],
    }
    path = folder / f"{count}.parquet"
    pq.write_table(pa.table(table), path)
    return path


def _row(photo: Photo, photo_id: str, file_name: str) -> tuple[str, ...]:
    listing = photo.listing
    price = "" if listing.price is None else str(listing.price)
    return (
        photo_id,
        listing.listing_id,
        listing.title,
        listing.category,
        price,
        listing.currency,
        listing.location,
        file_name,
    )


def _scaled(data: bytes, side: int) -> bytes:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = side / max(image.size)
    buffer = io.BytesIO()
    image.resize((round(image.width * scale), round(image.height * scale))).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
