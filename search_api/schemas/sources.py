"""Sources of a query: photos, listings, embeddings, examples."""

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from search_api.schemas.common import Identity, StrictModel

MAX_UPLOADS = 64
MAX_EXAMPLES = 32

Base64 = Annotated[str, StringConstraints(min_length=1, max_length=40_000_000)]
QueryId = Annotated[str, StringConstraints(min_length=1, max_length=4_000_000)]
Vector = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1, max_length=8_192)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=100_000)]
Upload = Annotated[int, Field(ge=0, lt=MAX_UPLOADS)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]


class Box(StrictModel):
    """A part of the upright photo: fractions of its width and height from the top left corner."""

    x: Share
    y: Share
    width: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    height: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _inside(self) -> "Box":
        # Tolerate rounding: less than a hundredth of a pixel.
        if self.x + self.width > 1 + 1e-6 or self.y + self.height > 1 + 1e-6:
            raise ValueError("the box extends beyond the photo: x + width and y + height must be at most 1")
        return self


class _Example(StrictModel):
    photo_id: Identity | None = None
    listing_id: Identity | None = Field(None, description="The mean of the listing's photos.")
    embedding: Vector | None = None
    query_id: QueryId | None = None
    photo_base64: Base64 | None = None
    upload: Upload | None = Field(None, description="Index of the uploaded photo, from 0.")
    text: Words | None = Field(None, description="Words, such as `blue`; the first 2,000 characters are read.")
    box: Box | None = Field(None, description="Use only this part of the photo.")

    @model_validator(mode="after")
    def _exactly_one_source(self) -> "_Example":
        kinds = ("photo_id", "listing_id", "embedding", "query_id", "photo_base64", "upload", "text")
        sources = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(sources) != 1:
            raise ValueError(f"an example is exactly one of {', '.join(kinds)}; given: {', '.join(sources) or 'none'}")
        if self.box and sources[0] not in {"photo_id", "photo_base64", "upload"}:
            raise ValueError(f"a box is a part of one photo, and {sources[0]} is not a photo")
        return self


class Example(_Example):
    """A positive example, from exactly one source. Weights are relative to those of the other positives."""

    weight: Weight = 1.0


class Negative(_Example):
    """A negative example. With a weight of 1 each, negatives repel as strongly as positives attract."""

    weight: Weight = 0.25


class Source(StrictModel):
    """The source of a query: uploaded photos, or exactly one of these fields; `text` may accompany a photo."""

    text: Words | None = Field(
        None,
        description="Words that say what to look for, such as a title, in the language of the catalogue's titles. With "
        "photos, both count equally. The first 2,000 characters are read.",
    )

    photos_base64: list[Base64] | None = Field(
        None, min_length=1, max_length=MAX_UPLOADS, description="Photos of one item, in base64."
    )
    photo_id: Identity | None = Field(
        None, description="A photo in the catalogue; its own listing is excluded from the hits."
    )
    listing_id: Identity | None = Field(
        None, description="A listing in the catalogue: matches any of its photos; the listing itself is excluded."
    )
    embedding: Vector | None = Field(None, description="A vector of the model's dimension, as /v1/embed returns it.")
    query_id: QueryId | None = Field(None, description="The query of an earlier response, without uploading again.")
    positives: list[Example] | None = Field(
        None,
        min_length=1,
        max_length=MAX_EXAMPLES,
        description="Examples of what is wanted, combined into one vector; see docs/api.md.",
    )
    negatives: list[Negative] = Field(
        default_factory=list,
        max_length=MAX_EXAMPLES,
        description="Examples of what is not wanted; may accompany any source.",
    )
    uploads: list[Upload] | None = Field(
        None,
        min_length=1,
        max_length=MAX_UPLOADS,
        description="Indexes of the uploaded photos, from 0; all of them if no field names any.",
    )
    box: Box | None = Field(None, description="Search by this part of one upload, one photo in base64 or a photo_id.")
