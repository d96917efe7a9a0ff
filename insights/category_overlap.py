"""Overlap of categories, distances between them, and ranks in them. Pure."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from catalog.listing import Embeddings
from insights.neighbours.graph import Graph

_BLOCK = 65_536


def overlap(graph: Graph, category: NDArray[np.int32], count: int) -> NDArray[np.float64]:
    """Return the share of the neighbours of each category's photos (row) that are in each category: (count, count)."""
    pairs = np.zeros(count * count, np.int64)
    for start in range(0, len(category), _BLOCK):
        rows = graph.rows[start : start + _BLOCK]
        own = np.broadcast_to(category[start : start + _BLOCK, None], rows.shape)[rows >= 0].astype(np.int64)
        pairs += np.bincount(own * count + category[rows[rows >= 0]], minlength=count * count)
    counts = pairs.reshape(count, count)
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def distances(embeddings: Embeddings, category: NDArray[np.int32], count: int) -> NDArray[np.float64]:
    """Return cosine distances between the mean embeddings of the categories: (count, count), 0 to 2."""
    # Rows are sorted by category, so slices can be summed without copying the vectors.
    bounds = np.searchsorted(category, np.arange(count + 1))
    means = np.stack([embeddings[low:high].sum(axis=0, dtype=np.float64) for low, high in pairwise(bounds)])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    between = 1 - np.clip(means @ means.T, -1, 1)
    np.fill_diagonal(between, 0)
    return np.asarray(between)


def ranks_within(scores: NDArray[np.float32], category: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the rank of each score in its category: 1 is the lowest, NaN comes last."""
    order = np.lexsort((scores, category))
    first = np.searchsorted(category[order], category[order])
    ranks = np.empty(len(scores), np.int32)
    ranks[order] = np.arange(len(scores)) - first + 1
    return ranks
