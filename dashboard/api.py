"""Fetch data from the API for the pages, and cache it."""

from datetime import datetime

import streamlit as st

from dashboard.settings import DashboardSettings
from search_api.client import Client
from search_api.schemas import CategoryCount, InsightsResponse, MapResponse

_KEY = "api-key"


def connect() -> Client:
    """Return a client of the configured API, with the key of this browser session or else the configured one."""
    settings = DashboardSettings()
    return _client(settings.api_url, session_key() or settings.api_key.get_secret_value(), settings.public_api_url)


def session_key() -> str:
    """Return the key that was entered in this browser session, or an empty text."""
    return str(st.session_state.get(_KEY, ""))


def set_session_key(key: str) -> None:
    """Store a key for this browser session."""
    st.session_state[_KEY] = key


def clear_session_key() -> None:
    """Remove the key of this browser session: log out."""
    st.session_state.pop(_KEY, None)


def fetch_categories(api: Client) -> list[CategoryCount]:
    """Return every category with its counts, at most a minute old."""
    return _categories(api.url, api)


def fetch_map(api: Client, insights: InsightsResponse) -> MapResponse:
    """Return the map of these insights. All sessions share it, so do not change it."""
    return _map(api.url, insights.collection, insights.made_at, api)


@st.cache_resource(max_entries=100)
def _client(url: str, key: str, public_url: str) -> Client:
    return Client(url, key, public_url=public_url)


# Parameters that begin with _ are not part of the cache key.
@st.cache_data(ttl="1m", show_spinner=False)
def _categories(url: str, _api: Client) -> list[CategoryCount]:  # noqa: ARG001 - part of the cache key
    return _api.categories().categories


# A resource, because data would be copied at every run of a page, which takes as long as the page itself.
# The URLs of photos expire after an hour.
@st.cache_resource(ttl="30m", max_entries=4, show_spinner="Fetching the map …")
def _map(url: str, collection: str, made_at: datetime, _api: Client) -> MapResponse:  # noqa: ARG001 - part of the cache key
    return _api.map()
