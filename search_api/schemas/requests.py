"""What is asked."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from search_api.schemas.common import Identity, Probability, Score, Strict
from search_api.schemas.filters import Filter
from search_api.schemas.sources import Source

MAX_LIMIT = 200
MAX_BATCH = 64
MAX_EXPLAINED = 10

GroupBy = Literal["listing", "photo"]
Include = Literal["embedding", "explain", "payload"]


class SearchRequest(Source):
    """A search: what by, what for, and how the answer should look."""

    filter: Filter = Field(default_factory=Filter)
    limit: int = Field(20, ge=1, le=MAX_LIMIT, description="How many hits at most.")
    cursor: Annotated[str, StringConstraints(max_length=20_000)] | None = Field(
        None, description="From the answer before this one: the next page of the same search, best by its query_id."
    )
    min_score: Score | None = Field(None, description="Least cosine of a hit.")
    min_probability: Probability | None = Field(None, description="Least probability of being the same item.")
    group_by: GroupBy = "listing"
    exact: bool = Field(False, description="Compare with every photo that passes the filter: slower, misses none.")
    diversity: float = Field(
        0.0, ge=0, le=1, allow_inf_nan=False, description="0: the nearest. Towards 1: hits less like each other."
    )
    include: set[Include] = Field(
        default_factory=set, description=f"More of each hit. `explain` for at most {MAX_EXPLAINED} hits."
    )
    facets: bool = Field(False, description="Count the hits per category, whatever `filter.categories` says.")

    @model_validator(mode="after")
    def _few_explained(self) -> "SearchRequest":
        if "explain" in self.include and self.limit > MAX_EXPLAINED:
            raise ValueError(
                f"include explain reads the photo of every hit again: limit is {self.limit}, at most {MAX_EXPLAINED}"
            )
        return self


class BatchRequest(Strict):
    """Searches that are answered together; each is checked on its own, and is a SearchRequest."""

    searches: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=MAX_BATCH,
        json_schema_extra={"items": {"$ref": "#/components/schemas/SearchRequest"}},
    )


class ClassifyRequest(Source):
    """Something to be told the category of; of several photos, the mean."""


class EmbedRequest(Source):
    """Something to be told the embedding of."""


class ExplainRequest(Source):
    """A search and one photo that it found."""

    hit_photo_id: Identity
    overlays: bool = Field(False, description="Pictures of both photos with the heat maps on them, PNG in base64.")
