"""Responses about the results of `marketlens insights` for the live collection.

Lists have a stable order: to get the next page, send `next_after` of a page as `after`, even if verdicts were added in
between.
"""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from search_api.schemas.common import ListingFields

DuplicateKind = Literal["same_bytes", "same_photo", "same_item"]
MAX_PAGE = 200


class CategoryInsight(BaseModel):
    """A root category and its centre on the map."""

    category: str
    listings: int
    photos: int
    words: list[str] = Field(description="Words that are frequent in its titles and rarer elsewhere.")
    x: float
    y: float


class ClusterLabel(BaseModel):
    """A dense area of the map: its position, and words from its titles."""

    x: float
    y: float
    photos: int
    category: str = Field(description="The most frequent category in the area.")
    words: list[str]


class InsightsResponse(BaseModel):
    """The whole collection. Matrices have one row and one column per entry of `categories`, in that order."""

    collection: str
    model_fingerprint: str
    made_at: datetime
    photos: int = Field(description="Number of photos when the insights were made.")
    mapped_photos: int
    is_stale: bool = Field(description="True if the collection has changed since.")
    categories: list[CategoryInsight]
    clusters: list[ClusterLabel]
    overlap: list[list[float]] = Field(
        description="Row: category shares among the neighbours of a category's photos, without the same listing's."
    )
    distances: list[list[float]] = Field(description="Cosine distances between the mean embeddings of the categories.")
    suggestions: int = Field(description="Number of suspected wrong categories, including decided ones.")
    duplicates: int = Field(description="Number of groups of duplicates, including decided ones.")


class MapColumns(BaseModel):
    """The photos of the map, column by column: all lists have the same length. `x` and `y` are within -1 and 1."""

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
    confidence: list[float | None] = Field(description="Probability of the predicted category, 0 to 1.")
    x: list[float]
    y: list[float]


class MapResponse(BaseModel):
    """The 2-D map of the collection's photos, or of an even sample of them: similar photos are near each other."""

    columns: MapColumns
    total_photos: int
    collection: str
    model_fingerprint: str
    made_at: datetime


class InsightPhoto(ListingFields):
    """A photo with the model's prediction."""

    photo_id: str
    photo_url: str
    predicted_category: str | None
    confidence: float | None
    score: float | None = Field(
        None, description="For outliers: mean cosine with the nearest photos of the same category."
    )


class PhotosResponse(BaseModel):
    """A page of photos."""

    photos: list[InsightPhoto]
    total: int
    next_after: int | None


class ConfusionResponse(BaseModel):
    """Photos by the seller's category (rows) and the model's (columns), in the order of the two lists."""

    categories: list[str]
    predicted_categories: list[str]
    counts: list[list[int]]
    trained_on: int = Field(
        description="How many of these photos the model was trained on; its predictions for them are too good."
    )


class Evidence(InsightPhoto):
    """A neighbour: a photo of another listing, and its similarity."""

    similarity: float


class TitleWord(BaseModel):
    """A word of a title: the shares of the other listings with it that are in the suggested and seller's category."""

    word: str
    suggested: float
    seller: float
    listings: int


class Suggestion(ListingFields):
    """A listing whose category is probably wrong."""

    rank: int
    photo_id: str
    photo_url: str
    photo_urls: list[str] = Field(description="All photos of the listing, this photo first.")
    suggested_category: str
    certainty: float = Field(description="Probability that a moderator accepts the suggestion, 0 to 1.")
    head_probability: float | None = Field(
        description="Of the suggested category, by the photos; null if the model was trained on the listing or does "
        "not know the seller's category."
    )
    seller_probability: float | None = Field(description="Of the seller's category, by the photos.")
    title_probability: float | None = Field(None, description="Of the suggested category, by the title.")
    title_seller_probability: float | None = Field(None, description="Of the seller's category, by the title.")
    title_words: list[TitleWord] = Field(
        default_factory=list, description="Words of the title that speak for the suggested category, strongest first."
    )
    neighbour_share: float = Field(description="Share of the neighbours that are in the suggested category.")
    neighbour_seller_share: float = Field(0.0, description="Share of the neighbours that are in the seller's category.")
    neighbours: list[Evidence]


class SuggestionsResponse(BaseModel):
    """Undecided suspected wrong categories, the most certain first."""

    suggestions: list[Suggestion]
    remaining: int
    next_after: int | None


class DuplicatePhoto(BaseModel):
    """A photo of a listing in a group of duplicates."""

    photo_id: str
    photo_url: str
    score: float = Field(description="Cosine with the nearest photo of another listing in the group.")


class DuplicateListing(ListingFields):
    """A listing in a group of duplicates, with the photos that match those of the others."""

    photos: list[DuplicatePhoto]


class DuplicateGroup(BaseModel):
    """Listings that show the same item. `kind` is that of the strongest link: same file, same photo or same item."""

    rank: int
    kind: DuplicateKind
    probability: float | None = Field(
        description="Probability of the weakest same_item link that holds the group together; null if there is none."
    )
    listings: list[DuplicateListing]
    price_low: float | None = Field(description="Null if there are no prices, or several currencies.")
    price_high: float | None
    same_place: bool
    same_category: bool


class DuplicatesResponse(BaseModel):
    """Undecided groups: same file first, then same photo, then same item, the most probable first."""

    groups: list[DuplicateGroup]
    remaining: int
    next_after: int | None
