"""Full pages from looks that each see a part, without a store."""

import numpy as np
import pytest

from catalog.listing import Embeddings, Listing, Photo, Scored, StoredPhoto
from catalog.search.full_pages import PageRequest, full_pages
from catalog.search.search_plan import SearchPlan
from catalog.settings import IndexSettings

INDEX = IndexSettings(type="IVF_FLAT")
START = SearchPlan(4, "planned")


class Store:
    """Photos at angles of a circle; a `planned` look misses all but every third of them."""

    def __init__(self, degrees: list[float], *, photos_each: int = 1, misses: bool = False) -> None:
        self.angles = np.radians(degrees)
        self.photos_each = photos_each
        self.misses = misses
        self.looks: list[tuple[int, SearchPlan]] = []

    def look(self, queries: Embeddings, reach: SearchPlan) -> list[list[Scored]]:
        self.looks.append((len(queries), reach))
        step = 3 if self.misses and reach.width == "planned" else 1
        answers = []
        for query in queries:
            found = [
                (float(np.cos(self.angles[number]) * query[0] + np.sin(self.angles[number]) * query[1]), number)
                for number in range(0, len(self.angles), step)
            ]
            answers.append(
                [(score, self.photo(number)) for score, number in sorted(found, reverse=True)[: reach.photos]]
            )
        return answers

    def photo(self, number: int) -> StoredPhoto:
        return StoredPhoto(Photo(f"p{number}", Listing(f"l{number // self.photos_each}"), ""), "", 0)


def at(*degrees: float) -> Embeddings:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_a_far_query_never_fills_the_page() -> None:
    """What is near the second query waits while more photos, not reached yet, are nearer to the first."""
    store = Store([*np.linspace(0, 10, 9), 150, 151, 152, 153], photos_each=2)
    (page,) = full_pages(store.look, [at(0, 90)], PageRequest(5), START, INDEX)
    assert [hit.listing.listing_id for hit in page.hits] == ["l0", "l1", "l2", "l3", "l4"]


def test_a_page_that_comes_short_looks_everywhere() -> None:
    """An index that misses photos does not leave the page half empty, and the page says that nothing further passes."""
    store = Store(list(range(6)), misses=True)
    (page,) = full_pages(store.look, [at(0)], PageRequest(6), SearchPlan(8, "planned"), INDEX)
    assert [hit.photo_id for hit in page.hits] == [f"p{number}" for number in range(6)]
    assert (page.exact, page.exhausted) == (True, True)


def test_a_full_page_is_one_look() -> None:
    """A page that is full at once costs one look, and does not claim to be exact or the last."""
    store = Store(list(range(60)), misses=True)
    (page,) = full_pages(store.look, [at(0)], PageRequest(3), START, INDEX)
    assert len(store.looks) == 1
    assert (len(page.hits), page.exact, page.exhausted) == (3, False, False)


def test_a_page_knows_that_it_is_the_last() -> None:
    """Exactly as many as fit: full, and nothing further. One more, and there is."""
    for photos, last in ((4, True), (5, False)):
        store = Store(list(range(photos)))
        (page,) = full_pages(store.look, [at(0)], PageRequest(4), SearchPlan(64, "widest"), INDEX)
        assert (len(page.hits), page.exact, page.exhausted) == (4, True, last)


def test_a_lowest_score_spares_looks() -> None:
    """Once everything that is near enough was seen, nobody looks for what is further away."""
    store = Store([0, 1, 60, 61, 62, 63, 64, 65])
    (page,) = full_pages(store.look, [at(0)], PageRequest(5, min_score=0.9), START, INDEX)
    assert [hit.photo_id for hit in page.hits] == ["p0", "p1"]
    assert page.exhausted
    assert len(store.looks) == 1


def test_a_lowest_score_does_not_hide_a_short_look() -> None:
    """An index that came short is looked through, whatever the lowest score: nothing says that it has seen all."""
    store = Store(list(range(6)), misses=True)
    (page,) = full_pages(store.look, [at(0)], PageRequest(6, min_score=0.5), SearchPlan(8, "planned"), INDEX)
    assert len(page.hits) == 6


def test_only_what_is_not_full_is_asked_again() -> None:
    """Of several searches, those with a full page are not looked for a second time."""
    store = Store([*range(20), 90, 91, 92, 93, 94], photos_each=4)
    pages = full_pages(store.look, [at(0), at(94)], PageRequest(2), START, INDEX)
    assert [len(page.hits) for page in pages] == [2, 2]
    assert [queries for queries, _ in store.looks] == [2, 1]


def test_equals_keep_one_order() -> None:
    """Of photos that are equally near, those with the first ids come first, though the store gives the last ones."""
    store = Store([0] * 20)
    (page,) = full_pages(store.look, [at(0)], PageRequest(2), START, INDEX)
    assert [hit.photo_id for hit in page.hits] == ["p0", "p1"]


def test_equals_without_end_are_not_all_fetched() -> None:
    """Of a placeholder that thousands share, a page is a few looks, in the order of the store."""
    store = Store([0] * 5_000)
    (page,) = full_pages(store.look, [at(0)], PageRequest(2), START, INDEX)
    assert [reach.photos for _, reach in store.looks] == [4, 16, 64, 256, 1_024]
    assert len(page.hits) == 2


@pytest.mark.parametrize("width", ["planned", "widest", "scan"])
def test_an_empty_store(width: str) -> None:
    """Where nothing passes, the search ends with an empty page that says so."""
    reach = SearchPlan(4, width)  # type: ignore[arg-type]  # the parametrized names are those of Width
    assert full_pages(Store([]).look, [at(0)], PageRequest(3), reach, INDEX)[0].exhausted
