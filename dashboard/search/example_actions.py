"""What the Search page is asked by changes with a click: called back by its buttons."""

from dataclasses import asdict, replace

import streamlit as st

from dashboard.search.state import SearchState


def uploader_key() -> str:
    """Key of the uploader: it is emptied by drawing another in its place."""
    return f"photos-{st.session_state.setdefault('upload', 0)}"


def want(listing_id: str) -> None:
    """Look for more like this listing as well."""
    _set_examples("listing_id", listing_id, taken_from="unlike")


def do_not_want(listing_id: str) -> None:
    """Look for less like this listing."""
    _set_examples("unlike", listing_id, taken_from="listing_id")


def forget_example(listing_id: str) -> None:
    """Let a listing count no more, wanted or not."""
    for name in ("listing_id", "unlike"):
        st.session_state[name] = tuple(one for one in st.session_state[name] if one != listing_id)


def forget_examples_of_before() -> None:
    """Begin anew with the first photo; photos after it join it."""
    if len(st.session_state[uploader_key()]) == 1:
        st.session_state.update({"listing_id": (), "unlike": ()})


def drop_filters() -> None:
    """Take every filter off."""
    kept = {"listing_id": st.session_state["listing_id"], "unlike": st.session_state["unlike"]}
    st.session_state.update(asdict(replace(SearchState(), **kept)))


def start_again() -> None:
    """Ask nothing, as on arrival."""
    st.session_state.update(asdict(SearchState()))
    st.session_state["upload"] += 1


def _set_examples(name: str, listing_id: str, taken_from: str) -> None:
    st.session_state[taken_from] = tuple(one for one in st.session_state[taken_from] if one != listing_id)
    st.session_state[name] = tuple(dict.fromkeys((*st.session_state[name], listing_id)))
