"""What is searched by."""

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from search_api.schemas.common import Identity, Strict

MAX_UPLOADS = 64
MAX_EXAMPLES = 32

Base64 = Annotated[str, StringConstraints(min_length=1, max_length=40_000_000)]
QueryId = Annotated[str, StringConstraints(min_length=1, max_length=4_000_000)]
Vector = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1, max_length=8_192)]
Upload = Annotated[int, Field(ge=0, lt=MAX_UPLOADS)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]


class Box(Strict):
    """A part of a photo as it is seen, upright: shares of its width and height from the top left corner."""

    x: Share
    y: Share
    width: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    height: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _inside(self) -> "Box":
        # A hundredth of a pixel's worth is rounding.
        if self.x + self.width > 1 + 1e-6 or self.y + self.height > 1 + 1e-6:
            raise ValueError("the box reaches out of the photo: x + width and y + height are at most 1")
        return self


class _Example(Strict):
    photo_id: Identity | None = None
    listing_id: Identity | None = Field(None, description="The mean of its photos.")
    embedding: Vector | None = None
    query_id: QueryId | None = None
    photo_base64: Base64 | None = None
    upload: Upload | None = Field(None, description="Which of the uploaded photos, from 0.")
    box: Box | None = Field(None, description="The part of the photo that counts.")

    @model_validator(mode="after")
    def _one_kind(self) -> "_Example":
        kinds = ("photo_id", "listing_id", "embedding", "query_id", "photo_base64", "upload")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"an example is exactly one of {', '.join(kinds)}; given: {', '.join(given) or 'none'}")
        if self.box and given[0] not in {"photo_id", "photo_base64", "upload"}:
            raise ValueError(f"a box is a part of one photo, and {given[0]} is none")
        return self


class Example(_Example):
    """Something to search for, exactly one of its kinds. Weights are relative to the other positives'."""

    weight: Weight = 1.0


class Negative(_Example):
    """Something to search away from. With a weight of 1 each, negatives push as strongly as positives pull."""

    weight: Weight = 0.25


class Source(Strict):
    """What is searched by: uploaded photos, or exactly one of these."""

    photos_base64: list[Base64] | None = Field(
        None, min_length=1, max_length=MAX_UPLOADS, description="Photos of one thing, as base64."
    )
    photo_id: Identity | None = Field(None, description="A photo in the catalogue; its own listing is left out.")
    listing_id: Identity | None = Field(
        None, description="A listing in the catalogue, by any of its photos; itself left out."
    )
    embedding: Vector | None = Field(None, description="A vector of the model's dimension, as /v1/embed gives it.")
    query_id: QueryId | None = Field(None, description="The query of an earlier answer, without a second upload.")
    positives: list[Example] | None = Field(
        None,
        min_length=1,
        max_length=MAX_EXAMPLES,
        description="Examples of what is wanted: made one vector, see docs/api.md.",
    )
    negatives: list[Negative] = Field(
        default_factory=list, max_length=MAX_EXAMPLES, description="Examples of what is not wanted, beside any source."
    )
    uploads: list[Upload] | None = Field(
        None,
        min_length=1,
        max_length=MAX_UPLOADS,
        description="Which of the uploaded photos, from 0; all of them where no field names any.",
    )
    box: Box | None = Field(None, description="Search by this part: of an upload, a photo in base64 or a photo_id.")
