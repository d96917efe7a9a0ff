"""One listing: shown, put, removed."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from catalog.listing import StoredPhoto
from search_api.answering import PhotoUrl, listing_fields
from search_api.changing import put_listing, remove_listing
from search_api.deps import CatalogueDep, LiveDep, PhotoUrlDep, SettingsDep, needs
from search_api.keeping import PhotoFolder
from search_api.openapi import body, problems
from search_api.reading import Received, reader
from search_api.schemas import ListingPhoto, ListingResponse, PutListing, RemovedResponse

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
    return _response(live.photos.listing_photos(listing_id), photo_url)


@changes.put(
    "/listings/{listing_id:path}",
    responses={201: {"model": ListingResponse}, **problems(400, 404, 408, 409, 413, 415)},
    openapi_extra=body(PutListing, _PUT, _PART),
)
async def put(
    listing_id: str,
    received: Annotated[Received[PutListing], Depends(reader(PutListing, _PART))],
    catalogue: CatalogueDep,
    photo_url: PhotoUrlDep,
    settings: SettingsDep,
    response: Response,
) -> ListingResponse:
    """Make a listing, or make it as it is said here. Photos that are not named leave it.

    Multipart: photos as files named `photo`, the rest as JSON in the part `listing`, where `upload` says which file is
    which photo. A photo is kept as a JPEG without its metadata. Searches see the change within a second.
    """
    folder = PhotoFolder(settings.photos)
    photos, is_new = await catalogue.ask(
        partial(put_listing, listing_id, received.message, received.uploads, folder=folder)
    )
    response.status_code = 201 if is_new else 200
    return _response(photos, photo_url)


@changes.delete("/listings/{listing_id:path}", responses=problems(404, 409))
async def remove(listing_id: str, catalogue: CatalogueDep, settings: SettingsDep) -> RemovedResponse:
    """Take a listing and its photos out of the catalogue. Photos that were put here are deleted."""
    count = await catalogue.ask(partial(remove_listing, listing_id, folder=PhotoFolder(settings.photos)))
    return RemovedResponse(listing_id=listing_id, photos=count)


def _response(stored: Sequence[StoredPhoto], photo_url: PhotoUrl) -> ListingResponse:
    ids = [one.photo.photo_id for one in stored]
    photos = [ListingPhoto(photo_id=photo_id, photo_url=photo_url(photo_id)) for photo_id in ids]
    return ListingResponse(**listing_fields(stored[0].photo.listing), photos=photos)
