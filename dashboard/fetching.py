"""What the pages fetch, and how long they may keep it."""

import streamlit as st

from dashboard.api import Api
from dashboard.settings import DashboardSettings
from search_api.schemas import CategoryCount, MapResponse


def connect() -> Api:
    """Open the API that the settings name."""
    return _api(DashboardSettings().api_url)


def fetch_categories(api: Api) -> list[CategoryCount]:
    """Every category with its counts, at most a minute old."""
    return _categories(api.url)


def fetch_map(api: Api) -> MapResponse:
    """Fetch the map of the collection that is live now."""
    return _map(api.url, api.ready().collection)


@st.cache_resource
def _api(url: str) -> Api:
    return Api(url)


@st.cache_data(ttl="1m", show_spinner=False)
def _categories(url: str) -> list[CategoryCount]:
    return _api(url).categories().categories


@st.cache_data(ttl="5m", show_spinner="Drawing the map. The first time takes up to a minute.")
def _map(url: str, collection: str | None) -> MapResponse:  # noqa: ARG001 - another collection, another map
    return _api(url).map()
