"""Verdicts: decisions of staff about suspected wrong categories and duplicates."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field

from search_api.schemas.common import Identity, StrictModel, Text

Decision = Literal["accept", "reject", "skip"]
Kind = Literal["wrong_category", "duplicate"]


class WrongCategory(StrictModel):
    """The question whether a listing belongs in another category. A verdict settles it for these three values."""

    kind: Literal["wrong_category"] = "wrong_category"
    listing_id: Identity
    category: Text
    suggested_category: Text


class Duplicate(StrictModel):
    """The question whether these listings are the same item. A verdict also settles it for every subset of them."""

    kind: Literal["duplicate"] = "duplicate"
    listing_ids: Annotated[list[Identity], Field(min_length=2, max_length=1_000)]


Question = Annotated[WrongCategory | Duplicate, Field(discriminator="kind")]


class PutVerdict(StrictModel):
    """A decision. Another decision on the same question replaces it."""

    question: Question
    decision: Decision
    note: Text = ""


class Verdict(BaseModel):
    """A stored decision."""

    verdict_id: int
    question: Question
    decision: Decision
    note: str
    decided_by: str = Field(description="Name of the API key; empty if the service has no keys.")
    decided_at: AwareDatetime


class VerdictsResponse(BaseModel):
    """Verdicts, newest first."""

    verdicts: list[Verdict]
    total: int
    next_before: int | None = Field(description="Send it as `before` to get the next older page.")
