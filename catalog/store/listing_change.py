"""Replace or remove one listing between ingests. See docs/decisions/0020."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from catalog.listing import Embeddings, StoredPhoto
from catalog.store.notes import CollectionNotes


class Writer(Protocol):
    """The methods of `CollectionWriter` that a change needs."""

    def upsert(self, photos: Sequence[StoredPhoto], embeddings: Embeddings) -> None:
        """Write photos with their embeddings."""

    def remove(self, photo_ids: Sequence[str]) -> None:
        """Delete photos by id."""


class ListingChange:
    """A listing that is open for a change; `CollectionWriter.change_listing` creates it."""

    def __init__(self, writer: Writer, notes: CollectionNotes, listing_id: str, before: Sequence[StoredPhoto]) -> None:
        self.before = before
        """The listing's photos before the change, ordered by id; empty for a new listing."""
        self._writer = writer
        self._notes = notes
        self._listing_id = listing_id

    def write(self, photos: Sequence[StoredPhoto], embeddings: Embeddings) -> list[StoredPhoto]:
        """Write the listing's photos with their embeddings (n, dim), then remove its other photos.

        Returns the photos as stored: an unknown `listed_at` becomes the listing's earlier date, or now for a new
        listing. Raises ValueError, and what `CollectionWriter.upsert` raises.
        """
        if any(stored.photo.listing.listing_id != self._listing_id for stored in photos):
            raise ValueError(f"not all of these photos belong to {self._listing_id!r}")
        dates = [date for stored in self.before if (date := stored.photo.listing.listed_at) is not None]
        dated_photos = [_with_date(stored, min(dates, default=int(time.time()))) for stored in photos]
        ids = {stored.photo.photo_id for stored in photos}
        with self._notes.record_change():
            self._writer.upsert(dated_photos, embeddings)
            self._writer.remove([stored.photo.photo_id for stored in self.before if stored.photo.photo_id not in ids])
        return dated_photos

    def remove(self) -> None:
        """Remove all photos of the listing. Raises StoreFailed, StoreUnreachable."""
        with self._notes.record_change():
            self._writer.remove([stored.photo.photo_id for stored in self.before])


def _with_date(stored: StoredPhoto, listed_at: int) -> StoredPhoto:
    listing = stored.photo.listing
    if listing.listed_at is not None:
        return stored
    return replace(stored, photo=replace(stored.photo, listing=replace(listing, listed_at=listed_at)))
