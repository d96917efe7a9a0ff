"""The map with its data, caption, legend and selection."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard.clusters import map_component
from dashboard.clusters.colouring import Colouring
from dashboard.clusters.state import SECTIONS, MapState, selection_params
from dashboard.widgets.categories import category_counts_html
from dashboard.widgets.tiles import price_in_words
from search_api.client import Client
from search_api.schemas import InsightsResponse, MapColumns

HOVER_PIXELS = 320
HIDDEN = -1


def draw_map(
    api: Client,
    state: MapState,
    insights: InsightsResponse,
    columns: MapColumns,
    colouring: Colouring,
    drawn: Sequence[int],
) -> None:
    """Draw the map with its caption and legend."""
    st.caption(
        f"{len(drawn):,} of {insights.photos:,} photos; photos that look alike are near each other. Point at a photo "
        "to see it, click to select it, or draw around several. Ctrl + wheel zooms, Shift + drag moves."
    )
    if insights.is_stale:
        st.warning(
            "The catalogue has changed since this map was made. Update it with `marketlens insights`.",
            icon=":material/update:",
        )
    map_component.draw_map(
        {
            **point_data(columns, colouring, drawn),
            "labels": label_data(state, insights),
            "chosen": selection_data(state),
            "api": api.public_url,
            "photo_pixels": HOVER_PIXELS,
            "alt": f"Map of {len(drawn):,} photos, coloured by {state.colour}.",
        },
        _store_selection,
    )
    st.html(category_counts_html(colouring.counts(drawn), colouring.by_label))


def point_data(columns: MapColumns, colouring: Colouring, drawn: Sequence[int]) -> dict[str, Any]:
    """Return the points and the texts of their cards, as the map component needs them."""
    colour = [HIDDEN] * len(columns.x)
    for point in drawn:
        colour[point] = colouring.label_indices[point]
    prices = zip(columns.price, columns.currency, strict=True)
    predicted = zip(columns.predicted_category, columns.confidence, strict=True)
    return {
        "x": [round(x, 4) for x in columns.x],
        "y": [round(y, 4) for y in columns.y],
        "colour": colour,
        "palette": colouring.colours,
        "photo_id": columns.photo_id,
        "photo_url": columns.photo_url,
        "title": columns.title,
        "facts": [
            [price_in_words(price, currency) for price, currency in prices],
            columns.category,
            [f"Model: {name} {sure:.0%}" if name and sure is not None else "" for name, sure in predicted],
        ],
    }


def label_data(state: MapState, insights: InsightsResponse) -> list[dict[str, Any]]:
    """Return the labels of the selected kind, those with most photos first."""
    if state.labels == "title words":
        sized_labels = [
            (cluster.photos, cluster.x, cluster.y, " · ".join(cluster.words[:3]))
            for cluster in insights.clusters
            if not state.shown or cluster.category in state.shown
        ]
    elif state.labels == "categories":
        sized_labels = [
            (category.photos, category.x, category.y, category.category)
            for category in insights.categories
            if not state.shown or category.category in state.shown
        ]
    else:
        sized_labels = []
    return [{"x": x, "y": y, "text": text} for _, x, y, text in sorted(sized_labels, reverse=True) if text]


def selection_data(state: MapState) -> dict[str, Any] | None:
    """Return the selection as the map component needs it."""
    selection = state.selection
    if selection.area:
        return {"area": [list(corner) for corner in selection.area]}
    return {"photo": selection.photo} if selection.photo else None


def _store_selection(selection: dict[str, Any] | None) -> None:
    st.session_state.update(selection_params(selection))
    if selection:
        st.session_state["part"] = SECTIONS[0]
