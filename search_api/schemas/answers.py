"""Responses of search, classify, embed and explain."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from search_api.schemas.common import ListingFields, Problem


class Timings(BaseModel):
    """Milliseconds in each stage, including waiting; `search` covers all requests to Milvus."""

    read: float = 0.0
    decode: float = 0.0
    embed: float = 0.0
    search: float = 0.0
    total: float


class CategoryProbability(BaseModel):
    """A root category and its probability."""

    category: str
    probability: float


class OtherPhoto(BaseModel):
    """Another photo of a hit's listing that the search found."""

    photo_id: str
    photo_url: str
    score: float


class HeatMap(BaseModel):
    """How much each part of a photo contributes to the score: 7 rows of 7 cells from the top left that add up to it."""

    photo_id: str | None = Field(description="Null for an uploaded photo.")
    cells: list[list[float]]
    overlay_png: str | None = Field(None, description="The photo overlaid with the heat map, PNG in base64.")


class Explanation(BaseModel):
    """Both sides of a match. `query` is null unless the query is a single photo whose pixels are available."""

    score: float = Field(description="Cosine of the query and the photo alone, without the title of its listing.")
    query: HeatMap | None
    hit: HeatMap


class StoredFields(BaseModel):
    """Further stored fields of a photo."""

    sha256: str
    ingested_at: datetime


class SearchHit(ListingFields):
    """A matching listing, with the photo that matched best."""

    score: float = Field(description="Cosine similarity of the best photo, -1 to 1.")
    probability: float | None = Field(
        description="Probability that both photos show the same item, 0 to 1; for words, that the photo shows the kind "
        "of thing that they name. Null if the model is not calibrated or the query combines several examples."
    )
    photo_id: str
    photo_url: str = Field(description="Path on this API; add `size=` for the longer side in pixels.")
    matched_photos: int = Field(
        description="Number of photos of the listing that the search found, including this one."
    )
    other_photos: list[OtherPhoto] = Field(description="The other photos that the search found, nearest first.")
    embedding: list[float] | None = Field(None, description="Only if included.")
    explanation: Explanation | None = Field(None, description="Only if included.")
    payload: StoredFields | None = Field(None, description="Only if included.")


class SearchResponse(BaseModel):
    """Hits, nearest first unless diversity is set."""

    hits: list[SearchHit]
    asked_by: Literal["photo", "words", "examples"] = Field(
        description="What the query was: photos, words, or one vector that combines several examples."
    )
    no_good_match: bool | None = Field(
        description="True if no hit has a probability of 0.5 or more, or if the model does not know the words. Null if "
        "hits have no probability."
    )
    predicted_categories: list[CategoryProbability] | None = Field(
        description="Categories of the query, most probable first. Null if the model has no categories."
    )
    facets: dict[str, int] | None = Field(None, description="Hits per category, only if requested.")
    query_id: str = Field(description="Send it instead of the source, with other filters or for the next page.")
    cursor: str | None = Field(description="For the next page; null if there is none.")
    exhausted: bool = Field(description="No further listing passes the filter.")
    exact: bool = Field(description="True if no nearer hit was missed.")
    collection: str
    model_fingerprint: str
    changed_at: datetime | None = Field(description="When the collection last changed.")
    timings_ms: Timings = Field(description="In a batch, those of the whole batch.")


class BatchAnswer(BaseModel):
    """Either `answer` or `problem`."""

    answer: SearchResponse | None = None
    problem: Problem | None = None


class BatchResponse(BaseModel):
    """One answer per search, in the same order."""

    answers: list[BatchAnswer]
    timings_ms: Timings


class ClassifyResponse(BaseModel):
    """All categories of the model, most probable first."""

    categories: list[CategoryProbability]
    model_fingerprint: str
    timings_ms: Timings


class EmbedResponse(BaseModel):
    """Vectors of unit length: one per photo, or a single one for positives and negatives."""

    embeddings: list[list[float]]
    dim: int
    model_fingerprint: str
    query_id: str
    timings_ms: Timings


class ExplainResponse(Explanation):
    """Why a photo was found."""

    model_fingerprint: str
    timings_ms: Timings
