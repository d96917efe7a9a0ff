"""The dashboard's pages, driven with AppTest, against the real API in a separate server."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from catalog.settings import DashboardSettings, MilvusSettings
from embedding.card import Calibration
from marketlens.processes import dashboard_command
from search_api.auth.api_keys import create_key
from tests.support.data.exports import MakeExport
from tests.support.data.models import fake_embedder, worded_embedder
from tests.support.data.pictures import jpeg, picture
from tests.support.paths import ROOT
from tests.support.servers.milvus_server import free_ports
from tests.support.servers.serving import make_app, serving

APP = ROOT / "dashboard" / "app.py"


@pytest.fixture
def api(make_export: MakeExport, lite: MilvusSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run an API over ten listings with two photos each, and set its URL for the dashboard."""
    with serving(make_app(make_export(listings=10, photos_each=2), fake_embedder(), lite)) as address:
        monkeypatch.setenv("MARKETLENS_DASHBOARD__API_URL", address)
        st.cache_data.clear()
        yield address


def page() -> AppTest:
    return AppTest.from_file(str(APP), default_timeout=60)


def tiles(app: AppTest) -> list[str]:
    """Return the listing IDs of the tiles, in order."""
    assert not app.exception, app.exception[0].message
    return [button.key.removeprefix("more-") for button in app.button if (button.key or "").startswith("more-")]


def tile_texts(app: AppTest, listing_id: str) -> list[str]:
    return [text.value for text in app.get_by_key(f"tile-{listing_id}").text]


@pytest.mark.usefixtures("api")
def test_an_empty_page_has_no_tiles_and_no_error() -> None:
    """Before a search there is no grid and no error."""
    app = page().run()
    assert tiles(app) == []
    assert not app.error


def test_an_upload_shows_its_listing_first(api: str) -> None:
    """The uploaded photo's listing is the first tile, with score, price and category; its image can be loaded."""
    app = page().run()
    app.file_uploader[0].upload("p.jpg", jpeg(picture(4)), "image/jpeg").run()
    assert tiles(app)[0] == "l4"
    texts = tile_texts(app, "l4")
    assert any("Thing 4" in text for text in texts)
    assert any("£5.00" in text for text in texts)
    assert any("Home" in text for text in texts)
    url = app.get_by_key("tile-l4").image[0].value[0]
    assert url.startswith(api)
    assert httpx.get(url).headers["content-type"] == "image/jpeg"


def test_words_find_their_titles(
    make_export: MakeExport, lite: MilvusSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words are in the URL, and the page says how well a hit fits them or that the model does not know them."""
    embedder = worded_embedder()
    embedder.card.words_calibration = Calibration(slope=20, intercept=-6, pairs=10, same_item_pairs=5)
    export = make_export(listings=10)
    products = export / "Products.csv"
    products.write_text(products.read_text().replace("Thing 7 |", "old oak table |"))
    with serving(make_app(export, embedder, lite)) as address:
        monkeypatch.setenv("MARKETLENS_DASHBOARD__API_URL", address)
        st.cache_data.clear()
        app = page().run()
        app.text_input(key="text").set_value("oak table").run()
        assert tiles(app)[0] == "l7"
        assert any("fits " in text for text in tile_texts(app, "l7"))
        assert app.query_params["text"] == "oak table"
        app.text_input(key="text").set_value("xyzzy").run()
        assert tiles(app) == []
        assert any("does not know these words" in info.value for info in app.info)


@pytest.mark.usefixtures("api")
def test_a_model_without_words_names_the_command() -> None:
    """The error says how to teach the model."""
    app = page().run()
    app.text_input(key="text").set_value("oak table").run()
    assert any("marketlens words" in text.value for text in app.get_by_key("api-error").text)


@pytest.mark.usefixtures("api")
def test_more_like_this_searches_by_a_tile() -> None:
    """The button searches for listings like that tile's, and the URL contains it."""
    app = page().run()
    app.file_uploader[0].upload("p.jpg", jpeg(picture(4)), "image/jpeg").run()
    app.button(key="more-l4").click().run()
    assert "l4" not in tiles(app)
    assert len(tiles(app)) == 9
    assert app.query_params["listing_id"] == "l4"


@pytest.mark.usefixtures("api")
def test_filters_narrow_the_results_and_are_in_the_url() -> None:
    """A shared link opens with its listing and filters; removing the filter shows the other listings again."""
    app = page()
    app.query_params["listing_id"] = "l4"
    app.query_params["category"] = "Garden"
    app.run()
    assert set(tiles(app)) == {"l1", "l3", "l5", "l7", "l9"}
    app.multiselect(key="category").set_value([]).run()
    assert len(tiles(app)) == 9
    app.number_input(key="price_max").set_value(2.0).run()
    assert set(tiles(app)) == {"l0", "l1"}
    assert app.query_params["price_max"] == "2"


@pytest.mark.usefixtures("api")
def test_an_empty_result_names_the_filters() -> None:
    """If no listing passes, the page lists the active filters."""
    app = page()
    app.query_params["listing_id"] = "l4"
    app.query_params["location"] = "Atlantis"
    app.run()
    assert tiles(app) == []
    assert any("Atlantis" in text.value for text in [*app.text, *app.markdown, *app.info, *app.caption])


@pytest.mark.usefixtures("api")
def test_an_unknown_listing_shows_an_error() -> None:
    """A link to a removed listing shows the API's message, not a traceback."""
    app = page()
    app.query_params["listing_id"] = "nobody"
    app.run()
    assert not app.exception
    assert any("nobody" in text.value for text in app.text)


@pytest.mark.usefixtures("api")
def test_more_examples_than_a_search_takes() -> None:
    """With 33 photos and a listing, the search still works, and the page says how many examples it left out."""
    app = page()
    app.query_params["listing_id"] = "l4"
    app.run()
    for _ in range(33):
        app.file_uploader[0].upload("p.jpg", jpeg(picture(4)), "image/jpeg")
    app.run()
    assert len(tiles(app)) == 9
    assert any("Left out: 2" in warning.value for warning in app.warning)


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("place", ["x" * 1_001, "Leeds\x07"])
def test_an_invalid_filter_can_be_changed(place: str) -> None:
    """An invalid filter shows an error, and the filters stay visible so that it can be changed."""
    app = page()
    app.query_params["listing_id"] = "l4"
    app.query_params["location"] = place
    app.run()
    assert not app.exception
    assert app.error
    app.text_input(key="location").set_value("").run()
    assert not app.error
    assert len(tiles(app)) == 9


def test_a_malformed_key_shows_an_error(
    make_export: MakeExport, lite: MilvusSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A malformed key is refused like any wrong key, and a valid key then logs in."""
    keys = tmp_path / "keys.json"
    key = create_key(keys, "ann", "read")
    with serving(make_app(make_export(), fake_embedder(), lite, keys=keys)) as address:
        monkeypatch.setenv("MARKETLENS_DASHBOARD__API_URL", address)
        st.cache_data.clear()
        app = log_in(page().run(), "schlüssel")
        assert not app.exception
        assert app.error
        app = log_in(app, key)
        assert not app.error
        assert any("ann (read)" in text.value for text in app.sidebar.text)


def log_in(app: AppTest, key: str) -> AppTest:
    app.text_input(key="key_typed").set_value(key)
    return next(button for button in app.button if button.label == "Log in").click().run()


def test_an_unexpected_error_hides_its_details(capsys: pytest.CaptureFixture[str]) -> None:
    """The page only says that there was an error; the output of the process contains the traceback."""
    command = dashboard_command(DashboardSettings(), 1_000_000)
    options = dict(part.removeprefix("--").split("=") for part in command if part.startswith("--"))
    before = st.get_option("client.showErrorDetails")
    st.set_option("client.showErrorDetails", options["client.showErrorDetails"])
    try:
        app = AppTest.from_string("raise RuntimeError('unexpected detail')").run()
    finally:
        st.set_option("client.showErrorDetails", before)
    (error,) = app.exception
    assert "has encountered an error" in error.message
    assert "unexpected detail" not in error.message
    assert not error.stack_trace
    output = "".join(capsys.readouterr())
    assert "RuntimeError" in output
    assert "unexpected detail" in output


@pytest.mark.usefixtures("api")
def test_a_missing_map_shows_the_command() -> None:
    """Before the first `marketlens insights`, the Clusters page shows this command."""
    app = page().run()
    app.switch_page("clusters/page.py").run()
    assert not app.exception
    assert not app.error
    assert "marketlens insights" in app.code[0].value


def test_the_page_recovers_from_an_unavailable_api(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the API is down, the page says how to start it; when it answers again, the same page works."""
    monkeypatch.setenv("MARKETLENS_DASHBOARD__API_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    app = page()
    app.query_params["listing_id"] = "l4"
    app.run()
    assert not app.exception
    assert app.error
    assert any("marketlens serve" in text.value for text in app.text)
    monkeypatch.setenv("MARKETLENS_DASHBOARD__API_URL", api)
    app.button(key="retry").click().run()
    assert not app.error
    assert len(tiles(app)) == 9
