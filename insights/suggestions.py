"""Listings whose category is probably wrong: what the category head and the neighbours say against the seller. Pure."""

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
"""Embeddings (n, dim) -> probabilities (n, categories of the model), None without a category head."""
Shares = NDArray[np.float64]
"""A share for each of the collection's categories: (n, categories)."""


@dataclass(frozen=True)
class Suggestion:
    """A listing by its first row, the row that disagrees most, and two categories by number.

    Probabilities are None where the head does not know the category.
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
class _Voices:
    """What is said of some photos, or of some listings. `known` (categories,): which ones the head has."""

    head: Shares
    near: Shares
    known: NDArray[np.bool_]

    def mean(self, own: NDArray[np.int32]) -> Shares:
        """Of both voices; of the neighbours alone where the head does not know the seller's category, or another."""
        both = np.where(self.known, (self.head + self.near) / 2, self.near)
        return np.where(self.known[own, None], both, self.near)

    def by_listing(self, starts: NDArray[np.int64]) -> "_Voices":
        """Averaged over the photos of each listing."""
        sizes = np.diff(starts, append=len(self.near))[:, None]
        return _Voices(
            np.add.reduceat(self.head, starts) / sizes, np.add.reduceat(self.near, starts) / sizes, self.known
        )

    def told(self, row: int, category: int) -> float | None:
        """The head's probability."""
        return float(self.head[row, category]) if self.known[category] else None


def predict(embeddings: Embeddings, classify: Classify) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
    """Number of the most probable category of the model, and its probability, for each photo; None without a head."""
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
    """Suspected listings, the most certain first.

    Two voices, each a share for every category, averaged over the listing's photos: the category head, and the
    neighbours. `certainty` is what their mean gives the suggested category, of what it gives that and the seller's
    together; a little is added to both, so that a share of nothing at all is no certainty. Listings without a category
    have the name '', which is never suggested.
    """
    places = {name: number for number, name in enumerate(head_categories)}
    known = np.array([name in places for name in categories])
    columns = [places[name] for name in categories if name in places]
    named = np.array([name != "" for name in categories])
    found: list[Suggestion] = []
    for begin, end in blocks(first_rows(listing), len(listing), _BLOCK):
        near = _neighbour_shares(graph, category, slice(begin, end), len(categories))
        head = np.zeros_like(near)
        probabilities = classify(embeddings[begin:end]) if columns else None
        if probabilities is not None:
            head[:, known] = probabilities[:, columns]
        voices = _Voices(head, near, known if probabilities is not None else np.zeros_like(known))
        found += _suspects(begin, category[begin:end], listing[begin:end], voices, category, graph, named)
    return sorted(found, key=lambda one: (-one.certainty, one.listing_row))


def _neighbour_shares(graph: Graph, category: NDArray[np.int32], rows: slice, count: int) -> Shares:
    near = graph.rows[rows]
    there = near >= 0
    photo = np.broadcast_to(np.arange(len(near))[:, None], near.shape)[there]
    votes = np.bincount(photo * count + category[near[there]], minlength=len(near) * count).reshape(len(near), count)
    return np.asarray(votes / np.maximum(there.sum(axis=1, keepdims=True), 1))


def _suspects(
    begin: int,
    own: NDArray[np.int32],
    listing: NDArray[np.int32],
    photos: _Voices,
    category: NDArray[np.int32],
    graph: Graph,
    named: NDArray[np.bool_],
) -> Iterator[Suggestion]:
    starts = first_rows(listing)
    listings = photos.by_listing(starts)
    mean, by_photo = listings.mean(own[starts]), photos.mean(own)
    at = np.arange(len(starts))
    sellers = mean[at, own[starts]]
    # Nobody is told to file a listing nowhere.
    others = np.where(named, mean, 0)
    others[at, own[starts]] = 0
    # Where nothing speaks for another category, the best one may be the seller's: with a certainty of a half at most.
    best = others.argmax(axis=1)
    certainty = (others[at, best] + SMOOTHING) / (others[at, best] + sellers + 2 * SMOOTHING)
    ends = np.append(starts[1:], len(own))
    for one in np.flatnonzero(certainty >= MIN_CERTAINTY).tolist():
        suggested, seller = int(best[one]), int(own[starts[one]])
        photo = int(begin + starts[one] + by_photo[starts[one] : ends[one], suggested].argmax())
        there = graph.rows[photo] >= 0
        rows, cosines = graph.rows[photo][there], graph.cosines[photo][there]
        order = np.lexsort((-cosines, category[rows] != suggested))[:EVIDENCE]
        yield Suggestion(
            listing_row=int(begin + starts[one]),
            photo_row=photo,
            category=seller,
            suggested=suggested,
            certainty=float(certainty[one]),
            head_probability=listings.told(one, suggested),
            seller_probability=listings.told(one, seller),
            neighbour_share=float(listings.near[one, suggested]),
            neighbours=rows[order],
            similarities=cosines[order],
        )
