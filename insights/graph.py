"""Exact nearest neighbours of every photo among other listings' photos, by FAISS."""

from dataclasses import dataclass
from itertools import pairwise

import faiss
import numpy as np
from numpy.typing import NDArray

from catalog.listing import Embeddings
from catalog.progress import Advance

DEPTH = 20
OWN_DEPTH = 10
_BLOCK = 4_096  # queries at once; FAISS multiplies them with 1,024 photos at a time


@dataclass(frozen=True)
class Graph:
    """Neighbours, nearest first. Where there are fewer: row -1 with the cosine -1.

    `rows` and `cosines` (n, depth); `own` (n,) is the mean cosine with the OWN_DEPTH nearest photos of the photo's own
    category, NaN where there are none.
    """

    rows: NDArray[np.int32]
    cosines: NDArray[np.float32]
    own: NDArray[np.float32]


def neighbour_graph(
    embeddings: Embeddings,
    category: NDArray[np.int32],
    listing: NDArray[np.int32],
    advance: Advance,
    depth: int = DEPTH,
) -> Graph:
    """Compare every photo with every other one. A listing's own photos are never neighbours.

    `embeddings` (n, dim) of unit length, sorted by `category` (n,). Time grows with n squared, memory with n: blocks of
    queries, and a category's photos in a search of their own, so that one pass serves `rows` and `own`.
    """
    count = len(embeddings)
    graph = Graph(
        np.full((count, depth), -1, np.int32),
        np.full((count, depth), -1, np.float32),
        np.full(count, np.nan, np.float32),
    )
    sizes = np.bincount(listing)
    bounds = [*np.flatnonzero(np.diff(category, prepend=-1)).tolist(), count]
    for begin, end in pairwise(bounds):
        for start in range(begin, end, _BLOCK):
            block = slice(start, min(start + _BLOCK, end))
            # Deep enough that a listing's own photos can be taken out.
            width = depth + int(sizes[listing[block]].max())
            found = [
                _others(embeddings, listing, block, slice(low, high), width)
                for low, high in ((begin, end), (0, begin), (end, count))
                if high > low
            ]
            own = found[0][0][:, :OWN_DEPTH]
            there = (own > -np.inf).sum(axis=1)
            graph.own[block] = np.where(
                there, np.where(own > -np.inf, own, 0).sum(axis=1) / np.maximum(there, 1), np.nan
            )
            cosines, rows = _nearest(np.hstack([one[0] for one in found]), np.hstack([one[1] for one in found]), depth)
            graph.cosines[block, : cosines.shape[1]] = np.where(rows >= 0, np.clip(cosines, -1, 1), -1)
            graph.rows[block, : rows.shape[1]] = rows
            advance(block.stop - block.start)
    return graph


def plain_neighbours(embeddings: Embeddings, depth: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows and cosines (n, depth) of the nearest others of each photo, its own listing's too: for the map."""
    depth = min(depth, len(embeddings) - 1)
    cosines, rows = faiss.knn(embeddings, embeddings, depth + 1, metric=faiss.METRIC_INNER_PRODUCT)
    own = rows == np.arange(len(rows))[:, None]
    # Where twins crowd a photo out of its own answer, the last neighbour makes room instead.
    own[~own.any(axis=1), -1] = True
    return rows[~own].reshape(-1, depth), np.clip(cosines[~own].reshape(-1, depth), -1, 1)


def _others(
    embeddings: Embeddings, listing: NDArray[np.int32], queries: slice, among: slice, width: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Cosines and rows of the photos nearest to `queries` in `among`, of other listings; -inf and -1 where none."""
    # Not an index, which would copy the vectors.
    width = min(width, among.stop - among.start)
    cosines, rows = faiss.knn(embeddings[queries], embeddings[among], width, metric=faiss.METRIC_INNER_PRODUCT)
    rows = rows.astype(np.int32) + among.start
    own = listing[rows] == listing[queries][:, None]
    rows[own], cosines[own] = -1, -np.inf
    return _nearest(cosines, rows, width)


def _nearest(
    cosines: NDArray[np.float32], rows: NDArray[np.int32], depth: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :depth]
    return np.take_along_axis(cosines, order, axis=1), np.take_along_axis(rows, order, axis=1)
