"""What goes into the vector index. Pure: names and numbers for Milvus, no client."""

from collections.abc import Sequence

import numpy as np

from catalog.listing import Embeddings, StoredPhoto
from catalog.settings import IndexSettings

__all__ = ["LITE_INDEXES", "Embeddings", "build_params", "check_embeddings"]

# Lite takes any other name as well, searches by brute force, and fails at the next load.
LITE_INDEXES = frozenset({"FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW"})


def build_params(index: IndexSettings) -> dict[str, int]:
    """Parameters the index is built with, in Milvus' names."""
    if index.type == "HNSW":
        return {"M": index.hnsw_m, "efConstruction": index.ef_construction}
    if index.type == "IVF_PQ":
        return {"nlist": index.nlist, "m": index.pq_m, "nbits": 8}
    return {"nlist": index.nlist} if index.type.startswith("IVF") else {}


def check_embeddings(photos: Sequence[StoredPhoto], embeddings: Embeddings, dim: int) -> None:
    """Raise ValueError for what Milvus takes without a word: NaN and zero vectors, two rows with one id."""
    if embeddings.shape != (len(photos), dim):
        raise ValueError(f"embeddings have the shape {embeddings.shape}, not {(len(photos), dim)}")
    if not np.allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-3):
        raise ValueError("embeddings are not finite vectors of unit length")
    if len({stored.photo.photo_id for stored in photos}) != len(photos):
        raise ValueError("a photo id appears twice in one batch")
