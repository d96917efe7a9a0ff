"""Queries -> pages of hits. What can be asked of Milvus together is."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from catalog.errors import InvalidQuery
from catalog.filters import SearchFilter
from catalog.listing import Hit, Page
from embedding.card import Calibration
from search_api.diversity import diversify
from search_api.live import Live
from search_api.query import Query
from search_api.schemas import Filter, GroupBy, SearchRequest
from search_api.tokens import MAX_SHOWN, digest, read_cursor, shown, write_cursor

# Candidates that diversity chooses among, for each hit.
_CHOICE = 5
_MAX_CANDIDATES = 1_000


@dataclass(frozen=True, slots=True)
class Found:
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
class Terms:
    """What the store is asked beside the vectors: searches in which all of it is equal go together."""

    where: SearchFilter
    limit: int
    group_by: GroupBy
    exact: bool
    min_score: float
    vectors: bool


@dataclass(frozen=True, slots=True)
class Search:
    """A search ready to be run."""

    request: SearchRequest
    query: Query
    terms: Terms
    identity: bytes
    shown: Sequence[bytes]


def prepare(request: SearchRequest, query: Query, calibration: Calibration | None) -> Search:
    """Check what can be checked without the store. Raises InvalidQuery, InvalidFilter."""
    where = to_filter(request.filter, query.own)
    where.expression()
    limit = request.limit
    if request.diversity:
        limit = max(limit, min(_CHOICE * limit, _MAX_CANDIDATES))
    min_score = _min_score(request, query, calibration)
    vectors = bool(request.diversity) or "embedding" in request.include
    # What a page depends on; the source by its key, so that a photo and its query_id are one.
    options = request.model_dump_json(
        include={"filter", "min_score", "min_probability", "group_by", "exact", "diversity"}
    )
    identity = digest(query.key, options)
    return Search(
        request,
        query,
        Terms(where, limit, request.group_by, request.exact, min_score, vectors),
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
        listed_after=None if given.listed_after is None else seconds(given.listed_after),
        exclude_listing_ids=tuple(dict.fromkeys((*given.exclude_listing_ids, *own))),
    )


def seconds(moment: datetime) -> int:
    """Unix seconds; a moment without a zone is in UTC."""
    return math.floor((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


async def run(searches: Sequence[Search], live: Live) -> list[Found]:
    """Run searches, in their order. Raises CollectionMissing, StoreUnreachable and what the stage raises."""
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for place, search in enumerate(searches):
        # A page after the first passes over hits of its own.
        groups[place if search.shown else search.terms].append(place)
    found: dict[int, Found] = {}
    # One after the other: a batch is one request, and others want their turn.
    for places in groups.values():
        ask = partial(_ask_store, [searches[place] for place in places], live)
        found.update(zip(places, await live.stages.store.run(ask), strict=True))
    return [found[place] for place in range(len(searches))]


def _ask_store(searches: Sequence[Search], live: Live) -> list[Found]:
    """Run searches whose terms are equal; only one that is alone may have shown something before."""
    terms, changed_at = searches[0].terms, live.photos.changed_at()
    options: dict[str, Any] = {
        "group_by": terms.group_by,
        "exact": terms.exact,
        "min_score": terms.min_score,
        "vectors": terms.vectors,
    }
    vectors = [search.query.vectors for search in searches]
    if len(searches) > 1:
        pages = live.photos.search_many(vectors, terms.where, terms.limit, **options)
    else:
        known = frozenset(searches[0].shown)
        seen = (lambda identity: shown(identity) in known) if known else None
        pages = [live.photos.search(vectors[0], terms.where, terms.limit, seen=seen, **options)]
    return [_found(search, page, live, changed_at) for search, page in zip(searches, pages, strict=True)]


def _found(search: Search, page: Page, live: Live, changed_at: int) -> Found:
    request, terms = search.request, search.terms
    hits = diversify(page.hits, request.limit, request.diversity) if request.diversity else page.hits
    exhausted = page.exhausted and len(hits) == len(page.hits)
    cursor = None
    if hits and not exhausted and len(search.shown) + len(hits) <= MAX_SHOWN:
        ids = [hit.listing.listing_id if request.group_by == "listing" else hit.photo_id for hit in hits]
        cursor = write_cursor(search.identity, [*search.shown, *map(shown, ids)])
    facets = None
    if request.facets:
        facets = live.photos.facets(search.query.vectors, terms.where, terms.min_score, exact=terms.exact)
    return Found(hits, page.exact, exhausted, cursor, facets, changed_at)


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
