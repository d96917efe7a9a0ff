"""Metamorphic laws of search: they relate the answers of two queries, so they need no known right answer.

The tests use HTTP, so that they cover filters, pages, batches and tokens, on Lite and on a server. The stock contains
what may break laws: a photo shared by more listings than a search first looks at, listings with many photos, equal
prices. Laws that compare the nearest hits of two different lookups hold only for `exact`, and say so.
"""

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from catalog.listing import Listing, Photo, StoredPhoto
from catalog.progress import silent
from catalog.settings import ApiSettings, IndexSettings, IngestSettings, MilvusSettings, Settings, VerdictSettings
from catalog.store.builds import CollectionInfo
from catalog.store.collection import PhotoCollection
from embedding.card import ArchitectureConfig, TwoPartHeadConfig
from embedding.embedder import Embedder
from index_builds.build import BuildMethod, fill
from index_builds.build_report import BuildReport
from search_api.app import create_app
from tests.support.data.models import FakeEngine, fake_embedder
from tests.support.waiting import until

DIM = 16
LISTINGS = 150
STOCK = 90  # listings with the same photo; a search for up to 16 hits first looks at 64 photos
CATEGORIES = ("Home", "Garden", "Pets")
INDEX = IndexSettings(nlist=16, nprobe=4)  # so that an inexact search does miss photos


def embedder() -> Embedder:
    card = fake_embedder().card
    head = TwoPartHeadConfig(item_dim=10, kind_dim=6, categories=3)
    return Embedder(card.model_copy(update={"architecture": ArchitectureConfig(head=head)}), FakeEngine())


def stock() -> tuple[list[StoredPhoto], np.ndarray[Any, Any]]:
    """Return listings clustered around a few centres, like real stock, and their unit vectors (n, dim)."""
    random = np.random.default_rng(8)
    centres = random.normal(size=(6, DIM))
    shared = random.normal(size=DIM)
    photos, vectors = [], []
    for number in range(LISTINGS):
        listing = Listing(
            f"l{number:03}",
            f"Thing {number}",
            CATEGORIES[number % 3],
            ("Beds", "Beds / Other", "Beds, Cots", "")[number % 4],
            (None, 1.0, 5.0, 5.0, 20.0)[number % 5],
            ("GBP", "EUR")[number % 2],
            ("Leeds", "York")[number // 7 % 2],
            1_700_000_000 + number,
        )
        own = [centres[number % 6] + 0.5 * random.normal(size=DIM) for _ in range(40 if number == 77 else number % 3)]
        for which, vector in enumerate([shared, *own] if number % 5 < 3 else own or [centres[0]]):
            photos.append(StoredPhoto(Photo(f"{listing.listing_id}-{which}", listing, "/a.jpg"), "", 0))
            vectors.append(vector)
    # Shuffled, because a store returns equally near photos in any order.
    order = random.permutation(len(photos))
    matrix = np.asarray(vectors, np.float32)[order]
    return [photos[place] for place in order], matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


PHOTOS, VECTORS = stock()


@dataclass(frozen=True)
class Shop:
    """The service with the stock."""

    client: TestClient
    photos: PhotoCollection

    def ask(self, **fields: Any) -> dict[str, Any]:
        response = self.client.post("/v1/search", json=fields)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def hits(self, **fields: Any) -> list[tuple[str, float]]:
        """Return the id and score of each hit."""
        return pairs(self.ask(**fields), fields)


def pairs(answer: dict[str, Any], fields: dict[str, Any]) -> list[tuple[str, float]]:
    key = "photo_id" if fields.get("group_by") == "photo" else "listing_id"
    return [(hit[key], hit["score"]) for hit in answer["hits"]]


@pytest.fixture(scope="module", params=["lite", pytest.param("server", marks=pytest.mark.slow)])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    uri = str(folder / "milvus.db") if request.param == "lite" else request.getfixturevalue("milvus_server")
    milvus = MilvusSettings(uri=uri, alias=f"photos_{uuid.uuid4().hex[:8]}")
    photos = PhotoCollection.connect(milvus, INDEX, consistency="Session")
    model = embedder()
    photos.ensure(model.fingerprint, DIM)
    photos.writer.upsert(PHOTOS, VECTORS)
    photos.writer.flush()
    photos.notes.end_changes()
    photos.reader.wait_for_scan_lag()
    photos.builds.wait_for_index(photos.info().name)
    configured = Settings(
        api=ApiSettings(keys=folder / "keys.json", recall_seconds=0),
        verdicts=VerdictSettings.model_validate({"url": f"sqlite:///{folder / 'verdicts.db'}"}),
    )
    with ExitStack() as stack:
        client = stack.enter_context(TestClient(create_app(configured, model, photos)))
        yield Shop(client, photos)


@st.composite
def queries(draw: st.DrawFn) -> list[float]:
    """Draw the embedding of a stored photo (possibly the shared one), or one near it."""
    row = draw(st.integers(0, len(VECTORS) - 1))
    noise = draw(st.sampled_from([0.0, 0.1, 1.0])) * np.random.default_rng(row).normal(size=DIM)
    return [float(number) for number in VECTORS[row] + noise]


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "categories": st.lists(st.sampled_from([*CATEGORIES, "Boats"]), min_size=1, max_size=3, unique=True),
    "subcategory": st.sampled_from(["Beds", "Beds / Other", "Cots"]),
    "price_min": st.sampled_from([0.0, 1.0, 5.0]),
    "price_max": st.sampled_from([5.0, 20.0]),
    "currency": st.sampled_from(["GBP", "EUR"]),
    "location": st.sampled_from(["Leeds", "Y"]),
    "listed_after": st.sampled_from(["2023-11-14T22:14:00Z", "2023-11-14T22:15:00Z"]),
    "exclude_listing_ids": st.lists(st.sampled_from([f"l{number:03}" for number in range(LISTINGS)]), max_size=9),
}


@st.composite
def filters(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw a filter, and one with further fields."""
    chosen: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=FIELDS))
    return {key: value for key, value in chosen.items() if draw(st.booleans())}, chosen


EXACT = st.booleans()
GROUPS = st.sampled_from(["listing", "photo"])
LIMITS = st.integers(1, 40)
laws = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@laws
@given(query=queries(), filters=filters(), limit=LIMITS, group_by=GROUPS, exact=EXACT)
def test_adding_a_filter_never_adds_hits(shop: Shop, query, filters, limit, group_by, exact) -> None:
    """The narrower filter gives no more hits, and each of them also passes the wider one; exact or not."""
    wide, narrow = filters
    ask = {"embedding": query, "group_by": group_by, "exact": exact}
    few = shop.hits(**ask, filter=narrow, limit=limit)
    assert len(few) <= len(shop.hits(**ask, filter=wide, limit=limit))
    every = {hit_id for hit_id, _ in pages(shop, ask | {"filter": wide}, 200)}
    assert {hit_id for hit_id, _ in few} <= every


@laws
@given(query=queries(), filters=filters(), limit=LIMITS, group_by=GROUPS)
def test_a_wider_filter_never_lowers_a_score(shop: Shop, query, filters, limit, group_by) -> None:
    """With the wider filter, the best hit is at least as near, and so is the second, and so on.

    Only for exact searches: a filter may make an inexact search look further.
    """
    wide, narrow = filters
    ask = {"embedding": query, "group_by": group_by, "exact": True, "limit": limit}
    for (_, more), (_, less) in zip(shop.hits(**ask, filter=wide), shop.hits(**ask, filter=narrow), strict=False):
        assert more >= less - 1e-5


@laws
@given(row=st.integers(0, len(PHOTOS) - 1), exact=EXACT, limit=LIMITS)
def test_a_photo_finds_itself(shop: Shop, row, exact, limit) -> None:
    """A photo finds itself first by its embedding, at 1.0; identical photos are sorted by id. Exact or not."""
    hits = shop.hits(embedding=VECTORS[row].tolist(), group_by="photo", exact=exact, limit=200)
    same = sorted(hit_id for hit_id, score in hits if score > 1 - 1e-5)
    assert PHOTOS[row].photo.photo_id in same
    first = shop.hits(embedding=VECTORS[row].tolist(), group_by="photo", exact=exact, limit=limit)
    assert [hit_id for hit_id, _ in first[: len(same)]] == same[:limit]


def pages(shop: Shop, ask: dict[str, Any], limit: int) -> list[tuple[str, float]]:
    """Return the hits of all pages."""
    answer = shop.ask(**ask, limit=limit)
    found = pairs(answer, ask)
    while answer["cursor"]:
        answer = shop.ask(**ask, limit=limit, cursor=answer["cursor"])
        found += pairs(answer, ask)
    return found


@laws
@given(query=queries(), filters=filters(), first=LIMITS, second=LIMITS, group_by=GROUPS)
def test_two_pages_are_one(shop: Shop, query, filters, first, second, group_by) -> None:
    """Page 1 of n hits and page 2 of m hits are the first n + m in order, even with many equal scores.

    Only for exact searches: for more hits, an inexact search looks further.
    """
    ask = {"embedding": query, "group_by": group_by, "exact": True, "filter": filters[0]}
    whole = shop.hits(**ask, limit=first + second)
    answer = shop.ask(**ask, limit=first)
    found = pairs(answer, ask)
    if answer["cursor"]:
        found += shop.hits(**ask, limit=second, cursor=answer["cursor"])
    assert [hit_id for hit_id, _ in found] == [hit_id for hit_id, _ in whole]
    assert [score for _, score in found] == pytest.approx([score for _, score in whole], abs=1e-5)


@laws
@given(query=queries(), filters=filters(), limit=st.integers(5, 60), group_by=GROUPS, exact=EXACT)
def test_pages_hold_everything_once(shop: Shop, query, filters, limit, group_by, exact) -> None:
    """All pages together contain every listing or photo that passes, once, nearest first."""
    ask = {"embedding": query, "group_by": group_by, "exact": exact, "filter": filters[0]}
    found = pages(shop, ask, limit)
    ids = [hit_id for hit_id, _ in found]
    assert len(ids) == len(set(ids))
    scores = [score for _, score in found]
    if exact:
        assert scores == sorted(scores, reverse=True)
    passing = {stored.photo.photo_id: stored.photo.listing.listing_id for stored in passing_photos(filters[0])}
    assert set(ids) == set(passing if group_by == "photo" else passing.values())


def passing_photos(filter_fields: dict[str, Any]) -> list[StoredPhoto]:
    """Return the photos that pass the filter."""
    after = {"2023-11-14T22:14:00Z": 1_700_000_040, "2023-11-14T22:15:00Z": 1_700_000_100}
    passing = []
    for stored in PHOTOS:
        listing = stored.photo.listing
        price = -1.0 if listing.price is None else listing.price
        below = filter_fields.get("subcategory")
        if (
            ("categories" not in filter_fields or listing.category in filter_fields["categories"])
            and (below is None or listing.subcategory == below or listing.subcategory.startswith(f"{below} / "))
            and (not {"price_min", "price_max"} & filter_fields.keys() or price >= filter_fields.get("price_min", 0.0))
            and price <= filter_fields.get("price_max", np.inf)
            and listing.currency == filter_fields.get("currency", listing.currency)
            and listing.location.startswith(filter_fields.get("location", ""))
            and (listing.listed_at or 0) > after.get(filter_fields.get("listed_after", ""), 0)
            and listing.listing_id not in filter_fields.get("exclude_listing_ids", ())
        ):
            passing.append(stored)
    return passing


@laws
@given(
    asked=st.lists(st.tuples(queries(), filters(), LIMITS, GROUPS, EXACT), min_size=1, max_size=8),
)
def test_a_batch_is_its_singles(shop: Shop, asked) -> None:
    """A batch gives the same hits as single searches."""
    searches = [
        {"embedding": query, "filter": filters[0], "limit": limit, "group_by": group_by, "exact": exact}
        for query, filters, limit, group_by, exact in asked
    ]
    response = shop.client.post("/v1/search/batch", json={"searches": searches})
    assert response.status_code == 200, response.text
    for ask, answer in zip(searches, response.json()["answers"], strict=True):
        alone, together = shop.hits(**ask), pairs(answer["answer"], ask)
        assert [hit_id for hit_id, _ in together] == [hit_id for hit_id, _ in alone]
        assert [score for _, score in together] == pytest.approx([score for _, score in alone], abs=1e-5)


@laws
@given(query=queries(), filters=filters(), limit=LIMITS, group_by=GROUPS, left_out=st.integers(1, 5))
def test_what_is_left_out_leaves_the_others(shop: Shop, query, filters, limit, group_by, left_out) -> None:
    """Excluding the first listings shows those after them. Only for exact searches."""
    ask = {"embedding": query, "group_by": group_by, "exact": True}
    whole = shop.ask(**ask, filter=filters[0], limit=200)["hits"]
    out = list(dict.fromkeys(hit["listing_id"] for hit in whole))[:left_out]
    excluded = [*filters[0].get("exclude_listing_ids", []), *out]
    rest = shop.hits(**ask, filter=filters[0] | {"exclude_listing_ids": excluded}, limit=limit)
    expected = pairs({"hits": [hit for hit in whole if hit["listing_id"] not in out]}, ask)[:limit]
    assert len(whole) == 200 or [hit_id for hit_id, _ in rest] == [hit_id for hit_id, _ in expected]


@laws
@given(query=queries(), filters=filters(), limit=LIMITS, group_by=GROUPS, exact=EXACT, place=st.integers(0, 39))
def test_a_floor_cuts_the_end_off(shop: Shop, query, filters, limit, group_by, exact, place) -> None:
    """`min_score` keeps the hits that reach it and adds no others.

    If the minimum leaves a page unfilled, more of the index is searched; an inexact search may find more then.
    """
    ask = {"embedding": query, "group_by": group_by, "exact": exact, "filter": filters[0], "limit": limit}
    free = shop.hits(**ask)
    assume(free)
    floor = free[min(place, len(free) - 1)][1] - 1e-4
    above = [hit_id for hit_id, score in free if score >= floor]
    reaching = shop.hits(**ask, min_score=floor)
    if exact:
        assert [hit_id for hit_id, _ in reaching][: len(above)] == above
    else:
        assert len(reaching) == limit or set(above) <= {hit_id for hit_id, _ in reaching}
    assert all(score >= floor - 1e-5 for _, score in reaching)


@laws
@given(row=st.integers(0, len(PHOTOS) - 1), filters=filters(), limit=LIMITS, group_by=GROUPS, exact=EXACT)
def test_a_query_id_is_its_query(shop: Shop, row, filters, limit, group_by, exact) -> None:
    """The query_id returned for a photo, a listing or an embedding is the same query, with the same cursor."""
    stored = PHOTOS[row].photo
    ask = {"filter": filters[0], "limit": limit, "group_by": group_by, "exact": exact}
    for source in (
        {"photo_id": stored.photo_id},
        {"listing_id": stored.listing.listing_id},
        {"embedding": VECTORS[row].tolist()},
    ):
        answer = shop.ask(**source, **ask)
        again = shop.ask(query_id=answer["query_id"], **ask)
        assert (again["hits"], again["query_id"], again["cursor"]) == (
            answer["hits"],
            answer["query_id"],
            answer["cursor"],
        )


@laws
@given(query=queries(), filters=filters(), limit=st.integers(1, 15), diversity=st.floats(0.01, 1))
def test_diversity_begins_with_the_nearest(shop: Shop, query, filters, limit, diversity) -> None:
    """Diversity keeps the first hit and the number of hits, and picks from five times as many nearest hits."""
    ask = {"embedding": query, "filter": filters[0], "exact": True}
    plain, diverse = shop.hits(**ask, limit=limit), shop.hits(**ask, limit=limit, diversity=diversity)
    assert len(diverse) == len({hit_id for hit_id, _ in diverse}) == len(plain)
    assert diverse[:1] == plain[:1]
    assert dict(diverse).keys() <= dict(shop.hits(**ask, limit=5 * limit)).keys()


@laws
@given(query=queries(), filters=filters())
def test_facets_count_the_hits(shop: Shop, query, filters) -> None:
    """Each count is the number of hits in that category."""
    chosen = {key: value for key, value in filters[0].items() if key not in {"categories", "subcategory"}}
    facets = shop.ask(embedding=query, filter=filters[0], facets=True, exact=True)["facets"]
    hits = shop.ask(embedding=query, filter=chosen, limit=200, exact=True)["hits"]
    assert facets == Counter(hit["category"] for hit in hits)


def test_promoting_an_equal_build_changes_nothing(shop: Shop) -> None:
    """With the same model and data, another collection gives the same exact answers."""
    queries = VECTORS[:: len(VECTORS) // 20]
    asks = [{"embedding": query.tolist(), "limit": 30, "exact": True} for query in queries]
    before = [shop.hits(**ask) for ask in asks]
    live = shop.photos.builds.live()
    build = equal_build(shop.photos, live)
    shop.photos.builds.promote(build)
    try:
        until(lambda: shop.ask(**asks[0])["collection"] == build.name)
        for ask, hits in zip(asks, before, strict=True):
            found = shop.hits(**ask)
            assert [hit_id for hit_id, _ in found] == [hit_id for hit_id, _ in hits]
            assert [score for _, score in found] == pytest.approx([score for _, score in hits], abs=1e-5)
    finally:
        shop.photos.builds.rollback()


def equal_build(photos: PhotoCollection, live: CollectionInfo) -> CollectionInfo:
    made = photos.builds.create(live.fingerprint, DIM, live.index, model="", state="building")
    fill(photos.at(live), photos.at(made), BuildMethod(), IngestSettings(batch_size=64), BuildReport(made.name), silent)
    return photos.builds.describe(made.name)
