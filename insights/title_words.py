"""Words that distinguish a group of listings from the others. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer

_WORD = r"(?u)\b[^\W\d_][\w'-]+\b"
_MAX_WORDS = 50_000
_MIN_LISTINGS = 2


class TitleWords:
    """The words of titles, each counted once per listing."""

    def __init__(self, titles: Sequence[str]) -> None:
        """`titles`: one per listing."""
        vectorizer = CountVectorizer(binary=True, token_pattern=_WORD, min_df=_MIN_LISTINGS, max_features=_MAX_WORDS)
        try:
            self._counts = vectorizer.fit_transform(titles).tocsr()
        except ValueError:  # no two titles share a word
            self._words: NDArray[np.str_] | None = None
            return
        self._words = vectorizer.get_feature_names_out()
        self._shares = self._mean(np.arange(len(titles)))

    def of(self, listings: NDArray[np.int64], limit: int = 5) -> list[str]:
        """Return up to `limit` words that are frequent in the titles of these rows and rarer elsewhere, best first.

        Words are ranked by what they add to the Kullback-Leibler divergence of the group from all: p log(p / q). A word
        that is equally frequent everywhere adds nothing, so no stop words of any language are needed.
        """
        if self._words is None or not len(listings):
            return []
        shares = self._mean(listings)
        is_frequent = shares * len(listings) >= min(_MIN_LISTINGS, len(listings))
        with np.errstate(divide="ignore", invalid="ignore"):
            gains = np.where(is_frequent & (shares > self._shares), shares * np.log(shares / self._shares), 0)
        best = np.argsort(-gains, kind="stable")[:limit]
        return [str(self._words[word]) for word in best if gains[word] > 0]

    def _mean(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(self._counts[rows].sum(axis=0), np.float64).ravel() / len(rows)
