"""Wrong categories: which listings must be suggested, and which must not."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from catalog.listing import Embeddings
from catalog.progress import silent
from embedding.embedder import Embedder
from insights.neighbours.graph import neighbour_graph
from insights.snapshot import Snapshot
from insights.suggestions import EVIDENCE, Decided, Suggestion, suggestions

NAMES = ["Books", "Phones", "Sofas"]
PHOTOS = 40


def embedder(head: list[str], sure: float = 0.9, words: Any = None) -> Any:
    """Return a model whose head gives the category of the nearest axis this probability."""

    def classify(block: Embeddings) -> Embeddings | None:
        if not head:
            return None
        probabilities = np.full((len(block), len(head)), (1 - sure) / (len(head) - 1), np.float32)
        probabilities[np.arange(len(block)), block[:, : len(head)].argmax(axis=1)] = sure
        return probabilities

    return SimpleNamespace(classify=classify, card=SimpleNamespace(categories=head), words=words)


def look_at(
    vectors: NDArray[np.float64],
    category: NDArray[np.int64],
    model: Embedder,
    *,
    names: list[str] = NAMES,
    listing: NDArray[np.int32] | None = None,
    titles: list[str] | None = None,
    in_training: bool = False,
    catch_all: tuple[str, ...] = (),
    decided: Decided | None = None,
) -> list[Suggestion]:
    """Return the suggestions for photos with these vectors, in `category` (sorted) of `names`."""
    count = len(vectors)
    listing = np.arange(count, dtype=np.int32) if listing is None else listing
    embeddings = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    numbers = category.astype(np.int32)
    table = pa.table({"listing_id": [f"l{number}" for number in listing], "title": titles or [""] * count})
    graph = neighbour_graph(embeddings, numbers, listing, silent)
    snapshot = Snapshot(table, embeddings, names, numbers, listing)
    trained = np.full(count, in_training)
    return suggestions(snapshot, graph, model, trained, catch_all, decided or {}, silent)


def suggest(
    looks: NDArray[np.int64], category: NDArray[np.int64], head: list[str] | None = None, sure: float = 0.9, **more: Any
) -> list[Suggestion]:
    """Return the suggestions for listings with a photo of kind `looks`, in `category` (sorted)."""
    vectors = np.eye(16)[looks] + np.random.default_rng(0).normal(0, 0.05, (len(looks), 16))
    return look_at(vectors, category, embedder(head or [], sure), **more)


def catalogue(*misfiled: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return looks and categories: PHOTOS of each kind in their own category, and `misfiled` (kind, category) ones."""
    pairs = [(kind, kind) for kind in range(3) for _ in range(PHOTOS)] + list(misfiled)
    pairs.sort(key=lambda pair: pair[1])
    return np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])


def test_only_listings_in_a_wrong_category_are_suggested() -> None:
    """Photo and neighbours are both against the seller; the evidence is in the suggested category."""
    looks, category = catalogue((1, 0), (2, 1))
    results = suggest(looks, category, NAMES)
    assert {(result.category, result.suggested) for result in results} == {(0, 1), (1, 2)}
    for result in results:
        assert looks[result.photo_row] == result.suggested
        assert result.certainty > 0.2
        assert result.photo is not None
        assert result.photo.suggested == np.float32(0.9)
        assert (result.neighbour.suggested, result.neighbour.seller) == (1.0, 0.0)
        assert len(result.neighbours) == EVIDENCE
        assert (category[result.neighbours] == result.suggested).all()
        assert (np.diff(result.similarities) <= 0).all()
    assert [result.certainty for result in results] == sorted((result.certainty for result in results), reverse=True)


def test_a_correct_catalogue_has_no_suggestions() -> None:
    """Without misfiled listings, no voice causes a suggestion."""
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
    assert all(result.category != 1 for result in suggest(*catalogue((0, 1)), names=names))
    assert all(result.suggested != 0 for result in suggest(*catalogue((0, 1)), names=names))
    found = suggest(*catalogue((1, 0)), names=names)
    assert (found[0].category, found[0].suggested) == (0, 1)


def test_a_category_for_the_rest_is_never_suggested() -> None:
    """A moderator would not move a listing there; a listing that is there may belong elsewhere."""
    assert suggest(*catalogue((1, 0)), NAMES, catch_all=("Phones",)) == []
    (result,) = suggest(*catalogue((1, 0)), NAMES, catch_all=("Books",))
    assert (result.category, result.suggested) == (0, 1)


def test_the_head_can_outweigh_the_neighbours() -> None:
    """If the head agrees with the seller, the neighbours are less certain than if it does not."""
    looks, category = catalogue((1, 0))
    (agreeing,) = suggest(looks, category, NAMES)
    # This head knows the misfiled one for what the seller says, and is otherwise right.
    vectors = np.eye(16)[looks] + np.random.default_rng(0).normal(0, 0.05, (len(looks), 16))
    odd = int(np.flatnonzero(looks != category)[0])
    model = embedder(NAMES)
    right = model.classify

    def classify(block: Embeddings) -> Embeddings:
        probabilities = right(block)
        unit = vectors[odd] / np.linalg.norm(vectors[odd])
        probabilities[np.isclose(block @ unit, 1, atol=1e-5)] = [0.9, 0.05, 0.05]
        return np.asarray(probabilities, np.float32)

    model.classify = classify
    doubting = [result for result in look_at(vectors, category, model) if (result.category, result.suggested) == (0, 1)]
    assert not doubting or doubting[0].certainty < agreeing.certainty


def test_without_a_head_the_neighbours_decide() -> None:
    """Without a category head, with one of other categories, or with one that was trained on the listing."""
    looks, category = catalogue((1, 0))
    for head, trained in ((None, False), (["Cars", "Boats"], False), (NAMES, True)):
        (result,) = suggest(looks, category, head, in_training=trained)
        assert (result.category, result.suggested) == (0, 1)
        assert result.photo is None


def test_a_category_that_the_head_does_not_know() -> None:
    """Its listings are not suggested only because the head cannot predict it."""
    looks, category = catalogue((1, 0))
    results = suggest(looks, category, ["Books", "Phones"])
    assert [(result.category, result.suggested) for result in results] == [(0, 1)]


def test_the_photo_shown_is_the_one_that_disagrees_most() -> None:
    """A listing with two photos has one suggestion, with the photo that disagrees most."""
    looks, category = catalogue((1, 0), (1, 0))
    rows = np.flatnonzero(looks != category)
    vectors = np.eye(16)[looks] + np.random.default_rng(0).normal(0, 0.05, (len(looks), 16))
    vectors[rows[0]] += 0.3 * np.eye(16)[0]
    listing = np.arange(len(looks), dtype=np.int32)
    listing[rows[1] :] -= 1
    model = embedder(NAMES)

    def classify(block: Embeddings) -> Embeddings:
        powers = np.exp(8 * block[:, :3])
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    model.classify = classify
    (result,) = look_at(vectors, category, model, listing=listing)
    assert result.listing_row == rows[0]
    assert result.photo_row == rows[1]


WORDS = {0: "paperback novel", 1: "smartphone handset", 2: "leather couch"}


def titled(*misfiled: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    """Return listings whose photos say nothing, and whose titles say what they are."""
    looks, category = catalogue(*misfiled)
    vectors = np.random.default_rng(0).normal(size=(len(looks), 16))
    return vectors, category, [f"{WORDS[kind]} number {row}" for row, kind in enumerate(looks)]


def test_a_title_is_judged_by_the_other_titles() -> None:
    """A title finds its category without the model; the words that speak for it are shown with their counts."""
    vectors, category, titles = titled((1, 0))
    results = look_at(vectors, category, embedder([]), titles=titles)
    assert (results[0].category, results[0].suggested) == (0, 1)
    assert results[0].title is not None
    assert results[0].title.suggested > 0.5 > results[0].title.seller
    assert {word.word for word in results[0].words} == {"smartphone", "handset"}
    assert all((word.suggested, word.seller, word.listings) == (1.0, 0.0, PHOTOS) for word in results[0].words)


def test_a_listing_does_not_vote_on_its_copy() -> None:
    """Listings with the same title in the same wrong category do not vouch for each other."""
    vectors, category, titles = titled(*[(1, 0)] * 3)
    copies = np.flatnonzero([title.startswith(WORDS[1]) for title in titles] & (category == 0))
    for row in copies:
        titles[row] = "smartphone handset Nova"
    results = look_at(vectors, category, embedder([]), titles=titles)
    assert {result.listing_row for result in results if result.suggested == 1} >= set(copies.tolist())


def test_what_staff_rejected_sinks() -> None:
    """After rejections, suggestions from the same category to the same other one are less certain; accepted, more."""
    looks, category = catalogue(*[(1, 0)] * 6)
    before = suggest(looks, category, NAMES)
    rows = [result.listing_row for result in before]
    assert len(rows) == 6

    def after(decision: Any) -> dict[int, float]:
        decided = {(f"l{row}", "Books", "Phones"): decision for row in rows[:5]}
        return {result.listing_row: result.certainty for result in suggest(looks, category, NAMES, decided=decided)}

    assert after("reject").get(rows[5], 0.0) < before[5].certainty < after("accept")[rows[5]]
    assert after("skip")[rows[5]] == before[5].certainty


def test_an_accepted_category_counts_for_others() -> None:
    """A listing whose suggestion was accepted no longer speaks for the seller's category as a neighbour."""
    looks, category = catalogue(*[(1, 0)] * 20)
    rows = np.flatnonzero(looks != category)
    decided: Decided = {(f"l{row}", "Books", "Phones"): "accept" for row in rows[:19]}
    before, after = (
        {result.listing_row: result for result in suggest(looks, category, NAMES, decided=known)}
        for known in ({}, decided)
    )
    last = int(rows[19])
    assert last not in before or after[last].neighbour.seller < before[last].neighbour.seller
