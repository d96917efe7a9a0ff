"""What the pages fetch, and how long they may keep it."""

from datetime import datetime

import streamlit as st

from dashboard.settings import DashboardSettings
from search_api.client import Client
from search_api.schemas import CategoryCount, InsightsResponse, MapResponse

_KEY = "api-key"


def connect() -> Client:
    """Open the API that the settings name, with the key of this browser session or else theirs."""
    settings = DashboardSettings()
    return _client(settings.api_url, own_key() or settings.api_key.get_secret_value(), settings.public_api_url)


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


def fetch_map(api: Client, insights: InsightsResponse) -> MapResponse:
    """Fetch the map that these insights go with. Shared by every session: not to be changed."""
    return _map(api.url, insights.collection, insights.made_at, api)


@st.cache_resource(max_entries=100)
def _client(url: str, key: str, public_url: str) -> Client:
    return Client(url, key, public_url=public_url)


# What begins with _ does not tell one answer from another.
@st.cache_data(ttl="1m", show_spinner=False)
def _categories(url: str, _api: Client) -> list[CategoryCount]:  # noqa: ARG001 - another API, other categories
    return _api.categories().categories


# As a resource, because a copy for every run of a page takes as long as the page. Addresses of photos last an hour.
@st.cache_resource(ttl="30m", max_entries=4, show_spinner="Fetching the map …")
def _map(url: str, collection: str, made_at: datetime, _api: Client) -> MapResponse:  # noqa: ARG001 - other insights, other map
    return _api.map()
