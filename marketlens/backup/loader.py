"""Load a backup's photos into a build, and verify that it holds the same photos."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from more_itertools import chunked

from catalog.errors import StoreFailed
from catalog.listing import Embeddings, StoredPhoto
from catalog.progress import Progress
from catalog.search.full_pages import PageRequest
from catalog.settings import Settings
from catalog.store.collection import PhotoCollection
from catalog.store.filters import SearchFilter
from ingest.store_retry import StoreRetry
from marketlens.backup.manifest import PHOTOS, Manifest
from marketlens.backup.photo_tables import read_photos

SAMPLE = 100
_BATCH = 10  # searches at a time: a few seconds on Lite with half a million photos
_SAME = 1 - 1e-4  # cosine of a vector with itself, with room for Milvus' rounding


def load_photos(
    build: PhotoCollection,
    backup: Path,
    manifest: Manifest,
    settings: Settings,
    progress: Progress,
    retry: StoreRetry,
) -> None:
    """Write every photo of the backup to an empty build, wait for its index, and verify it.

    Raises StoreFailed if the count differs, if a photo of an even sample has another record or embedding, or if too few
    photos of the sample find themselves.
    """
    step = max(1, manifest.photos // SAMPLE)
    sample: list[tuple[StoredPhoto, Embeddings]] = []
    seen = 0
    with progress("Restoring", manifest.photos) as advance:
        for photos, embeddings in _read_backup(backup, manifest, settings.api.photos):
            retry(partial(build.writer.upsert, photos, embeddings))
            sample += [(photos[row], embeddings[row]) for row in range(-seen % step, len(photos), step)]
            seen += len(photos)
            advance(len(photos))
    retry(build.writer.flush)
    retry(lambda: build.builds.wait_for_index(build.info().name))
    count = retry(lambda: build.notes.end_changes(manifest.changed_at))
    if count != manifest.photos:
        raise _mismatch(build, f"holds {count:,} photos, the backup {manifest.photos:,}")
    if sample:
        retry(lambda: _verify(build, sample, settings.check.min_recall))


def _read_backup(backup: Path, manifest: Manifest, uploads: Path) -> Iterator[tuple[list[StoredPhoto], Embeddings]]:
    """Read the photos to store; the paths of photos that came through the API point to this machine's folder."""
    old, new = f"{manifest.uploads}/", f"{uploads.absolute()}/"

    def relocate(stored: StoredPhoto) -> StoredPhoto:
        uri = stored.photo.uri
        if not uri.startswith(old):
            return stored
        return replace(stored, photo=replace(stored.photo, uri=new + uri.removeprefix(old)))

    for name in sorted(manifest.files_in(PHOTOS)):
        for photos, embeddings in read_photos(backup / PHOTOS / name, manifest.dim):
            yield [relocate(stored) for stored in photos], embeddings


def _verify(build: PhotoCollection, sample: list[tuple[StoredPhoto, Embeddings]], min_recall: float) -> None:
    ids = [stored.photo.photo_id for stored, _ in sample]
    queries = np.stack([embedding for _, embedding in sample])
    in_build = build.reader.stored(ids)
    wrong = [photo_id for photo_id, (stored, _) in zip(ids, sample, strict=True) if in_build.get(photo_id) != stored]
    if not wrong:
        wrong = [ids[row] for row in np.flatnonzero((build.reader.embeddings(ids) != queries).any(axis=1))]
    if wrong:
        raise _mismatch(build, f"has another photo {wrong[0]!r} than the backup")
    found = 0
    for batch in chunked(queries, _BATCH):
        pages = build.reader.search_many([query[None] for query in batch], SearchFilter(), PageRequest(1, "photo"))
        found += sum(bool(page.hits) and page.hits[0].score >= _SAME for page in pages)
    if found < min_recall * len(ids):
        raise _mismatch(build, f"finds {found} of {len(ids)} of its own photos")


def _mismatch(build: PhotoCollection, difference: str) -> StoreFailed:
    return StoreFailed(
        f"The restored collection {build.info().name} {difference}; it was dropped.",
        hint="Restore again; if that does not help, check Milvus' logs and its disk.",
    )
