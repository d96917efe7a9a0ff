"""Insights on disk: written completely or not at all, and read by the API.

    <folder>/<collection>/insights.json            the summary of a run; names the folder of its tables
    <folder>/<collection>/<run>/photos.parquet     and suggestions.parquet, duplicates.parquet

`insights.json` is replaced last and in one step, so a reader sees either run, never parts of both.
"""

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from catalog.errors import InsightsMissing, OutputFailed
from insights.summary import FORMAT, Summary

SUMMARY, PHOTOS, SUGGESTIONS, DUPLICATES = (
    "insights.json",
    "photos.parquet",
    "suggestions.parquet",
    "duplicates.parquet",
)
_HINT = "marketlens insights"
_ABANDONED_SECONDS = 86_400

PHOTO_SCHEMA = pa.schema(
    [
        ("photo_id", pa.string()),
        ("listing_id", pa.string()),
        ("title", pa.string()),
        ("category", pa.string()),
        ("subcategory", pa.string()),
        ("price", pa.float64()),
        ("currency", pa.string()),
        ("location", pa.string()),
        ("listed_at", pa.int64()),
        ("sha256", pa.string()),
        ("predicted_category", pa.string()),
        ("confidence", pa.float32()),
        ("outlier_score", pa.float32()),
        ("outlier_rank", pa.int32()),
        ("trained_on", pa.bool_()),
        ("x", pa.float32()),
        ("y", pa.float32()),
    ]
)
_NEIGHBOUR = pa.struct([("photo_id", pa.string()), ("similarity", pa.float32())])
_TITLE_WORD = pa.struct(
    [("word", pa.string()), ("suggested", pa.float32()), ("seller", pa.float32()), ("listings", pa.int32())]
)
SUGGESTION_SCHEMA = pa.schema(
    [
        ("rank", pa.int32()),
        ("listing_id", pa.string()),
        ("photo_id", pa.string()),
        ("category", pa.string()),
        ("suggested_category", pa.string()),
        ("certainty", pa.float32()),
        ("head_probability", pa.float32()),
        ("seller_probability", pa.float32()),
        ("title_probability", pa.float32()),
        ("title_seller_probability", pa.float32()),
        ("title_words", pa.list_(_TITLE_WORD)),
        ("neighbour_share", pa.float32()),
        ("neighbour_seller_share", pa.float32()),
        ("neighbours", pa.list_(_NEIGHBOUR)),
    ]
)
_LINK = pa.struct(
    [("photo_id_a", pa.string()), ("photo_id_b", pa.string()), ("similarity", pa.float32()), ("kind", pa.string())]
)
DUPLICATE_SCHEMA = pa.schema(
    [
        ("rank", pa.int32()),
        ("kind", pa.string()),
        ("probability", pa.float32()),
        ("links", pa.list_(_LINK)),
        ("listing_ids", pa.list_(pa.string())),
        ("photo_ids", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class Insights:
    """The results of the last run for a collection. Read-only and thread-safe.

    `photos` is sorted by category, listing, photo; `suggestions` and `duplicates` by rank. Columns: the schemas above.
    """

    summary: Summary
    photos: pa.Table
    suggestions: pa.Table
    duplicates: pa.Table
    path: Path
    stamp: tuple[int, int]

    @classmethod
    def open(cls, folder: Path, collection: str) -> "Insights":
        """Read the insights of a collection. Raises InsightsMissing."""
        path = folder / collection / SUMMARY
        previous = None
        try:
            # A run that ends during this read may remove the older tables; then read the tables of that run.
            while (files := _files_of(path)) != previous:
                previous = files
                with suppress(FileNotFoundError):
                    return cls._read(path)
        except (OSError, pa.ArrowException, ValidationError, UnicodeDecodeError) as error:
            raise InsightsMissing(f"{path} and its tables cannot be read: {error}", hint=_HINT) from error
        raise InsightsMissing(f"There are no insights for the collection {collection} yet.", hint=_HINT)

    @classmethod
    def _read(cls, path: Path) -> "Insights":
        stamp = _stamp(path)
        summary = Summary.model_validate_json(path.read_text())
        if summary.format != FORMAT:
            raise InsightsMissing(f"The insights in {path} were made by another version of marketlens.", hint=_HINT)
        photos, suggestions, duplicates = (
            pq.read_table(path.parent / summary.files / name) for name in (PHOTOS, SUGGESTIONS, DUPLICATES)
        )
        return cls(summary, photos, suggestions, duplicates, path, stamp)

    def is_current(self) -> bool:
        """Return whether these are still the insights of the last run. Only checks the file's inode and time."""
        try:
            return _stamp(self.path) == self.stamp
        except OSError:
            return False

    def on_map(self, limit: int) -> pa.Table:
        """Return the photos with a position on the map, or an even sample of `limit` of them."""
        rows = np.flatnonzero(pc.is_valid(self.photos["x"]).to_numpy())
        if len(rows) > limit:
            rows = rows[np.linspace(0, len(rows) - 1, limit).round().astype(np.int64)]
        return self.photos.take(pa.array(rows))

    def select(self, *, category: str | None = None, predicted: str | None = None, outliers: bool = False) -> pa.Table:
        """Return photos by the seller's category, the model's category, or both; in a stable order.

        `outliers`: the least typical of their category first, without those that have no score.
        """
        chosen = self.photos
        if category is not None:
            chosen = chosen.filter(pc.equal(chosen["category"], category))
        if predicted is not None:
            chosen = chosen.filter(pc.equal(chosen["predicted_category"], predicted))
        if outliers:
            chosen = chosen.filter(pc.is_valid(chosen["outlier_score"]))
            chosen = chosen.sort_by([("outlier_rank", "ascending"), ("category", "ascending")])
        return chosen

    def photos_by_id(self, photo_ids: list[str]) -> dict[str, dict[str, object]]:
        """Return the rows of these photos by id; missing ones are left out."""
        return {str(row["photo_id"]): row for row in self._rows(self._photo_rows, photo_ids)}

    def listings(self, listing_ids: list[str]) -> dict[str, list[dict[str, object]]]:
        """Return the rows of these listings' photos, by listing id."""
        found: dict[str, list[dict[str, object]]] = {}
        for row in self._rows(self._listing_rows, listing_ids):
            found.setdefault(str(row["listing_id"]), []).append(row)
        return found

    def _rows(self, index: "_Index", ids: list[str]) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = self.photos.take(pa.array(index.rows(ids), pa.int64())).to_pylist()
        return rows

    @cached_property
    def _photo_rows(self) -> "_Index":
        return _Index(self.photos["photo_id"])

    @cached_property
    def _listing_rows(self) -> "_Index":
        return _Index(self.photos["listing_id"])


class _Index:
    """Row numbers by id. Takes 8 bytes per row beside the ids; a dict of a million rows would take hundreds of MB."""

    def __init__(self, ids: pa.ChunkedArray) -> None:
        self._ids = ids
        self._order = pc.sort_indices(ids).to_numpy()

    def rows(self, ids: list[str]) -> list[int]:
        """Return the rows that have one of these ids, in the order of `ids`."""
        found: list[int] = []
        for wanted_id in ids:
            position = self._first(wanted_id)
            while position < len(self._order) and self._id(position) == wanted_id:
                found.append(int(self._order[position]))
                position += 1
        return found

    def _first(self, wanted_id: str) -> int:
        """Return the first sorted position whose id is not smaller (binary search)."""
        low, high = 0, len(self._order)
        while low < high:
            middle = (low + high) // 2
            if self._id(middle).encode() < wanted_id.encode():
                low = middle + 1
            else:
                high = middle
        return low

    def _id(self, position: int) -> str:
        return str(self._ids[int(self._order[position])].as_py())


def save(folder: Path, summary: Summary, photos: pa.Table, suggestions: pa.Table, duplicates: pa.Table) -> Path:
    """Write the tables to a new folder, then replace `insights.json`. Return its path.

    The tables of the previous run stay for their current readers; older ones are removed. Raises OutputFailed; the
    previous insights then stay.
    """
    directory = folder / summary.collection
    draft, run = directory / f".{summary.files}", directory / summary.files
    try:
        draft.mkdir(parents=True)
        for name, table in ((PHOTOS, photos), (SUGGESTIONS, suggestions), (DUPLICATES, duplicates)):
            pq.write_table(table, draft / name, compression="zstd")
        (draft / SUMMARY).write_text(summary.model_dump_json(indent=1) + "\n")
        previous = _files_of(directory / SUMMARY)
        draft.rename(run)
        (run / SUMMARY).replace(directory / SUMMARY)
    except OSError as error:
        raise OutputFailed(f"{run} could not be written: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    for other in directory.iterdir():
        # A recent draft may be of a run in progress; an old one is of a killed run.
        is_in_progress = other.name.startswith(".") and time.time() - other.stat().st_mtime < _ABANDONED_SECONDS
        if other.is_dir() and other.name not in (run.name, previous) and not is_in_progress:
            shutil.rmtree(other, ignore_errors=True)
    return directory / SUMMARY


def _files_of(path: Path) -> str:
    try:
        return Summary.model_validate_json(path.read_text()).files
    except (OSError, ValidationError, UnicodeDecodeError):
        return ""


def _stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_ino, state.st_mtime_ns
