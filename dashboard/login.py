"""The login: everybody may see the pages, unless the API requires a key and none is configured."""

import streamlit as st

from dashboard.api import clear_session_key, connect, session_key, set_session_key
from dashboard.widgets.notices import draw_api_error
from search_api.client import ApiError
from search_api.schemas import Caller

UNAUTHORIZED = 401
_HAS_ACCESS = "has-access"


def check_access() -> bool:
    """Return whether the pages may be drawn; if not, draw the login page, or the error if access cannot be checked.

    A key that the user enters is kept only for this browser session.
    """
    try:
        caller = connect().whoami()
    except ApiError as error:
        if error.status == UNAUTHORIZED:
            _draw_form(refused=error)
            return False
        # A user who had access keeps it: the page itself shows the error, and keeps the uploads.
        if not st.session_state.get(_HAS_ACCESS):
            draw_api_error(error)
            return False
        return True
    if caller.keys_needed and not caller.scope:
        _draw_form()
        return False
    if caller.keys_needed:
        _draw_caller(caller)
    st.session_state[_HAS_ACCESS] = True
    return True


def _draw_form(refused: ApiError | None = None) -> None:
    with st.container(width=480, key="login"):
        st.title("marketlens")
        st.text("This service needs an API key. Its operator creates one with: marketlens keys create NAME")
        if refused:
            st.error(refused.detail, icon=":material/key_off:")
        _draw_key_field()


def _draw_key_field() -> None:
    with st.form("login-form", border=False):
        st.text_input("API key", type="password", key="key_typed", autocomplete="current-password")
        st.form_submit_button("Log in", type="primary", on_click=_log_in, icon=":material/login:")


def _log_in() -> None:
    set_session_key(st.session_state.pop("key_typed", "").strip())


def _draw_caller(caller: Caller) -> None:
    with st.sidebar.container(key="caller"):
        st.text(f"{caller.name} ({caller.scope})")
        if session_key():
            st.button("Log out", key="log-out", on_click=clear_session_key, icon=":material/logout:")
            return
        with st.popover("Log in", icon=":material/login:"):
            st.text("You are using the dashboard's key. Your own key may allow more, and your verdicts carry its name.")
            _draw_key_field()
