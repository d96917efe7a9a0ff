"""Rows -> pixels. Reading and decoding let go of the GIL, so threads keep ahead of the network."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from catalog.errors import PhotoUnusable
from catalog.listing import Photo, Rejected, StoredPhoto
from catalog.storage import read_photo
from embedding.embedder import Embedder
from embedding.photos import open_photo

READERS = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadPhoto:
    """A photo with the hash of its bytes. `pixels` (3, size, size) is None where the store has these bytes already."""

    photo: Photo
    sha256: str
    known: StoredPhoto | None
    pixels: NDArray[np.uint8] | None


class PhotoReader:
    """Reads and decodes batches of photos in threads."""

    def __init__(self, embedder: Embedder, max_bytes: int) -> None:
        self._embedder = embedder
        self._max_bytes = max_bytes
        self._pool = ThreadPoolExecutor(READERS, "read")

    def read(self, rows: Sequence[Photo | Rejected], known: Mapping[str, StoredPhoto]) -> list[ReadPhoto | Rejected]:
        """Read the photos of these rows, in their order; bytes that the store knows already are not decoded."""

        def read_row(row: Photo | Rejected) -> ReadPhoto | Rejected:
            return row if isinstance(row, Rejected) else self._read_one(row, known.get(row.photo_id))

        return list(self._pool.map(read_row, rows))

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _read_one(self, photo: Photo, known: StoredPhoto | None) -> ReadPhoto | Rejected:
        try:
            data = read_photo(photo.uri, self._max_bytes)
            sha256 = hashlib.sha256(data).hexdigest()
            if known and known.sha256 == sha256:
                return ReadPhoto(photo, sha256, known, None)
            return ReadPhoto(photo, sha256, known, self._embedder.preprocess(open_photo(data)))
        except PhotoUnusable as error:
            return Rejected(photo.row, photo.photo_id, photo.listing.listing_id, error.reason, error.message)


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Make the next item in a thread while the consumer works on this one. Errors arrive where the item would."""
    with ThreadPoolExecutor(1, "ahead") as ahead:
        upcoming: Future[T | None] = ahead.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = ahead.submit(next, items, None)
            yield item
