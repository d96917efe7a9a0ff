"""Single searches, batches, and similar listings."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from search_api.dependencies import CatalogueDep, PhotoUrlDep, needs
from search_api.openapi import body_schema, problems
from search_api.routes.request_body import RequestBody, request_body
from search_api.schemas import MAX_LIMIT, BatchRequest, BatchResponse, Identity, SearchRequest, SearchResponse
from search_api.search.run import search_batch, search_one

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


@router.post(
    "/search", responses=problems(400, 404, 408, 409, 413, 415), openapi_extra=body_schema(SearchRequest, _SEARCHES)
)
async def search(
    body: Annotated[RequestBody[SearchRequest], Depends(request_body(SearchRequest))],
    catalogue: CatalogueDep,
    photo_url: PhotoUrlDep,
) -> SearchResponse:
    """Find the listings that look like a photo.

    Send multipart: photos as files named `photo`, everything else as JSON in the part `request`. Or send only JSON,
    with another source. Filters narrow the hits; the page is full whenever enough listings pass them.
    """
    return await catalogue.run(lambda live: search_one(live, body.message, body.uploads, photo_url))


_BATCH = {"two listings": {"searches": [{"listing_id": _LISTING, "limit": 5}, {"photo_id": "f1", "min_score": 0.5}]}}


@router.post("/search/batch", responses=problems(400, 408, 413, 415), openapi_extra=body_schema(BatchRequest, _BATCH))
async def batch(
    body: Annotated[RequestBody[BatchRequest], Depends(request_body(BatchRequest))],
    catalogue: CatalogueDep,
    photo_url: PhotoUrlDep,
) -> BatchResponse:
    """Run up to 64 searches at once, faster than one by one. An invalid search does not affect the others.

    In multipart, each search names its photos: `uploads: [0]`.
    """
    return await catalogue.run(lambda live: search_batch(live, body.message, body.uploads, photo_url))


@router.get("/listings/{listing_id:path}/similar", responses=problems(404, 409))
async def similar(
    listing_id: Identity,
    catalogue: CatalogueDep,
    photo_url: PhotoUrlDep,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 20,
    cursor: Annotated[str | None, Query(max_length=20_000)] = None,
) -> SearchResponse:
    """Find listings similar to this one, which is excluded. To filter, use `POST /v1/search` with its `listing_id`."""
    request = SearchRequest.model_construct(listing_id=listing_id, limit=limit, cursor=cursor)
    return await catalogue.run(lambda live: search_one(live, request, (), photo_url))
