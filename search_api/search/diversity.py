"""Diversity: hits that are near the query and differ from each other. Pure."""

from collections.abc import Sequence

import numpy as np

from catalog.listing import Hit


def diversify(hits: Sequence[Hit], limit: int, diversity: float) -> list[Hit]:
    """Choose `limit` of the hits, each near the query and unlike those chosen before.

    Hits without an embedding are skipped: their photos were removed during the search.
    Maximal marginal relevance: Carbonell and Goldstein, 1998, with lambda = 1 - diversity.
    """
    candidates = [(hit, hit.embedding) for hit in hits if hit.embedding is not None]
    if not candidates:
        return []
    hits = [hit for hit, _ in candidates]
    vectors = np.stack([embedding for _, embedding in candidates])
    scores = np.array([hit.score for hit in hits])
    nearest_chosen = np.full(len(hits), -1.0)
    chosen: list[int] = []
    while len(chosen) < min(limit, len(hits)):
        # The first choice is the nearest hit: nothing is chosen yet that it could resemble.
        gain = (1 - diversity) * scores - diversity * nearest_chosen if chosen else scores.copy()
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        nearest_chosen = np.maximum(nearest_chosen, vectors @ vectors[chosen[-1]])
    return [hits[place] for place in chosen]
