"""Read an export folder or a manifest row by row, as Photo or Rejected. No row is skipped silently."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import PhotoUnusable
from catalog.exports.fields import parse_category, parse_price, parse_time, parse_title
from catalog.exports.source import Source, find_source
from catalog.exports.tables import count_rows, csv_rows, require_columns, rows_of
from catalog.listing import Listing, Photo, Rejected
from catalog.photo_files.addresses import PROTOCOLS, is_url, join_below
from catalog.text import MAX_TEXT_BYTES, id_problem, make_quotable

LISTING_COLUMNS = ("id", "product_name", "category", "price", "location")
PHOTO_COLUMNS = ("id", "product_id")
MANIFEST_COLUMNS = ("photo_id", "listing_id", "title", "category", "price", "currency", "location", "photo")
OPTIONAL_COLUMNS = ("listed_at", "description")

_DESCRIPTION_CHARACTERS = 2_000


@dataclass(frozen=True)
class Export:
    """A readable export. Photo paths start at `root`; `photos` is the expected number of rows, for progress bars."""

    path: str
    root: str
    photos: int
    source: Source

    def digest(self) -> str:
        """Return the SHA-256 (hex) of the tables' bytes: it tells whether the export has changed."""
        digest = hashlib.sha256()
        for table in self.source.tables:
            with table.open("rb") as file:
                while part := file.read(1 << 20):
                    digest.update(part)
        return digest.hexdigest()

    def rows(self, *, skip: frozenset[str] = frozenset()) -> Iterator[Photo | Rejected]:
        """Every row in order: a Photo, or a Rejected with its reason. Of rows with the same id, the first is used.

        `skip` holds rows to leave out, named as in `Photo.row`.
        """
        rows = _folder_rows(*self.source.tables) if len(self.source.tables) > 1 else _manifest_rows(*self.source.tables)
        seen: set[str] = set()
        for where, row in rows:
            photo = row if isinstance(row, Rejected) else _photo(where, row, self.root)
            if isinstance(photo, Photo):
                if photo.photo_id in seen:
                    detail = f"photo id {photo.photo_id} is in an earlier row, which was used"
                    photo = Rejected(where, photo.photo_id, photo.listing.listing_id, "duplicate_photo_id", detail)
                else:
                    seen.add(photo.photo_id)
            if photo.row not in skip:
                yield photo


def open_export(location: str | Path, *, root: str | Path | None = None) -> Export:
    """Open an export folder, an archive of one, or a manifest, and check its columns. Raises ExportUnreadable.

    `location` is a path or URL. A manifest's relative photo paths start at `root`, by default the manifest's folder,
    and must stay inside it. Remote or archived tables are copied to this machine first.
    """
    source = find_source(str(location))
    if len(source.tables) > 1:
        for table, columns in zip(source.tables, (LISTING_COLUMNS, PHOTO_COLUMNS), strict=True):
            require_columns(table, columns)
        return Export(str(location), source.root, count_rows(source.tables[-1]), source)
    (manifest,) = source.tables
    require_columns(manifest, MANIFEST_COLUMNS)
    return Export(str(location), source.root if root is None else str(root), count_rows(manifest), source)


def _folder_rows(listings_table: Path, photos_table: Path) -> Iterator[tuple[str, dict[str, str] | Rejected]]:
    """Join the two tables of an export folder into rows of a manifest."""
    listings: dict[str, dict[str, str]] = {}
    for where, row in csv_rows(listings_table):
        listing_id = row["id"] if row else ""
        if row is None:
            yield where, _malformed(where)
        elif problem := id_problem(listing_id):
            yield where, Rejected(where, "", listing_id, *problem)
        elif listing_id in listings:
            detail = f"listing id {listing_id} is in an earlier row, which was used"
            yield where, Rejected(where, "", listing_id, "duplicate_listing_id", detail)
        else:
            listings[listing_id] = {
                "listing_id": listing_id,
                "title": parse_title(row["product_name"]),
                "category": row["category"],
                "price": row["price"],
                "currency": "",
                "location": row["location"],
                "listed_at": "",
                "description": row.get("product_description", "")[:_DESCRIPTION_CHARACTERS],
            }
    for where, row in csv_rows(photos_table):
        if row is None:
            yield where, _malformed(where)
        elif listing := listings.get(row["product_id"]):
            yield where, {**listing, "photo_id": row["id"], "photo": f"images/{row['id']}.jpg"}
        else:
            detail = f"Products.csv has no usable listing {row['product_id']!r}"
            yield where, Rejected(where, row["id"], row["product_id"], "unknown_listing", detail)


def _manifest_rows(manifest: Path) -> Iterator[tuple[str, dict[str, str] | Rejected]]:
    names = (*MANIFEST_COLUMNS, *OPTIONAL_COLUMNS)
    for where, row in rows_of(manifest, names):
        if row is None:
            yield where, _malformed(where)
        else:
            description = row.get("description", "")[:_DESCRIPTION_CHARACTERS]
            yield where, {name: row.get(name, "") for name in names} | {"description": description}


def _photo(where: str, row: dict[str, str], root: str) -> Photo | Rejected:
    """Turn a manifest row into a Photo, or a Rejected. Relative paths start at `root` and must stay inside it."""
    photo_id, listing_id, location = row["photo_id"], row["listing_id"], row["photo"]

    def rejected(reason: str, detail: str) -> Rejected:
        return Rejected(where, photo_id, listing_id, reason, detail)

    if problem := id_problem(photo_id) or id_problem(listing_id):
        return rejected(*problem)
    if any(len(text.encode(errors="replace")) > MAX_TEXT_BYTES for text in row.values()):
        return rejected("field_too_long", f"a field has more than {MAX_TEXT_BYTES:,} bytes")
    try:
        uri = _locate(location, root)
    except PhotoUnusable as error:
        return rejected(error.reason, error.message)
    listing, warnings = _listing({name: make_quotable(text) for name, text in row.items()})
    return Photo(photo_id, listing, uri, where, warnings, row["description"])


def _locate(location: str, root: str) -> str:
    """Return the URI of a row's photo. Raises PhotoUnusable."""
    if not location:
        raise PhotoUnusable("no_photo", "the row names no photo")
    if "://" in location:
        if not is_url(location):
            raise PhotoUnusable("unsupported_address", f"{location} is not a URL of {', '.join(sorted(PROTOCOLS))}")
        return location
    return join_below(root, location)


def _listing(row: dict[str, str]) -> tuple[Listing, tuple[str, ...]]:
    listing_id, price_text = row["listing_id"], row["price"]
    price, sign = parse_price(price_text)
    root, rest = parse_category(row["category"])
    warnings = []
    if price is None and price_text:
        warnings.append(f"listing {listing_id}: price {price_text[:40]!r} is not a number; stored as unknown")
    if not root:
        warnings.append(f"listing {listing_id}: no category; stored without one")
    listed_at, listed_text = parse_time(row["listed_at"]), row["listed_at"]
    if listed_at is None and listed_text:
        problem = f"listed_at {listed_text[:40]!r} is not a time; the time of the first ingest is used"
        warnings.append(f"listing {listing_id}: {problem}")
    currency = row["currency"].upper() or sign
    listing = Listing(listing_id, row["title"], root, rest, price, currency, row["location"], listed_at)
    return listing, tuple(warnings)


def _malformed(where: str) -> Rejected:
    detail = "the row's fields do not match the header, or the line is not a JSON object"
    return Rejected(where, "", "", "malformed_row", detail)
