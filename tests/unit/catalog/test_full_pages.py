"""Full pages from several partial lookups, without a store."""

import numpy as np
import pytest

from catalog.listing import Embeddings, Listing, Photo, Scored, StoredPhoto
from catalog.search.full_pages import PageRequest, full_pages
from catalog.search.search_plan import SearchPlan
from catalog.settings import IndexSettings

INDEX = IndexSettings(type="IVF_FLAT")
START = SearchPlan(4, "planned")


class Store:
    """Photos at angles of a circle. With `misses`, a `planned` lookup finds only every third one."""

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
    """Hits near the second query wait as long as unseen photos may be nearer to the first."""
    store = Store([*np.linspace(0, 10, 9), 150, 151, 152, 153], photos_each=2)
    (page,) = full_pages(store.look, [at(0, 90)], PageRequest(5), START, INDEX)
    assert [hit.listing.listing_id for hit in page.hits] == ["l0", "l1", "l2", "l3", "l4"]


def test_a_page_that_comes_short_looks_everywhere() -> None:
    """If the index misses photos, the page is still filled, and it says that no further photo passes."""
    store = Store(list(range(6)), misses=True)
    (page,) = full_pages(store.look, [at(0)], PageRequest(6), SearchPlan(8, "planned"), INDEX)
    assert [hit.photo_id for hit in page.hits] == [f"p{number}" for number in range(6)]
    assert (page.exact, page.exhausted) == (True, True)


def test_a_full_page_is_one_look() -> None:
    """A page that is full at once costs one lookup, and does not claim to be exact or the last."""
    store = Store(list(range(60)), misses=True)
    (page,) = full_pages(store.look, [at(0)], PageRequest(3), START, INDEX)
    assert len(store.looks) == 1
    assert (len(page.hits), page.exact, page.exhausted) == (3, False, False)


def test_a_page_knows_that_it_is_the_last() -> None:
    """A full page is the last one only if no further photo exists."""
    for photos, last in ((4, True), (5, False)):
        store = Store(list(range(photos)))
        (page,) = full_pages(store.look, [at(0)], PageRequest(4), SearchPlan(64, "widest"), INDEX)
        assert (len(page.hits), page.exact, page.exhausted) == (4, True, last)


def test_a_lowest_score_spares_looks() -> None:
    """Once all photos above the minimum score were seen, no further lookup runs."""
    store = Store([0, 1, 60, 61, 62, 63, 64, 65])
    (page,) = full_pages(store.look, [at(0)], PageRequest(5, min_score=0.9), START, INDEX)
    assert [hit.photo_id for hit in page.hits] == ["p0", "p1"]
    assert page.exhausted
    assert len(store.looks) == 1


def test_a_lowest_score_does_not_hide_a_short_look() -> None:
    """If the index returns too few photos, it is searched in full even with a minimum score: it may miss photos."""
    store = Store(list(range(6)), misses=True)
    (page,) = full_pages(store.look, [at(0)], PageRequest(6, min_score=0.5), SearchPlan(8, "planned"), INDEX)
    assert len(page.hits) == 6


def test_only_incomplete_pages_are_searched_again() -> None:
    """Of several searches, those with a full page are not repeated."""
    store = Store([*range(20), 90, 91, 92, 93, 94], photos_each=4)
    pages = full_pages(store.look, [at(0), at(94)], PageRequest(2), START, INDEX)
    assert [len(page.hits) for page in pages] == [2, 2]
    assert [queries for queries, _ in store.looks] == [2, 1]


def test_equals_keep_one_order() -> None:
    """Equally near photos are sorted by id, although the store returns the last ids first."""
    store = Store([0] * 20)
    (page,) = full_pages(store.look, [at(0)], PageRequest(2), START, INDEX)
    assert [hit.photo_id for hit in page.hits] == ["p0", "p1"]


def test_equals_without_end_are_not_all_fetched() -> None:
    """If thousands of listings share a placeholder photo, a page takes a few lookups, in the order of the store."""
    store = Store([0] * 5_000)
    (page,) = full_pages(store.look, [at(0)], PageRequest(2), START, INDEX)
    assert [reach.photos for _, reach in store.looks] == [4, 16, 64, 256, 1_024]
    assert len(page.hits) == 2


@pytest.mark.parametrize("width", ["planned", "widest", "scan"])
def test_an_empty_store(width: str) -> None:
    """If no photo passes, the search ends with an empty page that says so."""
    reach = SearchPlan(4, width)  # type: ignore[arg-type]  # the parametrized names are those of Width
    assert full_pages(Store([]).look, [at(0)], PageRequest(3), reach, INDEX)[0].exhausted
