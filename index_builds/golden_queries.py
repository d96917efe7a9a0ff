"""Golden queries: what a collection answered to the same photos before, kept as Parquet."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.atomic_files import replace_file
from catalog.errors import InvalidSetting, OutputFailed
from catalog.store.collection import PhotoCollection
from catalog.store.filters import SearchFilter
from index_builds.index_recall import DEPTH, nearest_ids

QUERIES = 200
_SEED = 0

_SCHEMA = pa.schema(
    [
        ("photo_id", pa.string()),
        ("listing_id", pa.string()),
        ("listings", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
        ("finds_own", pa.bool_()),
    ]
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The 10 listings like a photo, its own left out, with their scores.

    `finds_own` is whether another photo of its own listing is among the 10 nearest photos: that can be compared across
    models. None where the listing has no other photo.
    """

    photo_id: str
    listing_id: str
    listings: list[str]
    scores: list[float]
    finds_own: bool | None


def choose(photos: PhotoCollection, count: int) -> list[str]:
    """Up to `count` photo ids from a seed, of listings with several photos as far as there are."""
    listing_of = dict(sorted(photos.reader.ids()))
    ids = list(listing_of)
    np.random.default_rng(_SEED).shuffle(ids)
    photos_of = Counter(listing_of.values())
    ids.sort(key=lambda photo_id: photos_of[listing_of[photo_id]] == 1)
    return ids[:count]


def ask(photos: PhotoCollection, photo_ids: Sequence[str]) -> list[Answer]:
    """Search with these photos of the collection, as "more like this" does; those that are not there are left out."""
    there = photos.reader.stored(photo_ids)
    stored = [there[photo_id] for photo_id in photo_ids if photo_id in there]
    queries = photos.reader.embeddings([one.photo.photo_id for one in stored])
    answers = []
    for one, query, near in zip(stored, queries, nearest_ids(photos, queries), strict=True):
        photo_id, listing_id = one.photo.photo_id, one.photo.listing.listing_id
        hits = photos.reader.search(query[None], SearchFilter(exclude_listing_ids=(listing_id,)), DEPTH).hits
        own = {other.photo.photo_id for other in photos.reader.listing_photos(listing_id)} - {photo_id}
        page = [other for other in near if other != photo_id][:DEPTH]
        answers.append(
            Answer(
                photo_id,
                listing_id,
                [hit.listing.listing_id for hit in hits],
                [hit.score for hit in hits],
                bool(own.intersection(page)) if own else None,
            )
        )
    return answers


def keep(photos: PhotoCollection, folder: Path, count: int = QUERIES) -> Path:
    """Ask the collection and keep its answers under its name. Raises OutputFailed."""
    info = photos.info()
    answers = ask(photos, choose(photos, count))
    path = golden_path(folder, info.name)
    schema = _SCHEMA.with_metadata({"marketlens.collection": info.name, "marketlens.fingerprint": info.fingerprint})
    columns = {name: [getattr(answer, name) for answer in answers] for name in schema.names}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as draft:
            pq.write_table(pa.table(columns, schema=schema), draft)
    except OSError as error:
        raise OutputFailed(f"The golden queries {path} could not be written: {error}") from error
    return path


def read(folder: Path, collection: str) -> list[Answer]:
    """Read what was kept of a collection. Raises InvalidSetting where nothing was, or nothing that can be read."""
    path = golden_path(folder, collection)
    try:
        return [Answer(**row) for row in pq.read_table(path, schema=_SCHEMA).to_pylist()]
    except (OSError, pa.ArrowException) as error:
        raise InvalidSetting(
            f"No golden queries of {collection} can be read from {path}: {error}", hint="marketlens index golden"
        ) from error


def golden_path(folder: Path, collection: str) -> Path:
    """Where a collection's golden queries are kept."""
    return folder / f"{collection}.parquet"
