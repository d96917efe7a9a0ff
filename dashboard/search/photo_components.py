"""Components for uploaded photos: select a part of a photo, paste a photo."""

import base64

import streamlit as st

from dashboard.search.search_query import Photo
from dashboard.widgets.components import asset, component_state, no_callback
from search_api.schemas import Box

_crop = st.components.v2.component(
    "marketlens_crop", html=asset("crop.html"), css=asset("crop.css"), js=asset("crop.js")
)
_paste = st.components.v2.component("marketlens_paste", js=asset("paste.js"))


def draw_crop(photo: Photo, alt: str) -> Box | None:
    """Draw a photo on which the user can select a part; return that part."""
    key = f"crop-{photo.key}"
    box = component_state(key).get("box")
    # A data URL contains the original bytes, so the browser applies the EXIF rotation.
    source = f"data:{photo.content_type};base64,{base64.b64encode(photo.content).decode()}"
    _crop(key=key, data={"source": source, "alt": alt, "box": box}, on_box_change=no_callback)
    return Box(**box) if box else None


def take_pasted_photos() -> None:
    """Add photos that are pasted anywhere on the page to its uploader."""
    _paste(key="paste", height=1)
