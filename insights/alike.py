"""Whether two photos are one picture, edited: by their pixels. Embeddings find two shots of one item alike as well."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from more_itertools import chunked
from numpy.typing import NDArray
from PIL import Image

from catalog.errors import PhotoUnusable
from catalog.progress import Advance
from catalog.storage import read_photo
from embedding.photos import open_photo

SAME_PHOTO = 0.95
SIDE = 48
_CUTS = (0.0, 0.025, 0.05, 0.075)  # of each side
_DECODE_SIDE = 192
_READERS, _BATCH = 4, 256

Views = NDArray[np.float32]
"""A photo, and the photo with more and more cut off around: (cuts, SIDE * SIDE), centred, of unit length."""


def views(image: Image.Image) -> Views:
    """A photo in grey, small, at each cut."""
    width, height = image.size
    grey = image.convert("L")
    seen = []
    for cut in _CUTS:
        box = (cut * width, cut * height, (1 - cut) * width, (1 - cut) * height)
        small = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX, box=box), np.float32).ravel()
        small -= small.mean()
        seen.append(small / max(float(np.linalg.norm(small)), 1e-6))
    return np.stack(seen)


def likeness(one: Views, other: Views) -> float:
    """Correlation of two photos, -1 to 1, at the cut that fits best. Brightness and contrast do not count."""
    return float(max((one[:1] @ other.T).max(), (one @ other[:1].T).max()))


def read_views(uris: Sequence[str], max_bytes: int, advance: Advance) -> Iterator[Views | None]:
    """Views of each photo, in order; None where it cannot be read."""

    def read(uri: str) -> Views | None:
        try:
            return views(open_photo(read_photo(uri, max_bytes), decode_side=_DECODE_SIDE))
        except PhotoUnusable:
            return None

    with ThreadPoolExecutor(_READERS, "read") as readers:
        for batch in chunked(uris, _BATCH):
            yield from readers.map(read, batch)
            advance(len(batch))
