"""The filters of a search, with the number of listings per category."""

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from dashboard.api import fetch_categories
from dashboard.search.answer_pages import all_hits
from dashboard.search.state import SearchState
from dashboard.widgets.categories import choose_categories
from search_api.client import Client
from search_api.schemas import MAX_LIMIT, SearchResponse


def draw_filters(api: Client, state: SearchState, pages: Sequence[SearchResponse]) -> None:
    """Draw the filters in the side bar. Their values are in the session before they are drawn."""
    with st.sidebar:
        st.header("Filters")
        choose_categories(_category_counts(api, pages), key="category")
        _draw_subcategory(state, pages)
        low, high = st.columns(2)
        low.number_input("Lowest price", min_value=0.0, value=None, key="price_min")
        high.number_input("Highest price", min_value=0.0, value=None, key="price_max")
        if state.prices_crossed:
            st.warning("The lowest price is above the highest.")
        st.text_input("Location begins with", key="location", placeholder="Leeds", help="Case-sensitive.")
        st.date_input("Listed after", value=None, key="listed_after")
        st.number_input("Listings per page", min_value=1, max_value=MAX_LIMIT, step=10, key="limit")


def _category_counts(api: Client, pages: Sequence[SearchResponse]) -> dict[str, int]:
    """Count the listings that pass the other filters, or all listings if there is no search."""
    facets = pages[0].facets if pages else None
    if facets is None:
        return {count.category: count.listings for count in fetch_categories(api)}
    return dict(sorted(facets.items(), key=lambda item: -item[1]))


def _draw_subcategory(state: SearchState, pages: Sequence[SearchResponse]) -> None:
    counts = Counter(hit.subcategory for hit in all_hits(pages) if hit.subcategory)
    if state.subcategory:
        counts.setdefault(state.subcategory, 0)
    st.session_state["subcategory"] = state.subcategory or None
    st.selectbox(
        "Subcategory",
        [name for name, _ in counts.most_common()],
        index=None,
        key="subcategory",
        format_func=lambda name: f"{name} ({counts[name]})" if counts.get(name) else name,
        accept_new_options=True,
        placeholder="Choose or enter a prefix",
        help="Lists the subcategories of the hits. Everything below a subcategory passes as well.",
    )
