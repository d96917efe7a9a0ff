"""What is answered about the catalogue as a whole, and about one listing."""

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
    """How much a root category holds."""

    category: str
    listings: int
    photos: int


class CategoriesResponse(BaseModel):
    """Every category of the collection, largest first."""

    categories: list[CategoryCount]


class Health(BaseModel):
    """Whether the service can answer, and with what."""

    status: str
    collection: str | None = None
    model_fingerprint: str | None = None
    photos: int | None = None
    lost_photos: int | None = Field(None, description="Photos that are gone though nobody removed them.")
    pending: str | None = Field(None, description="What keeps a build that was promoted from answering.")


class RemovedResponse(BaseModel):
    """What was taken out of the catalogue."""

    listing_id: str
    photos: int
