"""What goes over the wire. Pydantic only: the dashboard imports this module and nothing else of the API."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

MAX_LIMIT = 200

Identity = Annotated[str, StringConstraints(max_length=512)]
Text = Annotated[str, StringConstraints(max_length=1_000)]


class SearchRequest(BaseModel):
    """A search by something already listed, or the fields that go with an uploaded photo."""

    model_config = ConfigDict(extra="forbid")

    listing_id: Identity | None = Field(
        None, description="Look for listings like this one; its own photos are left out."
    )
    photo_id: Identity | None = Field(
        None, description="Look for listings like this photo; its own listing is left out."
    )
    category: list[Text] = Field(default_factory=list, max_length=200, description="Any of these root categories.")
    price_min: float | None = Field(None, ge=0, allow_inf_nan=False)
    price_max: float | None = Field(None, ge=0, allow_inf_nan=False)
    location: Text | None = Field(None, description="What the location begins with, case and all: `Leeds`.")
    exclude_listing_id: list[Identity] = Field(default_factory=list, max_length=1000)
    limit: int = Field(20, ge=1, le=MAX_LIMIT, description="How many listings at most.")

    @model_validator(mode="after")
    def _prices_in_order(self) -> "SearchRequest":
        if self.price_min is not None and self.price_max is not None and self.price_min > self.price_max:
            raise ValueError(f"price_min {self.price_min:g} is above price_max {self.price_max:g}")
        return self


class ListingFields(BaseModel):
    """What is known of a listing. `price` is null when the seller gave none that could be read."""

    listing_id: str
    title: str
    category: str
    subcategory: str
    price: float | None
    currency: str
    location: str


class SearchHit(ListingFields):
    """A listing in an answer, with the photo that matched best."""

    score: float = Field(description="Cosine similarity of the best photo, -1 to 1.")
    photo_id: str
    photo_url: str = Field(description="Path on this API; takes `?size=` for the longer side in pixels.")
    matched_photos: int = Field(description="Photos of the listing that the search came across.")


class SearchTimings(BaseModel):
    """Milliseconds spent in each stage."""

    embed: float
    search: float


class SearchResponse(BaseModel):
    """Listings, nearest first."""

    hits: list[SearchHit]
    collection: str
    model_fingerprint: str
    timings_ms: SearchTimings


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


class MapPoint(ListingFields):
    """A photo on the map: near each other means alike."""

    photo_id: str
    photo_url: str
    x: float
    y: float


class MapResponse(BaseModel):
    """The 2-D map of the collection's photos, or of an even sample of them."""

    points: list[MapPoint]
    total_photos: int
    collection: str
    model_fingerprint: str


class Health(BaseModel):
    """Whether the service can answer, and with what."""

    status: str
    collection: str | None = None
    model_fingerprint: str | None = None
    photos: int | None = None
    lost_photos: int | None = Field(None, description="Photos that are gone though nobody removed them.")
    pending: str | None = Field(None, description="What keeps a build that was promoted from answering.")


class Problem(BaseModel):
    """An error, as RFC 9457 has it, with a code for programs and a hint for people."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    request_id: str = ""
    errors: list[dict[str, str]] = Field(default_factory=list, description="One per wrong field.")
