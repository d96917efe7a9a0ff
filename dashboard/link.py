"""What is asked, between the URL and the widgets: a reload, a shared link or going back gives the same page."""

from dataclasses import asdict, fields, replace

import streamlit as st

from dashboard.asked import Asked, Params


def take_over_link() -> None:
    """Set the widgets as the URL says: on arrival, after going back, and where a widget was not drawn last time."""
    params = _params()
    is_new = params != st.session_state.get("link")
    for name, value in asdict(Asked.from_params(params)).items():
        if is_new or name not in st.session_state:
            st.session_state[name] = value
    st.session_state.setdefault("upload", 0)


def put_in_link() -> Asked:
    """Put what the widgets say into the URL, and return it."""
    state = {field.name: st.session_state[field.name] for field in fields(Asked)}
    state |= {"category": tuple(state["category"]), "subcategory": state["subcategory"] or ""}
    asked = Asked(**state)
    if asked.to_params() != _params():
        st.query_params.from_dict(asked.to_params())
    st.session_state["link"] = _params()
    return asked


def uploader_key() -> str:
    """Key of the uploader: it is emptied by drawing another in its place."""
    return f"photos-{st.session_state['upload']}"


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
    st.session_state.update(asdict(replace(Asked(), **kept)))


def start_again() -> None:
    """Ask nothing, as on arrival."""
    st.session_state.update(asdict(Asked()))
    st.session_state["upload"] += 1


def _set_examples(name: str, listing_id: str, taken_from: str) -> None:
    st.session_state[taken_from] = tuple(one for one in st.session_state[taken_from] if one != listing_id)
    st.session_state[name] = tuple(dict.fromkeys((*st.session_state[name], listing_id)))


def _params() -> Params:
    return {name: st.query_params.get_all(name) for name in st.query_params}
