"""Wrong categories: who must be suspected, who must not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from catalog.listing import Embeddings
from catalog.progress import silent
from insights.neighbours.graph import neighbour_graph
from insights.suggestions import EVIDENCE, Suggestion, suggestions

NAMES = ["Books", "Phones", "Sofas"]
PHOTOS = 40


def found(
    looks: NDArray[np.int64],
    category: NDArray[np.int64],
    head: list[str] | None = None,
    sure: float = 0.9,
    names: list[str] = NAMES,
) -> list[Suggestion]:
    """Ask about photos that look like kind `looks`, a listing each, filed in `category` (sorted) of `names`."""
    random = np.random.default_rng(0)
    embeddings = (np.eye(16)[looks] + random.normal(0, 0.05, (len(looks), 16))).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    listing = np.arange(len(looks), dtype=np.int32)
    numbers = category.astype(np.int32)
    graph = neighbour_graph(embeddings, numbers, listing, silent)

    def classify(block: Embeddings) -> Embeddings | None:
        if head is None:
            return None
        told = np.full((len(block), len(head)), (1 - sure) / (len(head) - 1), np.float32)
        told[np.arange(len(block)), block[:, : len(head)].argmax(axis=1)] = sure
        return told

    return suggestions(embeddings, numbers, listing, graph, names, classify, head or [])


def filed(*wrong: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """PHOTOS of each kind in their category, and `wrong` ones: (what it looks like, where it is filed)."""
    pairs = [(kind, kind) for kind in range(3) for _ in range(PHOTOS)] + list(wrong)
    pairs.sort(key=lambda pair: pair[1])
    return np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])


def test_what_lies_in_the_wrong_category_is_suspected_and_nothing_else() -> None:
    """With both voices against the seller; the evidence is in the suggested category."""
    looks, category = filed((1, 0), (2, 1))
    told = found(looks, category, NAMES)
    assert {(one.category, one.suggested) for one in told} == {(0, 1), (1, 2)}
    for one in told:
        assert looks[one.photo_row] == one.suggested
        assert one.certainty >= 0.85
        assert one.head_probability == np.float32(0.9)
        assert one.neighbour_share == 1.0
        assert len(one.neighbours) == EVIDENCE
        assert (category[one.neighbours] == one.suggested).all()
        assert (np.diff(one.similarities) <= 0).all()
    assert [one.certainty for one in told] == sorted((one.certainty for one in told), reverse=True)


def test_a_catalogue_in_order_has_no_suspects() -> None:
    """Neither with a head nor without one."""
    assert found(*filed(), NAMES) == []
    assert found(*filed()) == []


@pytest.mark.parametrize("listings", [1, PHOTOS])
def test_a_catalogue_of_one_category_has_no_suspects(listings: int) -> None:
    """There is no other category to suggest, however little the head thinks of this one."""
    alike = np.zeros(listings, np.int64)
    for sure in (0.4, 0.9):
        assert found(alike, alike, NAMES, sure, names=["Books"]) == []


def test_no_category_is_never_suggested() -> None:
    """What looks like listings without a category stays where it is; one of those can be told where it belongs."""
    names = ["", "Phones", "Sofas"]
    assert found(*filed((0, 1)), names=names) == []
    (one,) = found(*filed((1, 0)), names=names)
    assert (one.category, one.suggested) == (0, 1)


def test_one_voice_alone_is_not_enough() -> None:
    """Where the head is for the seller, neighbours alone do not make a suspect."""
    looks, category = filed((1, 0))
    # This head's categories are turned around: of what looks like a phone it says book.
    told = found(looks, category, ["Phones", "Books", "Sofas"])
    assert all((one.category, one.suggested) != (0, 1) for one in told)


def test_without_a_head_the_neighbours_decide() -> None:
    """A model without category head, or with one that has other categories: no probabilities, still suspects."""
    looks, category = filed((1, 0))
    for head in (None, ["Cars", "Boats"]):
        (one,) = found(looks, category, head)
        assert (one.category, one.suggested) == (0, 1)
        assert one.head_probability is None
        assert one.seller_probability is None


def test_a_category_that_the_head_does_not_know() -> None:
    """Its listings are not suspected for the head's not saying so."""
    looks, category = filed((1, 0))
    told = found(looks, category, ["Books", "Phones"])
    assert [(one.category, one.suggested) for one in told] == [(0, 1)]


def test_the_photo_shown_is_the_one_that_disagrees_most() -> None:
    """Of a listing with two photos, in one suggestion."""
    random = np.random.default_rng(0)
    looks, category = filed((1, 0), (1, 0))
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

    (one,) = suggestions(embeddings, numbers, listing, graph, NAMES, classify, NAMES)
    assert one.listing_row == rows[0]
    assert one.photo_row == rows[1]
