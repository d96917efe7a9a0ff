"""Parts shared by several requests and responses."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Identity = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Text = Annotated[str, StringConstraints(max_length=1_000)]
Score = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class StrictModel(BaseModel):
    """Part of a request. An unknown field, such as a misspelt one, is an error."""

    model_config = ConfigDict(extra="forbid")


class ListingFields(BaseModel):
    """The fields of a listing. `price` is null if it is missing or could not be read."""

    listing_id: str
    title: str
    category: str
    subcategory: str
    price: float | None
    currency: str
    location: str
    listed_at: datetime | None = None


class Problem(BaseModel):
    """An error as defined by RFC 9457, with a code for programs and a hint for people."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    request_id: str = ""
    errors: list[dict[str, str]] = Field(default_factory=list, description="One per invalid field.")
