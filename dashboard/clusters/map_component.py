"""The map as a component: points drawn by `assets/map.js`."""

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from dashboard.widgets.components import asset, component_state

_map = st.components.v2.component("marketlens_map", html=asset("map.html"), css=asset("map.css"), js=asset("map.js"))


def draw_map(data: Mapping[str, Any], on_select: Callable[[dict[str, Any] | None], None]) -> None:
    """Draw points in their colours; call `on_select` with the selection, None if it is empty.

    `data`: equally long lists x, y (-1 to 1), colour (index in `palette`, -1 for a hidden point), photo_id,
    photo_url, title; `facts`, more such lists, for the card; `labels` of {x, y, text}, the most important first;
    `api`, the URL to prepend to photo_url; `photo_pixels`; `alt`; and `chosen`, the selection: {"area": corners in x
    and y} or {"photo": its id}.
    """
    _map(key="map", data=dict(data), on_chosen_change=lambda: on_select(component_state("map").get("chosen")))
