"""Detection of edited copies of a photo, by pixels. By embeddings, two shots of one item would be alike as well."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from more_itertools import chunked
from numpy.typing import NDArray
from PIL import Image

from catalog.errors import PhotoUnusable
from catalog.photo_files.hosts import Read
from catalog.progress import Advance
from embedding.photos import open_photo

# Measured on real photos, see docs/insights.md: edits are above it, two shots of one scene are below.
SAME_PHOTO = 0.92
SIDE = 64
_VIEW_SIDE, _BLUR = 32, 2.0
_EMPTY = 1.0  # a photo with fewer details has only rounding errors
_DECODE_SIDE = 128
# The shares that an edit may have cut off at both ends of each axis.
_CUTS = ((0, 0), (0.025, 0.025), (0.05, 0), (0, 0.05), (0.05, 0.05), (0.1, 0), (0, 0.1))
READERS, _BATCH = 4, 256

Thumbnail = NDArray[np.uint8]
"""A grey photo, resized to 64 x 64: 4 KB."""


def thumbnail(image: Image.Image) -> Thumbnail:
    """Return a photo as `pixel_correlation` needs it."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))


def pixel_correlation(one: Thumbnail, other: Thumbnail) -> float:
    """Return the highest correlation of two photos' details, -1 to 1: whole, with one of them cropped, or mirrored.

    Details are the photo minus its own blur. With the blur, any two shots of a dark thing on bright ground would
    correlate. Brightness and contrast have no effect.
    """
    first, second = _views(one), _views(other)
    best = -1.0
    for view in (first[0], first[0][:, ::-1]):
        best = max(best, float(np.einsum("vij,ij->v", second, view).max()))
    for view in (second[0], second[0][:, ::-1]):
        best = max(best, float(np.einsum("vij,ij->v", first, view).max()))
    return best


def read_thumbnails(uris: Sequence[str], read: Read, advance: Advance) -> Iterator[Thumbnail | None]:
    """Yield each photo, in order; None if it cannot be read."""

    def thumbnail_or_none(uri: str) -> Thumbnail | None:
        try:
            return thumbnail(open_photo(read(uri), decode_side=_DECODE_SIDE))
        except PhotoUnusable:
            return None

    with ThreadPoolExecutor(READERS, "read") as readers:
        for batch in chunked(uris, _BATCH):
            yield from readers.map(thumbnail_or_none, batch)
            advance(len(batch))


def _views(photo: Thumbnail) -> NDArray[np.float32]:
    """Return the photo at every crop, the whole one first: (49, 32, 32), without blur, centred, of unit length."""
    crop, blur = _crop_matrices(), _blur_matrix()
    views = np.einsum("aip,bjq,pq->abij", crop, crop, photo.astype(np.float32), optimize=True)
    views = views.reshape(-1, _VIEW_SIDE, _VIEW_SIDE)
    views = views - blur @ views @ blur.T
    views -= views.mean(axis=(1, 2), keepdims=True)
    lengths = np.linalg.norm(views, axis=(1, 2), keepdims=True)
    return np.asarray(views / np.maximum(lengths, _EMPTY), np.float32)


@cache
def _crop_matrices() -> NDArray[np.float32]:
    """Return matrices (7, 32, 64) that resize what each crop leaves of an axis, by area means."""
    pixels = np.arange(SIDE)
    matrices = []
    for low, high in _CUTS:
        edges = np.linspace(low * SIDE, (1 - high) * SIDE, _VIEW_SIDE + 1)[:, None]
        covered = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
        matrices.append(np.maximum(covered, 0) / np.diff(edges, axis=0))
    return np.asarray(matrices, np.float32)


@cache
def _blur_matrix() -> NDArray[np.float32]:
    """Return a matrix (32, 32) that blurs an axis with a Gaussian."""
    offsets = np.subtract.outer(np.arange(_VIEW_SIDE), np.arange(_VIEW_SIDE))
    weights = np.exp(-0.5 * (offsets / _BLUR) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
