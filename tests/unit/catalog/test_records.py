import json

import pytest

from catalog.listing import Listing, Photo, StoredPhoto
from catalog.store.records import FIELDS, from_row, to_row


def stored(price: float | None, listed_at: int | None = 1_600_000_000) -> StoredPhoto:
    place = "Leeds, West Yorkshire"
    listing = Listing("l1", "Bed\n🛏", "Home & Garden", "Beds / Other", price, "GBP", place, listed_at)
    return StoredPhoto(Photo("p1", listing, "/a b.jpg"), "ab" * 32, 1_700_000_000)


@pytest.mark.parametrize("price", [None, 0.0, 12.5, 1e9])
def test_round_trip(price: float | None) -> None:
    """A photo reads back as it was written; free and unknown stay two things."""
    assert from_row(json.loads(json.dumps(to_row(stored(price))))) == stored(price)


@pytest.mark.parametrize("listed_at", [None, 0, 1_600_000_000])
def test_dates(listed_at: int | None) -> None:
    """An unknown date is none, not 1970; a filter on dates leaves it out."""
    assert from_row(to_row(stored(1.0, listed_at))) == stored(1.0, listed_at)
    assert to_row(stored(1.0, None))["listed_at"] < 0


def test_fields() -> None:
    """A row has the fields of the contract, which are those that every search returns."""
    assert tuple(to_row(stored(1.0))) == FIELDS


def test_unknown_price() -> None:
    """An unknown price is stored as -1, which filters from 0 leave out."""
    assert to_row(stored(None))["price"] == -1.0


def test_reading_is_not_stored() -> None:
    """Where a photo stood in an export, and what was odd there, makes it no other photo."""
    photo = stored(1.0).photo
    read = Photo(photo.photo_id, photo.listing, photo.uri, row="m.csv row 2", warnings=("odd",))
    assert read == photo
    assert to_row(StoredPhoto(read, "", 0)) == to_row(StoredPhoto(photo, "", 0))
