"""What a page is asked, between the URL and the widgets: a reload, a shared link or going back gives the same page.

A page's question is a frozen dataclass. Its field names are the widgets' keys and the URL's parameters too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, ClassVar, Protocol, Self, TypeVar

import streamlit as st

Params = dict[str, list[str]]


class Linked(Protocol):
    """What a page is asked."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @classmethod
    def from_params(cls, params: Mapping[str, Sequence[str]]) -> Self:
        """Read a URL's parameters. What makes no sense there counts as not asked."""
        ...

    def to_params(self) -> Params:
        """Spell it as URL parameters, leaving out what was not asked."""
        ...


Question = TypeVar("Question", bound=Linked)


def take_over_link(kind: type[Question]) -> None:
    """Set the widgets as the URL says: on arrival, after going back, and where a widget was not drawn last time."""
    params = _params()
    is_new = (kind.__name__, params) != st.session_state.get("link")
    for name, value in asdict(kind.from_params(params)).items():
        if is_new or name not in st.session_state:
            st.session_state[name] = value


def put_in_link(kind: type[Question]) -> Question:
    """Put what the widgets say into the URL, and return it."""
    asked = kind(**{field.name: _kept(st.session_state[field.name], field.default) for field in fields(kind)})
    if asked.to_params() != _params():
        st.query_params.from_dict(asked.to_params())
    st.session_state["link"] = (kind.__name__, _params())
    return asked


def spell(asked: Linked) -> Params:
    """Every field that is not as it is by default, as text."""
    params: Params = {}
    for field in fields(asked):
        value = getattr(asked, field.name)
        if value != field.default:
            params[field.name] = [_spelt(one) for one in (value if isinstance(value, tuple) else (value,))]
    return params


def last(params: Mapping[str, Sequence[str]], name: str) -> str:
    """The value that a parameter was given last."""
    return next(reversed(params.get(name, ())), "")


def every(params: Mapping[str, Sequence[str]], name: str) -> tuple[str, ...]:
    """All values of a parameter, each once."""
    return tuple(dict.fromkeys(text for text in params.get(name, ()) if text))


def _kept(value: object, default: object) -> object:
    """A widget's value as a dataclass keeps it: hashable, and a text that is not there as an empty one."""
    if isinstance(value, list):
        return tuple(value)
    return "" if value is None and isinstance(default, str) else value


def _spelt(value: object) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _params() -> Params:
    return {name: st.query_params.get_all(name) for name in st.query_params}
