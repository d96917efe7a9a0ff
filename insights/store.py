"""Insights on disk: written whole or not at all, read by the API.

    <folder>/<collection>/insights.json            what the run found; names the folder of its tables
    <folder>/<collection>/<run>/photos.parquet     and suggestions.parquet, duplicates.parquet

`insights.json` is replaced last and in one step, so a reader sees one run or the other, never parts of both.
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
from insights.summary import Summary

SUMMARY, PHOTOS, SUGGESTIONS, DUPLICATES = (
    "insights.json",
    "photos.parquet",
    "suggestions.parquet",
    "duplicates.parquet",
)
FORMAT = 1
_RUN_AGAIN = "marketlens insights"
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
        ("neighbour_share", pa.float32()),
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
    """What the last run found in a collection. Read only; safe for threads.

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
        """Read what was found in this collection. Raises InsightsMissing."""
        path = folder / collection / SUMMARY
        read = None
        try:
            # A run that ends while its predecessors' tables are read may remove them; then there is another to read.
            while (named := _files_of(path)) != read:
                read = named
                with suppress(FileNotFoundError):
                    return cls._read(path)
        except (OSError, pa.ArrowException, ValidationError, UnicodeDecodeError) as error:
            raise InsightsMissing(f"{path} and its tables cannot be read: {error}", hint=_RUN_AGAIN) from error
        raise InsightsMissing(f"Nobody has looked at the collection {collection} as a whole yet.", hint=_RUN_AGAIN)

    @classmethod
    def _read(cls, path: Path) -> "Insights":
        stamp = _stamp(path)
        summary = Summary.model_validate_json(path.read_text())
        photos, suggestions, duplicates = (
            pq.read_table(path.parent / summary.files / name) for name in (PHOTOS, SUGGESTIONS, DUPLICATES)
        )
        return cls(summary, photos, suggestions, duplicates, path, stamp)

    def is_current(self) -> bool:
        """Whether no other run has ended since this was read; a question to the file system alone."""
        try:
            return _stamp(self.path) == self.stamp
        except OSError:
            return False

    def on_map(self, limit: int) -> pa.Table:
        """Photos with a place on the map, or an even sample of `limit` of them."""
        rows = np.flatnonzero(pc.is_valid(self.photos["x"]).to_numpy())
        if len(rows) > limit:
            rows = rows[np.linspace(0, len(rows) - 1, limit).round().astype(np.int64)]
        return self.photos.take(pa.array(rows))

    def select(self, *, category: str | None = None, predicted: str | None = None, outliers: bool = False) -> pa.Table:
        """Photos of the seller's category, of the model's, or both; in an order that stays.

        `outliers`: the least typical of their category first, those without a score left out.
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
        """Rows of these photos by id; those that were not there are left out."""
        return {str(row["photo_id"]): row for row in self._rows(self._photo_rows, photo_ids)}

    def listings(self, listing_ids: list[str]) -> dict[str, list[dict[str, object]]]:
        """Rows of the photos of these listings, by listing id."""
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
    """Rows by id: 8 bytes a row beside the ids, where a dict of a million would take hundreds of MB."""

    def __init__(self, ids: pa.ChunkedArray) -> None:
        self._ids = ids
        self._order = pc.sort_indices(ids).to_numpy()

    def rows(self, wanted: list[str]) -> list[int]:
        """Rows that have one of these ids, in the order of `wanted`."""
        found: list[int] = []
        for one in wanted:
            at = self._first(one)
            while at < len(self._order) and self._id(at) == one:
                found.append(int(self._order[at]))
                at += 1
        return found

    def _first(self, one: str) -> int:
        low, high = 0, len(self._order)
        while low < high:
            middle = (low + high) // 2
            if self._id(middle).encode() < one.encode():
                low = middle + 1
            else:
                high = middle
        return low

    def _id(self, at: int) -> str:
        return str(self._ids[int(self._order[at])].as_py())


def save(folder: Path, summary: Summary, photos: pa.Table, suggestions: pa.Table, duplicates: pa.Table) -> Path:
    """Write the tables to a folder of their own, then replace `insights.json`.

    The tables of the run before stay for those who are reading them; older ones go. Returns where `insights.json` is.
    Raises OutputFailed; what was there then stays.
    """
    place = folder / summary.collection
    draft, run = place / f".{summary.files}", place / summary.files
    try:
        draft.mkdir(parents=True)
        for name, table in ((PHOTOS, photos), (SUGGESTIONS, suggestions), (DUPLICATES, duplicates)):
            pq.write_table(table, draft / name, compression="zstd")
        (draft / SUMMARY).write_text(summary.model_dump_json(indent=1) + "\n")
        before = _files_of(place / SUMMARY)
        draft.rename(run)
        (run / SUMMARY).replace(place / SUMMARY)
    except OSError as error:
        raise OutputFailed(f"{run} could not be written: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    for other in place.iterdir():
        # Another run may be writing its draft now; a killed one will not go on.
        drafted = other.name.startswith(".") and time.time() - other.stat().st_mtime < _ABANDONED_SECONDS
        if other.is_dir() and other.name not in (run.name, before) and not drafted:
            shutil.rmtree(other, ignore_errors=True)
    return place / SUMMARY


def _files_of(path: Path) -> str:
    try:
        return Summary.model_validate_json(path.read_text()).files
    except (OSError, ValidationError, UnicodeDecodeError):
        return ""


def _stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_ino, state.st_mtime_ns
