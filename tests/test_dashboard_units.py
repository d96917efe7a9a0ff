import socket

import httpx
import pandas as pd
import pytest

from dashboard.api import Api, ApiError
from dashboard.asked import Asked
from dashboard.categories import category_colours, category_counts_html
from dashboard.map_chart import chosen
from dashboard.tiles import price_in_words
from search_api.schemas import Problem, SearchRequest

FRAME = pd.DataFrame({"x": [0.0, 1.0, 2.0], "y": [0.0, 1.0, 2.0], "photo_id": ["a", "b", "c"]})


def api_answering(response: httpx.Response | Exception) -> Api:
    def answer(_: httpx.Request) -> httpx.Response:
        if isinstance(response, Exception):
            raise response
        return response

    api = Api("http://api.example/")
    api._client = httpx.Client(transport=httpx.MockTransport(answer))
    return api


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


def test_a_problem_keeps_its_words() -> None:
    """The user reads the API's own detail, hint, wrong fields and request id."""
    problem = Problem(
        title="t", status=422, detail="d", code="c", hint="h", request_id="r", errors=[{"field": "limit", "why": "big"}]
    )
    with pytest.raises(ApiError) as caught:
        api_answering(httpx.Response(422, text=problem.model_dump_json())).categories()
    assert (caught.value.detail, caught.value.hint, caught.value.request_id) == ("d\nlimit: big", "h", "r")


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (httpx.ReadTimeout("slow"), "took too long"),
        (httpx.ReadError("cut"), "No answer from the API at http://api.example"),
        (httpx.Response(502, text="<h1>Bad gateway</h1>"), "status 502"),
        (httpx.Response(200, text="<h1>Welcome</h1>"), "status 200"),
    ],
)
def test_every_failure_is_one_error(response: httpx.Response | Exception, words: str) -> None:
    """Whatever goes wrong between dashboard and API, the page has something to say."""
    with pytest.raises(ApiError, match=words) as caught:
        api_answering(response).categories()
    assert caught.value.hint


@pytest.mark.parametrize("address", ["ftp://x", "http://[", "not an address"])
def test_a_wrong_address_is_no_traceback(address: str) -> None:
    """A slip in the setting is told like an API that is down."""
    with pytest.raises(ApiError, match="No answer from the API"):
        Api(address).ready()


def test_nobody_listening() -> None:
    """With the API down the user learns how to start it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ApiError, match=address) as caught:
        Api(address).ready()
    assert "marketlens serve" in caught.value.hint
