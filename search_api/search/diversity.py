"""Hits that are near the query and not all alike. Pure."""

from collections.abc import Sequence

import numpy as np

from catalog.listing import Hit


def diversify(hits: Sequence[Hit], limit: int, diversity: float) -> list[Hit]:
    """Choose `limit` of the hits, one by one, each near the query and unlike those before.

    Those without an embedding are passed over: their photos were removed while the search went on.
    Maximal marginal relevance: Carbonell and Goldstein, 1998, with lambda = 1 - diversity.
    """
    there = [(hit, hit.embedding) for hit in hits if hit.embedding is not None]
    if not there:
        return []
    hits = [hit for hit, _ in there]
    vectors = np.stack([embedding for _, embedding in there])
    scores = np.array([hit.score for hit in hits])
    nearest_chosen = np.full(len(hits), -1.0)
    chosen: list[int] = []
    while len(chosen) < min(limit, len(hits)):
        # Before the first one is chosen, all are as unlike what is there.
        gain = (1 - diversity) * scores - diversity * nearest_chosen if chosen else scores.copy()
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        nearest_chosen = np.maximum(nearest_chosen, vectors @ vectors[chosen[-1]])
    return [hits[place] for place in chosen]
