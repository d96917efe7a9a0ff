"""What changes the catalogue."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from search_api.schemas.common import Identity, Strict, Text
from search_api.schemas.filters import Price
from search_api.schemas.sources import MAX_UPLOADS, Base64, Upload

MAX_LISTING_PHOTOS = MAX_UPLOADS


class PutPhoto(Strict):
    """A photo of the listing: sent along, or (with an id alone) the one that is stored under this id already."""

    photo_id: Identity
    upload: Upload | None = Field(None, description="Which of the uploaded photos, from 0.")
    photo_base64: Base64 | None = None

    @model_validator(mode="after")
    def _one_at_most(self) -> "PutPhoto":
        if self.upload is not None and self.photo_base64 is not None:
            raise ValueError("a photo comes as upload or as photo_base64, not both")
        return self


class PutListing(Strict):
    """A listing as it is from now on: what is left out is unknown, a photo that is not named is removed."""

    title: Text = ""
    category: Text = Field("", description="The root category.")
    subcategory: Text = ""
    price: Price | None = None
    currency: Annotated[str, StringConstraints(pattern="^([A-Z]{3})?$")] = ""
    location: Text = ""
    listed_at: datetime | None = Field(None, description="ISO 8601; left out: what is stored, or now.")
    photos: list[PutPhoto] = Field(min_length=1, max_length=MAX_LISTING_PHOTOS)

    @model_validator(mode="after")
    def _ids_differ(self) -> "PutListing":
        if len({photo.photo_id for photo in self.photos}) != len(self.photos):
            raise ValueError("two photos have the same photo_id")
        return self
