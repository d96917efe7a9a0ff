"""The nearest neighbours of every photo among other listings' photos, by FAISS: exact up to EXACT photos."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import faiss
import numpy as np
from numpy.typing import NDArray

from catalog.listing import Embeddings
from catalog.progress import Progress
from insights.neighbours.approximate import nearest_others

DEPTH = 20
OWN_DEPTH = 10
EXACT = 100_000  # minutes on two cores; ten times as many would take hours
_BLOCK = 4_096  # queries at once; FAISS multiplies them with 1,024 photos at a time

Neighbours = tuple[NDArray[np.float32], NDArray[np.int32]]
"""Cosines and rows (queries, width), nearest first; -inf and -1 if missing."""
Search = Callable[[slice], Neighbours]


@dataclass(frozen=True)
class Graph:
    """Neighbours, nearest first. Missing ones have the row -1 and the cosine -1.

    `rows` and `cosines` (n, depth); `own` (n,) is the mean cosine with the OWN_DEPTH nearest photos of the photo's own
    category, NaN if there are none.
    """

    rows: NDArray[np.int32]
    cosines: NDArray[np.float32]
    own: NDArray[np.float32]


def neighbour_graph(
    embeddings: Embeddings,
    category: NDArray[np.int32],
    listing: NDArray[np.int32],
    progress: Progress,
    depth: int = DEPTH,
    exact: int = EXACT,
) -> Graph:
    """Compare every photo with every other one. A listing's own photos are never neighbours.

    `embeddings` (n, dim) of unit length, sorted by `category` (n,). Memory grows with n: queries go
    in blocks. A category's photos are searched separately, so that one pass serves `rows` and `own`.

    Above `exact` photos, `rows` come only from the nearest cells (insights.neighbours.approximate); so does `own` in a
    category of that size.
    """
    count = len(embeddings)
    graph = Graph(
        np.full((count, depth), -1, np.int32),
        np.full((count, depth), -1, np.float32),
        np.full(count, np.nan, np.float32),
    )
    search = partial(_make_search, embeddings, listing, np.bincount(listing), depth, exact, progress)
    bounds = [*np.flatnonzero(np.diff(category, prepend=-1)).tolist(), count]
    inside = [search(slice(begin, end)) for begin, end in pairwise(bounds)]
    everywhere = search(slice(0, count)) if count > exact else None
    with progress("Comparing", count) as advance:
        for (begin, end), own_category in zip(pairwise(bounds), inside, strict=True):
            parts = () if everywhere else (slice(0, begin), slice(end, count))
            rest = [search(part) for part in parts if part.start < part.stop]
            for start in range(begin, end, _BLOCK):
                block = slice(start, min(start + _BLOCK, end))
                own = own_category(block)
                graph.own[block] = _mean(own[0][:, :OWN_DEPTH])
                found = [everywhere(block)] if everywhere else [own, *(search_part(block) for search_part in rest)]
                cosines, rows = (np.hstack(columns) for columns in zip(*found, strict=True))
                cosines, rows = _nearest(cosines, rows, depth)
                graph.cosines[block, : cosines.shape[1]] = np.where(rows >= 0, np.clip(cosines, -1, 1), -1)
                graph.rows[block, : rows.shape[1]] = rows
                advance(block.stop - block.start)
    return graph


def plain_neighbours(embeddings: Embeddings, depth: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return rows and cosines (n, depth) of each photo's nearest others, its own listing's included: for the map."""
    depth = min(depth, len(embeddings) - 1)
    cosines, rows = faiss.knn(embeddings, embeddings, depth + 1, metric=faiss.METRIC_INNER_PRODUCT)
    own = rows == np.arange(len(rows))[:, None]
    # If equal photos displace a photo from its own result, drop the last neighbour instead.
    own[~own.any(axis=1), -1] = True
    return rows[~own].reshape(-1, depth), np.clip(cosines[~own].reshape(-1, depth), -1, 1)


def _make_search(
    embeddings: Embeddings,
    listing: NDArray[np.int32],
    sizes: NDArray[np.int64],
    depth: int,
    exact: int,
    progress: Progress,
    among: slice,
) -> Search:
    """Return a search for other listings' nearest photos in the rows `among`: exact, or by cells if they are many."""
    if among.stop - among.start <= exact:
        return partial(_search_others, embeddings, listing, sizes, depth, among)
    cosines, rows = nearest_others(embeddings[among], listing[among], depth, progress)
    rows[rows >= 0] += among.start

    def look_up(queries: slice) -> Neighbours:
        block = slice(queries.start - among.start, queries.stop - among.start)
        return cosines[block], rows[block]

    return look_up


def _search_others(
    embeddings: Embeddings,
    listing: NDArray[np.int32],
    sizes: NDArray[np.int64],
    depth: int,
    among: slice,
    queries: slice,
) -> Neighbours:
    # Deep enough to remove the listing's own photos.
    width = min(depth + int(sizes[listing[queries]].max()), among.stop - among.start)
    # Not with an index, which would copy the vectors.
    cosines, rows = faiss.knn(embeddings[queries], embeddings[among], width, metric=faiss.METRIC_INNER_PRODUCT)
    rows = rows.astype(np.int32) + among.start
    own = listing[rows] == listing[queries][:, None]
    rows[own], cosines[own] = -1, -np.inf
    return _nearest(cosines, rows, width)


def _mean(cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of the cosines of each row without missing ones, NaN if all are missing."""
    is_present = cosines > -np.inf
    counts = is_present.sum(axis=1)
    return np.where(counts, np.where(is_present, cosines, 0).sum(axis=1) / np.maximum(counts, 1), np.nan)


def _nearest(cosines: NDArray[np.float32], rows: NDArray[np.int32], depth: int) -> Neighbours:
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :depth]
    return np.take_along_axis(cosines, order, axis=1), np.take_along_axis(rows, order, axis=1)
