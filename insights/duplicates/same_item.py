"""The probability that two listings offer the same item: by photo, title and price together. Pure.

Photos alone cannot tell: of different listings whose photos are very alike, most offer things that only look alike.
"""

import math

from embedding.text.features import words_of

# Neighbours that are less alike are never the same item.
LEAST_COSINE = 0.5
# Measured on pairs of different listings, see docs/insights.md: photos' cosine, share of common words, log price ratio.
_COSINE, _WORDS, _PRICE, _INTERCEPT = 10.74, 3.96, -8.71, -10.19
# Of a price that is unknown: as if the prices differed by 15 %.
_UNKNOWN_PRICE = 0.15
_LEAST_PRICE = 1.0


def same_item_probability(cosine: float, titles: tuple[str, str], prices: tuple[float | None, float | None]) -> float:
    """Return the probability that two listings with these titles and prices offer the same item, 0 to 1.

    `cosine` is that of two of their photos, without titles.
    """
    logit = _COSINE * cosine + _WORDS * common_words(*titles) + _PRICE * _price_difference(*prices) + _INTERCEPT
    return 1 / (1 + math.exp(-logit))


def common_words(first: str, second: str) -> float:
    """Return the share of the words of two titles that both have (Jaccard), 0 to 1; 0 if neither has a word."""
    words, others = set(words_of(first)), set(words_of(second))
    return len(words & others) / max(len(words | others), 1)


def _price_difference(first: float | None, second: float | None) -> float:
    if first is None or second is None:
        return _UNKNOWN_PRICE
    return abs(math.log(max(first, _LEAST_PRICE) / max(second, _LEAST_PRICE)))
