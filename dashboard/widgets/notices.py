"""What the user sees when the API has no answer to give."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from dashboard.api import connect
from search_api.client import ApiError

NOTHING_THERE = {"insights_missing", "collection_missing"}
AWAY = {0, 502, 503, 504}
LOOK_AGAIN_SECONDS = 3
_JUST_SEEN = "api-just-seen-away"


@contextmanager
def api_errors_shown() -> Iterator[None]:
    """Show an ApiError raised inside, in place of what could not be drawn."""
    try:
        yield
    except ApiError as error:
        draw_api_error(error)


def draw_api_error(error: ApiError) -> None:
    """Draw what went wrong and what may help. An API that is away is watched: the page comes back with it."""
    if error.code in NOTHING_THERE:
        draw_nothing_there(error)
        return
    with st.container(border=True, key="api-error"):
        away = error.status in AWAY
        st.error("The API does not answer." if away else "There is no answer to show.", icon=":material/error:")
        # Plain text: the detail may quote what a user typed.
        st.text(error.detail)
        if error.hint:
            st.text(error.hint)
        if error.request_id:
            st.text(f"Request id: {error.request_id}")
        st.button("Retry", key="retry", icon=":material/refresh:")
        if away:
            st.caption("This page comes back by itself as soon as the API does.")
            st.session_state[_JUST_SEEN] = True
            _come_back()


def draw_nothing_there(error: ApiError) -> None:
    """Draw that something has not been made yet, and by which command it is."""
    with st.container(border=True, key="nothing-there"):
        st.info(error.detail, icon=":material/inbox:")
        if error.hint:
            st.code(error.hint, language=None)
        st.button("Look again", key="look-again", icon=":material/refresh:")


@st.fragment(run_every=LOOK_AGAIN_SECONDS)
def _come_back() -> None:
    if st.session_state.pop(_JUST_SEEN, False):
        return
    try:
        connect().ready()
    except ApiError:
        return
    st.rerun()
