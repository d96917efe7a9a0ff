"""Pages of hits for queries. Searches with equal terms go to Milvus together."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from catalog.errors import InvalidQuery
from catalog.listing import Hit
from catalog.search.full_pages import PageRequest
from catalog.store.filters import SearchFilter
from embedding.card import Calibration
from search_api.listings.fields import as_seconds
from search_api.schemas import Filter, SearchRequest
from search_api.search.diversity import diversify
from search_api.search.query import Query
from search_api.search.tokens import MAX_SHOWN, digest, read_cursor, shown, write_cursor
from search_api.serving.live_catalogue import Live

# Candidates that diversity chooses among, for each hit.
_CHOICE = 5
_MAX_CANDIDATES = 1_000


@dataclass(frozen=True, slots=True)
class FoundPage:
    """The hits of one search; `facets` only when asked for, `cursor` for the page after this one.

    `changed_at` is when the collection changed last, in Unix seconds; 0 where that is not known.
    """

    hits: Sequence[Hit]
    exact: bool
    exhausted: bool
    cursor: str | None
    facets: dict[str, int] | None
    changed_at: int


@dataclass(frozen=True, slots=True)
class StoreTerms:
    """What the store is asked apart from the vectors. Searches with equal terms go there together."""

    where: SearchFilter
    page: PageRequest
    exact: bool
    vectors: bool


@dataclass(frozen=True, slots=True)
class PlannedSearch:
    """A search that is ready to run; `shown` holds digests of the hits on earlier pages."""

    request: SearchRequest
    query: Query
    terms: StoreTerms
    identity: bytes
    shown: Sequence[bytes]


def plan_search(request: SearchRequest, query: Query, calibration: Calibration | None) -> PlannedSearch:
    """Check what can be checked without the store. Raises InvalidQuery, InvalidFilter."""
    where = to_filter(request.filter, query.own)
    where.expression()
    limit = request.limit
    if request.diversity:
        limit = max(limit, min(_CHOICE * limit, _MAX_CANDIDATES))
    vectors = bool(request.diversity) or "embedding" in request.include
    # What a page depends on; the source by its key, so that a photo and its query_id are one.
    options = request.model_dump_json(
        include={"filter", "min_score", "min_probability", "group_by", "exact", "diversity"}
    )
    identity = digest(query.key, options)
    page = PageRequest(limit, request.group_by, _min_score(request, query, calibration))
    return PlannedSearch(
        request,
        query,
        StoreTerms(where, page, request.exact, vectors),
        identity,
        read_cursor(request.cursor, identity) if request.cursor else [],
    )


def to_filter(given: Filter, own: Sequence[str] = ()) -> SearchFilter:
    """The filter in the catalogue's terms, without the query's own listings."""
    return SearchFilter(
        categories=tuple(given.categories),
        subcategory=given.subcategory or "",
        price_min=given.price_min,
        price_max=given.price_max,
        currency=given.currency or "",
        location=given.location or "",
        listed_after=None if given.listed_after is None else as_seconds(given.listed_after),
        exclude_listing_ids=tuple(dict.fromkeys((*given.exclude_listing_ids, *own))),
    )


async def find_pages(searches: Sequence[PlannedSearch], live: Live) -> list[FoundPage]:
    """Run searches; pages in the same order. Raises CollectionMissing, StoreUnreachable and what the stage raises."""
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for place, search in enumerate(searches):
        # A page after the first leaves out its own earlier hits.
        groups[place if search.shown else search.terms].append(place)
    found: dict[int, FoundPage] = {}
    # One group after the other: a batch is one request, and others want their turn.
    for places in groups.values():
        alike = [searches[place] for place in places]
        found.update(zip(places, await live.stages.store.run(partial(_ask_store, alike, live)), strict=True))
    return [found[place] for place in range(len(searches))]


def _ask_store(searches: Sequence[PlannedSearch], live: Live) -> list[FoundPage]:
    """Run searches with equal terms; of several, none has earlier pages."""
    terms, known, changed_at = searches[0].terms, frozenset(searches[0].shown), live.photos.notes.changed_at()
    page_request = replace(terms.page, seen=lambda identity: shown(identity) in known) if known else terms.page
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
            cursor = write_cursor(search.identity, [*search.shown, *map(shown, ids)])
        facets = None
        if request.facets:
            facets = live.photos.reader.facets(
                search.query.vectors, terms.where, terms.page.min_score, exact=terms.exact
            )
        found.append(FoundPage(hits, page.exact, exhausted, cursor, facets, changed_at))
    return found


def _min_score(request: SearchRequest, query: Query, calibration: Calibration | None) -> float:
    least = -1.0 if request.min_score is None else request.min_score
    if request.min_probability is None:
        return least
    if query.combined:
        raise InvalidQuery(
            "min_probability has no meaning for a query of several examples: probabilities are of two photos.",
            hint="Use min_score.",
        )
    if calibration is None:
        raise InvalidQuery("This model has no calibration, so min_probability has no meaning.", hint="Use min_score.")
    return max(least, calibration.cosine(request.min_probability))
