"""What only an admin key may see."""

from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from search_api.client import ApiError

Answer = TypeVar("Answer")


def admin_answer(ask: Callable[[], Answer], what: str) -> Answer | None:
    """The answer, or None after saying that the key may not see it. Raises every other ApiError."""
    try:
        return ask()
    except ApiError as error:
        if error.status != 403:
            raise
        draw_refusal(f"{what} needs an admin key.", error)
        return None


def draw_refusal(sentence: str, error: ApiError) -> None:
    """Say plainly what the key may not do, and what may be done about it."""
    with st.container(border=True, key="needs-admin"):
        st.warning(sentence, icon=":material/key:")
        st.text(error.detail)
        if error.hint:
            st.text(error.hint)
