"""The dashboard's pages, driven with AppTest, against the real API in a server of its own."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from catalog.settings import DashboardSettings, MilvusSettings
from marketlens.processes import dashboard_command
from search_api.auth.api_keys import create_key
from tests.support.exports import MakeExport
from tests.support.milvus_server import free_ports
from tests.support.models import fake_embedder
from tests.support.paths import ROOT
from tests.support.pictures import jpeg, picture
from tests.support.serving import make_app, serving

APP = ROOT / "dashboard" / "app.py"


@pytest.fixture
def api(make_export: MakeExport, lite: MilvusSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A running API over ten listings of two photos; its address is the dashboard's setting."""
    with serving(make_app(make_export(listings=10, photos_each=2), fake_embedder(), lite)) as address:
        monkeypatch.setenv("MARKETLENS_DASHBOARD__API_URL", address)
        st.cache_data.clear()
        yield address


def page() -> AppTest:
    return AppTest.from_file(str(APP), default_timeout=60)


def tiles(app: AppTest) -> list[str]:
    """Listing ids of the tiles, in order."""
    assert not app.exception, app.exception[0].message
    return [button.key.removeprefix("more-") for button in app.button if (button.key or "").startswith("more-")]


def tile_texts(app: AppTest, listing_id: str) -> list[str]:
    return [text.value for text in app.get_by_key(f"tile-{listing_id}").text]


@pytest.mark.usefixtures("api")
def test_an_empty_page_invites() -> None:
    """Before anything is asked there is no grid and no error."""
    app = page().run()
    assert tiles(app) == []
    assert not app.error


def test_an_upload_shows_its_listing_first(api: str) -> None:
    """The uploaded photo's listing is the first tile, with score, price and category; the picture can be loaded."""
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


@pytest.mark.usefixtures("api")
def test_more_like_this_goes_on_from_a_tile() -> None:
    """The button asks for listings like that tile's, and the address bar holds it for sharing."""
    app = page().run()
    app.file_uploader[0].upload("p.jpg", jpeg(picture(4)), "image/jpeg").run()
    app.button(key="more-l4").click().run()
    assert "l4" not in tiles(app)
    assert len(tiles(app)) == 9
    assert app.query_params["listing_id"] == "l4"


@pytest.mark.usefixtures("api")
def test_filters_narrow_and_are_in_the_address() -> None:
    """A shared link opens with its listing and filters; taking the filter away brings the others back."""
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
def test_no_hits_is_said() -> None:
    """An empty answer names the filters instead of showing nothing."""
    app = page()
    app.query_params["listing_id"] = "l4"
    app.query_params["location"] = "Atlantis"
    app.run()
    assert tiles(app) == []
    assert any("Atlantis" in text.value for text in [*app.text, *app.markdown, *app.info, *app.caption])


@pytest.mark.usefixtures("api")
def test_an_unknown_listing_is_said() -> None:
    """A link to a listing that is gone shows the API's message, not a traceback."""
    app = page()
    app.query_params["listing_id"] = "nobody"
    app.run()
    assert not app.exception
    assert any("nobody" in text.value for text in app.text)


@pytest.mark.usefixtures("api")
def test_more_examples_than_a_search_takes() -> None:
    """Beside 33 photos a listing can still be wanted: the answer is there, and what was left out for it is said."""
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
def test_a_filter_that_is_refused_can_be_taken_off(place: str) -> None:
    """A filter that nobody can search by is told in words, and is there to be changed."""
    app = page()
    app.query_params["listing_id"] = "l4"
    app.query_params["location"] = place
    app.run()
    assert not app.exception
    assert app.error
    app.text_input(key="location").set_value("").run()
    assert not app.error
    assert len(tiles(app)) == 9


def test_a_key_of_any_letters_is_refused_in_words(
    make_export: MakeExport, lite: MilvusSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that could never be one is refused as every wrong one is, and the next that is typed lets in."""
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


def test_an_error_that_nobody_foresaw(capsys: pytest.CaptureFixture[str]) -> None:
    """The page says that there was one and shows nothing of it; what the process writes has all of it."""
    command = dashboard_command(DashboardSettings(), 1_000_000)
    options = dict(part.removeprefix("--").split("=") for part in command if part.startswith("--"))
    before = st.get_option("client.showErrorDetails")
    st.set_option("client.showErrorDetails", options["client.showErrorDetails"])
    try:
        app = AppTest.from_string("raise RuntimeError('unheard')").run()
    finally:
        st.set_option("client.showErrorDetails", before)
    (shown,) = app.exception
    assert "has encountered an error" in shown.message
    assert "unheard" not in shown.message
    assert not shown.stack_trace
    written = "".join(capsys.readouterr())
    assert "RuntimeError" in written
    assert "unheard" in written


@pytest.mark.usefixtures("api")
def test_a_map_that_was_never_made_is_said() -> None:
    """Before the first `marketlens insights`, the Clusters page says that this is the command."""
    app = page().run()
    app.switch_page("clusters_page.py").run()
    assert not app.exception
    assert not app.error
    assert "marketlens insights" in app.code[0].value


def test_no_api_is_said_and_it_recovers(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the API down the page says how to start it; once it answers, the same page works."""
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
