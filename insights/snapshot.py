"""The live collection -> columns and vectors in one order: by category, listing, photo."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from catalog.errors import CollectionMissing
from catalog.listing import Embeddings, StoredPhoto
from catalog.progress import Progress
from catalog.store.collection import PhotoCollection

_SCHEMA = pa.schema(
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
        ("uri", pa.string()),
        ("sha256", pa.string()),
    ]
)


@dataclass(frozen=True)
class Snapshot:
    """The photos of one moment. Rows are sorted by category, then listing: each has its rows side by side.

    `photos` has the columns above; `embeddings` (n, dim); `category` and `listing` (n,) number what they name, the
    former by its place in `categories`.
    """

    photos: pa.Table
    embeddings: Embeddings
    categories: list[str]
    category: NDArray[np.int32]
    listing: NDArray[np.int32]

    def first_rows(self) -> NDArray[np.int64]:
        """The first row of each listing (listings,)."""
        return first_rows(self.listing)


def first_rows(numbers: NDArray[np.int32]) -> NDArray[np.int64]:
    """Where each run of equal numbers begins."""
    return np.flatnonzero(np.diff(numbers, prepend=-1))


def read_snapshot(photos: PhotoCollection, progress: Progress) -> Snapshot:
    """Read every photo. What is written or removed meanwhile may be in it or not. Raises CollectionMissing.

    Vectors go straight to their places: at no time are there two copies of them.
    """
    count = photos.reader.count()
    with progress("Reading records", count) as advance:
        batches = []
        for batch in photos.reader.records():
            batches.append(pa.RecordBatch.from_pydict(_columns(batch), schema=_SCHEMA))
            advance(len(batch))
    table = pa.Table.from_batches(batches, schema=_SCHEMA)
    if not len(table):
        raise CollectionMissing("There is no photo in the collection.", hint="marketlens ingest EXPORT")
    # A Milvus that compacts during a scan may give a row twice.
    table = _sorted(_unique(table))
    ids = pc.cast(table["photo_id"], pa.large_string()).combine_chunks()
    embeddings = np.zeros((len(table), photos.info().dim), np.float32)
    found = np.zeros(len(table), bool)
    with progress("Reading vectors", count) as advance:
        for photo_ids, vectors in photos.reader.vectors():
            places = (
                pc.index_in(pa.array(photo_ids, pa.large_string()), ids).fill_null(-1).to_numpy(zero_copy_only=False)
            )
            known = places >= 0
            embeddings[places[known]] = vectors[known]
            found[places[known]] = True
            advance(len(photo_ids))
    if not found.all():  # removed between the two scans
        table, embeddings = table.filter(pa.array(found)), embeddings[found]
    return snapshot(table, embeddings)


def snapshot(table: pa.Table, embeddings: Embeddings) -> Snapshot:
    """Number the categories and listings of rows that are sorted already."""
    names = pc.unique(table["category"]).to_pylist()  # sorted, as the rows are
    category = pc.index_in(table["category"], pa.array(names, pa.string())).to_numpy().astype(np.int32)
    listing = table["listing_id"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int32)
    return Snapshot(table, embeddings, names, category, listing)


def blocks(starts: NDArray[np.int64], count: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut rows 0 to `count` into blocks of about `size` that end where one of the runs does that begin at `starts`."""
    begin = 0
    for end in (*starts[1:].tolist(), count):
        if end - begin >= size or end == count:
            yield begin, end
            begin = end


def _columns(batch: list[StoredPhoto]) -> dict[str, list[object]]:
    listings = [one.photo.listing for one in batch]
    of_listing = ("listing_id", "title", "category", "subcategory", "price", "currency", "location", "listed_at")
    return {
        "photo_id": [one.photo.photo_id for one in batch],
        **{name: [getattr(listing, name) for listing in listings] for name in of_listing},
        "uri": [one.photo.uri for one in batch],
        "sha256": [one.sha256 for one in batch],
    }


def _sorted(table: pa.Table) -> pa.Table:
    return table.sort_by([("category", "ascending"), ("listing_id", "ascending"), ("photo_id", "ascending")])


def _unique(table: pa.Table) -> pa.Table:
    if pc.count_distinct(table["photo_id"]).as_py() == len(table):
        return table
    numbered = table.append_column("row", pa.array(np.arange(len(table))))
    kept = numbered.group_by("photo_id").aggregate([("row", "max")])["row_max"]
    return table.take(kept)
