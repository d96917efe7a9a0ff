"""Listings whose category is probably wrong: what the category head and the neighbours say against the seller. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.listing import Embeddings
from insights.graph import Graph
from insights.reading import blocks, first_rows

MIN_CERTAINTY = 0.5
EVIDENCE = 6
_BLOCK = 4_096

Classify = Callable[[Embeddings], Embeddings | None]
"""Embeddings (n, dim) -> probabilities (n, categories of the model), None without a category head."""


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
    neighbours. A suggestion needs both: the suggested category is more probable than the seller's by each voice, and by
    their mean (`certainty`) at least MIN_CERTAINTY. Where the head knows none of the categories, the neighbours decide.
    """
    known = [(head_categories.index(name), number) for number, name in enumerate(categories) if name in head_categories]
    found: list[Suggestion] = []
    for begin, end in blocks(first_rows(listing), len(listing), _BLOCK):
        rows = np.arange(begin, end)
        neighbours = _neighbour_votes(graph, category, rows, len(categories))
        probabilities = classify(embeddings[begin:end]) if known else None
        head = None
        if probabilities is not None:
            head = np.zeros_like(neighbours)
            head[:, [number for _, number in known]] = probabilities[:, [number for number, _ in known]]
        found += _suspects(rows, category, listing, neighbours, head, graph, {number for _, number in known})
    return sorted(found, key=lambda one: (-one.certainty, one.listing_row))


def _neighbour_votes(
    graph: Graph, category: NDArray[np.int32], rows: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    near = graph.rows[rows]
    there = near >= 0
    which = np.broadcast_to(np.arange(len(rows))[:, None], near.shape)[there] * count + category[near[there]]
    votes = np.bincount(which, minlength=len(rows) * count).reshape(len(rows), count)
    return np.asarray(votes / np.maximum(there.sum(axis=1, keepdims=True), 1))


def _suspects(
    rows: NDArray[np.int64],
    category: NDArray[np.int32],
    listing: NDArray[np.int32],
    neighbours: NDArray[np.float64],
    head: NDArray[np.float64] | None,
    graph: Graph,
    known: set[int],
) -> Iterator[Suggestion]:
    both = neighbours if head is None else (neighbours + head) / 2
    starts = first_rows(listing[rows])
    sizes = np.diff(starts, append=len(rows))[:, None]
    by_listing = [None if one is None else np.add.reduceat(one, starts) / sizes for one in (both, neighbours, head)]
    mean, near, told = by_listing
    assert mean is not None and near is not None
    own = category[rows[starts]]
    best = mean.argmax(axis=1)
    at = np.arange(len(starts))
    suspect = (best != own) & (mean[at, best] >= MIN_CERTAINTY) & (near[at, best] > near[at, own])
    if told is not None:
        suspect &= told[at, best] > told[at, own]
    for one in np.flatnonzero(suspect).tolist():
        first, last, suggested = starts[one], starts[one] + sizes[one, 0], int(best[one])
        photo = int(rows[first + both[first:last, suggested].argmax()])
        there = graph.rows[photo] >= 0
        order = np.lexsort((-graph.cosines[photo][there], category[graph.rows[photo][there]] != suggested))[:EVIDENCE]
        yield Suggestion(
            listing_row=int(rows[first]),
            photo_row=photo,
            category=int(own[one]),
            suggested=suggested,
            certainty=float(mean[one, suggested]),
            head_probability=_of(told, one, suggested, known),
            seller_probability=_of(told, one, int(own[one]), known),
            neighbour_share=float(near[one, suggested]),
            neighbours=graph.rows[photo][there][order],
            similarities=graph.cosines[photo][there][order],
        )


def _of(told: NDArray[np.float64] | None, listing: int, category: int, known: set[int]) -> float | None:
    return None if told is None or category not in known else float(told[listing, category])
