"""The contract of catalog.store.collection, tested on embedded Milvus Lite and on a real server."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import catalog.runs.claim_watch
from catalog.errors import (
    CollectionMissing,
    IngestRunning,
    InvalidFilter,
    InvalidSetting,
    ModelMismatch,
    NotFound,
    StoreFailed,
    StoreLocked,
    StoreUnreachable,
)
from catalog.listing import Listing, Page, Photo, Scored
from catalog.runs.claim_watch import CLAIM
from catalog.search import search_plan
from catalog.search.full_pages import PageRequest
from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from catalog.store.filters import SearchFilter
from catalog.store.reader import _to_scored
from catalog.store.records import FIELDS
from tests.support.data.catalogues import Connect, new_catalogue
from tests.support.data.vectors import DIM, MODEL, stored, unit_vectors
from tests.support.paths import ROOT

EVERYTHING = SearchFilter()


@pytest.fixture
def photos(connect: Connect) -> PhotoCollection:
    """An empty catalogue."""
    collection = connect()
    collection.ensure(MODEL, DIM)
    return collection


def listing_ids(photos: PhotoCollection, where: SearchFilter, limit: int = 50, query: int = 0) -> list[str]:
    hits = photos.reader.search(unit_vectors(20)[query : query + 1], where, limit).hits
    return [hit.listing.listing_id for hit in hits]


def test_records_are_returned_unchanged(photos: PhotoCollection) -> None:
    """Every field is returned unchanged, including an unknown price, emoji and line breaks."""
    odd = Listing('l"0\\', "Sofa 🛋️\nnew\ttab 'quoted' \"twice\"", "Home", "", None, "", "Zürich, 東京")
    row = replace(stored(0, odd), photo=Photo('it\'s \\ "p0" 🛋️', odd, "/photos/a b.jpg"))
    photos.writer.upsert([row, stored(1)], unit_vectors(2))
    assert photos.reader.stored([row.photo.photo_id, "p1", "none"]) == {row.photo.photo_id: row, "p1": stored(1)}
    assert photos.reader.listing_photos(odd.listing_id) == [row]
    assert photos.reader.count() == 2


def test_writing_twice_keeps_one(photos: PhotoCollection) -> None:
    """A photo id is stored once, with the record written last, whatever its category was before."""
    photos.writer.upsert([stored(0), stored(1)], unit_vectors(2))
    moved = stored(0, replace(stored(0).photo.listing, category="Garden"))
    photos.writer.upsert([moved], unit_vectors(1))
    assert photos.reader.count() == 2
    assert photos.reader.photo("p0") == moved
    assert listing_ids(photos, SearchFilter(categories=("Home",))) == ["l1"]
    assert listing_ids(photos, SearchFilter(categories=("Garden",))) == ["l0"]


def test_nearest_first_with_cosine_scores(photos: PhotoCollection) -> None:
    """Hits are sorted nearest first, and their scores are cosines."""
    vectors = unit_vectors(20)
    photos.writer.upsert([stored(number) for number in range(20)], vectors)
    hits = photos.reader.search(vectors[3:4], EVERYTHING, 5).hits
    cosines = vectors @ vectors[3]
    assert [hit.photo_id for hit in hits] == [f"p{number}" for number in np.argsort(-cosines)[:5]]
    assert [hit.score for hit in hits] == pytest.approx(np.sort(cosines)[::-1][:5], abs=1e-4)


def test_one_listing_never_crowds_out_the_others(photos: PhotoCollection) -> None:
    """A search returns a full page of listings although the 300 nearest photos all belong to one listing."""
    near = np.zeros((300, DIM), np.float32)
    near[:, 0] = 1.0
    near[:, 1] = np.linspace(0, 0.1, 300)
    vectors = np.concatenate([near / np.linalg.norm(near, axis=1, keepdims=True), unit_vectors(20)])
    crowd = Listing("crowd", "Crowd", "Home")
    photos.writer.upsert([stored(n, crowd) for n in range(300)] + [stored(n) for n in range(300, 320)], vectors)
    hits = photos.reader.search(vectors[:1], EVERYTHING, 10).hits
    assert len(hits) == 10
    assert len({hit.listing.listing_id for hit in hits}) == 10
    assert (hits[0].listing.listing_id, len(hits[0].others)) == ("crowd", 299)


def test_several_query_photos_take_the_best_score(photos: PhotoCollection) -> None:
    """A search with two photos finds listings near either of them."""
    vectors = unit_vectors(10)
    photos.writer.upsert([stored(number) for number in range(10)], vectors)
    hits = photos.reader.search(vectors[[2, 7]], EVERYTHING, 2).hits
    assert {hit.photo_id for hit in hits} == {"p2", "p7"}


def test_pages_neither_repeat_nor_skip(photos: PhotoCollection) -> None:
    """Pages contain every listing once, in one order; each page is full except the last, which is marked as such."""
    vectors = unit_vectors(20)
    pairs = [stored(number, Listing(f"l{number // 2}", "", "Home")) for number in range(20)]
    photos.writer.upsert(pairs, vectors)
    shown_ids: list[str] = []
    sizes = []
    while True:
        page = photos.reader.search(vectors[:1], EVERYTHING, 4, seen=shown_ids.__contains__)
        shown_ids += [hit.listing.listing_id for hit in page.hits]
        sizes.append(len(page.hits))
        if page.exhausted:
            break
    assert sizes == [4, 4, 2]
    assert shown_ids == listing_ids(photos, EVERYTHING)
    assert photos.reader.search(vectors[:1], EVERYTHING, 4, seen=shown_ids.__contains__).hits == []


def test_photos_as_hits(photos: PhotoCollection) -> None:
    """Grouped by photo, a listing's two photos are two hits, each with its embedding on request."""
    vectors = unit_vectors(4)
    photos.writer.upsert([stored(number, Listing(f"l{number // 2}")) for number in range(4)], vectors)
    page = photos.reader.search(vectors[:1], EVERYTHING, 10, group_by="photo", vectors=True)
    assert [hit.photo_id for hit in page.hits] == [f"p{number}" for number in np.argsort(-(vectors @ vectors[0]))]
    for hit in page.hits:
        assert hit.others == ()
        assert hit.embedding == pytest.approx(vectors[int(hit.photo_id[1:])], abs=1e-6)
    without = photos.reader.search(vectors[:1], EVERYTHING, 10, group_by="photo", seen={"p0"}.__contains__)
    assert [hit.photo_id for hit in without.hits] == [hit.photo_id for hit in page.hits[1:]]
    assert without.hits[0].embedding is None


def test_a_minimum_score(photos: PhotoCollection) -> None:
    """No photo below the minimum score is returned, neither as a hit nor within one, and the page is the last."""
    vectors = unit_vectors(20)
    photos.writer.upsert([stored(number, Listing(f"l{number // 2}")) for number in range(20)], vectors)
    cosines = vectors @ vectors[0]
    lowest = float(np.sort(cosines)[-6])
    page = photos.reader.search(vectors[:1], EVERYTHING, 20, min_score=lowest - 1e-4)
    assert page.exhausted
    scores = [score for hit in page.hits for score in (hit.score, *(score for score, _ in hit.others))]
    assert sorted(scores) == pytest.approx(np.sort(cosines)[-6:], abs=1e-3)


def test_many_searches_in_one(photos: PhotoCollection) -> None:
    """A batch gives the same results as single searches, also for two queries and for a search that is widened."""
    crowd = np.zeros((300, DIM), np.float32)
    crowd[:, 0] = 1.0
    crowd[:, 1] = np.linspace(0, 0.1, 300)
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
    vectors = np.concatenate([crowd, unit_vectors(40)])
    listings = [Listing("crowd")] * 300 + [Listing(f"l{number}") for number in range(40)]
    photos.writer.upsert([stored(number, listing) for number, listing in enumerate(listings)], vectors)
    searches = [vectors[:1], vectors[310:312], vectors[320:321]]
    pages = photos.reader.search_many(searches, EVERYTHING, PageRequest(5))
    for page, queries in zip(pages, searches, strict=True):
        single = photos.reader.search(queries, EVERYTHING, 5)
        assert [hit.listing.listing_id for hit in page.hits] == [hit.listing.listing_id for hit in single.hits]
        assert len(page.hits) == 5


@pytest.mark.parametrize("index", ["IVF_FLAT", "IVF_SQ8", "HNSW"])
def test_an_exact_search_is_exact(connect: Connect, index: str) -> None:
    """With every index, an exact search gives the results of comparing every vector, and is marked as exact."""
    photos = connect(IndexSettings.model_validate({"type": index}))
    photos.ensure(MODEL, DIM)
    vectors = unit_vectors(500)
    photos.writer.upsert([stored(number) for number in range(500)], vectors)
    photos.writer.flush()
    photos.reader.wait_for_scan_lag()
    for query in unit_vectors(5, seed=1):
        page = photos.reader.search(query[None], EVERYTHING, 10, exact=True)
        assert page.exact
        assert [hit.photo_id for hit in page.hits] == [f"p{number}" for number in np.argsort(-(vectors @ query))[:10]]


def test_facets_count_nearby_listings(photos: PhotoCollection) -> None:
    """Facets count each listing once, as if no category had been selected, and omit listings that are too far away."""
    vectors = unit_vectors(12)
    listings = [Listing(f"l{n // 2}", "", "Home" if n < 8 else "Garden", "Beds", float(n // 2)) for n in range(12)]
    photos.writer.upsert([stored(number, listing) for number, listing in enumerate(listings)], vectors)
    chosen = SearchFilter(categories=("Garden",), subcategory="Beds")
    assert photos.reader.facets(vectors[:1], chosen) == {"Home": 4, "Garden": 2}
    assert photos.reader.facets(vectors[:2], replace(chosen, price_max=0)) == {"Home": 1}
    assert photos.reader.facets(vectors[:1], chosen, min_score=0.999) == {"Home": 1}
    assert photos.reader.facets(vectors[8:9], chosen, reach=1) == {"Garden": 1}


@pytest.mark.parametrize("milvus", ["lite", pytest.param("server", marks=pytest.mark.slow)], indirect=True)
def test_facets_of_a_narrow_filter_are_complete(connect: Connect) -> None:
    """Facets count all of the few photos that pass a filter, as pages do, although they are far from the query."""
    photos = connect(IndexSettings(type="IVF_FLAT", nprobe=8))
    photos.ensure(MODEL, DIM)
    count, few = 2_000, 40
    vectors = unit_vectors(count) / 4
    vectors[:few, 0] -= 1
    vectors[few:, 0] += 1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = ["Home", "Garden"]
    listings = [Listing(f"l{n}", "", names[n % 2], "", 1.0 if n < few else 100.0, "GBP", "") for n in range(count)]
    photos.writer.upsert([stored(n, listing) for n, listing in enumerate(listings)], vectors)
    photos.writer.flush()
    photos.builds.finish(photos.info().name)
    if not photos.is_lite:
        time.sleep(25)  # until then it compares everything, as in test_a_small_catalogue_is_searched_in_full
    cheap = SearchFilter(price_max=1)
    hits = photos.reader.search(vectors[-1:], cheap, few).hits
    assert (len(hits), photos.reader.facets(vectors[-1:], cheap)) == (few, {"Home": 20, "Garden": 20})


def test_ten_thousand_excluded_ids(photos: PhotoCollection) -> None:
    """A search can exclude 10,000 listings or 10,000 photos."""
    photos.writer.upsert([stored(number) for number in range(20)], unit_vectors(20))
    listings = tuple(f"l{number}" for number in range(2, 10_002))
    page = photos.reader.search(unit_vectors(1), SearchFilter(exclude_listing_ids=listings), 10)
    assert {hit.listing.listing_id for hit in page.hits} == {"l0", "l1"}
    ids = tuple(f"p{number}" for number in range(2, 10_002))
    page = photos.reader.search(unit_vectors(1), SearchFilter(exclude_photo_ids=ids), 10)
    assert {hit.photo_id for hit in page.hits} == {"p0", "p1"}


def test_one_listing_is_replaced_and_removed(photos: PhotoCollection) -> None:
    """A single change stores exactly the given photos, keeps the listing's date, and is not counted as a loss.

    It starts from the current photos, even those written a moment ago; an aborted change leaves everything unchanged.
    """
    vectors = unit_vectors(8)
    bed = Listing("bed", "Bed", "Home", listed_at=1_600_000_000)
    photos.writer.upsert([stored(0, bed), stored(1, bed), stored(2)], vectors[:3])
    assert photos.notes.changed_at() == 0
    photos.notes.end_changes()
    before = int(time.time())
    newer = Listing("bed", "Big bed", "Home")
    with photos.writer.change_listing("bed") as change:
        assert change.before == [stored(0, bed), stored(1, bed)]
        change.write([stored(1, newer), stored(5, newer)], vectors[5:7])
    dated = replace(newer, listed_at=1_600_000_000)
    assert photos.reader.listing_photos("bed") == [stored(1, dated), stored(5, dated)]
    assert photos.reader.embeddings(["p1", "p5"]) == pytest.approx(vectors[5:7], abs=1e-6)
    assert (photos.reader.count(), photos.notes.lost()) == (3, 0)
    assert before <= photos.notes.changed_at() <= time.time()
    with photos.writer.change_listing("bed") as change:
        change.remove()
    with pytest.raises(ValueError, match="bed"), photos.writer.change_listing("bed") as change:
        assert change.before == []
        change.write([stored(2)], vectors[:1])
    assert (photos.reader.count(), photos.notes.lost()) == (1, 0)
    photos.writer.remove(["p2"])  # not an announced change, so `lost` counts it
    deadline = time.monotonic() + 60
    while not photos.notes.lost() and time.monotonic() < deadline:  # a server's count lags behind
        time.sleep(0.2)
    assert photos.notes.lost() == 1


def test_an_ingest_is_not_disturbed(photos: PhotoCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single change is refused while a claim's counter moves, and accepted once it stands still."""
    photos.writer.upsert([stored(0)], unit_vectors(1))
    for beat in range(2):
        photos.notes.set(CLAIM, f'{{"beat": {beat}}}')
        with pytest.raises(IngestRunning), photos.writer.change_listing("l0"):
            pass
    monkeypatch.setattr(catalog.runs.claim_watch, "_STILL_SECONDS", 0.0)
    with photos.writer.change_listing("l0") as change:
        assert change.before == [stored(0)]


@pytest.fixture(scope="module", params=["lite", "server"])
def four_listings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PhotoCollection]:
    """A shared, read-only catalogue, because a server takes three seconds to create a collection."""
    collection = PhotoCollection.connect(
        new_catalogue(request, tmp_path_factory.mktemp("four")), IndexSettings(), consistency="Session"
    )
    collection.ensure(MODEL, DIM)
    listings = [LEEDS, LONDON, NO_PRICE, FREE]
    collection.writer.upsert([stored(number, listing) for number, listing in enumerate(listings)], unit_vectors(4))
    yield collection
    collection.close()


BEDS = "Dining, Beds"
LEEDS = Listing("a", "A", "Home", BEDS, 5.0, "GBP", "Leeds, West Yorkshire", 1_700_000_000)
LONDON = Listing("b", "B", "Garden", f"{BEDS} / Other", 50.0, "GBP", "London", 1_600_000_000)
NO_PRICE = Listing("c", "C", "Home", f"{BEDS} Extra", None, "", "100% Wool_Street")
FREE = Listing('d" or 1 == 1 or "', "D", 'Odds & "Ends" \\', "", 0.0, "EUR", "leeds", 0)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (EVERYTHING, {LEEDS, LONDON, NO_PRICE, FREE}),
        (SearchFilter(categories=("Home",)), {LEEDS, NO_PRICE}),
        (SearchFilter(categories=("Home", "Garden")), {LEEDS, LONDON, NO_PRICE}),
        (SearchFilter(categories=('Odds & "Ends" \\',)), {FREE}),
        (SearchFilter(categories=('" or 1 == 1 or "',)), set()),
        (SearchFilter(subcategory=BEDS), {LEEDS, LONDON}),
        (SearchFilter(subcategory=f"{BEDS} / Other"), {LONDON}),
        (SearchFilter(subcategory="Dining"), set()),
        (SearchFilter(subcategory='" or 1 == 1 or "'), set()),
        (SearchFilter(currency="GBP"), {LEEDS, LONDON}),
        (SearchFilter(currency="gbp"), set()),
        (SearchFilter(currency='" or 1 == 1 or "'), set()),
        (SearchFilter(listed_after=1_600_000_000), {LEEDS}),
        (SearchFilter(listed_after=1_599_999_999), {LEEDS, LONDON}),
        (SearchFilter(listed_after=-5), {LEEDS, LONDON, FREE}),
        (SearchFilter(exclude_photo_ids=("p0", "p3")), {LONDON, NO_PRICE}),
        (SearchFilter(exclude_photo_ids=('" or 1 == 1 or "',)), {LEEDS, LONDON, NO_PRICE, FREE}),
        (SearchFilter(price_min=5), {LEEDS, LONDON}),
        (SearchFilter(price_max=5), {LEEDS, FREE}),
        (SearchFilter(price_min=1, price_max=49.99), {LEEDS}),
        (SearchFilter(location="Leeds"), {LEEDS}),
        (SearchFilter(location="100% Wool_"), {NO_PRICE}),
        (SearchFilter(location="%"), set()),
        (SearchFilter(location="L"), {LEEDS, LONDON}),
        (SearchFilter(exclude_listing_ids=("a", "b")), {NO_PRICE, FREE}),
        (SearchFilter(exclude_listing_ids=('d" or 1 == 1 or "',)), {LEEDS, LONDON, NO_PRICE}),
        (SearchFilter(categories=("Home",), price_max=10, location="Leeds", exclude_listing_ids=("a",)), set()),
    ],
)
def test_a_filter_returns_exactly_the_listings_that_pass(
    four_listings: PhotoCollection, where: SearchFilter, expected: set[Listing]
) -> None:
    """A filter returns only the listings that pass; values with quotes or operators are treated as plain values."""
    hits = four_listings.reader.search(unit_vectors(1), where, 50).hits
    assert {hit.listing for hit in hits} == expected


PASSING = (100, 50, 20, 10, 5, 1, 0.1)


@dataclass(frozen=True)
class Catalogue:
    """A read-only catalogue of photos around a hundred centres, each with a different price."""

    photos: PhotoCollection
    centre: NDArray[np.int64]
    prices: NDArray[np.int64]
    vectors: NDArray[np.float32]

    def nearest(self, query: NDArray[np.float32], allowed: NDArray[np.bool_]) -> set[str]:
        """Return the ids of the ten truly nearest photos among those that pass a filter."""
        ids = np.flatnonzero(allowed)
        return {f"p{n}" for n in ids[np.argsort(-(self.vectors[ids] @ query))[:10]]}

    def search_index(self, queries: NDArray[np.float32], where: SearchFilter) -> list[list[Scored]]:
        """Search the index alone, with its widest plan."""
        info = self.photos.info()
        plan = search_plan.first_plan(10, info.index, None, narrow=True)
        reader = self.photos.reader
        return _to_scored(reader._nearest(info, queries, where.expression(), plan, FIELDS))


def fill(photos: PhotoCollection, count: int) -> Catalogue:
    photos.ensure(MODEL, DIM)
    random = np.random.default_rng(0)
    centre = random.integers(0, 100, count)
    vectors = unit_vectors(100)[centre] + 0.6 / DIM**0.5 * random.normal(size=(count, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    prices = random.permutation(count)
    listings = [
        Listing(f"l{n}", "", f"c{centre[n] % 10}", "", float(price), "GBP", "") for n, price in enumerate(prices)
    ]
    for start in range(0, count, 2_500):
        part = range(start, min(start + 2_500, count))
        photos.writer.upsert([stored(n, listings[n]) for n in part], vectors[part.start : part.stop])
    photos.writer.flush()
    photos.builds.finish(photos.info().name)
    return Catalogue(photos, centre, prices, vectors)


INDEXES = ("FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW", "IVF_PQ")


@pytest.fixture(scope="module", params=["lite", "server"])
def catalogues(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Catalogue]]:
    """10,000 photos in each type of index, all filled first, because a server needs a while after each."""
    catalogues: dict[str, Catalogue] = {}
    for name in INDEXES:
        where = new_catalogue(request, tmp_path_factory.mktemp("filled"))
        if name == "IVF_PQ" and where.is_lite:
            continue  # Lite does not have it
        index = IndexSettings.model_validate({"type": name, "pq_m": 16})
        photos = PhotoCollection.connect(where, index, consistency="Session")
        catalogues[name] = fill(photos, 10_000)
    yield catalogues
    for catalogue in catalogues.values():
        catalogue.photos.close()


def becomes_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until the condition is true; return whether it became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


@pytest.mark.parametrize("index", INDEXES)
def test_filtered_searches_find_the_true_neighbours(
    catalogues: dict[str, Catalogue], monkeypatch: pytest.MonkeyPatch, index: str
) -> None:
    """Recall@10 against exact search is at least 0.95, from all photos passing the filter to one in a thousand.

    This holds for a filter that is independent of the vectors, and for one that only distant photos pass.
    """
    if index not in catalogues:
        pytest.skip("Lite does not have this index")
    monkeypatch.setattr(search_plan, "FEW_NUMBERS", 2_000)  # otherwise the catalogue would be too small for a plan
    monkeypatch.setattr(search_plan, "_FEW_TO_SCAN", 50)
    monkeypatch.setattr(search_plan, "FEW_TO_FETCH", 0)
    catalogue = catalogues[index]
    count = len(catalogue.vectors)
    queries = catalogue.vectors[np.random.default_rng(1).integers(0, count, 20)]

    def recall(where: SearchFilter, allowed: NDArray[np.bool_]) -> float:
        pages = catalogue.photos.reader.search_many([query[None] for query in queries], where, PageRequest(10))
        found = [
            catalogue.nearest(query, allowed) & {hit.photo_id for hit in page.hits}
            for query, page in zip(queries, pages, strict=True)
        ]
        return sum(map(len, found)) / 200

    # A 2.3 server searches new rows through an interim index that loses hits, 10 to 20 s longer than it reports.
    if not catalogue.photos.is_lite:
        few = SearchFilter(price_max=9)
        becomes_true(lambda: all(len(found) == 10 for found in catalogue.search_index(queries, few)), seconds=90)
    for percent in PASSING:
        highest = count * percent / 100 - 1
        where = EVERYTHING if percent == 100 else SearchFilter(price_max=highest)
        assert recall(where, catalogue.prices <= highest) >= 0.95, f"{percent} % pass"
    assert recall(SearchFilter(categories=("c3",)), catalogue.centre % 10 == 3) >= 0.95


@pytest.mark.slow
def test_a_small_catalogue_is_searched_in_full(connect: Connect) -> None:
    """A server builds no index for fewer than 1,024 photos; its interim index loses hits with narrow filters."""
    catalogue, few = fill(connect(IndexSettings(type="IVF_FLAT")), 1_000), SearchFilter(price_max=19)
    queries = catalogue.vectors[np.random.default_rng(1).integers(0, len(catalogue.vectors), 20)]

    def loses_hits() -> bool:
        return any(len(found) < 10 for found in catalogue.search_index(queries, few))

    # For about 25 s the server compares everything; then its interim index takes over.
    lost = catalogue.photos.is_lite or becomes_true(loses_hits, seconds=60)
    for query in queries:
        hits = catalogue.photos.reader.search(query[None], few, 10, group_by="photo").hits
        assert {hit.photo_id for hit in hits} == catalogue.nearest(query, catalogue.prices <= 19)
    if not lost:
        pytest.skip("this server's interim index loses no hits")


def test_categories_count_listings_and_photos(photos: PhotoCollection) -> None:
    """Every root category is counted once per listing and once per photo, largest first."""
    listings = [LEEDS, LONDON, NO_PRICE, FREE, LEEDS]
    photos.writer.upsert([stored(number, listing) for number, listing in enumerate(listings)], unit_vectors(5))
    deadline = time.monotonic() + 60
    # A 2.3 server's iterators only see rows that are more than a second old.
    while sum(size.photos for size in photos.reader.categories()) < 5 and time.monotonic() < deadline:
        time.sleep(0.2)
    sizes = [(size.category, size.listings, size.photos) for size in photos.reader.categories()]
    assert sizes[0] == ("Home", 2, 3)
    assert sorted(sizes[1:]) == [("Garden", 1, 1), ('Odds & "Ends" \\', 1, 1)]


def test_a_sample_is_spread_and_keeps_rows_together(photos: PhotoCollection) -> None:
    """A sample contains no photo twice, and each photo has its own embedding."""
    vectors = unit_vectors(30)
    photos.writer.upsert([stored(number) for number in range(30)], vectors)
    deadline = time.monotonic() + 60
    while len(photos.reader.sample(100)[0]) < 30 and time.monotonic() < deadline:  # as above
        time.sleep(0.2)
    sample, embeddings = photos.reader.sample(10)
    assert len({row.photo.photo_id for row in sample}) == 10
    for row, embedding in zip(sample, embeddings, strict=True):
        assert embedding == pytest.approx(vectors[int(row.photo.photo_id[1:])], abs=1e-6)
    assert len(photos.reader.sample(100)[0]) == 30


def test_embeddings_are_in_the_requested_order(photos: PhotoCollection) -> None:
    """Row i belongs to id i, and a missing id is an error rather than a gap."""
    vectors = unit_vectors(5)
    photos.writer.upsert([stored(number) for number in range(5)], vectors)
    assert photos.reader.embeddings(["p3", "p0"]) == pytest.approx(vectors[[3, 0]], abs=1e-6)
    with pytest.raises(NotFound, match="p9"):
        photos.reader.embeddings(["p3", "p9"])


def test_unknown_listings_and_photos_are_not_found(photos: PhotoCollection) -> None:
    """Unknown listings and photos are NotFound; an empty catalogue gives no hits."""
    with pytest.raises(NotFound, match="nobody"):
        photos.reader.photo("nobody")
    with pytest.raises(NotFound, match="nobody"):
        photos.reader.listing_photos("nobody")
    assert photos.reader.search(unit_vectors(1), EVERYTHING, 5) == Page([], exact=True, exhausted=True)
    assert not photos.reader.probe()
    assert photos.reader.count() == 0


def test_a_missing_collection_is_a_clear_error(connect: Connect) -> None:
    """Before the first ingest there is no collection, and the hint says how to create one."""
    empty = connect()
    with pytest.raises(CollectionMissing) as caught:
        empty.info()
    assert "marketlens ingest" in caught.value.hint


def test_another_model_is_refused(photos: PhotoCollection) -> None:
    """A collection created with one model is neither searched nor written by another."""
    photos.writer.upsert([stored(0)], unit_vectors(1))
    with pytest.raises(ModelMismatch, match="cdcdcdcdcdcd"):
        photos.require("cd" * 32)
    with pytest.raises(ModelMismatch):
        photos.ensure("cd" * 32, DIM)
    assert photos.require(MODEL).fingerprint == MODEL


def test_data_survives_closing(milvus: MilvusSettings) -> None:
    """Confirmed photos and the index settings are still there after the store is closed and opened again."""
    first = PhotoCollection.connect(milvus, IndexSettings(type="HNSW", hnsw_m=8), consistency="Session")
    first.ensure(MODEL, DIM)
    vectors = unit_vectors(20)
    first.writer.upsert([stored(number) for number in range(20)], vectors)
    first.writer.flush()
    first.close()
    second = PhotoCollection.connect(milvus, IndexSettings(), consistency="Session")
    try:
        assert second.reader.count() == 20
        assert second.reader.search(vectors[4:5], EVERYTHING, 1).hits[0].photo_id == "p4"
        assert (second.info().index.type, second.info().index.hnsw_m) == ("HNSW", 8)
    finally:
        second.close()


@pytest.mark.parametrize("spoil", ["nan", "zero", "twice", "dim"])
def test_bad_embeddings_never_reach_the_store(photos: PhotoCollection, spoil: str) -> None:
    """Milvus would accept NaN and zero vectors; they are refused before, and none of the batch is written."""
    vectors = unit_vectors(2)
    rows = [stored(0), stored(1)]
    if spoil == "nan":
        vectors[1, 0] = np.nan
    if spoil == "zero":
        vectors[1] = 0
    if spoil == "twice":
        rows[1] = rows[0]
    if spoil == "dim":
        vectors = vectors[:, :-1]
    with pytest.raises(ValueError):
        photos.writer.upsert(rows, vectors)
    assert photos.reader.count() == 0


def test_a_control_character_in_a_filter_is_refused(four_listings: PhotoCollection) -> None:
    """NUL in a filter is reported as the caller's mistake, not the store's."""
    with pytest.raises(InvalidFilter):
        four_listings.reader.search(unit_vectors(1), SearchFilter(categories=("a\x00b",)), 5)


def test_searches_while_writing(photos: PhotoCollection) -> None:
    """Readers in parallel with a writer see complete batches and no errors."""
    vectors = unit_vectors(400)
    photos.writer.upsert([stored(number) for number in range(100)], vectors[:100])
    failures: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                assert photos.reader.search(vectors[5:6], EVERYTHING, 3).hits[0].photo_id == "p5"
            except Exception as error:  # noqa: BLE001 - any error fails the test
                failures.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    for start in range(100, 400, 100):
        photos.writer.upsert([stored(number) for number in range(start, start + 100)], vectors[start : start + 100])
    done.set()
    reader.join()
    assert failures == []
    assert photos.reader.count() == 400


def test_an_unreachable_server_is_a_quick_error() -> None:
    """An address where nothing listens quickly gives an error that names it and says what to check."""
    with pytest.raises(StoreUnreachable, match=r"127\.0\.0\.1:9") as caught:
        PhotoCollection.connect(MilvusSettings(uri="http://127.0.0.1:9", timeout=1), IndexSettings())
    assert "--uri" in caught.value.hint


def test_lite_names_the_process_that_holds_it(lite: MilvusSettings) -> None:
    """The error of a second process names the process that has the embedded database open."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, lite.uri],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(StoreLocked, match=str(holder.pid)):
            PhotoCollection.connect(lite, IndexSettings())
    finally:
        holder.kill()
        holder.wait()
    PhotoCollection.connect(lite, IndexSettings()).close()


_HOLD = """
import sys
import catalog.runs.claim_watch
from catalog.runs.claim_watch import CLAIM
from catalog.store.collection import PhotoCollection
from catalog.settings import IndexSettings, MilvusSettings
photos = PhotoCollection.connect(MilvusSettings(uri=sys.argv[1]), IndexSettings())
print("open", flush=True)
sys.stdin.read()
"""


def test_lite_repairs_a_truncated_index(lite: MilvusSettings) -> None:
    """An index file that a kill truncated is rebuilt automatically."""
    first = PhotoCollection.connect(lite, IndexSettings())
    first.ensure(MODEL, DIM)
    vectors = unit_vectors(200)
    first.writer.upsert([stored(number) for number in range(200)], vectors)
    first.close()
    files = list(Path(lite.uri).rglob("*.idx"))
    assert files
    for file in files:
        os.truncate(file, 10)
    second = PhotoCollection.connect(lite, IndexSettings())
    try:
        assert second.reader.search(vectors[7:8], EVERYTHING, 1).hits[0].photo_id == "p7"
    finally:
        second.close()


def test_lite_refuses_an_index_it_does_not_have(lite: MilvusSettings) -> None:
    """Lite would accept IVF_PQ, search by brute force, and fail at the next start."""
    with pytest.raises(InvalidSetting, match="IVF_PQ"):
        PhotoCollection.connect(lite, IndexSettings(type="IVF_PQ"))


def test_lite_refuses_a_file(tmp_path: Path) -> None:
    """If the path is a file, the error names it, and the file is not overwritten."""
    path = tmp_path / "milvus.db"
    path.write_text("not a database")
    with pytest.raises(StoreFailed, match="is a file"):
        PhotoCollection.connect(MilvusSettings(uri=str(path)), IndexSettings())
    assert path.read_text() == "not a database"
