"""An export folder or a manifest -> Photo | Rejected, row by row. Nothing is skipped without a word."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import ExportUnreadable, PhotoUnusable
from catalog.filters import is_quotable, make_quotable
from catalog.listing import Listing, Photo, Rejected
from catalog.parsing import parse_category, parse_price, parse_title
from catalog.storage import PROTOCOLS, is_url
from catalog.tables import Row, count_rows, csv_rows, parquet_rows, require_columns

TABLES = ("Products.csv", "Images.csv")
LISTING_COLUMNS = ("id", "product_name", "category", "price", "location")
PHOTO_COLUMNS = ("id", "product_id")
MANIFEST_COLUMNS = ("photo_id", "listing_id", "title", "category", "price", "currency", "location", "photo")

# Milvus counts the bytes of a VARCHAR (Lite the characters): the stricter of the two holds.
MAX_ID_BYTES = 512
MAX_TEXT_BYTES = 65_535


@dataclass(frozen=True)
class Export:
    """A readable export. Photo paths start at `root`; `photos` is how many rows to expect, for progress bars."""

    path: Path
    root: Path
    photos: int

    def digest(self) -> str:
        """sha256, hex, over the bytes of the tables: whether this is the export of before."""
        digest = hashlib.sha256()
        tables = [self.path / name for name in TABLES] if self.path.is_dir() else [self.path]
        for table in tables:
            with table.open("rb") as file:
                while part := file.read(1 << 20):
                    digest.update(part)
        return digest.hexdigest()

    def rows(self) -> Iterator[Photo | Rejected]:
        """Every row, in order: a Photo, or a Rejected with its reason. Of rows with one id, the first is taken."""
        rows = _folder_rows(self.path) if self.path.is_dir() else _manifest_rows(self.path)
        seen: set[str] = set()
        for where, row in rows:
            photo = row if isinstance(row, Rejected) else _photo(where, row, self.root)
            if isinstance(photo, Photo):
                if photo.photo_id in seen:
                    detail = f"photo id {photo.photo_id} stands in an earlier row, which was taken"
                    photo = Rejected(where, photo.photo_id, photo.listing.listing_id, "duplicate_photo_id", detail)
                else:
                    seen.add(photo.photo_id)
            yield photo


def open_export(path: Path, *, root: Path | None = None) -> Export:
    """Check that this is an export folder or a manifest. Raises ExportUnreadable with what is missing.

    A manifest's relative photo paths start at `root`, by default the manifest's own folder, and stay inside.
    """
    if not path.exists():
        raise ExportUnreadable(
            f"There is no export at {path}.",
            hint="Give a folder with Products.csv, Images.csv and images/, or a manifest (.csv or .parquet).",
        )
    if path.is_dir():
        wanted = ("Products.csv", "Images.csv", "images")
        if missing := [name for name in wanted if not (path / name).exists()]:
            raise ExportUnreadable(
                f"The export folder {path} has no {' and no '.join(missing)}.",
                hint="An export folder holds Products.csv, Images.csv and images/<photo id>.jpg. "
                "For another layout write a manifest, see docs/exports.md.",
            )
        require_columns(path / "Products.csv", LISTING_COLUMNS)
        require_columns(path / "Images.csv", PHOTO_COLUMNS)
        return Export(path, path, count_rows(path / "Images.csv"))
    if path.suffix.lower() not in {".csv", ".parquet"}:
        raise ExportUnreadable(
            f"{path} is neither an export folder nor a manifest.", hint="A manifest ends in .csv or .parquet."
        )
    require_columns(path, MANIFEST_COLUMNS)
    return Export(path, root or path.parent, count_rows(path))


def _folder_rows(folder: Path) -> Iterator[tuple[str, dict[str, str] | Rejected]]:
    """Join the two tables of an export folder into rows of a manifest."""
    listings: dict[str, dict[str, str]] = {}
    for where, row in csv_rows(folder / "Products.csv"):
        listing_id = row["id"] if row else ""
        if row is None:
            yield where, _malformed(where)
        elif problem := _id_problem(listing_id):
            yield where, Rejected(where, "", listing_id, *problem)
        elif listing_id in listings:
            detail = f"listing id {listing_id} stands in an earlier row, which was taken"
            yield where, Rejected(where, "", listing_id, "duplicate_listing_id", detail)
        else:
            listings[listing_id] = {
                "listing_id": listing_id,
                "title": parse_title(row["product_name"]),
                "category": row["category"],
                "price": row["price"],
                "currency": "",
                "location": row["location"],
            }
    for where, row in csv_rows(folder / "Images.csv"):
        if row is None:
            yield where, _malformed(where)
        elif listing := listings.get(row["product_id"]):
            yield where, {**listing, "photo_id": row["id"], "photo": f"images/{row['id']}.jpg"}
        else:
            detail = f"Products.csv has no usable listing {row['product_id']!r}"
            yield where, Rejected(where, row["id"], row["product_id"], "unknown_listing", detail)


def _manifest_rows(path: Path) -> Iterator[tuple[str, dict[str, str] | Rejected]]:
    rows: Iterator[Row] = parquet_rows(path, MANIFEST_COLUMNS) if path.suffix.lower() == ".parquet" else csv_rows(path)
    for where, row in rows:
        yield where, _malformed(where) if row is None else {name: row[name] for name in MANIFEST_COLUMNS}


def _photo(where: str, row: dict[str, str], root: Path) -> Photo | Rejected:
    """Turn a manifest row into a Photo, or say why not. Relative paths start at `root` and must stay inside."""
    photo_id, listing_id, location = row["photo_id"], row["listing_id"], row["photo"]

    def rejected(reason: str, detail: str) -> Rejected:
        return Rejected(where, photo_id, listing_id, reason, detail)

    if problem := _id_problem(photo_id) or _id_problem(listing_id):
        return rejected(*problem)
    if any(len(text.encode(errors="replace")) > MAX_TEXT_BYTES for text in row.values()):
        return rejected("field_too_long", f"a field has more than {MAX_TEXT_BYTES:,} bytes")
    try:
        uri = _locate(location, root)
    except PhotoUnusable as error:
        return rejected(error.reason, error.message)
    listing, warnings = _listing({name: make_quotable(text) for name, text in row.items()})
    return Photo(photo_id, listing, uri, where, warnings)


def _locate(location: str, root: Path) -> str:
    """Give the absolute path, or the address, of a row's photo. Raises PhotoUnusable."""
    if not location:
        raise PhotoUnusable("no_photo", "the row names no photo")
    if "://" in location:
        if not is_url(location):
            raise PhotoUnusable("unsupported_address", f"{location} is no address of {', '.join(sorted(PROTOCOLS))}")
        return location
    try:
        path = (root / location).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL
        raise PhotoUnusable("bad_path", f"{location!r} is no path: {error}") from error
    if not path.is_relative_to(root.resolve()):
        raise PhotoUnusable("outside_root", f"{location} lies outside the export's folder {root}")
    return str(path)


def _listing(row: dict[str, str]) -> tuple[Listing, tuple[str, ...]]:
    listing_id, price_text = row["listing_id"], row["price"]
    price, sign = parse_price(price_text)
    root, rest = parse_category(row["category"])
    warnings = []
    if price is None and price_text:
        warnings.append(f"listing {listing_id}: price {price_text[:40]!r} is not a number; stored as unknown")
    if not root:
        warnings.append(f"listing {listing_id}: no category; stored without")
    listing = Listing(listing_id, row["title"], root, rest, price, row["currency"].upper() or sign, row["location"])
    return listing, tuple(warnings)


def _id_problem(identity: str) -> tuple[str, str] | None:
    if not identity:
        return "missing_id", "the row has no id"
    if len(identity.encode(errors="replace")) > MAX_ID_BYTES:
        return "bad_id", f"the id {identity[:40]!r}… has more than {MAX_ID_BYTES} bytes"
    if not is_quotable(identity):
        return "bad_id", f"the id {identity!r} holds a control character"
    return None


def _malformed(where: str) -> Rejected:
    return Rejected(where, "", "", "malformed_row", "the row has another number of fields than the header")
