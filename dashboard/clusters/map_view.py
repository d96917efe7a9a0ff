"""The map itself: what it is given to draw, what is said about it, and what was chosen on it."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard.clusters import map_component
from dashboard.clusters.colouring import Colouring
from dashboard.clusters.state import PARTS, MapState, state_of
from dashboard.widgets.categories import category_counts_html
from dashboard.widgets.tiles import price_in_words
from search_api.client import Client
from search_api.schemas import InsightsResponse, MapColumns

HOVER_PIXELS = 320
NOT_DRAWN = -1


def draw_map(
    api: Client,
    looked: MapState,
    insights: InsightsResponse,
    columns: MapColumns,
    colouring: Colouring,
    drawn: Sequence[int],
) -> None:
    """Draw the map with its explanation and legend."""
    st.caption(
        f"{len(drawn):,} of {insights.photos:,} photos; those near each other look alike. Point at one to see it, "
        "click to choose it, draw around many. Ctrl + wheel zooms, Shift + drag moves."
    )
    if insights.is_stale:
        st.warning(
            "The catalogue has changed since this map was made. Anew: `marketlens insights`", icon=":material/update:"
        )
    map_component.draw_map(
        {
            **points(columns, colouring, drawn),
            "labels": labels(looked, insights),
            "chosen": as_data(looked),
            "api": api.public_url,
            "photo_pixels": HOVER_PIXELS,
            "alt": f"Map of {len(drawn):,} photos, coloured by {looked.colour}.",
        },
        _keep_chosen,
    )
    st.html(category_counts_html(colouring.counts(drawn), colouring.by_label))


def points(columns: MapColumns, colouring: Colouring, drawn: Sequence[int]) -> dict[str, Any]:
    """What is drawn of each photo, and what its card says."""
    colour = [NOT_DRAWN] * len(columns.x)
    for point in drawn:
        colour[point] = colouring.places[point]
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


def labels(looked: MapState, insights: InsightsResponse) -> list[dict[str, Any]]:
    """The labels that were asked for, those of most photos first."""
    if looked.labels == "title words":
        found = [
            (cluster.photos, cluster.x, cluster.y, " · ".join(cluster.words[:3]))
            for cluster in insights.clusters
            if not looked.shown or cluster.category in looked.shown
        ]
    elif looked.labels == "categories":
        found = [
            (category.photos, category.x, category.y, category.category)
            for category in insights.categories
            if not looked.shown or category.category in looked.shown
        ]
    else:
        found = []
    return [{"x": x, "y": y, "text": text} for _, x, y, text in sorted(found, reverse=True) if text]


def as_data(looked: MapState) -> dict[str, Any] | None:
    """What is chosen, as the map takes it."""
    chosen = looked.chosen
    if chosen.area:
        return {"area": [list(corner) for corner in chosen.area]}
    return {"photo": chosen.photo} if chosen.photo else None


def _keep_chosen(chosen: dict[str, Any] | None) -> None:
    st.session_state.update(state_of(chosen))
    if chosen:
        st.session_state["part"] = PARTS[0]
