"""Calibration: cosine -> probability that two photos show the same item. Pure."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from catalog.listing import Embeddings
from embedding.card import Calibration
from embedding.evaluation.neighbours import exact_neighbours

NEAREST = 10


def nearest_pairs(
    stored: Embeddings, items: NDArray[np.int64], queries: NDArray[np.bool_], photos: Embeddings | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the cosine of each query photo with each of its NEAREST neighbours, and whether both show the same item.

    `items` is the item number of each photo; `queries` marks the query photos. Both results have one entry per pair.
    `photos` (n, dim) are what the queries search by, by default the stored vectors.
    """
    rows = np.flatnonzero(queries)
    cosines, neighbours = exact_neighbours(stored, rows, NEAREST, None if photos is None else photos[rows])
    same = items[neighbours] == items[queries][:, None]
    return cosines.ravel(), same.ravel()


def fit(cosines: NDArray[np.float32], same: NDArray[np.bool_]) -> Calibration | None:
    """Fit the curve; return None if all pairs are of one class, because nothing can be learned from them."""
    if same.all() or not same.any():
        return None
    curve = LogisticRegression(C=1e6).fit(cosines[:, None], same)
    return Calibration(
        slope=float(curve.coef_[0, 0]),
        intercept=float(curve.intercept_[0]),
        pairs=len(same),
        same_item_pairs=int(same.sum()),
    )


def reliability(
    probabilities: NDArray[np.float64], same: NDArray[np.bool_], bins: int = 10
) -> tuple[NDArray[np.float64], float]:
    """Measure how reliable probabilities are: per bin (predicted, observed, pairs), and the expected calibration error.

    Bins have equal width, empty bins are left out: Guo et al., "On calibration of modern neural networks", 2017.
    """
    bin_of_pair = np.minimum((probabilities * bins).astype(int), bins - 1)
    rows = [
        (probabilities[bin_of_pair == number].mean(), same[bin_of_pair == number].mean(), (bin_of_pair == number).sum())
        for number in range(bins)
        if (bin_of_pair == number).any()
    ]
    table = np.array(rows, np.float64).reshape(-1, 3)
    error = float((np.abs(table[:, 0] - table[:, 1]) * table[:, 2]).sum() / len(same))
    return table, error
