"""Full pages of hits: widen a search until its page is full. Independent of Milvus."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from catalog.listing import Embeddings, Page, Scored
from catalog.search.hits import GroupBy, Seen, group_hits
from catalog.search.search_plan import SearchPlan, finds_all, wider_plan
from catalog.settings import IndexSettings

# The cosine of one photo differs by less than this, depending on the photos it is calculated with.
_ROUNDING = 1e-6
# Up to this many photos with equal scores are ordered by id; if more share a placeholder photo, the store orders them.
_EQUALS = 1_024

Search = Callable[[Embeddings, SearchPlan], list[list[Scored]]]
"""Queries (n, dim) and a plan -> for each query the nearest photos, nearest first."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What a page of hits may contain: at most `limit` hits, of listings or photos, not `seen` before."""

    limit: int
    group_by: GroupBy = "listing"
    min_score: float = -1.0
    seen: Seen | None = None


def full_pages(
    search: Search, searches: Sequence[Embeddings], request: PageRequest, plan: SearchPlan, index: IndexSettings
) -> list[Page]:
    """Return one page per search, full if enough photos pass the filter. The queries of a search are (n, dim).

    All searches whose page is not full yet share the next, wider call of `search`.
    """
    pages: dict[int, Page] = {}
    pending = list(range(len(searches)))
    while pending:
        results = iter(search(np.concatenate([searches[number] for number in pending]), plan))
        cut = short = False
        for number in pending:
            neighbours = [next(results) for _ in searches[number]]
            page = _page(neighbours, request, plan, finds_all=finds_all(index, plan))
            if page is not None:
                pages[number] = page
            elif any(len(photos) >= plan.photos for photos in neighbours):
                cut = True  # photos of one listing, or of earlier pages, fill the neighbourhood
            else:
                short = True  # the index searched too few cells
        pending = [number for number in pending if number not in pages]
        plan = wider_plan(index, plan, cut=cut, short=short)
    return [pages[number] for number in range(len(searches))]


def _page(
    neighbours: Sequence[Sequence[Scored]], request: PageRequest, plan: SearchPlan, *, finds_all: bool
) -> Page | None:
    """Make the page of one search from the neighbours of its queries; None if a wider search may add hits to it."""
    # A photo that was not fetched is no nearer to a query than the last one that was.
    edge = max((near[-1][0] for near in neighbours if len(near) >= plan.photos), default=-math.inf)
    photos = (scored for near in neighbours for scored in near if scored[0] >= request.min_score)
    hits = group_hits(photos, request.group_by, request.seen)
    cut = edge > -math.inf
    if (cut and edge < request.min_score) or (finds_all and not cut):
        return Page(hits[: request.limit], finds_all, exhausted=len(hits) <= request.limit)
    # Photos as near as the edge may have equals beyond it, whose ids come first.
    settled = edge if plan.photos >= _EQUALS else edge + _ROUNDING
    hits = [hit for hit in hits if hit.score >= settled]
    return Page(hits[: request.limit], finds_all, exhausted=False) if len(hits) >= request.limit else None
