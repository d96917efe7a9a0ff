"""Listings whose category is probably wrong, according to the category head and the neighbours. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.listing import Embeddings
from insights.neighbours.graph import Graph
from insights.snapshot import blocks, first_rows

# Both measured on listings moved to wrong categories, see docs/insights.md.
MIN_CERTAINTY = 0.85
SMOOTHING = 0.02
EVIDENCE = 6
_BLOCK = 4_096

Classify = Callable[[Embeddings], Embeddings | None]
"""Embeddings (n, dim) -> probabilities (n, categories of the model); None without a category head."""
Shares = NDArray[np.float64]
"""A share for each of the collection's categories: (n, categories)."""


@dataclass(frozen=True)
class Suggestion:
    """A listing by its first row, its photo that disagrees most by row, and two categories by index.

    Probabilities are None if the head does not know the category.
    """

    listing_row: int
    photo_row: int
    category: int
    suggested: int
    certainty: float
    head_probability: float | None
    seller_probability: float | None
    neighbour_share: float
    neighbours: NDArray[np.int32]
    similarities: NDArray[np.float32]


@dataclass(frozen=True)
class _CategoryShares:
    """Shares by the category head and by the neighbours, of photos or of listings.

    `known` (categories,) marks the categories that the head knows.
    """

    head: Shares
    near: Shares
    known: NDArray[np.bool_]

    def mean(self, own: NDArray[np.int32]) -> Shares:
        """Return the mean of both, or the neighbours' share if the head does not know that category or the seller's."""
        both = np.where(self.known, (self.head + self.near) / 2, self.near)
        return np.where(self.known[own, None], both, self.near)

    def by_listing(self, starts: NDArray[np.int64]) -> "_CategoryShares":
        """Return the averages over the photos of each listing."""
        sizes = np.diff(starts, append=len(self.near))[:, None]
        return _CategoryShares(
            np.add.reduceat(self.head, starts) / sizes, np.add.reduceat(self.near, starts) / sizes, self.known
        )

    def head_probability(self, row: int, category: int) -> float | None:
        """Return the head's probability, None if it does not know the category."""
        return float(self.head[row, category]) if self.known[category] else None


def predict(embeddings: Embeddings, classify: Classify) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
    """Return the index of each photo's most probable category and its probability; None without a category head."""
    names = np.empty(len(embeddings), np.int32)
    confidence = np.empty(len(embeddings), np.float32)
    for start in range(0, len(embeddings), _BLOCK):
        block = slice(start, start + _BLOCK)
        probabilities = classify(embeddings[block])
        if probabilities is None:
            return None
        names[block] = probabilities.argmax(axis=1)
        confidence[block] = probabilities.max(axis=1)
    return names, confidence


def suggestions(
    embeddings: Embeddings,
    category: NDArray[np.int32],
    listing: NDArray[np.int32],
    graph: Graph,
    categories: list[str],
    classify: Classify,
    head_categories: list[str],
) -> list[Suggestion]:
    """Return the listings that are probably in a wrong category, the most certain first.

    The category head and the neighbours each give every category a share, averaged over the listing's photos.
    `certainty` is the suggested category's mean share, divided by the sum of that and the seller's. SMOOTHING is added
    to both, so that a tiny share against zero is no certainty. Listings without a category have the name '', which is
    never suggested.
    """
    places = {name: number for number, name in enumerate(head_categories)}
    known = np.array([name in places for name in categories])
    columns = [places[name] for name in categories if name in places]
    has_name = np.array([name != "" for name in categories])
    found: list[Suggestion] = []
    for begin, end in blocks(first_rows(listing), len(listing), _BLOCK):
        near = _neighbour_shares(graph, category, slice(begin, end), len(categories))
        head = np.zeros_like(near)
        probabilities = classify(embeddings[begin:end]) if columns else None
        if probabilities is not None:
            head[:, known] = probabilities[:, columns]
        shares = _CategoryShares(head, near, known if probabilities is not None else np.zeros_like(known))
        found += _suggest(begin, category[begin:end], listing[begin:end], shares, category, graph, has_name)
    return sorted(found, key=lambda suggestion: (-suggestion.certainty, suggestion.listing_row))


def _neighbour_shares(graph: Graph, category: NDArray[np.int32], rows: slice, count: int) -> Shares:
    near = graph.rows[rows]
    is_present = near >= 0
    photo = np.broadcast_to(np.arange(len(near))[:, None], near.shape)[is_present]
    votes = np.bincount(photo * count + category[near[is_present]], minlength=len(near) * count).reshape(
        len(near), count
    )
    return np.asarray(votes / np.maximum(is_present.sum(axis=1, keepdims=True), 1))


def _suggest(
    begin: int,
    own: NDArray[np.int32],
    listing: NDArray[np.int32],
    photos: _CategoryShares,
    category: NDArray[np.int32],
    graph: Graph,
    has_name: NDArray[np.bool_],
) -> Iterator[Suggestion]:
    starts = first_rows(listing)
    listings = photos.by_listing(starts)
    mean, by_photo = listings.mean(own[starts]), photos.mean(own)
    all_rows = np.arange(len(starts))
    sellers = mean[all_rows, own[starts]]
    # Never suggest the missing category.
    others = np.where(has_name, mean, 0)
    others[all_rows, own[starts]] = 0
    # If no other category has a share, the best one may be the seller's own; its certainty is then at most one half.
    best = others.argmax(axis=1)
    certainty = (others[all_rows, best] + SMOOTHING) / (others[all_rows, best] + sellers + 2 * SMOOTHING)
    ends = np.append(starts[1:], len(own))
    for number in np.flatnonzero(certainty >= MIN_CERTAINTY).tolist():
        suggested, seller = int(best[number]), int(own[starts[number]])
        photo = int(begin + starts[number] + by_photo[starts[number] : ends[number], suggested].argmax())
        is_present = graph.rows[photo] >= 0
        rows, cosines = graph.rows[photo][is_present], graph.cosines[photo][is_present]
        order = np.lexsort((-cosines, category[rows] != suggested))[:EVIDENCE]
        yield Suggestion(
            listing_row=int(begin + starts[number]),
            photo_row=photo,
            category=seller,
            suggested=suggested,
            certainty=float(certainty[number]),
            head_probability=listings.head_probability(number, suggested),
            seller_probability=listings.head_probability(number, seller),
            neighbour_share=float(listings.near[number, suggested]),
            neighbours=rows[order],
            similarities=cosines[order],
        )
