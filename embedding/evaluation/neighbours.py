"""Exact nearest neighbours among embeddings, with FAISS."""

import faiss
import numpy as np
from numpy.typing import NDArray

from catalog.listing import Embeddings


def exact_neighbours(
    stored: Embeddings, queries: NDArray[np.int64], depth: int, vectors: Embeddings | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the cosines and rows of the `depth` nearest neighbours of each query row, nearest first: (queries, depth).

    `vectors` (queries, dim) are what the rows search by, by default the stored vectors. A photo is never its own
    neighbour. If there are fewer photos, there are fewer columns.
    """
    index = faiss.IndexFlatIP(stored.shape[1])
    index.add(stored)
    depth = min(depth, len(stored) - 1)
    cosines, neighbours = index.search(stored[queries] if vectors is None else vectors, depth + 1)
    # If identical photos push the query out of its own result, drop the last neighbour instead.
    is_query = neighbours == queries[:, None]
    is_query[~is_query.any(axis=1), -1] = True
    return cosines[~is_query].reshape(-1, depth), neighbours[~is_query].reshape(-1, depth)
