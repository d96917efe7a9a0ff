"""Full pages of hits: a search is widened until its page is full. Knows nothing of Milvus."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from catalog.listing import Embeddings, Page, Scored
from catalog.search.hits import GroupBy, Seen, best_per_photo, group
from catalog.search.search_plan import SearchPlan, finds_all, wider_plan
from catalog.settings import IndexSettings

# Cosines of the very same photo differ by less, as it is calculated beside others.
_ROUNDING = 1e-6
# So many photos are looked at for the order of equals; of a placeholder that more share, the order is the store's.
_EQUALS = 1_024

Look = Callable[[Embeddings, SearchPlan], list[list[Scored]]]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What a page holds at most, and of what."""

    limit: int
    group_by: GroupBy = "listing"
    min_score: float = -1.0
    seen: Seen | None = None


def full_pages(
    look: Look, searches: Sequence[Embeddings], request: PageRequest, plan: SearchPlan, index: IndexSettings
) -> list[Page]:
    """A page for each search, whose queries are (n, dim): full whenever that many pass.

    `look` gives the photos nearest to each query, nearest first; searches whose page is not full share the next one.
    """
    pages: dict[int, Page] = {}
    pending = list(range(len(searches)))
    while pending:
        results = iter(look(np.concatenate([searches[number] for number in pending]), plan))
        cut = short = False
        for number in pending:
            found = [next(results) for _ in searches[number]]
            page = _page(found, request, plan, finds_all=finds_all(index, plan))
            if page is not None:
                pages[number] = page
            elif any(len(result) >= plan.photos for result in found):
                cut = True  # one listing's photos crowd the neighbourhood, or earlier pages do
            else:
                short = True  # the index looked into too few cells
        pending = [number for number in pending if number not in pages]
        plan = wider_plan(index, plan, cut=cut, short=short)
    return [pages[number] for number in range(len(searches))]


def _page(found: Sequence[Sequence[Scored]], request: PageRequest, plan: SearchPlan, *, finds_all: bool) -> Page | None:
    """Make the page of what was found for the queries of one search; None where there may be more to put on it."""
    # A photo that was not reached is no nearer to a query than the last one that was.
    edge = max((result[-1][0] for result in found if len(result) >= plan.photos), default=-math.inf)
    photos = best_per_photo(scored for result in found for scored in result if scored[0] >= request.min_score)
    hits = group(photos, request.group_by, request.seen)
    cut = edge > -math.inf
    if (cut and edge < request.min_score) or (finds_all and not cut):
        return Page(hits[: request.limit], finds_all, exhausted=len(hits) <= request.limit)
    # What is as near as the edge has its like beyond it, perhaps, with ids that come before.
    settled = edge if plan.photos >= _EQUALS else edge + _ROUNDING
    hits = [hit for hit in hits if hit.score >= settled]
    return Page(hits[: request.limit], finds_all, exhausted=False) if len(hits) >= request.limit else None
