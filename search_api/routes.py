"""The routes of version 1. Each is a few lines: read, ask, shape the answer."""

import io
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from catalog.errors import NotFound, PhotoUnusable
from catalog.filters import SearchFilter
from catalog.index import Embeddings
from catalog.listing import Hit
from catalog.storage import read_photo
from embedding.photos import open_photo
from search_api.deps import CatalogueDep, LiveDep, PhotoUrlDep, needs, needs_photo
from search_api.errors import problems
from search_api.live import Live
from search_api.reading import REQUEST_BODY, QueryDep
from search_api.schemas import (
    CategoriesResponse,
    CategoryCount,
    ListingPhoto,
    ListingResponse,
    MapPoint,
    MapResponse,
    SearchHit,
    SearchRequest,
    SearchResponse,
    SearchTimings,
)
from search_api.timing import spent_ms

MAX_MAP_PHOTOS = 20_000
_MAX_STORED_PHOTO_BYTES = 100_000_000

router = APIRouter()
v1 = APIRouter(prefix="/v1", dependencies=[Depends(needs("read"))])
pictures = APIRouter(prefix="/v1", dependencies=[Depends(needs_photo)])


@v1.post("/search", tags=["search"], responses=problems(404, 408, 413, 415), openapi_extra=REQUEST_BODY)
async def search(query: QueryDep, catalogue: CatalogueDep, photo_url: PhotoUrlDep) -> SearchResponse:
    """Find the listings that look like a photo.

    Send the photo as multipart/form-data, or name a `listing_id` or `photo_id` that is in the catalogue already, in
    either media type. Filters narrow the hits; a full page comes back whenever enough listings pass them.
    """
    return await catalogue.ask(partial(_search, *query, photo_url))


async def _search(
    query: SearchRequest, upload: bytes | None, photo_url: Callable[[str], str], live: Live
) -> SearchResponse:
    stages = live.stages
    own_listing: list[str] = []
    if upload is not None:
        queries = await stages.embed_photos([upload])
    else:
        queries, own_listing = await stages.store.run(partial(_stored_queries, query, live))
    where = SearchFilter(
        categories=tuple(query.category),
        price_min=query.price_min,
        price_max=query.price_max,
        location=query.location or "",
        exclude_listing_ids=(*query.exclude_listing_id, *own_listing),
    )
    page = await stages.store.run(lambda: live.photos.search(queries, where, query.limit))
    spent = spent_ms()
    return SearchResponse(
        hits=[_hit(hit, photo_url) for hit in page.hits],
        collection=live.info.name,
        model_fingerprint=live.info.fingerprint,
        timings_ms=SearchTimings(embed=spent.get("decode", 0) + spent.get("embed", 0), search=spent["store"]),
    )


def _stored_queries(query: SearchRequest, live: Live) -> tuple[Embeddings, list[str]]:
    """Embeddings of what the query names, and the listing that it belongs to."""
    if query.listing_id is not None:
        photo_ids = [stored.photo.photo_id for stored in live.photos.listing_photos(query.listing_id)]
        return live.photos.embeddings(photo_ids), [query.listing_id]
    stored = live.photos.photo(query.photo_id or "")
    return live.photos.embeddings([stored.photo.photo_id]), [stored.photo.listing.listing_id]


@v1.get("/listings/{listing_id:path}", tags=["catalogue"], responses=problems(404))
def listing(listing_id: str, live: LiveDep, photo_url: PhotoUrlDep) -> ListingResponse:
    """One listing with all its photos."""
    stored = live.photos.listing_photos(listing_id)
    ids = [one.photo.photo_id for one in stored]
    pictures = [ListingPhoto(photo_id=photo_id, photo_url=photo_url(photo_id)) for photo_id in ids]
    return ListingResponse(**asdict(stored[0].photo.listing), photos=pictures)


@v1.get("/categories", tags=["catalogue"], responses=problems())
def categories(live: LiveDep) -> CategoriesResponse:
    """Every root category with its counts, largest first; at most half a minute old."""
    sizes = [
        CategoryCount(category=size.category, listings=size.listings, photos=size.photos)
        for size in live.overview.categories()
    ]
    return CategoriesResponse(categories=sizes)


@pictures.get(
    "/photos/{photo_id:path}/image",
    tags=["catalogue"],
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, **problems(404)},
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


@v1.get("/map", tags=["catalogue"], responses=problems())
def photo_map(
    live: LiveDep, photo_url: PhotoUrlDep, limit: Annotated[int, Query(ge=1, le=MAX_MAP_PHOTOS)] = 5_000
) -> MapResponse:
    """2-D map of the photos (t-SNE). Takes up to a minute when asked for the first time after an ingest."""
    placed, total = live.overview.map(limit)
    points = [
        MapPoint(
            **asdict(one.photo.listing),
            photo_id=one.photo.photo_id,
            photo_url=photo_url(one.photo.photo_id),
            x=one.x,
            y=one.y,
        )
        for one in placed
    ]
    return MapResponse(
        points=points, total_photos=total, collection=live.info.name, model_fingerprint=live.info.fingerprint
    )


router.include_router(v1)
router.include_router(pictures)


def _hit(hit: Hit, photo_url: Callable[[str], str]) -> SearchHit:
    return SearchHit(
        **asdict(hit.listing),
        score=hit.score,
        photo_id=hit.photo_id,
        photo_url=photo_url(hit.photo_id),
        matched_photos=1 + len(hit.others),
    )
