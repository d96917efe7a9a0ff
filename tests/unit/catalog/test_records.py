import json

import numpy as np
import pytest
from numpy.typing import NDArray

from catalog.listing import Listing, Photo, StoredPhoto
from catalog.store.records import FIELDS, check_embeddings, from_row, to_row

DIM = 4


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


def photos(*ids: str) -> list[StoredPhoto]:
    return [StoredPhoto(Photo(photo_id, Listing("l"), "/a.jpg"), "", 0) for photo_id in ids]


def unit(rows: int) -> NDArray[np.float32]:
    return np.eye(DIM, dtype=np.float32)[:rows]


def test_good_embeddings() -> None:
    """Unit vectors of the right shape pass, even with small rounding errors; so does an empty batch."""
    check_embeddings(photos("a", "b"), unit(2) * np.float32(1.0005), DIM)
    check_embeddings([], unit(0), DIM)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 0.5, 3.0])
def test_bad_vectors(value: float) -> None:
    """NaN, infinite, zero and unnormalised vectors are refused, even one among good ones: Milvus accepts them."""
    embeddings = unit(3)
    embeddings[1, 1] = value
    with pytest.raises(ValueError, match="unit length"):
        check_embeddings(photos("a", "b", "c"), embeddings, DIM)


@pytest.mark.parametrize("shape", [(2, DIM), (3, DIM + 1), (3 * DIM,), (3, 1, DIM)])
def test_bad_shape(shape: tuple[int, ...]) -> None:
    """There has to be one embedding per photo, with the collection's dimension."""
    with pytest.raises(ValueError, match="shape"):
        check_embeddings(photos("a", "b", "c"), np.zeros(shape, np.float32), DIM)


def test_duplicate_ids() -> None:
    """An id that occurs twice in a batch is refused: stores differ in which of the two they keep."""
    with pytest.raises(ValueError, match="twice"):
        check_embeddings(photos("a", "b", "a"), unit(3), DIM)
