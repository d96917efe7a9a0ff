"""Stored photos and unit vectors for tests of the store that need no pictures."""

import numpy as np
from numpy.typing import NDArray

from catalog.listing import Listing, Photo, StoredPhoto

DIM = 32

MODEL = "ab" * 32


def unit_vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def stored(number: int, listing: Listing | None = None) -> StoredPhoto:
    listing = listing or Listing(f"l{number}", f"Thing {number}", "Home", "Beds / Other", 10.0 + number, "GBP", "Leeds")
    return StoredPhoto(Photo(f"p{number}", listing, f"/photos/{number}.jpg"), f"{number:064x}", 1_700_000_000)
