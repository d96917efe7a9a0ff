"""Pages of hits. Searches with equal terms go to Milvus in one call."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from catalog.errors import InvalidQuery
from catalog.listing import Hit
from catalog.search.full_pages import PageRequest
from catalog.store.filters import SearchFilter
from embedding.card import Calibration, ModelCard
from search_api.listings.fields import as_seconds
from search_api.schemas import SearchRequest
from search_api.search.diversity import diversify
from search_api.search.query import Query
from search_api.search.tokens import MAX_SHOWN, digest, hit_digest, read_cursor, write_cursor
from search_api.serving.live_catalogue import LiveBuild

# Candidates per hit that diversity chooses from.
_CHOICE = 5
_MAX_CANDIDATES = 1_000


@dataclass(frozen=True, slots=True)
class FoundPage:
    """The hits of one search; `facets` only if requested, `cursor` for the next page.

    `changed_at` is the time of the collection's last change in Unix seconds; 0 if unknown.
    """

    hits: Sequence[Hit]
    exact: bool
    exhausted: bool
    cursor: str | None
    facets: dict[str, int] | None
    changed_at: int


@dataclass(frozen=True, slots=True)
class StoreTerms:
    """The terms of a search in the store, without its vectors. Searches with equal terms go there in one call."""

    where: SearchFilter
    page: PageRequest
    exact: bool
    vectors: bool


@dataclass(frozen=True, slots=True)
class PlannedSearch:
    """A search that is ready to run; `shown` are digests of the hits on earlier pages.

    `calibration` converts its scores to probabilities, if the model has one for such queries.
    """

    request: SearchRequest
    query: Query
    calibration: Calibration | None
    terms: StoreTerms
    identity: bytes
    shown: Sequence[bytes]


def plan_search(request: SearchRequest, query: Query, card: ModelCard) -> PlannedSearch:
    """Plan a search; checks everything that needs no store. Raises InvalidQuery, InvalidFilter."""
    calibration = calibration_for(query, card)
    given = request.filter
    where = SearchFilter(
        categories=tuple(given.categories),
        subcategory=given.subcategory or "",
        price_min=given.price_min,
        price_max=given.price_max,
        currency=given.currency or "",
        location=given.location or "",
        listed_after=None if given.listed_after is None else as_seconds(given.listed_after),
        exclude_listing_ids=tuple(dict.fromkeys((*given.exclude_listing_ids, *query.own))),
    )
    where.expression()
    limit = request.limit
    if request.diversity:
        limit = max(limit, min(_CHOICE * limit, _MAX_CANDIDATES))
    vectors = bool(request.diversity) or "embedding" in request.include
    # Everything that a page depends on. The key stands for the source, so a photo and its query_id are the same search.
    options = request.model_dump_json(
        include={"filter", "min_score", "min_probability", "group_by", "exact", "diversity"}
    )
    identity = digest(query.key, options)
    page = PageRequest(limit, request.group_by, _min_score(request, query, calibration))
    return PlannedSearch(
        request,
        query,
        calibration,
        StoreTerms(where, page, request.exact, vectors),
        identity,
        read_cursor(request.cursor, identity) if request.cursor else [],
    )


async def find_pages(searches: Sequence[PlannedSearch], live: LiveBuild) -> list[FoundPage]:
    """Run searches; returns a page for each. Raises CollectionMissing, StoreUnreachable and what the stage raises."""
    groups: defaultdict[object, list[int]] = defaultdict(list)
    found: dict[int, FoundPage] = {}
    for place, search in enumerate(searches):
        if not len(search.query.vectors):
            found[place] = FoundPage(
                hits=[],
                exact=True,
                exhausted=True,
                cursor=None,
                facets={} if search.request.facets else None,
                changed_at=live.photos.notes.changed_at(),
            )
            continue
        # A page after the first excludes hits of its own, so it cannot share a call.
        groups[place if search.shown else search.terms].append(place)
    # One group at a time: a batch is one request, and other requests need the store as well.
    for places in groups.values():
        alike = [searches[place] for place in places]
        found.update(zip(places, await live.stages.store.run(partial(_ask_store, alike, live)), strict=True))
    return [found[place] for place in range(len(searches))]


def _ask_store(searches: Sequence[PlannedSearch], live: LiveBuild) -> list[FoundPage]:
    """Run searches with equal terms. A search with earlier pages comes alone."""
    terms, known, changed_at = searches[0].terms, frozenset(searches[0].shown), live.photos.notes.changed_at()
    page_request = replace(terms.page, seen=lambda identity: hit_digest(identity) in known) if known else terms.page
    vectors = [search.query.vectors for search in searches]
    pages = live.photos.reader.search_many(vectors, terms.where, page_request, exact=terms.exact, vectors=terms.vectors)
    found = []
    for search, page in zip(searches, pages, strict=True):
        request = search.request
        hits = diversify(page.hits, request.limit, request.diversity) if request.diversity else page.hits
        exhausted = page.exhausted and len(hits) == len(page.hits)
        cursor = None
        if hits and not exhausted and len(search.shown) + len(hits) <= MAX_SHOWN:
            ids = [hit.listing.listing_id if request.group_by == "listing" else hit.photo_id for hit in hits]
            cursor = write_cursor(search.identity, [*search.shown, *map(hit_digest, ids)])
        facets = None
        if request.facets:
            facets = live.photos.reader.facets(
                search.query.vectors, terms.where, terms.page.min_score, exact=terms.exact
            )
        found.append(FoundPage(hits, page.exact, exhausted, cursor, facets, changed_at))
    return found


def calibration_for(query: Query, card: ModelCard) -> Calibration | None:
    """Return the curve for queries of this kind; None if the model has none."""
    return {"photo": card.calibration, "words": card.words_calibration, "examples": None}[query.kind]


def _min_score(request: SearchRequest, query: Query, calibration: Calibration | None) -> float:
    least = -1.0 if request.min_score is None else request.min_score
    if request.min_probability is None:
        return least
    if query.kind == "examples":
        raise InvalidQuery(
            "min_probability has no meaning for a query that combines examples: it is measured for a photo alone and "
            "for words alone.",
            hint="Use min_score.",
        )
    if calibration is None:
        raise InvalidQuery("This model has no calibration, so min_probability has no meaning.", hint="Use min_score.")
    return max(least, calibration.cosine(request.min_probability))
