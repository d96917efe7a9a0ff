"""The things the catalogue is made of."""

from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["row", "read", "decode"]


@dataclass(frozen=True, slots=True)
class Listing:
    """One thing for sale. `price` is None when none could be read; `currency` is an ISO 4217 code or ''."""

    listing_id: str
    title: str = ""
    category: str = ""
    subcategory: str = ""
    price: float | None = None
    currency: str = ""
    location: str = ""


@dataclass(frozen=True, slots=True)
class Photo:
    """One picture of a listing. `uri` is an absolute path, an address, or a place in an archive (`zip://images/a.jpg::/exports/a.zip`).

    `row` says where in an export it stands, `warnings` what was odd there; neither is part of what is stored.
    """

    photo_id: str
    listing: Listing
    uri: str
    row: str = field(default="", compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class StoredPhoto:
    """A photo as the collection holds it, without its embedding. `ingested_at` is in Unix seconds.

    `source_tag` is what its source said of the bytes (size and time, ETag): while it says the same, they are the same.
    """

    photo: Photo
    sha256: str
    ingested_at: int
    source_tag: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An input row that could not be used: where it stands, a short stable reason, and the detail for people.

    `stage` is where it fell: in the table, while its bytes were read, or while they were decoded.
    """

    row: str
    photo_id: str
    listing_id: str
    reason: str
    detail: str
    stage: Stage = "row"


@dataclass(frozen=True, slots=True)
class Hit:
    """One listing in an answer, with the cosine of its best photo.

    `matched_photos` counts the photos of this listing that are at least as near as the last hit of the answer.
    """

    listing: Listing
    photo_id: str
    score: float
    matched_photos: int
