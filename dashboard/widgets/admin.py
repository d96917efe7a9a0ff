"""Data that needs an admin key."""

from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from search_api.client import ApiError

Answer = TypeVar("Answer")


def fetch_as_admin(fetch: Callable[[], Answer], what: str) -> Answer | None:
    """Return what `fetch` returns, or draw a refusal and return None if the key is no admin key.

    Raises every other ApiError.
    """
    try:
        return fetch()
    except ApiError as error:
        if error.status != 403:
            raise
        draw_refusal(f"{what} needs an admin key.", error)
        return None


def draw_refusal(sentence: str, error: ApiError) -> None:
    """Draw what the key does not allow, and the API's hint."""
    with st.container(border=True, key="needs-admin"):
        st.warning(sentence, icon=":material/key:")
        st.text(error.detail)
        if error.hint:
            st.text(error.hint)
