"""Quality of an embedding, as shoppers and staff experience it. Pure; the search is exact."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from catalog.listing import Embeddings
from embedding.card import Figure
from embedding.evaluation.neighbours import exact_neighbours

RESAMPLES = 1_000
_NEIGHBOURS = 10


def metrics_per_photo(embeddings: Embeddings, listings: NDArray[np.str_], categories: NDArray[np.str_]) -> pd.DataFrame:
    """Measure each photo as a query against all others, one row per photo of embeddings (n, dim), unit length.

    recall_at_1, _5, _10: whether another photo of its listing is among the nearest (NaN if the listing has one photo).
    category_p_at_1, _p_at_10, category_vote, category_map_at_r: share of the nearest photos with its category, whether
    the majority of ten has it, and mean average precision at R (Musgrave et al., "A Metric Learning Reality Check",
    2020), all without the photos of its own listing. leaky_category_p_at_1: including them, as after a split by photo.
    """
    if len(embeddings) < 2:
        raise ValueError("at least two photos are needed")
    listing_codes = np.unique(listings, return_inverse=True)[1]
    category_codes = np.unique(categories, return_inverse=True)[1]
    largest_category, largest_listing = np.bincount(category_codes).max(), np.bincount(listing_codes).max()
    # Deep enough to leave R neighbours after the photos of the query's own listing are removed.
    depth = int(min(len(embeddings), max(largest_category, _NEIGHBOURS) + largest_listing))
    rows = []
    for query, others in enumerate(exact_neighbours(embeddings, np.arange(len(embeddings)), depth)[1]):
        same_listing = listing_codes[others] == listing_codes[query]
        same_category = category_codes[others] == category_codes[query]
        rows.append(
            _recalls(same_listing, has_other=bool(np.count_nonzero(listing_codes == listing_codes[query]) > 1))
            | _category_figures(
                same_category[~same_listing],
                category_codes[others[~same_listing]],
                category_codes[query],
                int(((category_codes == category_codes[query]) & (listing_codes != listing_codes[query])).sum()),
            )
            | {"leaky_category_p_at_1": float(same_category[0])}
        )
    return pd.DataFrame(rows)


def head_metrics_per_photo(
    probabilities: NDArray[np.float32], names: Sequence[str], categories: NDArray[np.str_]
) -> pd.DataFrame:
    """Return head_top_1 and head_top_3 of each photo: whether its category is among the head's most probable ones.

    `probabilities` are (n, categories). A category that the head does not know counts as wrong.
    """
    order = np.asarray(names)[np.argsort(-probabilities, axis=1)[:, :3]]
    right = order == categories[:, None]
    return pd.DataFrame({"head_top_1": right[:, 0].astype(float), "head_top_3": right.any(axis=1).astype(float)})


def average(values: pd.Series, listings: NDArray[np.str_], seed: int = 0) -> Figure:
    """Average the photos that have a value. The interval resamples listings: photos of one are not independent."""
    table = pd.DataFrame({"value": values.to_numpy(), "listing": listings}).dropna()
    if table.empty:
        return Figure(float("nan"), float("nan"), float("nan"), 0)
    sums = table.groupby("listing")["value"].agg(["sum", "count"]).to_numpy()
    draws = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    totals = sums[draws].sum(axis=1)
    low, high = np.percentile(totals[:, 0] / totals[:, 1], [2.5, 97.5])
    return Figure(float(table["value"].mean()), float(low), float(high), len(table))


def _recalls(same_listing: NDArray[np.bool_], *, has_other: bool) -> dict[str, float]:
    return {f"recall_at_{k}": float(same_listing[:k].any()) if has_other else float("nan") for k in (1, 5, _NEIGHBOURS)}


def _category_figures(
    same: NDArray[np.bool_], neighbour_categories: NDArray[np.int64], query_category: np.int64, relevant: int
) -> dict[str, float]:
    if not len(same) or not relevant:
        names = ("category_p_at_1", "category_p_at_10", "category_vote", "category_map_at_r")
        return dict.fromkeys(names, float("nan"))
    at_r = same[:relevant]
    precisions = np.cumsum(at_r) / np.arange(1, len(at_r) + 1)
    votes = np.bincount(neighbour_categories[:_NEIGHBOURS])
    return {
        "category_p_at_1": float(same[0]),
        "category_p_at_10": float(same[:_NEIGHBOURS].mean()),
        # argmax takes the first maximum: the order of names decides a tie, not the query.
        "category_vote": float(votes.argmax() == query_category),
        "category_map_at_r": float((precisions * at_r).sum() / relevant),
    }
