"""Fill a build from a backup, and ask it whether it holds what the backup does."""

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
from ingest.patience import Patience
from marketlens.backup.manifest import PHOTOS, Manifest
from marketlens.backup.photo_tables import read_photos

SAMPLE = 100
_AT_ONCE = 10  # a few seconds of Lite's time with half a million photos
_SAME = 1 - 1e-4  # a vector's cosine with itself, as Milvus rounds it


def fill(
    build: PhotoCollection,
    backup: Path,
    manifest: Manifest,
    settings: Settings,
    progress: Progress,
    patience: Patience,
) -> None:
    """Write every photo of the backup to an empty build, wait for its index, and verify it.

    Raises StoreFailed where its count is another, or a photo of an even sample has another record or embedding, or too
    few of these find themselves.
    """
    step = max(1, manifest.photos // SAMPLE)
    sample: list[tuple[StoredPhoto, Embeddings]] = []
    seen = 0
    with progress("Restoring", manifest.photos) as advance:
        for photos, embeddings in _photos_of(backup, manifest, settings.api.photos):
            patience(partial(build.writer.upsert, photos, embeddings))
            sample += [(photos[row], embeddings[row]) for row in range(-seen % step, len(photos), step)]
            seen += len(photos)
            advance(len(photos))
    patience(build.writer.flush)
    patience(lambda: build.builds.wait_for_index(build.info().name))
    count = patience(lambda: build.notes.end_changes(manifest.changed_at))
    if count != manifest.photos:
        raise _differs(build, f"holds {count:,} photos, the backup {manifest.photos:,}")
    if sample:
        patience(lambda: _verify(build, sample, settings.check.min_recall))


def _photos_of(backup: Path, manifest: Manifest, uploads: Path) -> Iterator[tuple[list[StoredPhoto], Embeddings]]:
    """Photos as they are to be stored: those that came through the API lie in this machine's folder."""
    before, now = f"{manifest.uploads}/", f"{uploads.absolute()}/"

    def moved(stored: StoredPhoto) -> StoredPhoto:
        uri = stored.photo.uri
        if not uri.startswith(before):
            return stored
        return replace(stored, photo=replace(stored.photo, uri=now + uri.removeprefix(before)))

    for name in sorted(manifest.below(PHOTOS)):
        for photos, embeddings in read_photos(backup / PHOTOS / name, manifest.dim):
            yield [moved(stored) for stored in photos], embeddings


def _verify(build: PhotoCollection, sample: list[tuple[StoredPhoto, Embeddings]], min_recall: float) -> None:
    ids = [stored.photo.photo_id for stored, _ in sample]
    queries = np.stack([embedding for _, embedding in sample])
    known = build.reader.stored(ids)
    wrong = [one for one, (stored, _) in zip(ids, sample, strict=True) if known.get(one) != stored]
    if not wrong:
        wrong = [ids[row] for row in np.flatnonzero((build.reader.embeddings(ids) != queries).any(axis=1))]
    if wrong:
        raise _differs(build, f"has another photo {wrong[0]!r} than the backup")
    found = 0
    for some in chunked(queries, _AT_ONCE):
        pages = build.reader.search_many([query[None] for query in some], SearchFilter(), PageRequest(1, "photo"))
        found += sum(bool(page.hits) and page.hits[0].score >= _SAME for page in pages)
    if found < min_recall * len(ids):
        raise _differs(build, f"finds {found} of {len(ids)} of its own photos")


def _differs(build: PhotoCollection, how: str) -> StoreFailed:
    return StoreFailed(
        f"The restored collection {build.info().name} {how}; it was dropped.",
        hint="Restore once more; if that does not help, look into Milvus' logs and at its disk.",
    )
