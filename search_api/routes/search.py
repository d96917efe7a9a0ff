"""Search: one, a batch, and what is like a listing."""

import time
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from search_api.deps import CatalogueDep, PhotoUrlDep, needs
from search_api.finding import search_batch, search_one
from search_api.openapi import body, problems
from search_api.reading import Received, reader
from search_api.schemas import MAX_LIMIT, BatchRequest, BatchResponse, Identity, SearchRequest, SearchResponse

router = APIRouter(prefix="/v1", tags=["search"], dependencies=[Depends(needs("read"))])

_LISTING = "243809c0-9cfc-4486-ad12-3b7a16605ba9"
_SEARCHES = {
    "more like a listing": {"listing_id": _LISTING, "filter": {"price_max": 50}, "limit": 5},
    "a part of a photo": {"photo_id": "f1", "box": {"x": 0.25, "y": 0.25, "width": 0.5, "height": 0.5}},
    "like this, not like that": {
        "positives": [{"listing_id": _LISTING}, {"photo_id": "f1", "weight": 0.5}],
        "negatives": [{"photo_id": "f2"}],
        "diversity": 0.3,
    },
    "within filters, with counts per category": {
        "photo_id": "f1",
        "filter": {"categories": ["Home & Garden"], "subcategory": "Beds", "listed_after": "2024-01-31"},
        "facets": True,
    },
}


@router.post("/search", responses=problems(400, 404, 408, 409, 413, 415), openapi_extra=body(SearchRequest, _SEARCHES))
async def search(
    received: Annotated[Received[SearchRequest], Depends(reader(SearchRequest))],
    catalogue: CatalogueDep,
    photo_url: PhotoUrlDep,
) -> SearchResponse:
    """Find the listings that look like a photo.

    Multipart: photos as files named `photo`, everything else as JSON in the part `request`. Or JSON alone, with another
    source. Filters narrow the hits; a full page comes back whenever enough listings pass them.
    """
    return await catalogue.ask(partial(search_one, received, photo_url))


_BATCH = {"two listings": {"searches": [{"listing_id": _LISTING, "limit": 5}, {"photo_id": "f1", "min_score": 0.5}]}}


@router.post("/search/batch", responses=problems(400, 408, 413, 415), openapi_extra=body(BatchRequest, _BATCH))
async def batch(
    received: Annotated[Received[BatchRequest], Depends(reader(BatchRequest))],
    catalogue: CatalogueDep,
    photo_url: PhotoUrlDep,
) -> BatchResponse:
    """Answer up to 64 searches at once, faster than one by one. One that is wrong does not spoil the others.

    In multipart, each search names its photos: `uploads: [0]`.
    """
    return await catalogue.ask(partial(search_batch, received, photo_url))


@router.get("/listings/{listing_id:path}/similar", responses=problems(404, 409))
async def similar(
    listing_id: Identity,
    catalogue: CatalogueDep,
    photo_url: PhotoUrlDep,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 20,
    cursor: Annotated[str | None, Query(max_length=20_000)] = None,
) -> SearchResponse:
    """Listings like this one, itself left out. For filters: `POST /v1/search` with its `listing_id`."""
    request = SearchRequest.model_construct(listing_id=listing_id, limit=limit, cursor=cursor)
    received = Received(request, (), time.perf_counter())
    return await catalogue.ask(partial(search_one, received, photo_url))
