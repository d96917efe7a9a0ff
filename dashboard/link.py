"""What is asked, between the URL and the widgets: a reload, a shared link or going back gives the same page."""

from dataclasses import asdict, fields

import streamlit as st

from dashboard.asked import Asked, Params


def take_over_link() -> None:
    """Set the widgets as the URL says: on arrival, after going back, and where a widget was not drawn last time."""
    params = _params()
    is_new = params != st.session_state.get("link")
    asked = Asked.from_params(params)
    for name, value in asdict(asked).items():
        if is_new or name not in st.session_state:
            st.session_state[name] = value
    st.session_state.setdefault("upload", 0)
    if is_new and asked.listing_id:
        forget_photo()


def put_in_link() -> Asked:
    """Put what the widgets say into the URL, and return it."""
    state = {field.name: st.session_state[field.name] for field in fields(Asked)}
    state |= {"listing_id": state["listing_id"].strip(), "category": tuple(state["category"])}
    asked = Asked(**state)
    if asked.to_params() != _params():
        st.query_params.from_dict(asked.to_params())
    st.session_state["link"] = _params()
    return asked


def photo_key() -> str:
    """Key of the uploader: it is emptied by drawing another in its place."""
    return f"photo-{st.session_state['upload']}"


def ask_about(listing_id: str) -> None:
    """Ask about a listing, under the filters that are on."""
    st.session_state["listing_id"] = listing_id
    forget_photo()


def forget_photo() -> None:
    """Empty the uploader: a listing was given after it."""
    st.session_state["upload"] += 1


def forget_listing() -> None:
    """Empty the listing's id: a photo was uploaded after it."""
    st.session_state["listing_id"] = ""


def drop_filters() -> None:
    """Take every filter off."""
    st.session_state.update(asdict(Asked(listing_id=st.session_state["listing_id"])))


def start_again() -> None:
    """Ask nothing, as on arrival."""
    st.session_state.update(asdict(Asked()))
    forget_photo()


def _params() -> Params:
    return {name: st.query_params.get_all(name) for name in st.query_params}
