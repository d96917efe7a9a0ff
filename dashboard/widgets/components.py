"""Helpers for our own JavaScript components: their files, and the state that they report."""

from pathlib import Path
from typing import Any

import streamlit as st

_ASSETS = Path(__file__).parents[1] / "assets"


def asset(name: str) -> str:
    """Return the text of a file in `dashboard/assets`."""
    return (_ASSETS / name).read_text(encoding="utf-8")


def component_state(key: str) -> dict[str, Any]:
    """Return the state that the component with this key has reported."""
    return dict(st.session_state.get(key) or {})


def no_callback() -> None:
    """Do nothing: Streamlit keeps a component's state only if it has a callback."""
