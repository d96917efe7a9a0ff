"""Responses about the catalogue and about single listings."""

from pydantic import BaseModel, Field

from search_api.schemas.common import ListingFields


class ListingPhoto(BaseModel):
    """One photo of a listing."""

    photo_id: str
    photo_url: str


class ListingResponse(ListingFields):
    """A listing with all its photos."""

    photos: list[ListingPhoto]


class CategoryCount(BaseModel):
    """Number of listings and photos in a root category."""

    category: str
    listings: int
    photos: int


class CategoriesResponse(BaseModel):
    """All root categories of the collection, largest first."""

    categories: list[CategoryCount]


class Health(BaseModel):
    """Whether the service is ready, and with which collection and model."""

    status: str
    collection: str | None = None
    model_fingerprint: str | None = None
    photos: int | None = None
    lost_photos: int | None = Field(None, description="Photos that are missing although nobody removed them.")
    pending: str | None = Field(None, description="Why a promoted build is not in use yet.")


class RemovedResponse(BaseModel):
    """The listing that was removed, and its number of photos."""

    listing_id: str
    photos: int
