"""Requests: search, batch, classify, embed, explain."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from search_api.schemas.common import Identity, Probability, Score, StrictModel
from search_api.schemas.filters import Filter
from search_api.schemas.sources import Source

MAX_LIMIT = 200
MAX_BATCH = 64
MAX_EXPLAINED = 10

GroupBy = Literal["listing", "photo"]
Include = Literal["embedding", "explain", "payload"]


class SearchRequest(Source):
    """A search: its source, its filters and the form of its response."""

    filter: Filter = Field(default_factory=Filter)
    limit: int = Field(20, ge=1, le=MAX_LIMIT, description="Maximum number of hits.")
    cursor: Annotated[str, StringConstraints(max_length=20_000)] | None = Field(
        None, description="From the previous page: returns the next page of the same search. Fastest with its query_id."
    )
    min_score: Score | None = Field(None, description="Minimum cosine similarity of a hit.")
    min_probability: Probability | None = Field(None, description="Minimum probability that a hit shows the same item.")
    group_by: GroupBy = "listing"
    exact: bool = Field(False, description="Compare with every photo that passes the filter: slower, but misses none.")
    diversity: float = Field(
        0.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="0: the nearest hits. Towards 1: hits that differ more from each other.",
    )
    include: set[Include] = Field(
        default_factory=set,
        description=f"Further fields of each hit. `explain` needs a limit of at most {MAX_EXPLAINED}.",
    )
    facets: bool = Field(False, description="Count the hits per category, ignoring `filter.categories`.")

    @model_validator(mode="after")
    def _limit_explanations(self) -> "SearchRequest":
        if "explain" in self.include and self.limit > MAX_EXPLAINED:
            raise ValueError(
                f"include explain reads the photo of every hit: limit is {self.limit}, must be at most {MAX_EXPLAINED}"
            )
        return self


class BatchRequest(StrictModel):
    """Searches that run together. Each is a SearchRequest and is validated separately."""

    searches: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=MAX_BATCH,
        json_schema_extra={"items": {"$ref": "#/components/schemas/SearchRequest"}},
    )


class ClassifyRequest(Source):
    """A photo to classify; several photos are averaged."""


class EmbedRequest(Source):
    """A photo, several photos or examples to embed."""


class ExplainRequest(Source):
    """A search and one of the photos that it found."""

    hit_photo_id: Identity
    overlays: bool = Field(False, description="Return both photos overlaid with their heat maps, PNG in base64.")
