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
_WORDS_DEPTHS = (1, 10, 100)


def metrics_per_photo(
    embeddings: Embeddings,
    listings: NDArray[np.str_],
    categories: NDArray[np.str_],
    stored: Embeddings | None = None,
) -> pd.DataFrame:
    """Measure each photo as a query against all others, one row per photo of embeddings (n, dim), unit length.

    `stored` (n, dim) are the vectors that are searched, by default the embeddings.
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
    searched = embeddings if stored is None else stored
    rows = []
    for query, others in enumerate(exact_neighbours(searched, np.arange(len(embeddings)), depth, embeddings)[1]):
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


def category_metrics_per_photo(
    probabilities: NDArray[np.float32], names: Sequence[str], categories: NDArray[np.str_], voice: str
) -> pd.DataFrame:
    """Return {voice}_top_1 and {voice}_top_3: whether a photo's category is among the most probable ones.

    `probabilities` are (n, categories). A category that the model does not know counts as wrong.
    """
    order = np.asarray(names)[np.argsort(-probabilities, axis=1)[:, :3]]
    right = order == categories[:, None]
    return pd.DataFrame(
        {f"{voice}_top_1": right[:, 0].astype(float), f"{voice}_top_3": right.any(axis=1).astype(float)}
    )


def words_metrics(
    titles: Embeddings,
    photos: Embeddings,
    stored: Embeddings,
    listings: NDArray[np.str_],
    categories: NDArray[np.str_],
) -> pd.DataFrame:
    """Measure each listing's title as a query, in the row of the listing's first photo; NaN in the other rows.

    `titles` (n, dim) are the titles' embeddings, one per photo; `photos` and `stored` (n, dim) the photos without and
    with titles. words_recall_at_1, _10, _100: whether a photo of the listing is among the nearest photos: a stored
    vector contains the very title, so it would prove nothing. words_category_p_at_10: share of the nearest stored
    vectors of other listings with its category.
    """
    firsts = np.unique(listings, return_index=True)[1]
    table = pd.DataFrame(index=range(len(listings)))
    same_listing = listings[_descending(titles[firsts] @ photos.T)] == listings[firsts][:, None]
    for k in _WORDS_DEPTHS:
        table.loc[firsts, f"words_recall_at_{k}"] = same_listing[:, :k].any(axis=1).astype(float)
    order = _descending(titles[firsts] @ stored.T)
    same_category = categories[order] == categories[firsts][:, None]
    others = listings[order] != listings[firsts][:, None]
    precisions = [same[other][:_NEIGHBOURS].mean() for same, other in zip(same_category, others, strict=True)]
    table.loc[firsts, "words_category_p_at_10"] = precisions
    return table


def _descending(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.argsort(-scores, axis=1, kind="stable")


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
