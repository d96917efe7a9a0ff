"""Categories and photos of the catalogue."""

import io
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from catalog.errors import PhotoUnusable
from embedding.photos import open_photo
from search_api.dependencies import LiveDep, needs, needs_photo
from search_api.openapi import problems
from search_api.schemas import CategoriesResponse, CategoryCount
from search_api.serving.photos import read_stored, unreadable_file_error

router = APIRouter(prefix="/v1", tags=["catalogue"], dependencies=[Depends(needs("read"))])
# A router of its own: an <img> tag sends no key, so a signed URL is accepted as well.
image_router = APIRouter(prefix="/v1", tags=["catalogue"], dependencies=[Depends(needs_photo)])


@router.get("/categories", responses=problems())
def categories(live: LiveDep) -> CategoriesResponse:
    """List all root categories with their counts, largest first. The counts are at most half a minute old."""
    sizes = [
        CategoryCount(category=size.category, listings=size.listings, photos=size.photos)
        for size in live.category_counts.categories()
    ]
    return CategoriesResponse(categories=sizes)


@image_router.get(
    "/photos/{photo_id:path}/image",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, **problems(404)},
)
async def image(
    request: Request, photo_id: str, live: LiveDep, size: Annotated[int, Query(ge=32, le=1024)] = 512
) -> Response:
    """Return a photo as an upright JPEG, its longer side at most `size` pixels, without the original's metadata."""
    stages = live.stages
    stored = await stages.store.run(partial(live.photos.reader.photo, photo_id))
    headers = {"Cache-Control": "private, max-age=3600", "ETag": f'"{stored.sha256}-{size}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    data = await stages.photos.run(partial(read_stored, stored))
    try:
        thumbnail = await stages.decode.run(partial(_thumbnail, data, size))
    except PhotoUnusable as error:
        raise unreadable_file_error(photo_id) from error
    return Response(thumbnail, media_type="image/jpeg", headers=headers)


def _thumbnail(data: bytes, size: int) -> bytes:
    picture = open_photo(data, decode_side=size)
    picture.thumbnail((size, size))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
