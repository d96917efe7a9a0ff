"""Requests that change the catalogue."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from search_api.schemas.common import Identity, StrictModel, Text
from search_api.schemas.filters import Price
from search_api.schemas.sources import MAX_UPLOADS, Base64, Upload

MAX_LISTING_PHOTOS = MAX_UPLOADS


class PutPhoto(StrictModel):
    """A photo of the listing: sent with the request, or already stored under this id if only the id is given."""

    photo_id: Identity
    upload: Upload | None = Field(None, description="Index of the uploaded photo, from 0.")
    photo_base64: Base64 | None = None

    @model_validator(mode="after")
    def _at_most_one_source(self) -> "PutPhoto":
        if self.upload is not None and self.photo_base64 is not None:
            raise ValueError("send a photo as upload or as photo_base64, not both")
        return self


class PutListing(StrictModel):
    """The complete new state of a listing: omitted fields become unknown, photos that are not named are removed."""

    title: Text = ""
    category: Text = Field("", description="The root category.")
    subcategory: Text = ""
    price: Price | None = None
    currency: Annotated[str, StringConstraints(pattern="^([A-Z]{3})?$")] = ""
    location: Text = ""
    listed_at: datetime | None = Field(
        None, description="ISO 8601; if omitted, the stored time, or now for a new listing."
    )
    photos: list[PutPhoto] = Field(min_length=1, max_length=MAX_LISTING_PHOTOS)

    @model_validator(mode="after")
    def _ids_are_unique(self) -> "PutListing":
        if len({photo.photo_id for photo in self.photos}) != len(self.photos):
            raise ValueError("two photos have the same photo_id")
        return self
