"""Exact nearest neighbours among embeddings, by FAISS."""

import faiss
import numpy as np
from numpy.typing import NDArray

from catalog.listing import Embeddings


def exact_neighbours(
    embeddings: Embeddings, queries: NDArray[np.int64], depth: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cosines and rows of the `depth` nearest others of each query row, nearest first: (queries, depth) each.

    A photo is never its own neighbour. There are fewer columns where there are fewer photos.
    """
    index = faiss.IndexFlatIP(embeddings.shape[1])
    index.add(embeddings)
    depth = min(depth, len(embeddings) - 1)
    cosines, found = index.search(embeddings[queries], depth + 1)
    # Where twins crowd a photo out of its own answer, the last neighbour makes room instead.
    own = found == queries[:, None]
    own[~own.any(axis=1), -1] = True
    return cosines[~own].reshape(-1, depth), found[~own].reshape(-1, depth)
