"""What `marketlens insights` found in the live collection, as it is answered.

Lists are in an order that stays: `next_after` of one page, sent as `after`, gives the next, whatever was decided
meanwhile.
"""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from search_api.schemas.common import ListingFields

DuplicateKind = Literal["same_bytes", "same_photo", "same_item"]
MAX_PAGE = 200


class CategoryInsight(BaseModel):
    """A root category as it lies on the map."""

    category: str
    listings: int
    photos: int
    words: list[str] = Field(description="Frequent in its titles, and rarer elsewhere.")
    x: float
    y: float


class ClusterLabel(BaseModel):
    """A dense place of the map: where it is, and what its titles say."""

    x: float
    y: float
    photos: int
    category: str = Field(description="The most frequent one there.")
    words: list[str]


class InsightsResponse(BaseModel):
    """The collection as a whole. Matrices have a row and a column for each of `categories`, in that order."""

    collection: str
    model_fingerprint: str
    made_at: datetime
    photos: int = Field(description="At that time.")
    mapped_photos: int
    is_stale: bool = Field(description="The collection changed since.")
    categories: list[CategoryInsight]
    clusters: list[ClusterLabel]
    overlap: list[list[float]] = Field(
        description="Row: of the neighbours of a category's photos, other listings' photos, the share in each category."
    )
    distances: list[list[float]] = Field(description="Cosine distances between the categories' mean embeddings.")
    suggestions: int = Field(description="Wrong categories suspected, decided ones included.")
    duplicates: int = Field(description="Groups of duplicates, decided ones included.")


class MapColumns(BaseModel):
    """The photos of the map, column by column: all lists are equally long. `x` and `y` lie within -1 and 1."""

    photo_id: list[str]
    listing_id: list[str]
    photo_url: list[str]
    title: list[str]
    category: list[str]
    subcategory: list[str]
    price: list[float | None]
    currency: list[str]
    location: list[str]
    predicted_category: list[str | None]
    confidence: list[float | None] = Field(description="Of the predicted category, 0 to 1.")
    x: list[float]
    y: list[float]


class MapResponse(BaseModel):
    """The 2-D map of the collection's photos, or of an even sample of them: near each other means alike."""

    columns: MapColumns
    total_photos: int
    collection: str
    model_fingerprint: str
    made_at: datetime


class InsightPhoto(ListingFields):
    """A photo with what the model says of it."""

    photo_id: str
    photo_url: str
    predicted_category: str | None
    confidence: float | None
    score: float | None = Field(None, description="Of an outlier: mean cosine with its category's nearest photos.")


class PhotosResponse(BaseModel):
    """Photos, page by page."""

    photos: list[InsightPhoto]
    total: int
    next_after: int | None


class ConfusionResponse(BaseModel):
    """Photos by the seller's category (rows) and the model's (columns), both in the order of their lists."""

    categories: list[str]
    predicted_categories: list[str]
    counts: list[list[int]]
    trained_on: int = Field(description="How many of these photos the model learned from: it knows those by heart.")


class Evidence(InsightPhoto):
    """A neighbour, another listing's photo, and how near it is."""

    similarity: float


class Suggestion(ListingFields):
    """A listing whose category is probably wrong."""

    rank: int
    photo_id: str
    photo_url: str
    photo_urls: list[str] = Field(description="All photos of the listing, this one first.")
    suggested_category: str
    certainty: float = Field(
        description="0 to 1: what head and neighbours give this category, of that and what they give the seller's."
    )
    head_probability: float | None = Field(description="Of the suggested category; null where the head has none such.")
    seller_probability: float | None = Field(description="Of the seller's category, by the same head.")
    neighbour_share: float = Field(description="Of the neighbours, the share in the suggested category.")
    neighbours: list[Evidence]


class SuggestionsResponse(BaseModel):
    """Wrong categories suspected and not decided yet, the most certain first."""

    suggestions: list[Suggestion]
    remaining: int
    next_after: int | None


class DuplicatePhoto(BaseModel):
    """A photo of a listing in a group of duplicates."""

    photo_id: str
    photo_url: str
    score: float = Field(description="Cosine with the nearest photo of another listing in the group.")


class DuplicateListing(ListingFields):
    """A listing in a group of duplicates, with the photos that it shares with the others."""

    photos: list[DuplicatePhoto]


class DuplicateGroup(BaseModel):
    """Listings that show the same. `kind` is that of the strongest link: same file, same picture, same thing."""

    rank: int
    kind: DuplicateKind
    probability: float | None = Field(
        description="Of the weakest link of the kind same_item that holds the group together; null where there is none."
    )
    listings: list[DuplicateListing]
    price_low: float | None = Field(description="Null without prices, or with several currencies.")
    price_high: float | None
    same_place: bool
    same_category: bool


class DuplicatesResponse(BaseModel):
    """Groups not decided yet; same file first, then same picture, then same thing, the most probable first."""

    groups: list[DuplicateGroup]
    remaining: int
    next_after: int | None
