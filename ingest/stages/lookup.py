"""Rows -> what the store knows of them -> read photos: the stages before the network, for every engine."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from catalog.listing import Photo, Rejected, StoredPhoto
from catalog.photo_files.addresses import host_of
from catalog.store.collection import PhotoCollection
from ingest.patience import Patience
from ingest.stages.photo_reader import PhotoReader, ReadPhoto
from ingest.stages.prefetch import as_read

# Over the network most of them wait; on this machine a few more than cores keep the network fed without crowding it.
THREADS = 32
LOCAL = 2 + (os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class LookedUp:
    """A row with what the store knows under its id."""

    row: Photo | Rejected
    known: StoredPhoto | None


def look_up(
    rows: Sequence[Photo | Rejected], collection: PhotoCollection | None, patience: Patience, now: int
) -> list[LookedUp]:
    """Ask the store about these rows. Raises StoreUnreachable when patience ends.

    Where the export does not say when something was listed, that is when it was first ingested, and stays so; `now` is
    when the run began, in Unix seconds.
    """
    ids = [row.photo_id for row in rows if isinstance(row, Photo)]
    known = patience(lambda: collection.reader.stored(ids)) if collection else {}
    first: dict[str, int] = {}
    for one in known.values():
        listing = one.photo.listing
        if listing.listed_at is not None:
            # Not the earlier of it and `now`: a clock that was set back would date everything anew.
            first[listing.listing_id] = min(listing.listed_at, first.get(listing.listing_id, listing.listed_at))

    def dated(photo: Photo) -> Photo:
        listing = photo.listing
        if listing.listed_at is not None:
            return photo
        return replace(photo, listing=replace(listing, listed_at=first.get(listing.listing_id, now)))

    return [
        LookedUp(dated(row), known.get(row.photo_id)) if isinstance(row, Photo) else LookedUp(row, None) for row in rows
    ]


def read_all(items: Iterable[LookedUp], reader: PhotoReader, *, ahead: int) -> Iterator[ReadPhoto | Rejected]:
    """Read and decode in threads, giving photos as they are ready; at most `ahead` that were not given yet."""

    def read(item: LookedUp) -> ReadPhoto | Rejected:
        return item.row if isinstance(item.row, Rejected) else reader.read(item.row, item.known)

    return as_read(items, read, _host, threads=THREADS, local=LOCAL, ahead=ahead)


def _host(item: LookedUp) -> str:
    return host_of(item.row.uri) if isinstance(item.row, Photo) else ""
