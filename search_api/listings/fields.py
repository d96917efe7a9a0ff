"""Listings and times: as the catalogue has them, and as the API shows them."""

import math
from datetime import UTC, datetime
from typing import Any

from catalog.listing import Listing
from search_api.schemas import ListingFields

_NAMES = tuple(ListingFields.model_fields)


def listing_fields(listing: Listing) -> dict[str, Any]:
    """The fields of a listing that the API shows."""
    # Not asdict: it copies deeply, which takes 40 microseconds for each hit.
    return {name: getattr(listing, name) for name in _NAMES}


def as_time(seconds: int) -> datetime:
    """Unix seconds as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def as_seconds(time: datetime) -> int:
    """A time as Unix seconds; without a zone it is taken for UTC."""
    return math.floor((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
