"""From cosine to the probability that two photos show the same item. Pure."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from catalog.listing import Embeddings
from embedding.card import Calibration
from embedding.evaluation.neighbours import exact_neighbours

NEAREST = 10


def nearest_pairs(
    embeddings: Embeddings, items: NDArray[np.int64], queries: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cosine of each query photo and each of its NEAREST others, and whether the two show the same item.

    `items` numbers the item of each photo; `queries` says which of the photos ask. Both results have one entry a pair.
    """
    cosines, neighbours = exact_neighbours(embeddings, np.flatnonzero(queries), NEAREST)
    same = items[neighbours] == items[queries][:, None]
    return cosines.ravel(), same.ravel()


def fit(cosines: NDArray[np.float32], same: NDArray[np.bool_]) -> Calibration | None:
    """Fit the curve; None where the pairs are all of one kind, from which nothing can be learned."""
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
    """How honest probabilities are: per bin (predicted, observed, pairs), and the expected calibration error.

    Bins of equal width, empty ones left out: Guo et al., "On calibration of modern neural networks", 2017.
    """
    which = np.minimum((probabilities * bins).astype(int), bins - 1)
    rows = [
        (probabilities[which == number].mean(), same[which == number].mean(), (which == number).sum())
        for number in range(bins)
        if (which == number).any()
    ]
    table = np.array(rows, np.float64).reshape(-1, 3)
    error = float((np.abs(table[:, 0] - table[:, 1]) * table[:, 2]).sum() / len(same))
    return table, error
