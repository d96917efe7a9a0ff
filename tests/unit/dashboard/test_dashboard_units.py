"""The dashboard's logic, without its drawing."""

import csv
import io
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
import streamlit as st

from dashboard.clusters.colouring import colour_by
from dashboard.clusters.sections import draw_selection
from dashboard.clusters.selection import MapSelection, inside
from dashboard.clusters.state import MapState
from dashboard.search.search_query import Photo, SearchQuery
from dashboard.search.state import SearchState
from dashboard.widgets.categories import category_counts_html
from dashboard.widgets.csv_export import as_csv
from dashboard.widgets.tiles import price_in_words
from search_api.client import Client
from search_api.schemas import MAX_EXAMPLES, Box, Example, Filter, MapColumns, Negative, Source


@pytest.mark.parametrize(
    ("price", "currency", "words"),
    [
        (1150.0, "GBP", "£1,150.00"),
        (0.5, "EUR", "€0.50"),
        (20.0, "USD", "$20.00"),
        (20.0, "PLN", "20.00 PLN"),
        (20.0, "", "20.00"),
        (None, "GBP", "price unknown"),
    ],
)
def test_price_in_words(price: float | None, currency: str, words: str) -> None:
    """A price has its currency, and an unknown price is not zero."""
    assert price_in_words(price, currency) == words


@pytest.mark.parametrize(
    "state",
    [
        SearchState(),
        SearchState(
            "oak & elm",
            ("a/b", "c"),
            ("d",),
            ("Home & Garden", "Gone"),
            "Beds",
            0.0,
            1234567.89,
            "Leeds",
            date(2026, 2, 3),
            200,
        ),
        SearchState(location="St. John's"),
    ],
)
def test_a_link_restores_the_search(state: SearchState) -> None:
    """Converting a state to URL parameters and back loses nothing."""
    assert SearchState.from_params(state.to_params()) == state


def test_invalid_parameters_are_ignored() -> None:
    """A URL that was edited by hand never breaks the page."""
    params = {
        "price_min": ["nan"],
        "price_max": ["-3"],
        "limit": ["9999"],
        "other": ["x"],
        "listing_id": [],
        "listed_after": ["soon"],
    }
    assert SearchState.from_params(params) == SearchState(limit=200)


def test_a_default_state_has_no_filters() -> None:
    """An untouched form adds no filter."""
    assert SearchState().filter() == Filter()


def test_an_area_selects_the_points_in_it() -> None:
    """Points in a dent of the outline are not inside."""
    area = ((0, 0), (4, 0), (4, 4), (2, 1), (0, 4))  # with a dent from above
    x, y = np.array([0.5, 3.5, 2.0, 2.0, 5.0]), np.array([1.0, 1.0, 0.5, 3.0, 1.0])
    assert inside(x, y, area).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize(
    "selection", [MapSelection(), MapSelection(photo="p-1"), MapSelection(area=((-1.0, 0.25), (0.5, 0.5), (0.0, -1.0)))]
)
def test_a_link_restores_the_selection(selection: MapSelection) -> None:
    """Converting a selection to URL parameters and back loses nothing."""
    params = selection.to_params()
    assert MapSelection.from_params(params.get("area", ""), params.get("photo", "")) == selection


def test_an_invalid_selection_is_ignored() -> None:
    """A URL that was edited by hand never breaks the map, not even by NaN."""
    assert MapSelection.from_params("1~2~x", "") == MapSelection()
    assert MapSelection.from_params("1~2~3~nan~5~6", "") == MapSelection()
    assert MapSelection.from_params("1~2~3~4", "p") == MapSelection(photo="p")
    params = {"colour": ["mood"], "part": ["x"], "shown": ["A", "", "A"]}
    assert MapState.from_params(params) == MapState(shown=("A",))


def columns(**known: list[Any]) -> MapColumns:
    """Return map columns as long as the given ones, with empty values for the others."""
    length = len(next(iter(known.values())))
    empty: dict[str, list[Any]] = {name: [""] * length for name in MapColumns.model_fields}
    numbers: dict[str, list[Any]] = {"x": [0.0] * length, "y": [0.0] * length}
    nothing: dict[str, list[Any]] = dict.fromkeys(("price", "confidence", "predicted_category"), [None] * length)
    return MapColumns(**(empty | numbers | nothing | known))


def test_the_rarest_share_a_colour() -> None:
    """With more names than colours, the frequent ones have their own, and the rest are one entry of the legend."""
    names = [f"s{number}" for number in range(30) for _ in range(30 - number)]
    colouring = colour_by(columns(subcategory=names), "subcategory")
    assert len(set(colouring.colours)) == len(colouring.labels) == 20
    counts = colouring.counts(range(len(names)))
    assert counts["s0"] == 30
    assert counts["11 others"] == sum(30 - number for number in range(19, 30))


def test_prices_are_coloured_in_steps() -> None:
    """Low, high and unknown prices have different colours, and the legend counts every photo once."""
    prices = [float(price) for price in range(1, 201)] + [None]
    colouring = colour_by(columns(price=prices, currency=["GBP"] * 201), "price")
    counts = colouring.counts(range(201))
    assert counts["unknown"] == 1
    assert sum(counts.values()) == 201
    assert colouring.label_indices[0] < colouring.label_indices[100] < colouring.label_indices[199]
    assert next(iter(counts)).startswith("below £")


def test_one_price_for_all_is_one_step() -> None:
    """A catalogue of equal prices, or of none, still has a legend."""
    assert sum(colour_by(columns(price=[5.0, 5.0]), "price").counts([0, 1]).values()) == 2
    assert colour_by(columns(price=[None]), "price").counts([0]) == {"unknown": 1}


def test_an_export_holds_no_formula() -> None:
    """A title or column name that a spreadsheet would run as a formula is text; other values do not change."""
    rows = [{"title": '=HYPERLINK("x")', "price": -1.5, "note": 'a,b\n"c" é', "@Home": 1}]
    (row,) = csv.DictReader(io.StringIO(as_csv(rows).decode("utf-8-sig")))
    assert row == {"title": '\'=HYPERLINK("x")', "price": "-1.5", "note": 'a,b\n"c" é', "'@Home": "1"}


def test_an_export_of_a_large_selection_copies_the_map_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Selecting thousands of photos does not copy the map; their export copies it once and contains all of them."""
    ids = [f"p{number}" for number in range(5_000)]
    map_columns, copies, files = columns(photo_id=ids, listing_id=ids, photo_url=ids), [], []
    dump = MapColumns.model_dump

    def recording_dump(dumped: MapColumns, **options: Any) -> dict[str, Any]:
        copies.append(dumped)
        return dump(dumped, **options)

    monkeypatch.setattr(MapColumns, "model_dump", recording_dump)
    monkeypatch.setattr(st, "download_button", lambda _, data, **__: files.append(data))
    draw_selection(Client("http://api.example"), map_columns, colour_by(map_columns, "category"), range(len(ids)))
    assert not copies
    exported = csv.DictReader(io.StringIO(files[0]().decode("utf-8-sig")))
    assert [row["photo_id"] for row in exported] == ids
    assert len(copies) == 1


PHOTO = Photo("k", "p.jpg", "image/jpeg", b"...")
BOX = Box(x=0.1, y=0.2, width=0.5, height=0.5)


@pytest.mark.parametrize(
    ("query", "source"),
    [
        (SearchQuery(SearchState(), (PHOTO,)), {}),
        (SearchQuery(SearchState(), (PHOTO, PHOTO)), {}),
        (SearchQuery(SearchState(), (replace(PHOTO, box=BOX),)), {"box": BOX}),
        (SearchQuery(SearchState(listing_id=("a",))), {"listing_id": "a"}),
        (
            SearchQuery(SearchState(listing_id=("a", "b"))),
            {"positives": [Example(listing_id="a"), Example(listing_id="b")]},
        ),
        (
            SearchQuery(SearchState(listing_id=("a",)), (PHOTO, replace(PHOTO, box=BOX))),
            {"positives": [Example(upload=0), Example(upload=1, box=BOX), Example(listing_id="a")]},
        ),
        (SearchQuery(SearchState(unlike=("z",)), (PHOTO,)), {"negatives": [Negative(listing_id="z")]}),
        (SearchQuery(SearchState(text="oak table")), {"text": "oak table"}),
        (SearchQuery(SearchState(text="blue", listing_id=("a",))), {"text": "blue", "listing_id": "a"}),
    ],
)
def test_sources_of_a_search(query: SearchQuery, source: dict[str, Any]) -> None:
    """A photo, photos of one item and a single listing are not sent as examples, so they keep their probability."""
    request = query.search()
    sent = {name: getattr(request, name) for name in Source.model_fields if name in request.model_fields_set}
    assert sent == source
    assert request.filter.exclude_listing_ids == [*query.state.listing_id, *query.state.unlike]


LISTINGS = tuple(f"l{number}" for number in range(MAX_EXAMPLES + 1))
PHOTOS = (PHOTO,) * (MAX_EXAMPLES + 1)


@pytest.mark.parametrize(
    ("query", "left_out_count"),
    [
        (SearchQuery(SearchState(), PHOTOS), 0),  # photos of one item are no examples
        (SearchQuery(SearchState(), (replace(PHOTO, box=BOX), *PHOTOS[1:])), 1),
        (SearchQuery(SearchState(listing_id=("a",)), PHOTOS), 2),
        (SearchQuery(SearchState(listing_id=LISTINGS), (PHOTO,)), 2),
        (SearchQuery(SearchState(unlike=LISTINGS), (PHOTO,)), 1),
    ],
)
def test_a_search_has_no_more_examples_than_allowed(query: SearchQuery, left_out_count: int) -> None:
    """With too many examples the search is still valid: it uses the last listings, and sends no unused photo."""
    request = query.search()
    examples = request.positives or [Example(upload=number) for number in range(len(query.photos))]
    assert [example.upload for example in examples if not example.listing_id] == list(range(len(query.contents)))
    assert [example.listing_id for example in examples if example.listing_id] == list(
        query.state.listing_id[-MAX_EXAMPLES:]
    )
    assert [example.listing_id for example in request.negatives] == list(query.state.unlike[-MAX_EXAMPLES:])
    assert query.left_out_count == left_out_count


def test_category_names_are_escaped() -> None:
    """HTML in a seller's category is shown as text."""
    legend = category_counts_html({"<b>x</b>": 1200}, {"<b>x</b>": "#4e79a7"})
    assert "&lt;b&gt;x&lt;/b&gt; (1,200)" in legend
