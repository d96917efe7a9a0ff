"""Messages for errors of the API."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from dashboard.api import connect
from search_api.client import ApiError

MISSING_DATA = {"insights_missing", "collection_missing"}
UNAVAILABLE = {0, 502, 503, 504}
POLL_SECONDS = 3
_JUST_DRAWN = "api-just-seen-away"


@contextmanager
def api_errors_shown() -> Iterator[None]:
    """Draw an ApiError that is raised inside, in place of what could not be drawn."""
    try:
        yield
    except ApiError as error:
        draw_api_error(error)


def draw_api_error(error: ApiError) -> None:
    """Draw an error and its hint. If the API is unavailable, poll it and rerun the page when it is back."""
    if error.code in MISSING_DATA:
        draw_missing_data(error)
        return
    with st.container(border=True, key="api-error"):
        unavailable = error.status in UNAVAILABLE
        st.error("The API does not answer." if unavailable else "The request failed.", icon=":material/error:")
        # Plain text, because the detail may quote user input.
        st.text(error.detail)
        if error.hint:
            st.text(error.hint)
        if error.request_id:
            st.text(f"Request ID: {error.request_id}")
        st.button("Retry", key="retry", icon=":material/refresh:")
        if unavailable:
            st.caption("This page reloads automatically when the API is back.")
            st.session_state[_JUST_DRAWN] = True
            _rerun_when_available()


def draw_missing_data(error: ApiError) -> None:
    """Draw that data does not exist yet, and the command that creates it."""
    with st.container(border=True, key="missing-data"):
        st.info(error.detail, icon=":material/inbox:")
        if error.hint:
            st.code(error.hint, language=None)
        st.button("Check again", key="check-again", icon=":material/refresh:")


@st.fragment(run_every=POLL_SECONDS)
def _rerun_when_available() -> None:
    if st.session_state.pop(_JUST_DRAWN, False):
        return
    try:
        connect().ready()
    except ApiError:
        return
    st.rerun()
