"""What is answered to a search and its kin."""

from datetime import datetime

from pydantic import BaseModel, Field

from search_api.schemas.common import ListingFields, Problem


class Timings(BaseModel):
    """Milliseconds spent in each stage, waiting for its turn included; `search` is all that Milvus was asked."""

    read: float = 0.0
    decode: float = 0.0
    embed: float = 0.0
    search: float = 0.0
    total: float


class CategoryProbability(BaseModel):
    """A root category and how probable it is."""

    category: str
    probability: float


class OtherPhoto(BaseModel):
    """A further photo of a hit's listing that the search came across."""

    photo_id: str
    photo_url: str
    score: float


class HeatMap(BaseModel):
    """What in a photo made it match, over 7 rows of 7 cells from the top left; all cells add up to the score."""

    photo_id: str | None = Field(description="Null for an upload.")
    cells: list[list[float]]
    overlay_png: str | None = Field(None, description="The photo with the heat map on it, PNG in base64.")


class Explanation(BaseModel):
    """Both sides of a match. `query` is null where the query is no single photo, or its pixels were not sent."""

    score: float
    query: HeatMap | None
    hit: HeatMap


class StoredFields(BaseModel):
    """What else is stored of a photo."""

    sha256: str
    ingested_at: datetime


class SearchHit(ListingFields):
    """A listing in an answer, with the photo that matched best."""

    score: float = Field(description="Cosine similarity of the best photo, -1 to 1.")
    probability: float | None = Field(
        description="That the photos show the same item, 0 to 1. Null where the model is not calibrated, and for a "
        "query of several examples."
    )
    photo_id: str
    photo_url: str = Field(description="Path on this API; takes `size=` for the longer side in pixels.")
    matched_photos: int = Field(description="How many photos of the listing the search came across, this one included.")
    other_photos: list[OtherPhoto] = Field(description="The others of them, nearest first.")
    embedding: list[float] | None = Field(None, description="Only when included.")
    explanation: Explanation | None = Field(None, description="Only when included.")
    payload: StoredFields | None = Field(None, description="Only when included.")


class SearchResponse(BaseModel):
    """Hits, nearest first unless diversity was asked for."""

    hits: list[SearchHit]
    no_good_match: bool | None = Field(
        description="Whether none of these hits is the same item with a probability of 0.5. Null where hits have none."
    )
    predicted_categories: list[CategoryProbability] | None = Field(
        description="What the query shows, most probable first. Null where the model has no categories."
    )
    facets: dict[str, int] | None = Field(None, description="Hits per category, only when asked for.")
    query_id: str = Field(description="Send it in place of the source, with other filters or for the next page.")
    cursor: str | None = Field(description="For the next page; null when there is none.")
    exhausted: bool = Field(description="Nothing more passes.")
    exact: bool = Field(description="No nearer hit was missed.")
    collection: str
    model_fingerprint: str
    changed_at: datetime | None = Field(description="When the collection changed last.")
    timings_ms: Timings = Field(description="In a batch, of the whole batch.")


class BatchAnswer(BaseModel):
    """One of `answer` and `problem`."""

    answer: SearchResponse | None = None
    problem: Problem | None = None


class BatchResponse(BaseModel):
    """An answer for each search, in their order."""

    answers: list[BatchAnswer]
    timings_ms: Timings


class ClassifyResponse(BaseModel):
    """Every category of the model, most probable first."""

    categories: list[CategoryProbability]
    model_fingerprint: str
    timings_ms: Timings


class EmbedResponse(BaseModel):
    """Vectors of unit length: one per photo, or one for positives and negatives."""

    embeddings: list[list[float]]
    dim: int
    model_fingerprint: str
    query_id: str
    timings_ms: Timings


class ExplainResponse(Explanation):
    """Why a photo was found."""

    model_fingerprint: str
    timings_ms: Timings
