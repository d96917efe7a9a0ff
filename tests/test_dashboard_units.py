import pandas as pd
import pytest

from dashboard.asked import Asked
from dashboard.categories import category_colours, category_counts_html
from dashboard.map_chart import chosen
from dashboard.tiles import price_in_words
from search_api.schemas import SearchRequest

FRAME = pd.DataFrame({"x": [0.0, 1.0, 2.0], "y": [0.0, 1.0, 2.0], "photo_id": ["a", "b", "c"]})


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
def test_prices_read_as_people_write_them(price: float | None, currency: str, words: str) -> None:
    """A price carries its currency, and an unknown price is not zero."""
    assert price_in_words(price, currency) == words


@pytest.mark.parametrize(
    "asked",
    [
        Asked(),
        Asked("a/b", ("Home & Garden", "Gone"), 0.0, 1234567.89, "Leeds", 200),
        Asked(location="St. John's"),
    ],
)
def test_a_link_gives_back_what_was_asked(asked: Asked) -> None:
    """Whatever is asked survives the URL."""
    assert Asked.from_params(asked.to_params()) == asked


def test_nonsense_in_a_link_is_not_asked() -> None:
    """A URL edited by hand never breaks the page."""
    params = {"price_min": ["nan"], "price_max": ["-3"], "limit": ["9999"], "other": ["x"], "listing_id": []}
    assert Asked.from_params(params) == Asked(limit=200)


def test_what_is_not_asked_is_not_sent() -> None:
    """An untouched form adds no filter."""
    assert Asked(listing_id="a").request() == SearchRequest(listing_id="a")


def test_the_brush_outranks_the_click() -> None:
    """A dragged rectangle chooses what is in it; without one, the point that was clicked counts."""
    click = {"click": [{"photo_id": "c"}]}
    brush = {"brush": {"x": [1.5, 0.5], "y": [0.5, 1.5]}}
    assert list(chosen(FRAME, brush | click)["photo_id"]) == ["b"]
    assert list(chosen(FRAME, {"brush": {}} | click)["photo_id"]) == ["c"]
    assert chosen(FRAME, {"brush": {}, "click": []}).empty


def test_category_names_cannot_carry_html() -> None:
    """A seller's category is text, whatever it says."""
    drawn = category_counts_html({"<b>x</b>": 1200}, category_colours(["<b>x</b>"]))
    assert "&lt;b&gt;x&lt;/b&gt; (1,200)" in drawn
