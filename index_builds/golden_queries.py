"""Golden queries: a fixed set of query photos and a collection's answers to them, saved as Parquet."""

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
    """The 10 listings most like a photo, without its own, and their scores.

    `finds_own`: whether another photo of its own listing is among the 10 nearest photos, which can be compared across
    models; None if the listing has no other photo.
    """

    photo_id: str
    listing_id: str
    listings: list[str]
    scores: list[float]
    finds_own: bool | None


def choose_queries(photos: PhotoCollection, count: int) -> list[str]:
    """Return up to `count` photo ids, chosen with a fixed seed, first from listings with several photos."""
    listing_of = dict(sorted(photos.reader.ids()))
    ids = list(listing_of)
    np.random.default_rng(_SEED).shuffle(ids)
    photos_of = Counter(listing_of.values())
    ids.sort(key=lambda photo_id: photos_of[listing_of[photo_id]] == 1)
    return ids[:count]


def run_queries(photos: PhotoCollection, photo_ids: Sequence[str]) -> list[Answer]:
    """Search with these photos of the collection, as "more like this" does; skip those that it lacks."""
    found = photos.reader.stored(photo_ids)
    present = [photo_id for photo_id in photo_ids if photo_id in found]
    queries = photos.reader.embeddings(present)
    answers = []
    for photo_id, query, near in zip(present, queries, nearest_ids(photos, queries), strict=True):
        listing_id = found[photo_id].photo.listing.listing_id
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


def save_answers(photos: PhotoCollection, folder: Path, count: int = QUERIES) -> Path:
    """Search the collection and save its answers under its name. Raises OutputFailed."""
    info = photos.info()
    answers = run_queries(photos, choose_queries(photos, count))
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


def read_answers(folder: Path, collection: str) -> list[Answer]:
    """Read the saved answers of a collection. Raises InvalidSetting if there are none, or if they cannot be read."""
    path = golden_path(folder, collection)
    try:
        return [Answer(**row) for row in pq.read_table(path, schema=_SCHEMA).to_pylist()]
    except (OSError, pa.ArrowException) as error:
        raise InvalidSetting(
            f"No golden queries of {collection} can be read from {path}: {error}", hint="marketlens index golden"
        ) from error


def golden_path(folder: Path, collection: str) -> Path:
    """Return the path of a collection's golden queries."""
    return folder / f"{collection}.parquet"
