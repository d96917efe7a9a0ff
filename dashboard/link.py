"""Sync a page's state between the URL and the widgets: a reload, a shared link or "back" restores the same page.

The state is a frozen dataclass. Its field names are both the widgets' keys and the URL's parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, ClassVar, Protocol, Self, TypeVar

import streamlit as st

Params = dict[str, list[str]]


class PageState(Protocol):
    """The state of a page: a dataclass that URL parameters can hold."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @classmethod
    def from_params(cls, params: Mapping[str, Sequence[str]]) -> Self:
        """Read a URL's parameters. Invalid values are ignored."""
        ...

    def to_params(self) -> Params:
        """Return the URL parameters, without defaults."""
        ...


State = TypeVar("State", bound=PageState)


def load_state_from_url(kind: type[State]) -> None:
    """Set the widgets from the URL: on arrival, after "back", and for widgets that were not drawn last time."""
    params = _url_params()
    is_new = (kind.__name__, params) != st.session_state.get("link")
    for name, value in asdict(kind.from_params(params)).items():
        if is_new or name not in st.session_state:
            st.session_state[name] = value


def save_state_to_url(kind: type[State]) -> State:
    """Write the widgets' values to the URL, and return them."""
    state = kind(**{field.name: _normalize(st.session_state[field.name], field.default) for field in fields(kind)})
    if state.to_params() != _url_params():
        st.query_params.from_dict(state.to_params())
    st.session_state["link"] = (kind.__name__, _url_params())
    return state


def non_default_params(state: PageState) -> Params:
    """Return every field that differs from its default, as text."""
    params: Params = {}
    for field in fields(state):
        value = getattr(state, field.name)
        if value != field.default:
            params[field.name] = [_as_text(item) for item in (value if isinstance(value, tuple) else (value,))]
    return params


def last_value(params: Mapping[str, Sequence[str]], name: str) -> str:
    """Return the last value of a parameter, or an empty text."""
    return next(reversed(params.get(name, ())), "")


def unique_values(params: Mapping[str, Sequence[str]], name: str) -> tuple[str, ...]:
    """Return all values of a parameter, without duplicates and empty ones."""
    return tuple(dict.fromkeys(text for text in params.get(name, ()) if text))


def _normalize(value: object, default: object) -> object:
    """Convert a widget's value for the dataclass: lists to tuples (hashable), a missing text to an empty one."""
    if isinstance(value, list):
        return tuple(value)
    return "" if value is None and isinstance(default, str) else value


def _as_text(value: object) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _url_params() -> Params:
    return {name: st.query_params.get_all(name) for name in st.query_params}
