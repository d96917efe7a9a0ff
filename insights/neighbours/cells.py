"""Nearest neighbours of very many photos: each is compared with the cells of photos that lie nearest to it. Pure.

The inverted file of Sivic and Zisserman (Video Google, 2003), with all photos as queries at once: whatever asks one
cell is one product of matrices, several times as fast as FAISS' own search of such an index, photo by photo.
"""

import math

import faiss
import numpy as np
from numpy.typing import NDArray

from catalog.listing import Embeddings
from catalog.progress import Progress

# Measured, see docs/decisions/0035.
_ASKED = 64
_ITERATIONS = 10
_POINTS = 64  # of each cell, to find its middle by
_BLOCK = 16_384  # queries at once: what is copied of the vectors


def nearest_others(
    embeddings: Embeddings, listing: NDArray[np.int32], depth: int, progress: Progress
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Cosines and rows (n, depth) of the nearest photos of other listings, nearest first; -inf and -1 where none.

    `embeddings` (n, dim) of unit length, `listing` (n,). About 2 sqrt(n) cells, so time grows with n^1.5.
    """
    count, cells = len(embeddings), max(1, round(2 * math.sqrt(len(embeddings))))
    asked = min(_ASKED, cells)
    means = faiss.Kmeans(
        embeddings.shape[1],
        cells,
        niter=_ITERATIONS,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=_POINTS,
    )
    means.train(embeddings)
    middles = np.asarray(means.centroids)
    _, nearest = faiss.knn(embeddings, middles, asked, metric=faiss.METRIC_INNER_PRODUCT)
    members, queries = _by_cell(nearest[:, :1], cells), _by_cell(nearest, cells)
    sizes = np.bincount(listing)
    heap = faiss.ResultHeap(count, depth, keep_max=True)
    with progress("Comparing near ones", count) as advance:
        for among, asking in zip(members, queries, strict=True):
            vectors = embeddings[among]
            for start in range(0, len(asking) if len(among) else 0, _BLOCK):
                block = asking[start : start + _BLOCK]
                # Deep enough that a listing's own photos can be taken out.
                width = min(depth + int(sizes[listing[block]].max()), len(among))
                cosines, places = faiss.knn(embeddings[block], vectors, width, metric=faiss.METRIC_INNER_PRODUCT)
                rows = among[places]
                cosines[listing[rows] == listing[block][:, None]] = -np.inf
                heap.add_result_subset(block, cosines, rows)
            advance(len(among))
    heap.finalize()
    return np.where(heap.I >= 0, heap.D, -np.inf).astype(np.float32), heap.I.astype(np.int32)


def _by_cell(nearest: NDArray[np.int64], cells: int) -> list[NDArray[np.int64]]:
    """For each cell, the rows of `nearest` (n, cells of each) that name it."""
    named = nearest.ravel()
    rows = np.argsort(named, kind="stable") // nearest.shape[1]
    return np.split(rows, np.cumsum(np.bincount(named, minlength=cells))[:-1])
