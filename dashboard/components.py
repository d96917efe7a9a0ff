"""What Streamlit has no widget for: our own few lines of JavaScript in assets."""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.question import Photo
from search_api.schemas import Box

_ASSETS = Path(__file__).parent / "assets"


def _text(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


_crop = st.components.v2.component(
    "marketlens_crop", html=_text("crop.html"), css=_text("crop.css"), js=_text("crop.js")
)
_map = st.components.v2.component("marketlens_map", html=_text("map.html"), css=_text("map.css"), js=_text("map.js"))
_paste = st.components.v2.component("marketlens_paste", js=_text("paste.js"))


def draw_crop(photo: Photo, alt: str) -> Box | None:
    """Draw a photo on which a part can be marked; return that part."""
    key = f"crop-{photo.key}"
    box = _state(key).get("box")
    # As a data URL the browser gets the bytes as they are, and so turns a telephone's photo upright.
    source = f"data:{photo.content_type};base64,{base64.b64encode(photo.content).decode()}"
    _crop(key=key, data={"source": source, "alt": alt, "box": box}, on_box_change=_nothing)
    return Box(**box) if box else None


def draw_map(data: Mapping[str, Any], on_chosen: Callable[[dict[str, Any] | None], None]) -> None:
    """Draw points in their colours; `on_chosen` is called back with what is chosen there, None for nothing.

    `data`: equally long lists x, y (-1 to 1), colour (place in `palette`, -1 for a point that is not drawn), photo_id,
    photo_url, title; `facts`, more such lists, for the card; `labels` of {x, y, text}, the most important first;
    `api`, where photo_url is, `photo_pixels`, `alt`, and `chosen`: {"area": corners in x and y} or {"photo": its id}.
    """
    _map(key="map", data=dict(data), on_chosen_change=lambda: on_chosen(_state("map").get("chosen")))


def take_pasted_photos() -> None:
    """Let a photo that is pasted anywhere on the page go into its uploader."""
    _paste(key="paste", height=1)


def _state(key: str) -> dict[str, Any]:
    return dict(st.session_state.get(key) or {})


def _nothing() -> None:
    """A component has only the states that it has a callback for."""
