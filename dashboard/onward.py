"""From a tile of another page to the Search page."""

import streamlit as st

from dashboard.tiles import Action, Tile


def go_on() -> None:
    """Follow a "More like this" that was pressed; to be called first of all."""
    listing_id = st.session_state.pop("go-to-listing", None)
    if listing_id is not None:
        st.switch_page("search_page.py", query_params={"listing_id": listing_id})


def _ask_about(tile: Tile) -> None:
    st.session_state["go-to-listing"] = tile.listing_id


MORE_LIKE_THIS = Action("more", "More like this", _ask_about)
