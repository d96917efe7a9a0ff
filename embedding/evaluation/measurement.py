"""A model's figures on photos that it never saw: per photo, summed up, and where it went wrong."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from catalog.listing import Embeddings
from embedding.card import Figure
from embedding.evaluation.metrics import figure, head_per_photo, per_photo
from embedding.evaluation.neighbours import exact_neighbours


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of each photo, one row per photo, in the order of `embeddings`.

    `photos` has photo_id, listing_id, category, what `metrics.per_photo` gives and, of a model with a category head,
    head_top_1, head_top_3 and predicted.
    """

    photos: pd.DataFrame
    embeddings: Embeddings

    def figures(self) -> dict[str, Figure]:
        """Every figure that has a value, with its interval."""
        return figures_of(self.photos)

    def worst_misses(self, count: int, nearest: int) -> list[tuple[int, list[int]]]:
        """Queries that found another listing first, those farthest from their own first; each with its nearest."""
        missed = np.flatnonzero(self.photos["recall_at_1"] == 0)
        cosines, neighbours = exact_neighbours(self.embeddings, missed, len(self.embeddings) - 1)
        listings = self.photos["listing_id"].to_numpy(str)
        own = listings[neighbours] == listings[missed][:, None]
        margins = cosines[:, 0] - np.where(own, cosines, -np.inf).max(axis=1)
        return [(int(missed[row]), neighbours[row, :nearest].tolist()) for row in np.argsort(-margins)[:count]]


def measure(
    photos: pd.DataFrame, embeddings: Embeddings, probabilities: NDArray[np.float32] | None, names: list[str]
) -> Measured:
    """Measure embeddings (n, dim) of photos (photo_id, listing_id, category); `names` are those of probabilities."""
    listings, categories = photos["listing_id"].to_numpy(str), photos["category"].to_numpy(str)
    parts = [photos[["photo_id", "listing_id", "category"]].reset_index(drop=True)]
    parts.append(per_photo(embeddings, listings, categories))
    if probabilities is not None:
        parts.append(head_per_photo(probabilities, names, categories))
        parts.append(pd.DataFrame({"predicted": np.asarray(names)[probabilities.argmax(axis=1)]}))
    return Measured(pd.concat(parts, axis=1), embeddings)


def figures_of(photos: pd.DataFrame) -> dict[str, Figure]:
    """Figures of some rows of `Measured.photos`; those without a value are left out."""
    values = photos.select_dtypes("number")
    listings = photos["listing_id"].to_numpy(str)
    figures = {str(name): figure(values[name], listings) for name in values}
    return {name: one for name, one in figures.items() if one.queries}
