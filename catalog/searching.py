"""From a look into the store to full pages: reach further until they are. Knows nothing of Milvus."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from catalog.grouping import GroupBy, Seen, best_per_photo, group
from catalog.listing import Embeddings, Page, Scored
from catalog.planning import Reach, finds_all, further_reach
from catalog.settings import IndexSettings

# Cosines of the very same photo differ by less, as it is calculated beside others.
_ROUNDING = 1e-6
# So many photos are looked at for the order of equals; of a placeholder that more share, the order is the store's.
_EQUALS = 1_024

Look = Callable[[Embeddings, Reach], list[list[Scored]]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a page holds at most, and of what."""

    limit: int
    group_by: GroupBy = "listing"
    min_score: float = -1.0
    seen: Seen | None = None


def full_pages(
    look: Look, searches: Sequence[Embeddings], wanted: Wanted, reach: Reach, index: IndexSettings
) -> list[Page]:
    """A page for each search, whose queries are (n, dim): full whenever that many pass.

    `look` gives the photos nearest to each query, nearest first; searches whose page is not full share the next one.
    """
    pages: dict[int, Page] = {}
    pending = list(range(len(searches)))
    while pending:
        results = iter(look(np.concatenate([searches[number] for number in pending]), reach))
        cut = short = False
        for number in pending:
            found = [next(results) for _ in searches[number]]
            page = _page(found, wanted, reach, finds_all=finds_all(index, reach))
            if page is not None:
                pages[number] = page
            elif any(len(result) >= reach.photos for result in found):
                cut = True  # one listing's photos crowd the neighbourhood, or earlier pages do
            else:
                short = True  # the index looked into too few cells
        pending = [number for number in pending if number not in pages]
        reach = further_reach(index, reach, cut=cut, short=short)
    return [pages[number] for number in range(len(searches))]


def _page(found: Sequence[Sequence[Scored]], wanted: Wanted, reach: Reach, *, finds_all: bool) -> Page | None:
    """Make the page of what was found for the queries of one search; None where there may be more to put on it."""
    # A photo that was not reached is no nearer to a query than the last one that was.
    edge = max((result[-1][0] for result in found if len(result) >= reach.photos), default=-math.inf)
    photos = best_per_photo(scored for result in found for scored in result if scored[0] >= wanted.min_score)
    hits = group(photos, wanted.group_by, wanted.seen)
    cut = edge > -math.inf
    if (cut and edge < wanted.min_score) or (finds_all and not cut):
        return Page(hits[: wanted.limit], finds_all, exhausted=len(hits) <= wanted.limit)
    # What is as near as the edge has its like beyond it, perhaps, with ids that come before.
    settled = edge if reach.photos >= _EQUALS else edge + _ROUNDING
    hits = [hit for hit in hits if hit.score >= settled]
    return Page(hits[: wanted.limit], finds_all, exhausted=False) if len(hits) >= wanted.limit else None
