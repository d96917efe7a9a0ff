"""Who may see the pages: anybody, unless the API has keys and the settings have none of them."""

import streamlit as st

from dashboard.api import connect, forget_key, own_key, use_key
from dashboard.widgets.notices import draw_api_error
from search_api.client import ApiError
from search_api.schemas import Caller

UNAUTHORIZED = 401
_LET_IN = "let-in"


def let_in() -> bool:
    """Whether the pages may be drawn; draws the login page, or why nobody can say, where they may not.

    A key that is typed lives in this browser session alone.
    """
    try:
        caller = connect().whoami()
    except ApiError as error:
        if error.status == UNAUTHORIZED:
            _draw_form(refused=error)
            return False
        # Who was in stays in: the page says itself what it cannot show, and keeps what was uploaded.
        if not st.session_state.get(_LET_IN):
            draw_api_error(error)
            return False
        return True
    if caller.keys_needed and not caller.scope:
        _draw_form()
        return False
    if caller.keys_needed:
        _draw_caller(caller)
    st.session_state[_LET_IN] = True
    return True


def _draw_form(refused: ApiError | None = None) -> None:
    with st.container(width=480, key="login"):
        st.title("marketlens")
        st.text("This service needs an API key. Whoever runs it makes one: marketlens keys create NAME")
        if refused:
            st.error(refused.detail, icon=":material/key_off:")
        _draw_key_field()


def _draw_key_field() -> None:
    with st.form("login-form", border=False):
        st.text_input("API key", type="password", key="key_typed", autocomplete="current-password")
        st.form_submit_button("Log in", type="primary", on_click=_log_in, icon=":material/login:")


def _log_in() -> None:
    use_key(st.session_state.pop("key_typed", "").strip())


def _draw_caller(caller: Caller) -> None:
    with st.sidebar.container(key="caller"):
        st.text(f"{caller.name} ({caller.scope})")
        if own_key():
            st.button("Log out", key="log-out", on_click=forget_key, icon=":material/logout:")
            return
        with st.popover("Log in", icon=":material/login:"):
            st.text("This is the dashboard's key. One of your own may allow more, and signs your verdicts.")
            _draw_key_field()
