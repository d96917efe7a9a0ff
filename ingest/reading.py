"""Rows -> pixels. Reading and decoding let go of the GIL, so threads keep ahead of the network."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from catalog.errors import PhotoUnusable
from catalog.hosts import HostGate
from catalog.listing import Photo, Rejected, StoredPhoto
from catalog.network import NETWORK_SECONDS
from catalog.storage import read_photo, source_tag
from embedding.embedder import Embedder
from embedding.photos import open_photo

READERS = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadPhoto:
    """A photo with the hash of its bytes. `pixels` (3, size, size) is None where the store has these bytes already.

    `source_tag` is what the source said before they were read.
    """

    photo: Photo
    sha256: str
    known: StoredPhoto | None
    pixels: NDArray[np.uint8] | None
    source_tag: str = ""


class PhotoReader:
    """Reads and decodes batches of photos in threads; for one run, in which a host that does not answer is given up."""

    def __init__(self, embedder: Embedder, max_bytes: int, network_seconds: float = NETWORK_SECONDS) -> None:
        self._embedder = embedder
        self._max_bytes = max_bytes
        self._network_seconds = network_seconds
        self._hosts = HostGate()
        self._pool = ThreadPoolExecutor(READERS, "read")

    def read(self, rows: Sequence[Photo | Rejected], known: Mapping[str, StoredPhoto]) -> list[ReadPhoto | Rejected]:
        """Read the photos of these rows, in their order; bytes that the store knows already are not decoded."""

        def read_row(row: Photo | Rejected) -> ReadPhoto | Rejected:
            return row if isinstance(row, Rejected) else self.read_one(row, known.get(row.photo_id))

        return list(self._pool.map(read_row, rows))

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(cancel_futures=True)

    def read_one(self, photo: Photo, known: StoredPhoto | None) -> ReadPhoto | Rejected:
        """Read one photo, unless its source says that its bytes are those that the store knows."""
        try:
            with self._hosts.asking(photo.uri):
                # Before the bytes: a photo that changes in between does not bear its new tag, and is read again.
                tag = source_tag(photo.uri, self._network_seconds)
                if known and tag and known.source_tag == tag:
                    return ReadPhoto(photo, known.sha256, known, None, tag)
                data = read_photo(photo.uri, self._max_bytes, self._network_seconds)
            sha256 = hashlib.sha256(data).hexdigest()
            if known and known.sha256 == sha256:
                return ReadPhoto(photo, sha256, known, None, tag)
            return ReadPhoto(photo, sha256, known, self._embedder.preprocess(open_photo(data)), tag)
        except PhotoUnusable as error:
            return Rejected(photo.row, photo.photo_id, photo.listing.listing_id, error.reason, error.message)


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Make the next item in a thread while the consumer works on this one. Errors arrive where the item would."""
    with ThreadPoolExecutor(1, "ahead") as ahead:
        upcoming: Future[T | None] = ahead.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = ahead.submit(next, items, None)
            yield item
