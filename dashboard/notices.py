"""What the user sees when the API has no answer to give."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from search_api.client import ApiError


@contextmanager
def api_errors_shown() -> Iterator[None]:
    """Show an ApiError raised inside, in place of what could not be drawn."""
    try:
        yield
    except ApiError as error:
        draw_api_error(error)


def draw_api_error(error: ApiError) -> None:
    """Draw what went wrong, what may help, and a button to try again."""
    with st.container(border=True, key="api-error"):
        st.error("There is no answer to show.", icon=":material/error:")
        # Plain text: the detail may quote what a user typed.
        st.text(error.detail)
        if error.hint:
            st.text(error.hint)
        if error.request_id:
            st.text(f"Request id: {error.request_id}")
        st.button("Retry", key="retry", icon=":material/refresh:")
