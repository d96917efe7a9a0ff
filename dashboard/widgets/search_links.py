"""Links from the tiles of other pages to the Search page."""

import streamlit as st

from dashboard.widgets.tiles import Action


def follow_search_link() -> None:
    """Open the Search page if "More like this" was pressed. Call this before anything else on a page."""
    listing_id = st.session_state.pop("go-to-listing", None)
    if listing_id is not None:
        st.switch_page("search/page.py", query_params={"listing_id": listing_id})


def request_search(listing_id: str) -> None:
    """Open the Search page with a listing at the next run."""
    st.session_state["go-to-listing"] = listing_id


MORE_LIKE_THIS = Action("more", "More like this", lambda tile: request_search(tile.listing_id))
