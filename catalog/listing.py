"""The data types of the catalogue: listings, photos, rejected rows, hits and pages of hits."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Stage = Literal["row", "read", "decode"]
Embeddings = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Listing:
    """One thing for sale. `price` is None if it could not be read; `currency` is an ISO 4217 code or ''.

    `listed_at` is in Unix seconds, None if the export has no date: the store then keeps the time of the first ingest.
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
    """One picture of a listing. `uri` is an absolute path, a URL, or a place in an archive (`zip://images/a.jpg::/exports/a.zip`).

    `row` is its place in the export, `warnings` are about that row, `description` is what the seller wrote about the
    listing, for training: none of them is stored.
    """

    photo_id: str
    listing: Listing
    uri: str
    row: str = field(default="", compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    description: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class StoredPhoto:
    """A photo as the collection holds it, without its embedding. `ingested_at` is in Unix seconds.

    `source_tag` identifies the version of the bytes at their source (size and time, ETag): an equal tag means equal
    bytes.
    """

    photo: Photo
    sha256: str
    ingested_at: int
    source_tag: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An input row that could not be used: its place, a short stable reason code, and the detail for people.

    `stage` is where it failed: in the table, while its bytes were read, or while they were decoded.
    """

    row: str
    photo_id: str
    listing_id: str
    reason: str
    detail: str
    stage: Stage = "row"


Scored = tuple[float, StoredPhoto]
"""Cosine similarity to the nearest of the queries, and the photo."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result: a listing represented by its nearest photo, or a single photo.

    `others` are the listing's other photos that the search found, nearest first. `embedding` is (dim,), if requested.
    """

    photo: StoredPhoto
    score: float
    others: tuple[Scored, ...] = ()
    embedding: Embeddings | None = field(default=None, compare=False)

    @property
    def listing(self) -> Listing:
        """The listing of the best photo."""
        return self.photo.photo.listing

    @property
    def photo_id(self) -> str:
        """The id of the best photo."""
        return self.photo.photo.photo_id


@dataclass(frozen=True, slots=True)
class Page:
    """Hits, nearest first. `exact`: an exact search gives the same hits; `exhausted`: there are no further hits."""

    hits: list[Hit]
    exact: bool
    exhausted: bool
