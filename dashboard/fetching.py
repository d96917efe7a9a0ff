"""What the pages fetch, and how long they may keep it."""

import streamlit as st

from dashboard.settings import DashboardSettings
from search_api.client import Client
from search_api.schemas import CategoryCount, MapResponse

_KEY = "api-key"


def connect() -> Client:
    """Open the API that the settings name, with the key of this browser session or else theirs."""
    settings = DashboardSettings()
    return _client(settings.api_url, own_key() or settings.api_key.get_secret_value())


def own_key() -> str:
    """The key that was typed in this browser session."""
    return str(st.session_state.get(_KEY, ""))


def use_key(key: str) -> None:
    """Keep a key for this browser session."""
    st.session_state[_KEY] = key


def forget_key() -> None:
    """Log out."""
    st.session_state.pop(_KEY, None)


def fetch_categories(api: Client) -> list[CategoryCount]:
    """Every category with its counts, at most a minute old."""
    return _categories(api.url, api)


def fetch_map(api: Client) -> MapResponse:
    """Fetch the map of the collection that is live now."""
    return _map(api.url, api.ready().collection, api)


@st.cache_resource(max_entries=100)
def _client(url: str, key: str) -> Client:
    return Client(url, key)


# What begins with _ does not tell one answer from another.
@st.cache_data(ttl="1m", show_spinner=False)
def _categories(url: str, _api: Client) -> list[CategoryCount]:  # noqa: ARG001 - another API, other categories
    return _api.categories().categories


@st.cache_data(ttl="5m", show_spinner="Drawing the map. The first time takes up to a minute.")
def _map(url: str, collection: str | None, _api: Client) -> MapResponse:  # noqa: ARG001 - another collection, another map
    return _api.map()
