"""SearchFilter on a real store compared with pandas: for any filter, both keep the same photos."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.listing import Listing, Photo, StoredPhoto
from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from catalog.store.filters import SearchFilter

PHOTOS = 80
DIM = 8
# Short pieces, so that random texts are often equal, prefixes of each other, or differ only in a wildcard.
PIECES = [
    "a",
    "A",
    "a ",
    " / ",
    " /",
    '"',
    '" or 1 == 1 or "',
    "\\",
    "\\n",
    "\n",
    "\t",
    "%",
    "_",
    "'",
    "é",
    "🎹",
    "日本",
]
PRICES = [0.0, 0.1, 1.0, 5.0, 1e9]
TIMES = [0, 1, 1_600_000_000, 1_700_000_000]
Stock = tuple[PhotoCollection, pd.DataFrame]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stock]:
    """Random records, some with hostile strings, in Milvus Lite and in a data frame."""
    random = np.random.default_rng(0)

    def text() -> str:
        return "".join(random.choice(PIECES, random.integers(0, 4)))

    photos = []
    for number in range(PHOTOS):
        listing = Listing(
            f"{number // 2}{text()}",
            text(),
            text(),
            text(),
            random.choice([None, *PRICES]),
            str(random.choice(["", "GBP", "EUR"])),
            text(),
            random.choice([None, *TIMES]),
        )
        photos.append(StoredPhoto(Photo(f"{number}{text()}", listing, "/a.jpg"), "", 0))
    folder = tmp_path_factory.mktemp("oracle")
    collection = PhotoCollection.connect(MilvusSettings(uri=str(folder / "milvus.db")), IndexSettings())
    collection.ensure("ab" * 32, DIM)
    vectors = random.normal(size=(PHOTOS, DIM)).astype(np.float32)
    collection.writer.upsert(photos, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    yield collection, pd.DataFrame([_fields(photo) for photo in photos])
    collection.close()


def _fields(stored: StoredPhoto) -> dict[str, object]:
    listing = stored.photo.listing
    return {
        "photo_id": stored.photo.photo_id,
        "listing_id": listing.listing_id,
        "category": listing.category,
        "subcategory": listing.subcategory,
        "price": np.nan if listing.price is None else listing.price,
        "currency": listing.currency,
        "location": listing.location,
        "listed_at": np.nan if listing.listed_at is None else listing.listed_at,
    }


def passing(frame: pd.DataFrame, where: SearchFilter) -> pd.Series:
    """Apply the filter with pandas; a mask of the rows that pass."""
    keep = ~frame.listing_id.isin(where.exclude_listing_ids) & ~frame.photo_id.isin(where.exclude_photo_ids)
    if where.categories:
        keep &= frame.category.isin(where.categories)
    if where.subcategory:
        below = frame.subcategory.str.startswith(where.subcategory + " / ")
        keep &= (frame.subcategory == where.subcategory) | below
    if where.price_min is not None:
        keep &= frame.price >= where.price_min
    if where.price_max is not None:
        keep &= frame.price <= where.price_max
    if where.currency:
        keep &= frame.currency == where.currency
    if where.location:
        keep &= frame.location.str.startswith(where.location)
    if where.listed_after is not None:
        keep &= frame.listed_at > where.listed_after
    return keep


TEXTS = st.lists(st.sampled_from(PIECES), max_size=3).map("".join)
NUMBERS = st.none() | st.sampled_from(PRICES) | st.floats(0, 2e9)
IDS = st.lists(st.integers(0, PHOTOS - 1), max_size=5)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_store_keeps_what_pandas_keeps(stock: Stock, data: st.DataObject) -> None:
    """Each filter keeps exactly the right records; without the filter, all records are found."""
    photos, frame = stock
    low, high = data.draw(NUMBERS), data.draw(NUMBERS)
    if low is not None and high is not None:
        low, high = min(low, high), max(low, high)
    stored = st.sampled_from(list(frame.index))
    row = frame.loc[data.draw(stored)]  # values of a stored row: random ones would match almost nothing
    where = SearchFilter(
        categories=tuple(data.draw(st.lists(st.sampled_from([row.category]) | TEXTS, max_size=3))),
        subcategory=data.draw(st.just("") | st.just(row.subcategory.split(" / ")[0]) | TEXTS),
        price_min=low,
        price_max=high,
        currency=data.draw(st.sampled_from(["", "", "GBP", "EUR", "gbp", '" or 1 == 1 or "'])),
        location=data.draw(st.just("") | st.just(row.location[:2]) | TEXTS),
        listed_after=data.draw(st.none() | st.sampled_from(TIMES) | st.integers(-(2**70), 2**70)),
        exclude_listing_ids=tuple(frame.listing_id[data.draw(IDS)]),
        exclude_photo_ids=(*frame.photo_id[data.draw(IDS)], data.draw(TEXTS)),
    )
    query = np.eye(DIM, dtype=np.float32)[:1]
    page = photos.reader.search(query, where, PHOTOS, group_by="photo")
    assert {hit.photo_id for hit in page.hits} == set(frame.photo_id[passing(frame, where)])
    assert page.exhausted
    unfiltered = photos.reader.search(query, SearchFilter(), PHOTOS, group_by="photo")
    assert len(unfiltered.hits) == PHOTOS
