"""The filters of a search, with how many listings each category holds."""

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from dashboard.api import fetch_categories
from dashboard.search.answer_pages import every_hit
from dashboard.search.state import SearchState
from dashboard.widgets.categories import choose_categories
from search_api.client import Client
from search_api.schemas import MAX_LIMIT, SearchResponse


def draw_filters(api: Client, asked: SearchState, pages: Sequence[SearchResponse]) -> None:
    """Draw the filters in the side bar. What they say is in the session before they are drawn."""
    with st.sidebar:
        st.header("Filters")
        choose_categories(_category_counts(api, pages), key="category")
        _draw_subcategory(asked, pages)
        low, high = st.columns(2)
        low.number_input("Lowest price", min_value=0.0, value=None, key="price_min")
        high.number_input("Highest price", min_value=0.0, value=None, key="price_max")
        if asked.prices_crossed:
            st.warning("The lowest price is above the highest.")
        st.text_input("Place begins with", key="location", placeholder="Leeds", help="Capitals matter.")
        st.date_input("Listed after", value=None, key="listed_after")
        st.number_input("Listings a page", min_value=1, max_value=MAX_LIMIT, step=10, key="limit")


def _category_counts(api: Client, pages: Sequence[SearchResponse]) -> dict[str, int]:
    """Listings that pass the other filters where something is asked, else all."""
    facets = pages[0].facets if pages else None
    if facets is None:
        return {count.category: count.listings for count in fetch_categories(api)}
    return dict(sorted(facets.items(), key=lambda item: -item[1]))


def _draw_subcategory(asked: SearchState, pages: Sequence[SearchResponse]) -> None:
    counts = Counter(hit.subcategory for hit in every_hit(pages) if hit.subcategory)
    if asked.subcategory:
        counts.setdefault(asked.subcategory, 0)
    st.session_state["subcategory"] = asked.subcategory or None
    st.selectbox(
        "Subcategory",
        [name for name, _ in counts.most_common()],
        index=None,
        key="subcategory",
        format_func=lambda name: f"{name} ({counts[name]})" if counts.get(name) else name,
        accept_new_options=True,
        placeholder="Its beginning is enough",
        help="Those of the hits are listed; what is below a subcategory passes as well.",
    )
