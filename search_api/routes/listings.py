"""One listing: shown, put, removed."""

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
changes = APIRouter(prefix="/v1", tags=["catalogue"], dependencies=[Depends(needs("write"))])

_PART = "listing"
_PHOTO = (  # a small one
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQMAAAAlPW0iAAAABlBMVEXIeCgoWqBUJAinAAAAFElEQVR42mNgwAD8H5gYGNAQHAAA"
    "HQ0BDKyARHYAAAAASUVORK5CYII="
)
_PUT = {
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
    """One listing with all its photos."""
    return _response(live.photos.reader.listing_photos(listing_id), photo_url)


@changes.put(
    "/listings/{listing_id:path}",
    responses={201: {"model": ListingResponse}, **problems(400, 404, 408, 409, 413, 415)},
    openapi_extra=body_schema(PutListing, _PUT, _PART),
)
async def put(
    listing_id: str,
    body: Annotated[RequestBody[PutListing], Depends(request_body(PutListing, _PART))],
    catalogue: CatalogueDep,
    photo_url: PhotoUrlDep,
    settings: SettingsDep,
    response: Response,
) -> ListingResponse:
    """Make a listing, or make it as it is said here. Photos that are not named leave it.

    Multipart: photos as files named `photo`, the rest as JSON in the part `listing`, where `upload` says which file is
    which photo. A photo is kept as a JPEG without its metadata. Searches see the change within a second.
    """
    folder = PhotoStore(settings.photos)
    photos, is_new = await catalogue.ask(lambda live: put_listing(live, listing_id, body.message, body.uploads, folder))
    response.status_code = 201 if is_new else 200
    return _response(photos, photo_url)


@changes.delete("/listings/{listing_id:path}", responses=problems(404, 409))
async def remove(listing_id: str, catalogue: CatalogueDep, settings: SettingsDep) -> RemovedResponse:
    """Take a listing and its photos out of the catalogue. Photos that were put here are deleted."""
    count = await catalogue.ask(lambda live: remove_listing(live, listing_id, PhotoStore(settings.photos)))
    return RemovedResponse(listing_id=listing_id, photos=count)


def _response(stored: Sequence[StoredPhoto], photo_url: PhotoUrl) -> ListingResponse:
    ids = [one.photo.photo_id for one in stored]
    photos = [ListingPhoto(photo_id=photo_id, photo_url=photo_url(photo_id)) for photo_id in ids]
    return ListingResponse(**listing_fields(stored[0].photo.listing), photos=photos)
