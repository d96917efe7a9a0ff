"""Wrong categories: which listings must be suggested, and which must not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from catalog.listing import Embeddings
from catalog.progress import silent
from insights.neighbours.graph import neighbour_graph
from insights.suggestions import EVIDENCE, Suggestion, suggestions

NAMES = ["Books", "Phones", "Sofas"]
PHOTOS = 40


def suggest(
    looks: NDArray[np.int64],
    category: NDArray[np.int64],
    head: list[str] | None = None,
    sure: float = 0.9,
    names: list[str] = NAMES,
) -> list[Suggestion]:
    """Return the suggestions for listings with a photo of kind `looks`, in `category` (sorted) of `names`."""
    random = np.random.default_rng(0)
    embeddings = (np.eye(16)[looks] + random.normal(0, 0.05, (len(looks), 16))).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    listing = np.arange(len(looks), dtype=np.int32)
    numbers = category.astype(np.int32)
    graph = neighbour_graph(embeddings, numbers, listing, silent)

    def classify(block: Embeddings) -> Embeddings | None:
        if head is None:
            return None
        probabilities = np.full((len(block), len(head)), (1 - sure) / (len(head) - 1), np.float32)
        probabilities[np.arange(len(block)), block[:, : len(head)].argmax(axis=1)] = sure
        return probabilities

    return suggestions(embeddings, numbers, listing, graph, names, classify, head or [])


def catalogue(*misfiled: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return looks and categories: PHOTOS of each kind in their own category, and `misfiled` (kind, category) ones."""
    pairs = [(kind, kind) for kind in range(3) for _ in range(PHOTOS)] + list(misfiled)
    pairs.sort(key=lambda pair: pair[1])
    return np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])


def test_only_listings_in_a_wrong_category_are_suggested() -> None:
    """Head and neighbours are both against the seller; the evidence is in the suggested category."""
    looks, category = catalogue((1, 0), (2, 1))
    results = suggest(looks, category, NAMES)
    assert {(result.category, result.suggested) for result in results} == {(0, 1), (1, 2)}
    for result in results:
        assert looks[result.photo_row] == result.suggested
        assert result.certainty >= 0.85
        assert result.head_probability == np.float32(0.9)
        assert result.neighbour_share == 1.0
        assert len(result.neighbours) == EVIDENCE
        assert (category[result.neighbours] == result.suggested).all()
        assert (np.diff(result.similarities) <= 0).all()
    assert [result.certainty for result in results] == sorted((result.certainty for result in results), reverse=True)


def test_a_correct_catalogue_has_no_suggestions() -> None:
    """Without misfiled listings, neither head nor neighbours cause a suggestion."""
    assert suggest(*catalogue(), NAMES) == []
    assert suggest(*catalogue()) == []


@pytest.mark.parametrize("listings", [1, PHOTOS])
def test_a_catalogue_of_one_category_has_no_suggestions(listings: int) -> None:
    """There is no other category to suggest, even if the head gives this one a low probability."""
    alike = np.zeros(listings, np.int64)
    for sure in (0.4, 0.9):
        assert suggest(alike, alike, NAMES, sure, names=["Books"]) == []


def test_a_missing_category_is_never_suggested() -> None:
    """A listing that looks like those without a category is not moved; one without a category can get one."""
    names = ["", "Phones", "Sofas"]
    assert suggest(*catalogue((0, 1)), names=names) == []
    (result,) = suggest(*catalogue((1, 0)), names=names)
    assert (result.category, result.suggested) == (0, 1)


def test_neighbours_alone_are_not_enough() -> None:
    """If the head agrees with the seller, the neighbours alone do not cause a suggestion."""
    looks, category = catalogue((1, 0))
    # This head's categories are swapped: it takes phones for books.
    results = suggest(looks, category, ["Phones", "Books", "Sofas"])
    assert all((result.category, result.suggested) != (0, 1) for result in results)


def test_without_a_head_the_neighbours_decide() -> None:
    """Without a category head, or with one of other categories, suggestions have no probabilities."""
    looks, category = catalogue((1, 0))
    for head in (None, ["Cars", "Boats"]):
        (result,) = suggest(looks, category, head)
        assert (result.category, result.suggested) == (0, 1)
        assert result.head_probability is None
        assert result.seller_probability is None


def test_a_category_that_the_head_does_not_know() -> None:
    """Its listings are not suggested only because the head cannot predict it."""
    looks, category = catalogue((1, 0))
    results = suggest(looks, category, ["Books", "Phones"])
    assert [(result.category, result.suggested) for result in results] == [(0, 1)]


def test_the_photo_shown_is_the_one_that_disagrees_most() -> None:
    """A listing with two photos has one suggestion, with the photo that disagrees most."""
    random = np.random.default_rng(0)
    looks, category = catalogue((1, 0), (1, 0))
    rows = np.flatnonzero(looks != category)
    vectors = np.eye(16)[looks] + random.normal(0, 0.05, (len(looks), 16))
    vectors[rows[0]] += 0.3 * np.eye(16)[0]
    embeddings = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    listing = np.arange(len(looks), dtype=np.int32)
    listing[rows[1] :] -= 1
    numbers = category.astype(np.int32)
    graph = neighbour_graph(embeddings, numbers, listing, silent)

    def classify(block: Embeddings) -> Embeddings:
        powers = np.exp(8 * block[:, :3])
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    (result,) = suggestions(embeddings, numbers, listing, graph, NAMES, classify, NAMES)
    assert result.listing_row == rows[0]
    assert result.photo_row == rows[1]
