"""A snapshot of the live collection: columns and vectors, sorted by category, listing and photo."""

from collections.abc import Callable, Iterator, Sequence
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


RemoveTitles = Callable[[Embeddings, Sequence[str]], Embeddings]


@dataclass(frozen=True)
class Snapshot:
    """The photos at one time. Rows are sorted by category, then listing, so that the rows of each are contiguous.

    `photos` has the columns above; `embeddings` is (n, dim). `category` (n,) has indices in `categories`;
    `listing` (n,) numbers the listings.
    """

    photos: pa.Table
    embeddings: Embeddings
    categories: list[str]
    category: NDArray[np.int32]
    listing: NDArray[np.int32]

    def first_rows(self) -> NDArray[np.int64]:
        """Return the first row of each listing (listings,)."""
        return first_rows(self.listing)


def first_rows(numbers: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the start of each run of equal numbers."""
    return np.flatnonzero(np.diff(numbers, prepend=-1))


def read_snapshot(photos: PhotoCollection, remove_titles: RemoveTitles, progress: Progress) -> Snapshot:
    """Read every photo. Photos written or removed during the read may be included or not. Raises CollectionMissing.

    `remove_titles` recovers the photos from the stored vectors. Vectors are written directly to their rows, so that
    there is never a second copy of them.
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
    # Milvus may return a row twice if it compacts during a scan.
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
            titles = table["title"].take(pa.array(places[known])).to_pylist()
            embeddings[places[known]] = remove_titles(vectors[known], titles)
            found[places[known]] = True
            advance(len(photo_ids))
    if not found.all():  # removed between the two scans
        table, embeddings = table.filter(pa.array(found)), embeddings[found]
    return snapshot(table, embeddings)


def snapshot(table: pa.Table, embeddings: Embeddings) -> Snapshot:
    """Return a snapshot of sorted rows: number their categories and listings."""
    names = pc.unique(table["category"]).to_pylist()  # sorted, as the rows are
    category = pc.index_in(table["category"], pa.array(names, pa.string())).to_numpy().astype(np.int32)
    listing = table["listing_id"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int32)
    return Snapshot(table, embeddings, names, category, listing)


def blocks(starts: NDArray[np.int64], count: int, size: int) -> Iterator[tuple[int, int]]:
    """Split rows 0 to `count` into blocks of about `size`, without splitting the runs that begin at `starts`."""
    begin = 0
    for end in (*starts[1:].tolist(), count):
        if end - begin >= size or end == count:
            yield begin, end
            begin = end


def _columns(batch: list[StoredPhoto]) -> dict[str, list[object]]:
    listings = [stored.photo.listing for stored in batch]
    listing_columns = ("listing_id", "title", "category", "subcategory", "price", "currency", "location", "listed_at")
    return {
        "photo_id": [stored.photo.photo_id for stored in batch],
        **{name: [getattr(listing, name) for listing in listings] for name in listing_columns},
        "uri": [stored.photo.uri for stored in batch],
        "sha256": [stored.sha256 for stored in batch],
    }


def _sorted(table: pa.Table) -> pa.Table:
    return table.sort_by([("category", "ascending"), ("listing_id", "ascending"), ("photo_id", "ascending")])


def _unique(table: pa.Table) -> pa.Table:
    if pc.count_distinct(table["photo_id"]).as_py() == len(table):
        return table
    numbered = table.append_column("row", pa.array(np.arange(len(table))))
    last_rows = numbered.group_by("photo_id").aggregate([("row", "max")])["row_max"]
    return table.take(last_rows)
