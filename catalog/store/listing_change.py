"""One listing put or removed between ingests. See docs/decisions/0020."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from catalog.listing import Embeddings, StoredPhoto
from catalog.store.notes import CollectionNotes


class Writer(Protocol):
    """What a change needs of a `CollectionWriter`."""

    def upsert(self, photos: Sequence[StoredPhoto], embeddings: Embeddings) -> None:
        """Write photos with their embeddings."""

    def remove(self, photo_ids: Sequence[str]) -> None:
        """Delete photos by id."""


class ListingChange:
    """A listing that is open for a change; `CollectionWriter.change_listing` makes it."""

    def __init__(self, writer: Writer, notes: CollectionNotes, listing_id: str, before: Sequence[StoredPhoto]) -> None:
        self.before = before
        """Its photos as they are, by id; none of a new one."""
        self._writer = writer
        self._notes = notes
        self._listing_id = listing_id

    def write(self, photos: Sequence[StoredPhoto], embeddings: Embeddings) -> list[StoredPhoto]:
        """Write the listing's photos with their embeddings (n, dim), then remove those that it had beside them.

        Returns them as they are stored: where `listed_at` is unknown, it stays what it was. Raises ValueError, and as
        `CollectionWriter.upsert`.
        """
        if any(stored.photo.listing.listing_id != self._listing_id for stored in photos):
            raise ValueError(f"not all of these photos belong to {self._listing_id!r}")
        dates = [date for stored in self.before if (date := stored.photo.listing.listed_at) is not None]
        dated = [_dated(stored, min(dates, default=int(time.time()))) for stored in photos]
        kept = {stored.photo.photo_id for stored in photos}
        with self._notes.counted():
            self._writer.upsert(dated, embeddings)
            self._writer.remove([stored.photo.photo_id for stored in self.before if stored.photo.photo_id not in kept])
        return dated

    def remove(self) -> None:
        """Remove all its photos. Raises StoreFailed, StoreUnreachable."""
        with self._notes.counted():
            self._writer.remove([stored.photo.photo_id for stored in self.before])


def _dated(stored: StoredPhoto, listed_at: int) -> StoredPhoto:
    listing = stored.photo.listing
    if listing.listed_at is not None:
        return stored
    return replace(stored, photo=replace(stored.photo, listing=replace(listing, listed_at=listed_at)))
