"""Our own JavaScript components: their files, and the state that they report."""

from pathlib import Path
from typing import Any

import streamlit as st

_ASSETS = Path(__file__).parents[1] / "assets"


def asset(name: str) -> str:
    """Text of a file in `dashboard/assets`."""
    return (_ASSETS / name).read_text(encoding="utf-8")


def component_state(key: str) -> dict[str, Any]:
    """What the component with this key has reported."""
    return dict(st.session_state.get(key) or {})


def no_callback() -> None:
    """A component has only the states that it has a callback for."""
