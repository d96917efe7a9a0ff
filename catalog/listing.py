"""The things the catalogue is made of."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Stage = Literal["row", "read", "decode"]
Embeddings = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Listing:
    """One thing for sale. `price` is None when none could be read; `currency` is an ISO 4217 code or ''.

    `listed_at` is in Unix seconds, None where the export does not say: the store then keeps the first ingest's moment.
    """

    listing_id: str
    title: str = ""
    category: str = ""
    subcategory: str = ""
    price: float | None = None
    currency: str = ""
    location: str = ""
    listed_at: int | None = None


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


Scored = tuple[float, StoredPhoto]
"""A photo with its cosine to the nearest of the queries."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A listing in an answer by its nearest photo, or a photo alone; `embedding` (dim,) where it was asked for.

    `others` are the listing's other photos that the search came across, nearest first.
    """

    photo: StoredPhoto
    score: float
    others: tuple[Scored, ...] = ()
    embedding: Embeddings | None = field(default=None, compare=False)

    @property
    def listing(self) -> Listing:
        """What is for sale."""
        return self.photo.photo.listing

    @property
    def photo_id(self) -> str:
        """The photo that matched best."""
        return self.photo.photo.photo_id


@dataclass(frozen=True, slots=True)
class Page:
    """Hits, nearest first. `exact`: as an exact search gives them; `exhausted`: nothing further passes."""

    hits: list[Hit]
    exact: bool
    exhausted: bool
