"""A model's figures on photos that it was not trained on: per photo, averaged, and its worst misses."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from catalog.listing import Embeddings
from embedding.card import Figure
from embedding.evaluation.metrics import average, category_metrics_per_photo, metrics_per_photo, words_metrics
from embedding.evaluation.neighbours import exact_neighbours


@dataclass(frozen=True, slots=True)
class Measurement:
    """Figures of each photo, one row per photo, in the order of `embeddings`, which search the vectors `stored`.

    `photos` has photo_id, listing_id, category, the columns of `metrics.metrics_per_photo` and, for a model with a
    category head, head_top_1, head_top_3 and predicted; for one with a text tower, further columns of `measure`.
    """

    photos: pd.DataFrame
    embeddings: Embeddings
    stored: Embeddings

    def figures(self) -> dict[str, Figure]:
        """Return every figure that has a value, with its interval."""
        return summarize(self.photos)

    def worst_misses(self, count: int, nearest: int) -> list[tuple[int, list[int]]]:
        """Return queries whose nearest photo is of another listing, worst margin first, each with its nearest rows."""
        missed = np.flatnonzero(self.photos["recall_at_1"] == 0)
        cosines, neighbours = exact_neighbours(self.stored, missed, len(self.stored) - 1, self.embeddings[missed])
        listings = self.photos["listing_id"].to_numpy(str)
        same_listing = listings[neighbours] == listings[missed][:, None]
        margins = cosines[:, 0] - np.where(same_listing, cosines, -np.inf).max(axis=1)
        return [(int(missed[row]), neighbours[row, :nearest].tolist()) for row in np.argsort(-margins)[:count]]


@dataclass(frozen=True, slots=True)
class Titles:
    """What a model with a text tower makes of the titles of photos, one row per photo.

    `embeddings` (n, dim); `stored` (n, dim) are the photos mixed with their titles. `by_title` and `together`
    (n, categories) are category probabilities, by the title alone and with the photo; None without a category head.
    """

    embeddings: Embeddings
    stored: Embeddings
    by_title: NDArray[np.float32] | None
    together: NDArray[np.float32] | None

    def at(self, rows: NDArray[np.bool_]) -> "Titles":
        """Return those of the marked photos."""
        parts = (self.embeddings, self.stored, self.by_title, self.together)
        embeddings, stored, by_title, together = (None if part is None else part[rows] for part in parts)
        assert embeddings is not None  # noqa: S101 - only the probabilities may be missing
        assert stored is not None  # noqa: S101
        return Titles(embeddings, stored, by_title, together)


def measure(
    photos: pd.DataFrame,
    embeddings: Embeddings,
    probabilities: NDArray[np.float32] | None,
    names: list[str],
    titles: Titles | None = None,
) -> Measurement:
    """Measure embeddings (n, dim) of photos (photo_id, listing_id, category).

    `names` are the categories of the columns of `probabilities`. With `titles`, photos search the vectors that are
    stored, and the figures of a search without stored titles are the columns photos_only_*.
    """
    listings, categories = photos["listing_id"].to_numpy(str), photos["category"].to_numpy(str)
    stored = titles.stored if titles else embeddings
    parts = [photos[["photo_id", "listing_id", "category"]].reset_index(drop=True)]
    parts.append(metrics_per_photo(embeddings, listings, categories, stored))
    voices = {"head": probabilities}
    if titles:
        parts.append(metrics_per_photo(embeddings, listings, categories).add_prefix("photos_only_"))
        parts.append(words_metrics(titles.embeddings, embeddings, stored, listings, categories))
        voices |= {"title": titles.by_title, "together": titles.together}
    for voice, shares in voices.items():
        if shares is not None:
            parts.append(category_metrics_per_photo(shares, names, categories, voice))
    if probabilities is not None:
        parts.append(pd.DataFrame({"predicted": np.asarray(names)[probabilities.argmax(axis=1)]}))
    return Measurement(pd.concat(parts, axis=1), embeddings, stored)


def summarize(photos: pd.DataFrame) -> dict[str, Figure]:
    """Average rows of `Measurement.photos` into figures; figures without a value are left out."""
    values = photos.select_dtypes("number")
    listings = photos["listing_id"].to_numpy(str)
    figures = {str(name): average(values[name], listings) for name in values}
    return {name: value for name, value in figures.items() if value.queries}
