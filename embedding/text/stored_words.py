"""Stored vectors: a photo's embedding mixed with the embedding of its listing's title, and the way back. Pure.

v = normalise((1 - s) p + s t) with the photo p, the title t and the share s of the title. A title without a known
word (t = 0) leaves the photo unchanged. The photo is recovered from v and t, so it needs no memory of its own: since p
has unit length, v n = (1 - s) p + s t has exactly one positive solution n if s < 0.5.
"""

import numpy as np

from catalog.listing import Embeddings

MAX_SHARE = 0.45
"""Below one half, so that the photo can be recovered, with room for rounding."""


def add_titles(photos: Embeddings, titles: Embeddings, share: float) -> Embeddings:
    """Mix photos with titles: each (n, dim), of unit length or, for a title, zero -> (n, dim) of unit length."""
    has_title = titles.any(axis=1, keepdims=True)
    mixed = (1 - share) * photos + share * titles
    return np.where(has_title, mixed / np.linalg.norm(mixed, axis=1, keepdims=True), photos).astype(np.float32)


def remove_titles(stored: Embeddings, titles: Embeddings, share: float) -> Embeddings:
    """Recover the photos (n, dim) from what `add_titles` returned and the same titles."""
    along = share * np.einsum("nd,nd->n", stored, titles, dtype=np.float64)
    length = along + np.sqrt(along**2 + (1 - share) ** 2 - share**2)
    photos = (length[:, None] * stored - share * titles) / (1 - share)
    has_title = titles.any(axis=1, keepdims=True)
    return np.where(has_title, photos, stored).astype(np.float32)
