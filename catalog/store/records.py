"""Conversion between StoredPhoto and a Milvus row. Pure; the field names here are the contract."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from catalog.listing import Embeddings, Listing, Photo, StoredPhoto

FORMAT_VERSION = 3
UNKNOWN_PRICE = -1.0
UNKNOWN_TIME = -1

# Fields that searches and look-ups return: all but the embedding.
FIELDS = (
    "photo_id",
    "listing_id",
    "category",
    "subcategory",
    "title",
    "price",
    "currency",
    "location",
    "listed_at",
    "photo_uri",
    "sha256",
    "source_tag",
    "ingested_at",
)


def to_row(stored: StoredPhoto) -> dict[str, Any]:
    """Return the row of a photo, without its embedding."""
    photo, listing = stored.photo, stored.photo.listing
    return {
        "photo_id": photo.photo_id,
        "listing_id": listing.listing_id,
        "category": listing.category,
        "subcategory": listing.subcategory,
        "title": listing.title,
        "price": UNKNOWN_PRICE if listing.price is None else listing.price,
        "currency": listing.currency,
        "location": listing.location,
        "listed_at": UNKNOWN_TIME if listing.listed_at is None else listing.listed_at,
        "photo_uri": photo.uri,
        "sha256": stored.sha256,
        "source_tag": stored.source_tag,
        "ingested_at": stored.ingested_at,
    }


def from_row(row: dict[str, Any]) -> StoredPhoto:
    """Return the photo of a row that `to_row` made."""
    listing = Listing(
        listing_id=row["listing_id"],
        title=row["title"],
        category=row["category"],
        subcategory=row["subcategory"],
        price=None if row["price"] == UNKNOWN_PRICE else row["price"],
        currency=row["currency"],
        location=row["location"],
        listed_at=None if row["listed_at"] == UNKNOWN_TIME else row["listed_at"],
    )
    photo = Photo(row["photo_id"], listing, row["photo_uri"])
    return StoredPhoto(photo, row["sha256"], row["ingested_at"], row["source_tag"])


def check_embeddings(photos: Sequence[StoredPhoto], embeddings: Embeddings, dim: int) -> None:
    """Raise ValueError for input that Milvus would accept silently: NaN or zero vectors, duplicate ids."""
    if embeddings.shape != (len(photos), dim):
        raise ValueError(f"embeddings have the shape {embeddings.shape}, not {(len(photos), dim)}")
    if not np.allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-3):
        raise ValueError("embeddings are not finite vectors of unit length")
    if len({stored.photo.photo_id for stored in photos}) != len(photos):
        raise ValueError("a photo id appears twice in one batch")
