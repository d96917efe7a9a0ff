"""Returns, replaces and removes single listings."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from catalog.listing import StoredPhoto
from search_api.dependencies import CatalogueDep, LiveDep, PhotoUrlDep, SettingsDep, needs
from search_api.listings.changes import put_listing, remove_listing
from search_api.listings.fields import listing_fields
from search_api.listings.photo_store import PhotoStore
from search_api.openapi import body_schema, problems
from search_api.routes.request_body import RequestBody, request_body
from search_api.schemas import ListingPhoto, ListingResponse, PutListing, RemovedResponse
from search_api.search.response import PhotoUrl

router = APIRouter(prefix="/v1", tags=["catalogue"], dependencies=[Depends(needs("read"))])
write_router = APIRouter(prefix="/v1", tags=["catalogue"], dependencies=[Depends(needs("write"))])

_PART = "listing"
_PHOTO = (  # a small PNG
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQMAAAAlPW0iAAAABlBMVEXIeCgoWqBUJAinAAAAFElEQVR42mNgwAD8H5gYGNAQHAAA"
    "HQ0BDKyARHYAAAAASUVORK5CYII="
)
_EXAMPLES = {
    "a listing with its photo": {
        "title": "Sun loungers",
        "category": "Home & Garden",
        "subcategory": "Garden & Patio",
        "price": 40,
        "currency": "GBP",
        "location": "Skegness, Lincolnshire",
        "photos": [{"photo_id": "front", "photo_base64": _PHOTO}],
    }
}


@router.get("/listings/{listing_id:path}", responses=problems(404))
def listing(listing_id: str, live: LiveDep, photo_url: PhotoUrlDep) -> ListingResponse:
    """Return one listing with all its photos."""
    return _response(live.photos.reader.listing_photos(listing_id), photo_url)


@write_router.put(
    "/listings/{listing_id:path}",
    responses={201: {"model": ListingResponse}, **problems(400, 404, 408, 409, 413, 415)},
    openapi_extra=body_schema(PutListing, _EXAMPLES, _PART),
)
async def put(
    listing_id: str,
    body: Annotated[RequestBody[PutListing], Depends(request_body(PutListing, _PART))],
    catalogue: CatalogueDep,
    photo_url: PhotoUrlDep,
    settings: SettingsDep,
    response: Response,
) -> ListingResponse:
    """Create or replace a listing. Its photos that are not named are removed.

    Multipart: photos as files named `photo`, the rest as JSON in the part `listing`, where `upload` assigns a file to
    each photo. A photo is stored as a JPEG without its metadata. Searches see the change within a second.
    """
    store = PhotoStore(settings.photos)
    photos, is_new = await catalogue.run(lambda live: put_listing(live, listing_id, body.message, body.uploads, store))
    response.status_code = 201 if is_new else 200
    return _response(photos, photo_url)


@write_router.delete("/listings/{listing_id:path}", responses=problems(404, 409))
async def remove(listing_id: str, catalogue: CatalogueDep, settings: SettingsDep) -> RemovedResponse:
    """Remove a listing and its photos from the catalogue. Photo files uploaded through the API are deleted."""
    count = await catalogue.run(lambda live: remove_listing(live, listing_id, PhotoStore(settings.photos)))
    return RemovedResponse(listing_id=listing_id, photos=count)


def _response(stored_photos: Sequence[StoredPhoto], photo_url: PhotoUrl) -> ListingResponse:
    ids = [stored.photo.photo_id for stored in stored_photos]
    photos = [ListingPhoto(photo_id=photo_id, photo_url=photo_url(photo_id)) for photo_id in ids]
    return ListingResponse(**listing_fields(stored_photos[0].photo.listing), photos=photos)
