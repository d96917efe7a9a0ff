"""Approximate nearest neighbours of very many photos: each is compared with the photos in the nearest cells. Pure.

This is an inverted file (Sivic and Zisserman, Video Google, 2003) with all photos as queries at once: all queries of a
cell are one matrix product, several times as fast as FAISS' own search of such an index, which goes photo by photo.
"""

import math

import faiss
import numpy as np
from numpy.typing import NDArray

from catalog.listing import Embeddings
from catalog.progress import Progress

# Measured, see docs/decisions/0035.
_PROBES = 64  # cells that are compared with each photo
_ITERATIONS = 10
_POINTS = 64  # of each cell, to compute its centroid
_BLOCK = 16_384  # queries at once; their vectors are copied


def nearest_others(
    embeddings: Embeddings, listing: NDArray[np.int32], depth: int, progress: Progress
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return cosines and rows (n, depth) of the nearest other listings' photos, nearest first; -inf and -1 if missing.

    `embeddings` (n, dim) of unit length, `listing` (n,). About 2 sqrt(n) cells, so time grows with n^1.5.
    """
    count, cells = len(embeddings), max(1, round(2 * math.sqrt(len(embeddings))))
    probes = min(_PROBES, cells)
    kmeans = faiss.Kmeans(
        embeddings.shape[1],
        cells,
        niter=_ITERATIONS,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=_POINTS,
    )
    kmeans.train(embeddings)
    centroids = np.asarray(kmeans.centroids)
    _, nearest = faiss.knn(embeddings, centroids, probes, metric=faiss.METRIC_INNER_PRODUCT)
    members, queries = _by_cell(nearest[:, :1], cells), _by_cell(nearest, cells)
    sizes = np.bincount(listing)
    heap = faiss.ResultHeap(count, depth, keep_max=True)
    with progress("Comparing with near photos", count) as advance:
        for cell_rows, query_rows in zip(members, queries, strict=True):
            vectors = embeddings[cell_rows]
            for start in range(0, len(query_rows) if len(cell_rows) else 0, _BLOCK):
                block = query_rows[start : start + _BLOCK]
                # Deep enough to remove the listing's own photos.
                width = min(depth + int(sizes[listing[block]].max()), len(cell_rows))
                cosines, places = faiss.knn(embeddings[block], vectors, width, metric=faiss.METRIC_INNER_PRODUCT)
                rows = cell_rows[places]
                cosines[listing[rows] == listing[block][:, None]] = -np.inf
                heap.add_result_subset(block, cosines, rows)
            advance(len(cell_rows))
    heap.finalize()
    return np.where(heap.I >= 0, heap.D, -np.inf).astype(np.float32), heap.I.astype(np.int32)


def _by_cell(nearest: NDArray[np.int64], cells: int) -> list[NDArray[np.int64]]:
    """Return for each cell the rows of `nearest` (n, cells per row) that contain it."""
    cell_numbers = nearest.ravel()
    rows = np.argsort(cell_numbers, kind="stable") // nearest.shape[1]
    return np.split(rows, np.cumsum(np.bincount(cell_numbers, minlength=cells))[:-1])
