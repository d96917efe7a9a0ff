"""What several messages are made of."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Identity = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Text = Annotated[str, StringConstraints(max_length=1_000)]
Score = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Strict(BaseModel):
    """A part of a request: a name that it does not have, misspelt perhaps, is an error."""

    model_config = ConfigDict(extra="forbid")


class ListingFields(BaseModel):
    """What is known of a listing. `price` is null when the seller gave none that could be read."""

    listing_id: str
    title: str
    category: str
    subcategory: str
    price: float | None
    currency: str
    location: str
    listed_at: datetime | None = None


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
