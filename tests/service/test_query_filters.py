"""Filters through the API compared with pandas, and malicious values."""

import string
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from catalog.listing import Listing, Photo, StoredPhoto
from catalog.settings import ApiSettings, IndexSettings, MilvusSettings, Settings, VerdictSettings
from catalog.store.collection import PhotoCollection
from search_api.app import create_app
from search_api.schemas import MAX_EXCLUDED
from tests.support.data.models import fake_embedder
from tests.support.data.pictures import picture

CATEGORIES = ["Home & Garden", 'Say "cheese"', "Ünïcode 🛋️", "a\\b", "tab\there", "%", ""]
SUBCATEGORIES = ["", "Beds", "Beds / Other", "Beds, Cots", "Beds / Other / Old", "beds"]
CURRENCIES = ["GBP", "EUR", ""]
LOCATIONS = ["Leeds, West Yorkshire", "Leeds", "leeds", "London", "", "100% Wool", "_"]
PRICES = [None, 0.0, 0.1, 9.99, 10.0, 10.01, 1e6]
DAYS = [datetime(2024, 1, day, 12, tzinfo=UTC) for day in (1, 2, 3)]
COUNT = 160

# Milvus Lite takes about 20 ms for each.
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def make_listings() -> list[Listing]:
    def of(values: list[Any], number: int, step: int) -> Any:
        return values[number // step % len(values)]

    return [
        Listing(
            f"l{n}",
            category=of(CATEGORIES, n, 1),
            subcategory=of(SUBCATEGORIES, n, 2),
            price=of(PRICES, n, 3),
            currency=of(CURRENCIES, n, 5),
            location=of(LOCATIONS, n, 4),
            listed_at=int(of(DAYS, n, 6).timestamp()),
        )
        for n in range(COUNT)
    ]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service with 160 listings of one photo, in combinations of unusual values."""
    path: Path = tmp_path_factory.mktemp("filters")
    embedder = fake_embedder()
    photos = PhotoCollection.connect(
        MilvusSettings(uri=str(path / "milvus.db")), IndexSettings(), consistency="Session"
    )
    photos.ensure(embedder.fingerprint, embedder.dim)
    stored = [
        StoredPhoto(Photo(f"{listing.listing_id}-0", listing, "/nowhere.jpg"), "", 0) for listing in make_listings()
    ]
    photos.writer.upsert(stored, embedder.embed([picture(number) for number in range(COUNT)]))
    own = Settings(
        api=ApiSettings(keys=path / "keys.json"),
        verdicts=VerdictSettings(url=SecretStr(f"sqlite:///{path / 'verdicts.db'}")),
    )
    with TestClient(create_app(own, embedder, photos)) as client:
        yield client


TABLE = pd.DataFrame([asdict(listing) for listing in make_listings()])


def oracle(fields: dict[str, Any]) -> set[str]:
    """Return the ids of the listings that pass, according to pandas."""
    rows = TABLE
    if fields.get("categories"):
        rows = rows[rows.category.isin(fields["categories"])]
    if subcategory := fields.get("subcategory"):
        rows = rows[(rows.subcategory == subcategory) | rows.subcategory.str.startswith(subcategory + " / ")]
    if fields.get("price_min") is not None:
        rows = rows[rows.price >= fields["price_min"]]
    if fields.get("price_max") is not None:
        rows = rows[rows.price <= fields["price_max"]]
    if fields.get("currency"):
        rows = rows[rows.currency == fields["currency"]]
    if fields.get("location"):
        rows = rows[rows.location.str.startswith(fields["location"])]
    if after := fields.get("listed_after"):
        moment = datetime.fromisoformat(after)
        rows = rows[rows.listed_at > (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()]
    return set(rows.listing_id) - set(fields.get("exclude_listing_ids", ()))


def texts(values: list[str]) -> st.SearchStrategy[str]:
    return st.one_of(st.sampled_from(values), st.text(string.printable + "äß🛋️", max_size=8))


numbers = st.one_of(st.sampled_from([price for price in PRICES if price is not None]), st.floats(0, 1e9))
filters = st.fixed_dictionaries(
    {},
    optional={
        "categories": st.lists(texts(CATEGORIES), max_size=4),
        "subcategory": texts(SUBCATEGORIES),
        "price_min": numbers,
        "price_max": numbers,
        "currency": st.sampled_from(["GBP", "EUR", "USD"]),
        "location": texts([*LOCATIONS, "L", "Lee"]),
        "listed_after": st.one_of(st.sampled_from(DAYS), st.datetimes(timezones=st.sampled_from([UTC]))).map(
            datetime.isoformat
        ),
        "exclude_listing_ids": st.lists(st.sampled_from([f"l{n}" for n in range(COUNT)]), max_size=5),
    },
)


@MANY
@given(filters)
def test_filters_pass_what_pandas_passes(client: TestClient, fields: dict[str, Any]) -> None:
    """Any combination of filters returns the same listings as in pandas, or 422."""
    response = client.post("/v1/search", json={"photo_id": "l0-0", "filter": fields, "limit": 200})
    control = any(ord(letter) < 32 and letter not in "\t\n\r" for text in _words(fields) for letter in text)
    crossed = fields.get("price_min", 0) > fields.get("price_max", 1e99)
    if control or crossed:
        assert response.status_code == 422
        return
    assert response.status_code == 200, response.text
    answer = response.json()
    assert {hit["listing_id"] for hit in answer["hits"]} == oracle(fields) - {"l0"}
    assert answer["exhausted"]


def _words(fields: dict[str, Any]) -> list[str]:
    return [*fields.get("categories", ()), fields.get("subcategory", ""), fields.get("location", "")]


def search(client: TestClient, **fields: object) -> Any:
    return client.post("/v1/search", json={"photo_id": "l0-0", "limit": 200} | fields)


@pytest.mark.parametrize(
    "value",
    [
        '" or 1 == 1',
        '"] or category in ["',
        "' or '1'=='1",
        "\\",
        '\\"',
        "%",
        "_",
        "🛋️",
        "${x}",
        "{{7*7}}",
        "\u202e",
        "ﬀ",
    ],
)
def test_values_are_values(client: TestClient, value: str) -> None:
    """A value that looks like an expression is compared as text."""
    for fields in ({"categories": [value]}, {"subcategory": value}, {"location": value}):
        response = search(client, filter=fields)
        assert response.status_code == 200
        assert {hit["listing_id"] for hit in response.json()["hits"]} == oracle(fields) - {"l0"}
    everything = search(client, filter={"exclude_listing_ids": [value]})
    assert len(everything.json()["hits"]) == COUNT - 1
    for source in ({"photo_id": value}, {"listing_id": value}):
        assert client.post("/v1/search", json=source).status_code == 404


@pytest.mark.parametrize("value", ["a\x00b", "\x1b[31m", "\x7f"])
def test_control_characters_are_refused_everywhere(client: TestClient, value: str) -> None:
    """Control characters are in no stored text, so filters and ids with them give 422."""
    for fields in (
        {"categories": [value]},
        {"subcategory": value},
        {"location": value},
        {"exclude_listing_ids": [value]},
    ):
        assert search(client, filter=fields).status_code == 422
    for source in (
        {"photo_id": value},
        {"listing_id": value},
        {"positives": [{"photo_id": value}, {"photo_id": "l1-0"}]},
    ):
        assert client.post("/v1/search", json=source).status_code == 422
    path = quote(value)
    assert client.get(f"/v1/listings/{path}").status_code == 422
    assert client.get(f"/v1/photos/{path}/image").status_code == 422
    assert client.delete(f"/v1/listings/{path}").status_code == 422


def test_names_that_do_not_exist_are_named(client: TestClient) -> None:
    """A misspelt filter is an error: otherwise the response would only look filtered."""
    for fields in ({"categorys": ["Home"]}, {"price": {"$gt": 3}}, {"expression": "price > 3"}, {"__class__": "x"}):
        response = search(client, filter=fields)
        assert response.status_code == 422
        assert f"filter.{next(iter(fields))}" in response.json()["detail"]


def test_ten_thousand_listings_can_be_left_out(client: TestClient) -> None:
    """10,000 listings can be excluded; one more is refused."""
    strangers = [f"stranger-{number}" for number in range(MAX_EXCLUDED - 100)]
    own = [f"l{number}" for number in range(100)]
    response = search(client, filter={"exclude_listing_ids": strangers + own})
    assert {hit["listing_id"] for hit in response.json()["hits"]} == {f"l{number}" for number in range(100, COUNT)}
    assert search(client, filter={"exclude_listing_ids": [*strangers, *own, "one"]}).status_code == 422


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-12-31", "2024-01-02"]
)
def test_moments_far_away_are_moments(client: TestClient, moment: str) -> None:
    """The ends of the calendar, times before 1970 and dates without a time are compared like any other time."""
    found = {hit["listing_id"] for hit in search(client, filter={"listed_after": moment}).json()["hits"]}
    expected = {"0": COUNT - 1, "9": 0, "1": COUNT - 1}.get(moment[0])
    assert len(found) == (expected if expected is not None else len(oracle({"listed_after": moment}) - {"l0"}))
