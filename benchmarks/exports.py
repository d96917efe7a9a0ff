"""Exports of a size and kind that a benchmark needs, made from a real one."""

import csv
import io
from itertools import cycle, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from catalog.exports import Export
from catalog.listing import Photo
from catalog.storage import read_photo

_COLUMNS = ("photo_id", "listing_id", "title", "category", "price", "currency", "location", "photo")
_MAX_BYTES = 100_000_000


def first_rows(export: Export, count: int, folder: Path, side: int | None) -> Path:
    """A manifest of the first `count` photos, copied, their longer side scaled to `side` pixels unless None."""
    folder.mkdir(parents=True)
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(_COLUMNS)
        for photo in islice((row for row in export.rows() if isinstance(row, Photo)), count):
            data = read_photo(photo.uri, _MAX_BYTES)
            (folder / f"{photo.photo_id}.jpg").write_bytes(_scaled(data, side) if side else data)
            table.writerow(_row(photo, photo.photo_id, f"{photo.photo_id}.jpg"))
    return folder / "manifest.csv"


def grown(export: Export, count: int, folder: Path) -> Path:
    """A manifest of `count` photos: those of the export over and over, each time under other ids."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    photos = [row for row in islice(export.rows(), count) if isinstance(row, Photo)]
    for photo in photos:
        (folder / "images" / f"{photo.photo_id}.jpg").write_bytes(read_photo(photo.uri, _MAX_BYTES))
    rows = [
        _row(photo, f"{photo.photo_id}-{number}", f"images/{photo.photo_id}.jpg")
        for number, photo in enumerate(islice(cycle(photos), count))
    ]
    path = folder / f"{count}.parquet"
    pq.write_table(pa.Table.from_pylist([dict(zip(_COLUMNS, row, strict=True)) for row in rows]), path)
    return path


def _row(photo: Photo, photo_id: str, where: str) -> tuple[str, ...]:
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
        where,
    )


def _scaled(data: bytes, side: int) -> bytes:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = side / max(image.size)
    buffer = io.BytesIO()
    image.resize((round(image.width * scale), round(image.height * scale))).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
