"""From a tile of another page to the Search page."""

import streamlit as st

from dashboard.widgets.tiles import Action


def go_on() -> None:
    """Follow a "More like this" that was pressed; to be called first of all."""
    listing_id = st.session_state.pop("go-to-listing", None)
    if listing_id is not None:
        st.switch_page("search/page.py", query_params={"listing_id": listing_id})


def ask_about(listing_id: str) -> None:
    """Ask the Search page about a listing, at the next run."""
    st.session_state["go-to-listing"] = listing_id


MORE_LIKE_THIS = Action("more", "More like this", lambda tile: ask_about(tile.listing_id))
