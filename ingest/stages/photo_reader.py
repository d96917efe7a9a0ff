"""A photo's bytes -> pixels. Reading and decoding release the GIL, so threads keep the neural network busy."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catalog.errors import PhotoUnusable
from catalog.listing import Photo, Rejected, Stage, StoredPhoto
from catalog.photo_files.files import read_photo, source_tag
from catalog.photo_files.hosts import HostGate
from catalog.photo_files.network import NETWORK_SECONDS
from catalog.stage_timer import StageTimer
from embedding.photos import open_photo

Preprocess = Callable[[Image.Image], NDArray[np.uint8]]

READERS = 4
"""Threads that read one batch while the neural network works on another."""


@dataclass(frozen=True, slots=True)
class ReadPhoto:
    """A photo with the hash of its bytes. `pixels` (3, size, size) is None if the store already has these bytes."""

    photo: Photo
    sha256: str
    source_tag: str
    known: StoredPhoto | None
    pixels: NDArray[np.uint8] | None


def pixels_of(rows: Sequence[ReadPhoto]) -> NDArray[np.uint8]:
    """The pixels of photos that were decoded: (n, 3, size, size)."""
    return np.stack([row.pixels for row in rows if row.pixels is not None])


class PhotoReader:
    """Reads and decodes photos one at a time. A host that does not answer is skipped for the rest of the run.

    Safe for threads.
    """

    def __init__(
        self, preprocess: Preprocess, max_bytes: int, stages: StageTimer, network_seconds: float = NETWORK_SECONDS
    ) -> None:
        self._preprocess = preprocess
        self._max_bytes = max_bytes
        self._stages = stages
        self._network_seconds = network_seconds
        self._hosts = HostGate()

    def read(self, photo: Photo, known: StoredPhoto | None) -> ReadPhoto | Rejected:
        """Read and decode a photo; skip reading if its source tag is the stored one, and decoding if its bytes are."""
        stage: Stage = "read"
        try:
            with self._stages.time("read"), self._hosts.guard(photo.uri):
                # The tag comes before the bytes: a photo that changes in between is read again by the next run.
                tag = source_tag(photo.uri, self._network_seconds)
                if known and tag and (known.source_tag, known.photo.uri) == (tag, photo.uri):
                    return ReadPhoto(photo, known.sha256, tag, known, None)
                data = read_photo(photo.uri, self._max_bytes, self._network_seconds)
                sha256 = hashlib.sha256(data).hexdigest()
            if known and known.sha256 == sha256:
                return ReadPhoto(photo, sha256, tag, known, None)
            stage = "decode"
            with self._stages.time("decode"):
                return ReadPhoto(photo, sha256, tag, known, self._preprocess(open_photo(data)))
        except PhotoUnusable as error:
            return Rejected(photo.row, photo.photo_id, photo.listing.listing_id, error.reason, error.message, stage)
