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
    """A photo reads back as written; a price of 0 and an unknown price stay different."""
    assert from_row(json.loads(json.dumps(to_row(stored(price))))) == stored(price)


@pytest.mark.parametrize("listed_at", [None, 0, 1_600_000_000])
def test_dates(listed_at: int | None) -> None:
    """An unknown date reads back as None, not as 1970; a filter on dates excludes it."""
    assert from_row(to_row(stored(1.0, listed_at))) == stored(1.0, listed_at)
    assert to_row(stored(1.0, None))["listed_at"] < 0


def test_fields() -> None:
    """A row has exactly the fields that every search returns."""
    assert tuple(to_row(stored(1.0))) == FIELDS


def test_unknown_price() -> None:
    """An unknown price is stored as -1, which price filters exclude."""
    assert to_row(stored(None))["price"] == -1.0


def test_row_and_warnings_are_not_stored() -> None:
    """A photo's row in the export and its warnings are neither compared nor stored."""
    photo = stored(1.0).photo
    read = Photo(photo.photo_id, photo.listing, photo.uri, row="m.csv row 2", warnings=("odd",))
    assert read == photo
    assert to_row(StoredPhoto(read, "", 0)) == to_row(StoredPhoto(photo, "", 0))
