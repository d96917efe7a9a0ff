"""Positions of embeddings on a two-dimensional map, and its clusters. Pure."""

import numpy as np
from numpy.typing import NDArray
from openTSNE import TSNEEmbedding, affinity, initialization, nearest_neighbors
from sklearn.cluster import HDBSCAN
from sklearn.decomposition import PCA

from catalog.listing import Embeddings
from insights.neighbours.graph import plain_neighbours

_PERPLEXITY = 10
_MIN_FOR_TSNE = 30
# Threads wait for each other at every step: on a busy machine, they make small maps slower.
_MIN_FOR_THREADS = 5_000
# From this size on, forces are computed on a grid (FIt-SNE, Linderman et al., 2019), whose time depends only on the
# width of the map. For 10,000 photos it takes 2.3 times as long as a tree (Barnes and Hut), openTSNE's choice there.
_MIN_FOR_GRID = 20_000
_SEED = 0

Places = NDArray[np.float32]


def even_sample(count: int, limit: int) -> NDArray[np.int64]:
    """Return up to `limit` of `count` rows, evenly spread: of rows sorted by category, each category has its share."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(np.int64))


def lay_out(embeddings: Embeddings) -> Places:
    """Return positions (n, 2), -1 to 1, of embeddings (n, dim), with neighbours near each other. Deterministic.

    t-SNE (van der Maaten and Hinton, 2008) over the exact neighbours, initialised with PCA (Kobak and Berens, 2019).
    """
    count = len(embeddings)
    if count < 3:  # at most a line
        return _scaled(np.stack([np.arange(count), np.zeros(count)], axis=1))
    if not np.ptp(embeddings, axis=0).any():  # all photos are equal
        return np.zeros((count, 2), np.float32)
    flat = PCA(2, random_state=_SEED).fit_transform(embeddings)
    if count < _MIN_FOR_TSNE:  # too few for neighbourhoods
        return _scaled(flat)
    perplexity = min(_PERPLEXITY, count // 10)
    rows, cosines = plain_neighbours(embeddings, 3 * perplexity)
    knn = nearest_neighbors.PrecomputedNeighbors(rows, np.sqrt(np.maximum(2 - 2 * cosines, 0)))
    threads = 1 if count < _MIN_FOR_THREADS else -1
    affinities = affinity.PerplexityBasedNN(knn_index=knn, perplexity=perplexity, n_jobs=threads)
    start = initialization.rescale(flat)
    forces = "bh" if count < _MIN_FOR_GRID else "fft"
    embedding = TSNEEmbedding(start, affinities, n_jobs=threads, random_state=_SEED, negative_gradient_method=forces)
    embedding = embedding.optimize(n_iter=250, exaggeration=12, momentum=0.5, learning_rate="auto")
    embedding = embedding.optimize(n_iter=500, momentum=0.8, learning_rate="auto")
    return _scaled(np.asarray(embedding))


def find_clusters(places: Places, limit: int = 60) -> list[NDArray[np.int64]]:
    """Return the rows of each cluster of the map, the largest first.

    Clusters are the leaves of HDBSCAN (Campello et al., 2013); points between them belong to none.
    """
    min_size = max(10, len(places) // 200)
    if len(places) < 2 * min_size:
        return []
    labels = HDBSCAN(min_cluster_size=min_size, min_samples=5, cluster_selection_method="leaf", copy=True).fit_predict(
        places
    )
    groups = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    return sorted(groups, key=len, reverse=True)[:limit]


def densest_point(places: Places) -> tuple[float, float]:
    """Return the mean of the points in the fullest of 16 x 16 cells: the place to label a scattered group."""
    cells = np.clip(((places + 1) * 8).astype(int), 0, 15)
    number = cells[:, 0] * 16 + cells[:, 1]
    x, y = places[number == np.bincount(number).argmax()].mean(axis=0)
    return float(x), float(y)


def _scaled(places: NDArray[np.float64]) -> Places:
    middle = (places.max(axis=0) + places.min(axis=0)) / 2
    largest = np.abs(places - middle).max() or 1
    return np.asarray((places - middle) / largest, np.float32)
