"""The routes of version 1. Each is a few lines: read, ask, shape the answer."""

import io
import time
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from catalog.errors import CollectionMissing, NotFound, PhotoUnusable
from catalog.filters import SearchFilter
from catalog.listing import Hit
from catalog.storage import read_photo
from embedding.photos import open_photo
from search_api.deps import CatalogueDep, LiveDep
from search_api.live import Live
from search_api.reading import REQUEST_BODY, QueryDep
from search_api.schemas import (
    CategoriesResponse,
    CategoryCount,
    Health,
    ListingPhoto,
    ListingResponse,
    MapPoint,
    MapResponse,
    Problem,
    SearchHit,
    SearchRequest,
    SearchResponse,
    SearchTimings,
)

MAX_MAP_PHOTOS = 20_000
_MAX_STORED_PHOTO_BYTES = 100_000_000

_PROBLEM = {"model": Problem, "content": {"application/problem+json": {}}}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return dict.fromkeys((*statuses, 422, 503), _PROBLEM)


router = APIRouter()
v1 = APIRouter(prefix="/v1")


@v1.post("/search", tags=["search"], responses=_problems(404, 411, 413, 415), openapi_extra=REQUEST_BODY)
async def search(query: QueryDep, catalogue: CatalogueDep) -> SearchResponse:
    """Find the listings that look like a photo.

    Send the photo as multipart/form-data, or name a `listing_id` or `photo_id` that is in the catalogue already, in
    either media type. Filters narrow the hits; a full page comes back whenever enough listings pass them.
    """
    # Embedding and Milvus take tens of milliseconds each: not on the event loop.
    return await run_in_threadpool(catalogue.answer, partial(_search, *query))


def _search(query: SearchRequest, upload: bytes | None, live: Live) -> SearchResponse:
    started = time.perf_counter()
    photos = live.photos
    own_listing: tuple[str, ...] = ()
    if upload is not None:
        queries = live.embedder.embed([open_photo(upload)])
    elif query.listing_id is not None:
        queries = photos.embeddings([stored.photo.photo_id for stored in photos.listing_photos(query.listing_id)])
        own_listing = (query.listing_id,)
    else:
        stored = photos.photo(query.photo_id or "")
        queries = photos.embeddings([stored.photo.photo_id])
        own_listing = (stored.photo.listing.listing_id,)
    embedded = time.perf_counter()
    where = SearchFilter(
        categories=tuple(query.category),
        price_min=query.price_min,
        price_max=query.price_max,
        location=query.location or "",
        exclude_listing_ids=(*query.exclude_listing_id, *own_listing),
    )
    hits = photos.search(queries, where, query.limit).hits
    searched = time.perf_counter()
    return SearchResponse(
        hits=[_hit(hit) for hit in hits],
        collection=live.info.name,
        model_fingerprint=live.info.fingerprint,
        timings_ms=SearchTimings(embed=1000 * (embedded - started), search=1000 * (searched - embedded)),
    )


@v1.get("/listings/{listing_id:path}", tags=["catalogue"], responses=_problems(404))
def listing(listing_id: str, live: LiveDep) -> ListingResponse:
    """One listing with all its photos."""
    stored = live.photos.listing_photos(listing_id)
    ids = [one.photo.photo_id for one in stored]
    pictures = [ListingPhoto(photo_id=photo_id, photo_url=_photo_url(photo_id)) for photo_id in ids]
    return ListingResponse(**asdict(stored[0].photo.listing), photos=pictures)


@v1.get("/categories", tags=["catalogue"], responses=_problems())
def categories(live: LiveDep) -> CategoriesResponse:
    """Every root category with its counts, largest first; at most half a minute old."""
    sizes = [
        CategoryCount(category=size.category, listings=size.listings, photos=size.photos)
        for size in live.overview.categories()
    ]
    return CategoriesResponse(categories=sizes)


@v1.get(
    "/photos/{photo_id:path}/image",
    tags=["catalogue"],
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, **_problems(404)},
)
def image(
    request: Request, photo_id: str, live: LiveDep, size: Annotated[int, Query(ge=32, le=1024)] = 512
) -> Response:
    """Show the photo as a JPEG, upright, its longer side at most `size` pixels, without the original's metadata."""
    stored = live.photos.photo(photo_id)
    headers = {"Cache-Control": "private, max-age=3600", "ETag": f'"{stored.sha256}-{size}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    try:
        picture = open_photo(read_photo(stored.photo.uri, _MAX_STORED_PHOTO_BYTES), decode_side=size)
    except PhotoUnusable as error:
        raise NotFound(
            f"The file of photo {photo_id!r} can no longer be read.", hint="Ingest the export again from where it is."
        ) from error
    picture.thumbnail((size, size))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return Response(buffer.getvalue(), media_type="image/jpeg", headers=headers)


@v1.get("/map", tags=["catalogue"], responses=_problems())
def photo_map(live: LiveDep, limit: Annotated[int, Query(ge=1, le=MAX_MAP_PHOTOS)] = 5_000) -> MapResponse:
    """2-D map of the photos (t-SNE). Takes up to a minute when asked for the first time after an ingest."""
    placed, total = live.overview.map(limit)
    points = [
        MapPoint(
            **asdict(one.photo.listing),
            photo_id=one.photo.photo_id,
            photo_url=_photo_url(one.photo.photo_id),
            x=one.x,
            y=one.y,
        )
        for one in placed
    ]
    return MapResponse(
        points=points, total_photos=total, collection=live.info.name, model_fingerprint=live.info.fingerprint
    )


router.include_router(v1)


@router.get("/livez", tags=["operations"])
def livez() -> Health:
    """Whether the process answers."""
    return Health(status="alive")


@router.get("/readyz", tags=["operations"], responses=_problems())
def readyz(catalogue: CatalogueDep) -> Health:
    """Whether searches can be answered: the collection is there, by this model, and a real search found something.

    `pending` says why a build that was promoted does not answer yet, `lost_photos` that the store lost rows.
    """
    live, found, count, lost = catalogue.answer(
        lambda live: (live, live.photos.probe(), live.photos.count(), live.photos.lost())
    )
    if not found:
        raise CollectionMissing("The catalogue is empty.", hint="Ingest something first: marketlens ingest EXPORT")
    return Health(
        status="ready",
        collection=live.info.name,
        model_fingerprint=live.info.fingerprint,
        photos=count,
        lost_photos=lost,
        pending=catalogue.pending or None,
    )


for path, probe in (("/livez", livez), ("/readyz", readyz)):
    router.add_api_route(path, probe, methods=["HEAD"], include_in_schema=False)  # what load balancers like to send


def _hit(hit: Hit) -> SearchHit:
    return SearchHit(
        **asdict(hit.listing),
        score=hit.score,
        photo_id=hit.photo_id,
        photo_url=_photo_url(hit.photo_id),
        matched_photos=1 + len(hit.others),
    )


def _photo_url(photo_id: str) -> str:
    return f"/v1/photos/{quote(photo_id, safe='')}/image"
