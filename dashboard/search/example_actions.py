"""Callbacks of the Search page's buttons, which change its examples and filters."""

from dataclasses import asdict, replace

import streamlit as st

from dashboard.search.state import SearchState


def uploader_key() -> str:
    """Return the key of the uploader. A new key draws an empty uploader in its place."""
    return f"photos-{st.session_state.setdefault('upload', 0)}"


def add_positive(listing_id: str) -> None:
    """Make a listing a positive example."""
    _move_example(listing_id, "unlike", "listing_id")


def add_negative(listing_id: str) -> None:
    """Make a listing a negative example."""
    _move_example(listing_id, "listing_id", "unlike")


def remove_example(listing_id: str) -> None:
    """Remove a listing from the examples, positive or negative."""
    for name in ("listing_id", "unlike"):
        st.session_state[name] = tuple(example for example in st.session_state[name] if example != listing_id)


def clear_examples_for_new_photo() -> None:
    """Remove all examples when the first photo is uploaded; later photos are added to it."""
    if len(st.session_state[uploader_key()]) == 1:
        st.session_state.update({"listing_id": (), "unlike": ()})


def clear_filters() -> None:
    """Clear all filters, but keep the words and examples."""
    kept = {name: st.session_state[name] for name in ("text", "listing_id", "unlike")}
    st.session_state.update(asdict(replace(SearchState(), **kept)))


def reset_search() -> None:
    """Clear words, examples, filters and uploads."""
    st.session_state.update(asdict(SearchState()))
    st.session_state["upload"] += 1


def _move_example(listing_id: str, source: str, target: str) -> None:
    st.session_state[source] = tuple(example for example in st.session_state[source] if example != listing_id)
    st.session_state[target] = tuple(dict.fromkeys((*st.session_state[target], listing_id)))
