"""`marketlens prepare`: exports -> data set with train, validation and test splits, and a report on its content."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from more_itertools import chunked
from numpy.typing import NDArray
from pydantic import BaseModel
from rich.console import Group
from rich.table import Table

from catalog.atomic_files import new_folder, refuse_existing
from catalog.errors import ExportUnreadable, PhotoUnusable
from catalog.exports.export import Export
from catalog.listing import Photo, Rejected
from catalog.photo_files.hosts import Read
from catalog.progress import Advance
from embedding.photos import open_photo
from embedding.training.splits import assign_splits, listing_groups, near_identical_pairs

PHOTOS, CATEGORIES, REPORT, PLOT = "photos.parquet", "categories.json", "report.json", "categories.png"

_READER_THREADS, _BATCH = 4, 512
# imagehash uses 32 x 32 pixels; the JPEG decoder may stop well before full size.
_DECODE_SIDE = 128


class DatasetReport(BaseModel):
    """Content of a prepared data set. `same_photo` are groups of listings that share a photo."""

    export: str
    seed: int
    photos: int
    listings: int
    unknown_prices: int
    listings_by_category: dict[str, dict[str, int]]
    same_photo: list[list[str]]
    rejected_rows: list[Rejected]
    warnings: list[str]

    def render(self) -> Group:
        """Render tables for the terminal."""
        table = Table(title=f"{self.photos:,} photos of {self.listings:,} listings, seed {self.seed}")
        table.add_column("listings in category")
        for heading in ("train", "val", "test", "all"):
            table.add_column(heading, justify="right")
        for category, counts in self.listings_by_category.items():
            numbers = [counts.get(split, 0) for split in ("train", "val", "test")]
            table.add_row(category, *(f"{number:,}" for number in (*numbers, sum(numbers))))
        notes = [
            f"{len(self.rejected_rows):,} rows rejected",
            f"{self.unknown_prices:,} listings without a price",
            f"{len(self.same_photo):,} groups of listings share a photo",
            *self.warnings,
        ]
        return Group(table, *notes)


@dataclass(frozen=True, slots=True)
class _HashedPhoto:
    photo: Photo
    sha256: str
    phash: NDArray[np.uint8]


def prepare(exports: Sequence[Export], out: Path, *, seed: int, read: Read, advance: Advance) -> DatasetReport:
    """Write photos.parquet, categories.json, report.json and categories.png into a new folder.

    photos.parquet has a row per usable photo: photo_id, listing_id, title, category, subcategory, price, currency,
    location, listed_at, description, uri, sha256, phash, group, split. Of photos with the same id in several exports,
    the first is used. Raises ExportUnreadable, OutputFailed, and leaves no incomplete folder.
    """
    refuse_existing(out)
    hashed: dict[str, _HashedPhoto] = {}
    rejected: list[Rejected] = []
    for export in exports:
        for row in _hash_photos(export, read, advance):
            if isinstance(row, Rejected):
                rejected.append(row)
            elif (photo := row.photo).photo_id in hashed:
                detail = f"photo id {photo.photo_id} is in an earlier export, which was used"
                rejected.append(
                    Rejected(photo.row, photo.photo_id, photo.listing.listing_id, "duplicate_photo_id", detail)
                )
            else:
                hashed[photo.photo_id] = row
    paths = ", ".join(export.path for export in exports)
    if not hashed:
        raise ExportUnreadable(f"None of the photos of {paths} can be used.", hint="Check that it is the right folder.")
    photos = list(hashed.values())
    frame = _to_frame(photos)
    frame["group"], frame["split"] = _split(frame, np.stack([photo.phash for photo in photos]), seed)
    report = _build_report(paths, seed, frame, rejected)
    _save(out, frame, report)
    return report


def _hash_photos(export: Export, read: Read, advance: Advance) -> Iterator[_HashedPhoto | Rejected]:
    def hash_photo(row: Photo | Rejected) -> _HashedPhoto | Rejected:
        if isinstance(row, Rejected):
            return row
        try:
            data = read(row.uri)
            bits = imagehash.phash(open_photo(data, decode_side=_DECODE_SIDE)).hash
        except PhotoUnusable as error:
            return Rejected(row.row, row.photo_id, row.listing.listing_id, error.reason, error.message)
        return _HashedPhoto(row, hashlib.sha256(data).hexdigest(), np.packbits(bits))

    with ThreadPoolExecutor(_READER_THREADS, "prepare") as readers:
        for batch in chunked(export.rows(), _BATCH):
            yield from readers.map(hash_photo, batch)
            advance(len(batch))


def _to_frame(hashed: list[_HashedPhoto]) -> pd.DataFrame:
    rows = []
    for item in hashed:
        rows.append(
            {
                "photo_id": item.photo.photo_id,
                **asdict(item.photo.listing),
                "description": item.photo.description,
                "uri": item.photo.uri,
                "sha256": item.sha256,
                "phash": item.phash.tobytes().hex(),
            }
        )
    return pd.DataFrame(rows).astype({"price": "float64"})


def _split(frame: pd.DataFrame, hashes: NDArray[np.uint8], seed: int) -> tuple[NDArray[np.int64], list[str]]:
    """Return the group and the split of each photo."""
    # In the order of ids, so that the order of the export's rows does not matter.
    listing_ids, listings = np.unique(frame["listing_id"].to_numpy(str), return_inverse=True)
    groups = listing_groups(listings, near_identical_pairs(hashes))
    categories = frame.groupby("listing_id")["category"].first().loc[listing_ids].tolist()
    splits = assign_splits(groups, categories, seed)
    return groups[listings], [splits[listing] for listing in listings]


def _build_report(exports: str, seed: int, frame: pd.DataFrame, rejected: list[Rejected]) -> DatasetReport:
    listings = frame.drop_duplicates("listing_id")
    counts = listings.groupby(["category", "split"]).size().unstack(fill_value=0)
    counts = counts.loc[counts.sum(axis=1).sort_values(ascending=False).index]
    same_photo = [ids for ids in listings.groupby("group")["listing_id"].agg(sorted) if len(ids) > 1]
    warnings = []
    if len(counts) == 1:
        warnings.append("There is only one category: a category head has nothing to tell apart.")
    for category in counts.index[counts.sum(axis=1) == counts.get("train", 0)]:
        warnings.append(f"Category {category!r} is too small to split: all of it is in train.")
    return DatasetReport(
        export=exports,
        seed=seed,
        photos=len(frame),
        listings=len(listings),
        unknown_prices=int(listings["price"].isna().sum()),
        listings_by_category={str(name): {str(k): int(v) for k, v in row.items()} for name, row in counts.iterrows()},
        same_photo=same_photo,
        rejected_rows=rejected,
        warnings=warnings,
    )


def _save(out: Path, frame: pd.DataFrame, report: DatasetReport) -> None:
    with new_folder(out, "The data set") as draft:
        frame.to_parquet(draft / PHOTOS, index=False)
        encoder = {name: number for number, name in enumerate(sorted(report.listings_by_category))}
        (draft / CATEGORIES).write_text(json.dumps(encoder, indent=2, ensure_ascii=False) + "\n")
        (draft / REPORT).write_text(report.model_dump_json(indent=2) + "\n")
        _plot(report).savefig(draft / PLOT)


def _plot(report: DatasetReport) -> Figure:
    counts = pd.DataFrame(report.listings_by_category).T.reindex(columns=["train", "val", "test"]).fillna(0)
    figure = Figure(figsize=(8, 0.4 * len(counts) + 1.5), layout="constrained", dpi=110)
    axes = figure.subplots()
    left = np.zeros(len(counts))
    for split, colour in (("train", "#4c78a8"), ("val", "#f58518"), ("test", "#54a24b")):
        axes.barh(counts.index, counts[split], left=left, label=split, color=colour)
        left += counts[split].to_numpy()
    axes.invert_yaxis()
    axes.set_xlabel("listings")
    axes.legend()
    return figure
