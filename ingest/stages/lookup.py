"""Rows -> their stored photos -> read photos: the stages before the network, for every engine."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from catalog.listing import Photo, Rejected, StoredPhoto
from catalog.photo_files.addresses import host_of
from catalog.store.collection import PhotoCollection
from ingest.stages.photo_reader import PhotoReader, ReadPhoto
from ingest.stages.prefetch import map_as_ready
from ingest.store_retry import StoreRetry

# Most threads wait for remote hosts. For local files, a few more threads than cores keep the neural network busy.
THREADS = 32
LOCAL = 2 + (os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class RowWithStored:
    """A row with the stored photo of its id, if there is one."""

    row: Photo | Rejected
    known: StoredPhoto | None


def look_up(
    rows: Sequence[Photo | Rejected], collection: PhotoCollection | None, retry: StoreRetry, now: int
) -> list[RowWithStored]:
    """Look these rows up in the store. Raises StoreUnreachable if it does not answer in time.

    A listing without a date in the export gets the time of its first ingest, and keeps it; `now` is the start of this
    run in Unix seconds.
    """
    ids = [row.photo_id for row in rows if isinstance(row, Photo)]
    known = retry(lambda: collection.reader.stored(ids)) if collection else {}
    first: dict[str, int] = {}
    for stored in known.values():
        listing = stored.photo.listing
        if listing.listed_at is not None:
            # Not the earlier of this and `now`: a clock that was set back would change the date of every listing.
            first[listing.listing_id] = min(listing.listed_at, first.get(listing.listing_id, listing.listed_at))

    def with_listing_date(photo: Photo) -> Photo:
        listing = photo.listing
        if listing.listed_at is not None:
            return photo
        return replace(photo, listing=replace(listing, listed_at=first.get(listing.listing_id, now)))

    return [
        RowWithStored(with_listing_date(row), known.get(row.photo_id))
        if isinstance(row, Photo)
        else RowWithStored(row, None)
        for row in rows
    ]


def read_all(items: Iterable[RowWithStored], reader: PhotoReader, *, ahead: int) -> Iterator[ReadPhoto | Rejected]:
    """Read and decode in threads; yield photos as they become ready, with at most `ahead` of them in progress."""

    def read(item: RowWithStored) -> ReadPhoto | Rejected:
        return item.row if isinstance(item.row, Rejected) else reader.read(item.row, item.known)

    def host(item: RowWithStored) -> str:
        return host_of(item.row.uri) if isinstance(item.row, Photo) else ""

    return map_as_ready(items, read, host, threads=THREADS, local=LOCAL, ahead=ahead)
